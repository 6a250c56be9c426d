//! The invariants, on a node at rest. What can only be seen on the way (ADD twice, calls that overlap, a stranger's interface taken, a
//! release before the end) is noted when it happens, see `multus`.

use std::collections::BTreeMap;

use shared::{
    names::{InterfaceName, NetworkName},
    status,
};

use super::{DEFAULT_NETWORK, Node, Rig, happening::STRANGERS_ENTRY};
use crate::{
    execute::config_name,
    identity::SandboxId,
    memory::Memory,
    plan::Complaint,
    records::{AttachmentRecord, Phase},
};

impl Rig {
    /// What breaks an invariant, if anything.
    pub fn breach(&self) -> Option<String> {
        let node = self.world.node.borrow();
        let broken = node.broken.clone();
        broken
            .or_else(|| node.links_against_records())
            .or_else(|| node.leases_against_links())
            .or_else(|| node.traces_of_the_dead())
            .or_else(|| node.status_against_records())
            .or_else(|| node.records_against_wishes(&self.memory))
    }

    /// The links of a sandbox, as `config@interface`.
    pub fn links(&self, sandbox: &str) -> Vec<String> {
        let node = self.world.node.borrow();
        let of_it = node.links.iter().filter(|((of, _), _)| of.as_str() == sandbox);
        of_it
            .map(|((_, interface), config)| format!("{config}@{interface}"))
            .collect()
    }
}

impl Node {
    /// The attachments that the disk says are there.
    fn plugged<'n>(&'n self, sandbox: &SandboxId) -> BTreeMap<&'n InterfaceName, &'n AttachmentRecord> {
        let records = self
            .records
            .get(sandbox)
            .into_iter()
            .flat_map(|records| &records.attachments);
        records
            .filter(|(_, record)| record.phase != Phase::Tombstone)
            .collect()
    }

    fn published(&self) -> Vec<String> {
        let entries = status::read(self.own_pod().and_then(|pod| pod.status.as_deref()));
        let others = entries.into_iter().filter(|entry| !entry.default);
        others
            .map(|entry| format!("{}@{}", entry.name, entry.interface))
            .collect()
    }

    /// What multus attached and the agent found to be nobody's here, first seen or not.
    fn left_alone(&self, sandbox: &SandboxId, interface: &InterfaceName) -> bool {
        let recorded = self
            .records
            .get(sandbox)
            .and_then(|records| records.sandbox.as_ref());
        self.foreign.contains(&(sandbox.clone(), interface.clone()))
            || recorded.is_some_and(|record| record.foreign.contains(interface))
    }

    /// The sandbox that the agent keeps as the annotation says: that of a pod which is there and does not terminate, seen and adopted.
    fn kept(&self) -> Option<&SandboxId> {
        let seen = |id: &&SandboxId| {
            let record = self.records.get(id).and_then(|records| records.sandbox.as_ref());
            record.is_some_and(|record| record.adopted)
        };
        self.own_pod()
            .filter(|pod| !pod.terminating)
            .and_then(|_| self.ready())
            .filter(seen)
    }

    /// I2: interfaces = records.
    fn links_against_records(&self) -> Option<String> {
        let sandbox = self.kept()?;
        let plugged = self.plugged(sandbox);
        for ((_, interface), config) in self.links.iter().filter(|((of, _), _)| of == sandbox) {
            let ours = plugged
                .get(interface)
                .is_some_and(|record| config_name(&record.config) == *config);
            if !ours && !self.left_alone(sandbox, interface) {
                return Some(format!(
                    "I2: the link {config}@{interface} of {sandbox} has no record"
                ));
            }
        }
        plugged.into_iter().find_map(|(interface, record)| {
            let there = self.links.contains_key(&(sandbox.clone(), interface.clone()));
            let sound = there && matches!(record.phase, Phase::Plugged { .. });
            (!sound).then(|| {
                format!(
                    "I2: {interface} of {sandbox} is recorded as {:?}, link: {there}",
                    record.phase
                )
            })
        })
    }

    /// I3: leases = live attachments. In a sandbox that is not kept any more, each has a record by which it will be released, or is
    /// multus' own to tear down.
    fn leases_against_links(&self) -> Option<String> {
        for (config, sandbox, interface) in &self.leases {
            let held = self.links.get(&(sandbox.clone(), interface.clone())) == Some(config);
            let recorded = self
                .records
                .get(sandbox)
                .is_some_and(|records| records.attachments.contains_key(interface));
            let of_multus = |list: &Vec<crate::cni_cache::Delegate>| {
                list.iter()
                    .any(|delegate| delegate.interface.as_ref() == Some(interface))
            };
            let multus = self.delegates.get(sandbox).is_some_and(|list| of_multus(list));
            if !if self.kept() == Some(sandbox) {
                held
            } else {
                recorded || multus
            } {
                return Some(format!(
                    "I3: the address of {config}@{interface} in {sandbox} is leaked"
                ));
            }
        }
        let sandbox = self.kept()?;
        let missing = self.links.iter().find(|((of, interface), config)| {
            let lease = ((*config).clone(), of.clone(), interface.clone());
            of == sandbox && *config != "stranger" && !self.leases.contains(&lease)
        });
        missing.map(|((_, interface), _)| format!("I3: {interface} in {sandbox} has no address"))
    }

    /// I2, I3: nothing is left of a sandbox that has ended.
    fn traces_of_the_dead(&self) -> Option<String> {
        let record = self.records.keys().find(|id| !self.exists(id));
        let entry = self.cache.keys().find(|(_, id, _)| !self.exists(id));
        record
            .map(|id| format!("I2: records of the dead sandbox {id} are left"))
            .or_else(|| {
                entry.map(|(name, id, _)| format!("I3: a cache entry of {name} in the dead {id} is left"))
            })
    }

    /// I2: records = network-status, and everybody else's entries are as they were.
    fn status_against_records(&self) -> Option<String> {
        let (pod, sandbox) = (self.own_pod()?, self.kept()?);
        let mut published = self.published();
        let status = pod.status.as_deref().unwrap_or_default();
        if status.contains(STRANGERS_ENTRY) {
            published.retain(|entry| entry != "stranger/x@sx0");
        }
        let foreign = |entry: &String| {
            let named = entry
                .rsplit_once('@')
                .and_then(|(_, name)| InterfaceName::parse(name).ok());
            named.is_some_and(|name| self.left_alone(sandbox, &name))
        };
        let (others, mut ours): (Vec<_>, Vec<_>) = published.into_iter().partition(foreign);
        if self.default_network
            && !others.contains(&format!("default/{}@{}", DEFAULT_NETWORK.0, DEFAULT_NETWORK.1))
        {
            return Some("I6: the entry of multus' own network is gone from network-status".to_owned());
        }
        ours.sort();
        let records = self.plugged(sandbox).into_values();
        let mut recorded: Vec<String> = records
            .map(|record| format!("{}@{}", record.network, record.interface))
            .collect();
        recorded.sort();
        (ours != recorded).then(|| format!("I2: network-status has {ours:?}, the records {recorded:?}"))
    }

    /// I1: what is wanted is there, or it is known why not; what is not wanted is not there.
    fn records_against_wishes(&self, memory: &Memory) -> Option<String> {
        let pod = self.own_pod().filter(|pod| !pod.terminating)?;
        let sandbox = self.ready()?;
        let Some(list) = self.wanted() else {
            let told = memory
                .complained
                .iter()
                .any(|told| matches!(told, Complaint::Unreadable(_)));
            // A pod that never had networks is nobody's business, but this annotation says something.
            return (!told).then(|| format!("I1: nobody is told that {:?} cannot be read", pod.networks));
        };
        let plugged = self.plugged(sandbox);
        for element in &list.elements {
            let Some(interface) = &element.interface else {
                continue;
            };
            let there = plugged
                .get(interface)
                .is_some_and(|record| record.network == element.network);
            if there {
                continue;
            }
            if !self.is_impossible(sandbox, interface, &element.network) {
                return Some(format!(
                    "I1: {}@{interface} is not there, and nothing prevents it",
                    element.network
                ));
            }
            if !is_explained(memory, sandbox, interface) {
                return Some(format!(
                    "I1: nobody is told why {}@{interface} is not there",
                    element.network
                ));
            }
        }
        let wanted = |record: &AttachmentRecord| {
            list.elements.iter().any(|element| {
                element.network == record.network
                    && element
                        .interface
                        .as_ref()
                        .is_none_or(|interface| *interface == record.interface)
            })
        };
        let unwanted = plugged.into_values().find(|record| !wanted(record))?;
        Some(format!(
            "I1: {}@{} is there, and nobody wants it",
            unwanted.network, unwanted.interface
        ))
    }

    fn is_impossible(&self, sandbox: &SandboxId, interface: &InterfaceName, network: &NetworkName) -> bool {
        !self.networks.contains_key(network) || self.left_alone(sandbox, interface)
    }
}

/// A retry (with its event) or a complaint stands.
fn is_explained(memory: &Memory, sandbox: &SandboxId, interface: &InterfaceName) -> bool {
    let rejected =
        |told: &Complaint| matches!(told, Complaint::Rejected { interface: of, .. } if of == interface);
    memory.retries.contains_key(&(sandbox.clone(), interface.clone()))
        || memory.complained.iter().any(rejected)
}
