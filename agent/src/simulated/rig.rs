//! An agent on a simulated node, what happens to its pod, and the checker of the invariants at rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde_json::json;
use shared::{config::Config, names::InterfaceName};

use super::{Simulated, interface, network, sandbox_id};
use crate::{
    cni_cache::Delegate,
    cri::Sandbox,
    identity::{PodIdentity, SandboxId},
    mailbox::{Known, Mailbox},
    memory::Memory,
    multus::{Call, Command},
    pod::{Pod, Seen},
    reconcile::Reconciler,
    world::{NetworkDefinition, World},
};

/// An agent on a simulated node.
pub struct Rig {
    /// The node.
    pub world: Simulated,
    config: Config,
    own: PodIdentity,
    memory: Memory,
    mailbox: Rc<Mailbox>,
    versions: u32,
}

impl Rig {
    /// A running pod that multus has given nothing but the default network, and networks `a`, `b` and `c`.
    pub fn new() -> Self {
        let config = Config::parse("{}").unwrap();
        let identity = PodIdentity::new("default", "pod", "uid-1").unwrap();
        let pod = Pod {
            identity,
            networks: None,
            status: Some(r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}]"#.to_owned()),
            annotation_bytes: 0,
            resource_version: "0".to_owned(),
            virt_launcher: false,
            terminating: false,
            seen: Rc::new([Seen {
                since: 0,
                networks: None,
            }]),
        };
        let rig = Self {
            world: Simulated::default(),
            config,
            own: PodIdentity::new("kube-system", "agent", "uid-agent").unwrap(),
            memory: Memory::new("uid-1", BTreeMap::new()),
            mailbox: Rc::default(),
            versions: 0,
        };
        rig.world.node.borrow_mut().pod = Some(pod);
        for name in ["a", "b", "c"] {
            rig.define(name);
        }
        rig.start_sandbox("s1");
        rig
    }

    /// Creates a network.
    pub fn define(&self, name: &str) {
        let config =
            json!({"cniVersion": "1.0.0", "name": name, "type": "macvlan", "ipam": {"type": "host-local"}});
        let definition = NetworkDefinition {
            resource_version: "1".to_owned(),
            config: config.to_string(),
            resource_name: None,
        };
        self.world
            .node
            .borrow_mut()
            .networks
            .insert(network(name), definition);
    }

    /// The runtime has a sandbox, ready and running.
    pub fn start_sandbox(&self, id: &str) {
        let mut node = self.world.node.borrow_mut();
        let Some(pod) = node.pod.as_ref().map(|pod| pod.identity.clone()) else {
            return;
        };
        let id = sandbox_id(id);
        let count = i64::try_from(node.sandboxes.len()).unwrap();
        let created_at = i64::try_from(self.world.epoch_of(&node)).unwrap() * 1_000_000_000 + count;
        node.sandboxes.push(Sandbox {
            id: id.clone(),
            pod,
            ready: true,
            created_at,
        });
        node.running.insert(id.clone());
        node.namespaces.insert(PathBuf::from(format!("/run/netns/{id}")));
        let default = Delegate {
            network: None,
            interface: Some(interface("eth0")),
            config: Vec::new(),
            default: true,
        };
        node.delegates.insert(id, vec![default]);
    }

    /// Multus attaches `network@interface` at the start of the sandbox.
    pub fn cold_plug(&self, id: &str, attachments: &[(&str, &str)]) {
        let mut node = self.world.node.borrow_mut();
        for (name, given) in attachments {
            let call = Call {
                command: Command::Add,
                sandbox: sandbox_id(id),
                netns: format!("/run/netns/{id}"),
                interface: interface(given),
                pod: self.own.clone(),
                config: node.networks[&network(name)].config.clone(),
                ips: Vec::new(),
                mac: None,
                cni_args: None,
            };
            node.plug(&call);
            let delegate = Delegate {
                network: Some(network(name)),
                interface: Some(interface(given)),
                config: call.config.into_bytes(),
                default: false,
            };
            node.delegates.entry(sandbox_id(id)).or_default().push(delegate);
        }
    }

    /// The sandbox ends: the kernel takes its links, multus tears down what it attached.
    pub fn end_sandbox(&self, id: &str) {
        let mut node = self.world.node.borrow_mut();
        let id = sandbox_id(id);
        node.sandboxes
            .iter_mut()
            .filter(|sandbox| sandbox.id == id)
            .for_each(|sandbox| sandbox.ready = false);
        node.running.remove(&id);
        node.namespaces.remove(Path::new(&format!("/run/netns/{id}")));
        node.links.retain(|(of, _), _| *of != id);
        for delegate in node.delegates.remove(&id).unwrap_or_default() {
            if let Some(interface) = delegate.interface {
                node.leases.remove(&(id.clone(), interface.clone()));
                node.cache
                    .retain(|(_, of, named), _| *of != id || *named != interface);
            }
        }
    }

    /// Somebody edits the annotation.
    pub fn annotate(&mut self, networks: Option<&str>) {
        self.versions += 1;
        let since = self.world.epoch();
        if let Some(pod) = &mut self.world.node.borrow_mut().pod {
            pod.networks = networks.map(str::to_owned);
            pod.resource_version = self.versions.to_string();
            let mut seen = pod.seen.to_vec();
            seen.push(Seen {
                since,
                networks: pod.networks.clone(),
            });
            pod.seen = seen.into();
        }
    }

    /// Time passes.
    pub fn wait(&self, seconds: u64) {
        self.world.node.borrow_mut().pass(Duration::from_secs(seconds));
    }

    /// The pod's object is deleted.
    pub fn delete_pod(&self) {
        self.world.node.borrow_mut().pod = None;
    }

    /// The agent starts anew from what is on the disk.
    pub fn restart(&mut self) {
        self.world.fuse.set(None);
        if let Some(pod) = &mut self.world.node.borrow_mut().pod {
            pod.seen = Rc::new([Seen {
                since: 1_000_000,
                networks: pod.networks.clone(),
            }]);
        }
        self.memory = Memory::new("uid-1", self.world.node.borrow().records.clone());
        self.mailbox = Rc::default();
    }

    /// The watch tells what the API server has, and the agent looks once. `false`: it crashed.
    pub fn look(&mut self) -> bool {
        let known = self
            .world
            .node
            .borrow()
            .pod
            .clone()
            .map_or(Known::Gone, |pod| Known::Present(Rc::new(pod)));
        self.mailbox.tell(known);
        let reconciler = Reconciler {
            world: &self.world,
            config: &self.config,
            own: Some(&self.own),
        };
        let look = pin!(reconciler.look(&mut self.memory, &self.mailbox, &|_, _| {}));
        matches!(
            look.poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(())
        )
    }

    /// Looks, sleeping for as long as each look says, until there is nothing more to do or a day has passed. `false`: it crashed.
    pub fn settle(&mut self) -> bool {
        let end = self.world.now() + Duration::from_secs(86_400);
        loop {
            if !self.look() {
                return false;
            }
            let now = self.world.now();
            match self.memory.wake.filter(|wake| *wake < end) {
                Some(wake) if self.busy() => {
                    let wait = wake.saturating_sub(now).max(Duration::from_millis(10));
                    self.world.node.borrow_mut().pass(wait);
                }
                _ => return true,
            }
            assert!(
                self.world.node.borrow().calls.len() < 500,
                "the agent does not come to rest"
            );
        }
    }

    /// Something is still to be done, or cannot be done for now.
    fn busy(&self) -> bool {
        let ended = |id: &SandboxId| {
            !self
                .world
                .node
                .borrow()
                .sandboxes
                .iter()
                .any(|of| of.id == *id && of.ready)
        };
        !self.memory.retries.is_empty()
            || self.memory.status_retry.is_some()
            || self.memory.sandboxes.keys().any(ended)
            || self.world.now() < Duration::from_secs(120)
    }

    /// What breaks the invariants at rest, if anything. `wanted`: the interfaces that the live sandbox must have, as `network@interface`.
    pub fn breach(&self, sandbox: &str, wanted: &[&str]) -> Option<String> {
        let node = self.world.node.borrow();
        let id = sandbox_id(sandbox);
        let links: Vec<String> = node
            .links
            .iter()
            .filter(|((of, _), _)| *of == id)
            .map(|((_, interface), config)| format!("{config}@{interface}"))
            .collect();
        let mut sorted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        sorted.sort_by_key(|text| text.split('@').nth(1).map(str::to_owned));
        if links != sorted {
            return Some(format!("links are {links:?}, wanted {sorted:?}"));
        }
        let mut published = node.published();
        published.sort_by_key(|text| text.split('@').nth(1).map(str::to_owned));
        let expected: Vec<String> = sorted.iter().map(|text| format!("default/{text}")).collect();
        if published != expected {
            return Some(format!("network-status has {published:?}, wanted {expected:?}"));
        }
        let leases: BTreeSet<_> = node.links.keys().cloned().collect();
        if node.leases != leases {
            return Some(format!("leases are {:?}, links {leases:?}", node.leases));
        }
        let dead = node.records.keys().find(|of| **of != id);
        if let Some(dead) = dead {
            return Some(format!("records of the dead sandbox {dead} are left"));
        }
        twice(&node.calls).map(|key| format!("ADD ran twice for {key:?}: {:?}", node.calls))
    }
}

/// The attachment for which ADD was called twice without a DEL between. An ADD that multus refuses because the interface exists is one too.
fn twice(calls: &[(Command, SandboxId, InterfaceName)]) -> Option<(SandboxId, InterfaceName)> {
    let mut open = BTreeSet::new();
    for (command, sandbox, interface) in calls {
        let key = (sandbox.clone(), interface.clone());
        match command {
            Command::Add if !open.insert(key.clone()) => return Some(key),
            Command::Add => {}
            Command::Del => {
                open.remove(&key);
            }
        }
    }
    None
}
