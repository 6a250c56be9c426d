//! Whether a node is at rest as it should be: the kernel, the agent's records, libcni's cache, the
//! leases, network-status and the calls that a recording plugin saw have to tell the same story.
//! What does not fit is returned as a list of breaches.

mod calls;
mod scene;

use std::{collections::BTreeSet, fmt};

pub use calls::SeenCall;
pub use scene::{LiveSandbox, Scene};

use crate::node::Lease;

/// One thing that is not as it should be. Every breach names the sandbox (its id, or the pod's
/// name) and the interface or file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// The annotation wants it, the kernel does not have it.
    NotPlugged(String, String),
    /// The kernel has it, the annotation does not want it.
    NotWanted(String, String),
    /// The agent's records and the kernel do not name the same interface.
    RecordDiffers(String, String),
    /// Network-status and the kernel differ in this interface, or in its addresses.
    StatusDiffers(String, String),
    /// An address is reserved for an attachment that does not exist.
    LeakedLease(String, String),
    /// An attachment has an address of the network that nobody reserved.
    MissingLease(String, String),
    /// libcni's cache keeps an attachment that does not exist.
    LeakedCacheEntry(String, String),
    /// The agent keeps a file about a sandbox that is gone.
    LeakedRecord(String, String),
    /// The plugin saw an ADD and no DEL, and the attachment is gone.
    MissingDel(String, String),
    /// The plugin saw two ADDs without a DEL between them.
    AddedTwice(String, String),
    /// Two calls of one sandbox ran at the same time.
    Overlap(String, String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Everything about `scene` that is not as it should be, in a stable order; empty when all is well.
pub fn breaches(scene: &Scene) -> BTreeSet<Breach> {
    let mut found = BTreeSet::new();
    for sandbox in &scene.live {
        interfaces(sandbox, &mut found);
    }
    leases(scene, &mut found);
    files(scene, &mut found);
    found.extend(calls::breaches(scene));
    found
}

fn interfaces(sandbox: &LiveSandbox, found: &mut BTreeSet<Breach>) {
    let kernel: BTreeSet<_> = sandbox.kernel.keys().collect();
    let foreign: BTreeSet<_> = sandbox.foreign.iter().collect();
    let wanted: BTreeSet<_> = sandbox.wanted.iter().chain(&sandbox.foreign).collect();
    let recorded: BTreeSet<_> = sandbox.records.iter().collect();
    let ours: BTreeSet<_> = kernel.difference(&foreign).copied().collect();
    let about = |name: &String| (sandbox.pod.clone(), name.clone());
    for name in wanted.difference(&kernel) {
        let (pod, name) = about(name);
        found.insert(Breach::NotPlugged(pod, name));
    }
    for name in kernel.difference(&wanted) {
        let (pod, name) = about(name);
        found.insert(Breach::NotWanted(pod, name));
    }
    for name in recorded.symmetric_difference(&ours) {
        let (pod, name) = about(name);
        found.insert(Breach::RecordDiffers(pod, name));
    }
    let names = sandbox.status.keys().chain(sandbox.kernel.keys());
    for name in names.filter(|name| sandbox.status.get(*name) != sandbox.kernel.get(*name)) {
        let (pod, name) = about(name);
        found.insert(Breach::StatusDiffers(pod, name));
    }
}

fn leases(scene: &Scene, found: &mut BTreeSet<Breach>) {
    for Lease {
        address,
        sandbox,
        interface,
    } in &scene.leases
    {
        if !scene.has(sandbox, interface) {
            found.insert(Breach::LeakedLease(sandbox.clone(), address.clone()));
        }
    }
    for sandbox in &scene.live {
        for (name, (_, addresses)) in &sandbox.kernel {
            let ours = |address: &&String| scene.subnets.iter().any(|subnet| address.starts_with(subnet));
            for address in addresses.iter().filter(ours) {
                let held = |lease: &Lease| {
                    lease.address == *address && lease.sandbox == sandbox.id && lease.interface == *name
                };
                if !scene.leases.iter().any(held) {
                    found.insert(Breach::MissingLease(sandbox.pod.clone(), address.clone()));
                }
            }
        }
    }
}

/// The name of a cache entry ends in `-<sandbox>-<interface>`.
fn files(scene: &Scene, found: &mut BTreeSet<Breach>) {
    for sandbox in &scene.live {
        let kept = |entry: &&String| {
            let interface = entry.split(&format!("{}-", sandbox.id)).nth(1);
            interface.is_some_and(|name| name == "eth0" || sandbox.kernel.contains_key(name))
        };
        for entry in sandbox.cached.iter().filter(|entry| !kept(entry)) {
            found.insert(Breach::LeakedCacheEntry(sandbox.pod.clone(), entry.clone()));
        }
    }
    for (sandbox, cached, recorded) in &scene.ended {
        found.extend(
            cached
                .iter()
                .map(|e| Breach::LeakedCacheEntry(sandbox.clone(), e.clone())),
        );
        found.extend(
            recorded
                .iter()
                .map(|f| Breach::LeakedRecord(sandbox.clone(), f.clone())),
        );
    }
}

#[cfg(test)]
mod tests;
