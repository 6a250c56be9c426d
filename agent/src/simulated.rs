//! A simulated node for tests of the core: multus and its plugins, the runtime, libcni's cache, the disk and the API server, small
//! but with their real manners. Every effect either happens at once or, when the crash is due, never returns.

mod rig;
mod world;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Map, Value, json};
use shared::{
    names::{InterfaceName, NetworkName},
    status,
};

use crate::{
    cni_cache::{Delegate, Entry},
    cri::Sandbox,
    execute::config_name,
    identity::SandboxId,
    multus::{Answer, Call, Command, Refusal},
    pod::Pod,
    records::{RecordsError, SandboxRecords},
    world::NetworkDefinition,
};
pub use rig::Rig;

/// What goes wrong with the next call to multus of that verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A plugin fails half-way: the link is there, the lease too.
    HalfDone,
    /// A plugin fails before it does anything.
    Refused,
    /// Multus is not there.
    NotSent,
    /// It is done, but the answer is lost.
    LostDone,
    /// It will be done when ten seconds have passed; the answer is lost now.
    LostRunning,
    /// Multus crashes on the request and is well afterwards.
    Closed,
}

/// The node's state: public, so that tests look at it and change it.
#[derive(Default)]
pub struct Node {
    /// Links in each sandbox, but for `lo` and the default interface; the value says who made it.
    pub links: BTreeMap<(SandboxId, InterfaceName), String>,
    /// Addresses that IPAM has given out.
    pub leases: BTreeSet<(SandboxId, InterfaceName)>,
    /// libcni's results.
    pub cache: BTreeMap<(String, SandboxId, InterfaceName), Entry>,
    /// multus' files of what it attached.
    pub delegates: BTreeMap<SandboxId, Vec<Delegate>>,
    /// The disk.
    pub records: BTreeMap<SandboxId, SandboxRecords>,
    /// What the runtime lists.
    pub sandboxes: Vec<Sandbox>,
    /// Sandboxes whose containers run.
    pub running: BTreeSet<SandboxId>,
    /// Paths of namespaces that exist.
    pub namespaces: BTreeSet<PathBuf>,
    /// NetworkAttachmentDefinitions.
    pub networks: BTreeMap<NetworkName, NetworkDefinition>,
    /// The pod's object; `None`: deleted.
    pub pod: Option<Pod>,
    /// Every call that multus saw, in order.
    pub calls: Vec<(Command, SandboxId, InterfaceName)>,
    /// What was said on the pod.
    pub events: Vec<(&'static str, String)>,
    /// Faults to come.
    pub add_faults: VecDeque<Fault>,
    /// Faults to come.
    pub del_faults: VecDeque<Fault>,
    /// So many status patches fail.
    pub status_faults: u32,
    /// Nothing can be written to the disk.
    pub disk_full: bool,
    /// ADDs that still run.
    pub unfinished: Vec<(Duration, Call)>,
    now: Duration,
}

/// The node behind the trait.
#[derive(Default)]
pub struct Simulated {
    /// Its state.
    pub node: RefCell<Node>,
    /// The crash comes when this many more effects have happened.
    pub fuse: Cell<Option<u32>>,
    /// Effects that have happened.
    pub effects: Cell<u32>,
}

pub fn sandbox_id(name: &str) -> SandboxId {
    SandboxId::parse(name).unwrap()
}

pub fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

pub fn network(name: &str) -> NetworkName {
    NetworkName::new("default", name).unwrap()
}

impl Node {
    fn plug(&mut self, call: &Call) -> Value {
        let key = (call.sandbox.clone(), call.interface.clone());
        let name = config_name(&call.config);
        let result = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": call.interface.as_str(), "mac": "02:00:00:00:00:01", "sandbox": call.netns}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0}],
        });
        self.links.insert(key.clone(), name.clone());
        self.leases.insert(key);
        let entry = Entry {
            sandbox: call.sandbox.clone(),
            interface: call.interface.clone(),
            config_name: name.clone(),
            netns: call.netns.clone(),
            cni_args: Vec::new(),
            config: call.config.clone().into_bytes(),
            capability_args: Map::new(),
            result: result.clone(),
        };
        self.cache
            .insert((name, call.sandbox.clone(), call.interface.clone()), entry);
        result
    }

    fn unplug(&mut self, call: &Call) {
        let key = (call.sandbox.clone(), call.interface.clone());
        self.links.remove(&key);
        self.leases.remove(&key);
        self.cache.remove(&(config_name(&call.config), key.0, key.1));
    }

    fn add(&mut self, call: &Call) -> Answer {
        let key = (call.sandbox.clone(), call.interface.clone());
        let refused = |cause, text: &str| Answer::Refused {
            cause,
            plugin: None,
            text: text.to_owned(),
        };
        match self.add_faults.pop_front() {
            Some(Fault::NotSent) => return Answer::NotSent("there is no socket".to_owned()),
            _ if self.links.contains_key(&key) => return refused(Refusal::AlreadyExists, "already exists"),
            Some(Fault::Refused) => return refused(Refusal::Other, "a plugin failed"),
            Some(Fault::HalfDone) => {
                self.links.insert(key.clone(), "half".to_owned());
                self.leases.insert(key);
                return refused(Refusal::Other, "a plugin failed half-way");
            }
            Some(Fault::LostDone) => {
                self.plug(call);
                return Answer::Lost("the connection broke".to_owned());
            }
            Some(Fault::LostRunning) => {
                self.unfinished
                    .push((self.now + Duration::from_secs(10), call.clone()));
                return Answer::Lost("the connection broke".to_owned());
            }
            Some(Fault::Closed) => return Answer::Closed,
            None => {}
        }
        Answer::Done(self.plug(call))
    }

    fn del(&mut self, call: &Call) -> Answer {
        match self.del_faults.pop_front() {
            Some(Fault::NotSent) => return Answer::NotSent("there is no socket".to_owned()),
            Some(Fault::LostDone | Fault::LostRunning) => {
                self.unplug(call);
                return Answer::Lost("the connection broke".to_owned());
            }
            Some(Fault::Closed) => return Answer::Closed,
            Some(Fault::Refused | Fault::HalfDone) => {
                return Answer::Refused {
                    cause: Refusal::Other,
                    plugin: None,
                    text: "a plugin failed".to_owned(),
                };
            }
            None => {}
        }
        let exists = self.pod.as_ref().is_some_and(|pod| {
            pod.identity.name() == call.pod.name() && ["", pod.identity.uid()].contains(&call.pod.uid())
        });
        if !exists && call.pod.name() != "agent" {
            return Answer::Refused {
                cause: Refusal::PodNotFound,
                plugin: None,
                text: "pod not found".to_owned(),
            };
        }
        self.unplug(call);
        Answer::Done(Value::Null)
    }

    /// Time passes; what still ran comes to its end.
    pub fn pass(&mut self, duration: Duration) {
        self.now += duration;
        let (due, rest) = std::mem::take(&mut self.unfinished)
            .into_iter()
            .partition(|(at, _)| *at <= self.now);
        self.unfinished = rest;
        let due: Vec<(Duration, Call)> = due;
        for (_, call) in due {
            self.plug(&call);
        }
    }

    /// The interfaces that network-status lists, the default one left out.
    pub fn published(&self) -> Vec<String> {
        let entries = status::read(self.pod.as_ref().and_then(|pod| pod.status.as_deref()));
        entries
            .into_iter()
            .filter(|entry| !entry.default)
            .map(|entry| format!("{}@{}", entry.name, entry.interface))
            .collect()
    }
}

impl Simulated {
    /// One effect. Never returns when the crash is due.
    async fn effect(&self) {
        if let Some(left) = self.fuse.get() {
            if left == 0 {
                return std::future::pending().await;
            }
            self.fuse.set(Some(left - 1));
        }
        self.effects.set(self.effects.get() + 1);
    }

    fn epoch_of(&self, node: &Node) -> u64 {
        1_000_000 + node.now.as_secs()
    }

    fn check_disk(&self) -> Result<(), RecordsError> {
        let full = || RecordsError::Full(PathBuf::from("state"));
        if self.node.borrow().disk_full {
            Err(full())
        } else {
            Ok(())
        }
    }
}
