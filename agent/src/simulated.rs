//! A simulated node for tests of the core: multus and its plugins, the runtime, libcni's cache, the disk, the API server and the clock,
//! small but with their real manners. Every effect can go wrong, something else can happen just before it, and the agent can die before it.
//!
//! The clock goes in steps of [`TICK`]: the agent is woken at the first step at or after the time that it asked for, so late but never
//! early. Effects take no time; a plugin that outlives its caller takes two steps.

mod breach;
mod bug;
mod fault;
mod fingerprint;
mod happening;
mod multus;
mod rig;
mod world;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use serde_json::json;
use shared::{
    names::{InterfaceName, NetworkName},
    selection::SelectionList,
};

use crate::{
    cni_cache::{Delegate, Entry},
    cri::Sandbox,
    identity::{PodIdentity, SandboxId},
    mailbox::{Known, Mailbox},
    memory::Key,
    multus::{Call, Command},
    pod::Pod,
    records::{Phase, SandboxRecords},
    world::NetworkDefinition,
};
pub use bug::Bug;
pub use fault::{Disturbance, Effect, Fault};
pub use happening::Happening;
pub use rig::{Rig, Snapshot, too_late};

/// The step of the clock.
pub const TICK: Duration = Duration::from_secs(10);
/// The time at which the node's clock begins, seconds since the epoch.
const EPOCH: u64 = 1_000_000;
/// What multus attaches to every sandbox besides what the annotation asks for, where a node is set up so.
const DEFAULT_NETWORK: (&str, &str) = ("d", "def0");
/// The uid of the pod that the agent works for; its namesakes have others.
const UID: &str = "uid-1";

/// The node's state: public, so that tests look at it and change it.
#[derive(Clone, Default)]
pub struct Node {
    /// Links in each sandbox, but for `lo` and the cluster's interface; the value is the config's name, or says who else made it.
    pub links: BTreeMap<Key, String>,
    /// Addresses that IPAM has given out, by the config's name as host-local keeps them.
    pub leases: BTreeSet<(String, SandboxId, InterfaceName)>,
    /// libcni's results, by the config's name.
    pub cache: BTreeMap<(String, SandboxId, InterfaceName), Rc<Entry>>,
    /// multus' files of what it attached.
    pub delegates: BTreeMap<SandboxId, Rc<Vec<Delegate>>>,
    /// The disk.
    pub records: Rc<BTreeMap<SandboxId, SandboxRecords>>,
    /// What the runtime lists, oldest first.
    pub sandboxes: Vec<Sandbox>,
    /// Sandboxes whose containers run.
    pub running: BTreeSet<SandboxId>,
    /// Paths of namespaces that exist.
    pub namespaces: BTreeSet<PathBuf>,
    /// NetworkAttachmentDefinitions.
    pub networks: Rc<BTreeMap<NetworkName, NetworkDefinition>>,
    /// The object of the pod's name; `None`: deleted.
    pub pod: Option<Pod>,
    /// Every call that multus saw, in order.
    pub calls: Vec<(Command, SandboxId, InterfaceName)>,
    /// What was said on the pod.
    pub events: Vec<(&'static str, String)>,
    /// Faults of the next ADDs.
    pub add_faults: VecDeque<Fault>,
    /// Faults of the next DELs.
    pub del_faults: VecDeque<Fault>,
    /// So many status patches fail.
    pub status_faults: u32,
    /// Nothing can be written to the disk.
    pub disk_full: bool,
    /// There is no multus.
    pub multus_away: bool,
    /// The API server answers nobody.
    pub api_away: bool,
    /// The runtime answers nobody.
    pub runtime_away: bool,
    /// By so many seconds somebody has moved the wall clock forward.
    pub clock_ahead: u64,
    /// multus attaches [`DEFAULT_NETWORK`] to every sandbox.
    pub default_network: bool,
    /// Interfaces that are not the agent's: its neighbours', or a stranger's in the pod.
    pub foreign: BTreeSet<Key>,
    /// Plugins that outlive their caller.
    unfinished: Vec<Rc<Unfinished>>,
    /// ADDs that may have left something, with their configuration; a DEL ends that.
    standing: BTreeMap<Key, String>,
    /// The first invariant that was broken on the way, if any.
    broken: Option<String>,
    /// Records that the disk refused to write, until it writes them.
    refused: BTreeSet<Key>,
    /// Counts what the agent and others did to the node.
    changes: u32,
    /// The count when a crash was noted last.
    kept: u32,
    /// Counts changes of what people see: links, addresses, network-status.
    results: u32,
    versions: u32,
    now: Duration,
}

/// A plugin that still runs though nobody waits for it.
#[derive(Clone)]
struct Unfinished {
    ends: Duration,
    call: Call,
    /// multus has died meanwhile: nobody will tell libcni's cache.
    orphaned: bool,
}

/// The node behind the trait.
pub struct Simulated {
    /// Its state.
    pub node: RefCell<Node>,
    /// The agent's mailbox.
    mailbox: Rc<Mailbox>,
    /// What the agent's watch has told of the pod.
    heard: RefCell<Known>,
    /// The agent dies before this effect of the look.
    fuse: Cell<Option<u32>>,
    /// What goes wrong, or happens, before which effect of the look.
    script: RefCell<Vec<(u32, Disturbance)>>,
    /// The effects of the look so far.
    trace: RefCell<Vec<Effect>>,
    /// What a crash would leave. `None`: nobody wants to know.
    crashes: RefCell<Option<Crashes>>,
    /// The agent knew that the pod terminates when it began the look.
    told_to_leave_alone: Cell<bool>,
    /// A planted mistake of the agent.
    bug: Option<Bug>,
}

/// What a crash would leave, at each point of a look at which the node is not as it was at the last one.
struct Crashes {
    /// States of which nobody needs a copy.
    known: Prints,
    found: Vec<Crash>,
}

/// States that are known by their fingerprint, and a number that goes with each.
pub type Prints = Rc<RefCell<HashMap<u64, u64>>>;

/// A point at which the agent can die.
pub struct Crash {
    /// Before this effect of the look.
    pub before: u32,
    /// The fingerprint of what it leaves.
    pub print: u64,
    /// What it leaves, if that was not known.
    pub left: Option<Snapshot>,
}

impl Crashes {
    fn before(&mut self, effect: u32, node: &mut Node) {
        if node.kept == node.changes {
            return;
        }
        node.kept = node.changes;
        if node.hides_an_unplug() {
            return;
        }
        let print = fingerprint::fingerprint_of_start(node);
        let left = (!self.known.borrow().contains_key(&print)).then(|| Snapshot::of_start(node));
        self.found.push(Crash {
            before: effect,
            print,
            left,
        });
    }
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

fn netns(sandbox: &SandboxId) -> PathBuf {
    PathBuf::from(format!("/run/netns/{sandbox}"))
}

/// The network of a name, in one of its versions: each has a configuration of another name.
fn definition(name: &str, changed: bool, version: u32) -> NetworkDefinition {
    let name = if changed {
        format!("{name}-changed")
    } else {
        name.to_owned()
    };
    let config =
        json!({"cniVersion": "1.0.0", "name": name, "type": "macvlan", "ipam": {"type": "host-local"}});
    NetworkDefinition {
        resource_version: version.to_string(),
        config: config.to_string(),
        resource_name: None,
    }
}

impl Node {
    /// The pod that the agent works for, while it exists.
    fn own_pod(&self) -> Option<&Pod> {
        self.pod.as_ref().filter(|pod| pod.identity.uid() == UID)
    }

    /// The sandbox that is ready.
    fn ready(&self) -> Option<&SandboxId> {
        self.sandboxes
            .iter()
            .rev()
            .find(|sandbox| sandbox.ready)
            .map(|sandbox| &sandbox.id)
    }

    /// The newest sandbox whose namespace is still there.
    fn alive(&self) -> Option<&SandboxId> {
        let mut newest_first = self.sandboxes.iter().rev().map(|sandbox| &sandbox.id);
        newest_first.find(|id| self.exists(id))
    }

    /// The sandbox has not ended.
    fn exists(&self, sandbox: &SandboxId) -> bool {
        self.namespaces.contains(&netns(sandbox))
    }

    /// What the annotation asks for; `None`: it cannot be read, or there is no pod.
    fn wanted(&self) -> Option<SelectionList> {
        SelectionList::parse(self.own_pod()?.networks.as_deref(), "default").ok()
    }

    fn next_version(&mut self) -> u32 {
        self.versions += 1;
        self.versions
    }

    /// A DEL was done, or runs, whose beginning the disk refused to note. The agent may do that (a full disk must not keep interfaces in
    /// pods); should it die before the disk has room, nothing tells the next one. So no crash is tried here.
    fn hides_an_unplug(&self) -> bool {
        self.refused.iter().any(|key| {
            let record = self
                .records
                .get(&key.0)
                .and_then(|records| records.attachments.get(&key.1));
            record.is_some_and(|record| match record.phase {
                Phase::Plugged { .. } => !self.links.contains_key(key) || self.runs(Command::Del, key),
                Phase::Plugging { .. }
                | Phase::Unplugging {
                    attempt: 1,
                    result: Some(_),
                } => self.runs(Command::Del, key),
                Phase::Unplugging { .. } | Phase::Tombstone => false,
            })
        })
    }

    fn runs(&self, command: Command, (sandbox, interface): &Key) -> bool {
        self.unfinished.iter().any(|running| {
            let call = &running.call;
            call.command == command && call.sandbox == *sandbox && call.interface == *interface
        })
    }

    fn break_rule(&mut self, rule: String) {
        self.broken.get_or_insert(rule);
    }
}

impl Simulated {
    fn new() -> Self {
        let identity = PodIdentity::new("default", "pod", UID).unwrap();
        let node = Node {
            pod: Some(Pod {
                identity,
                networks: None,
                status: Some(r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}]"#.to_owned()),
                annotation_bytes: 0,
                resource_version: "0".to_owned(),
                virt_launcher: false,
                terminating: false,
                seen: Rc::new([]),
            }),
            ..Node::default()
        };
        Self {
            node: RefCell::new(node),
            mailbox: Rc::default(),
            heard: RefCell::default(),
            fuse: Cell::default(),
            script: RefCell::default(),
            trace: RefCell::default(),
            crashes: RefCell::default(),
            told_to_leave_alone: Cell::default(),
            bug: None,
        }
    }

    /// One effect: what is to happen before it does, then the fault that it meets is told. Never returns when the crash is due.
    async fn effect(&self, kind: Effect) -> Option<Fault> {
        let index = u32::try_from(self.trace.borrow().len()).unwrap();
        if let Some(crashes) = self.crashes.borrow_mut().as_mut() {
            crashes.before(index, &mut self.node.borrow_mut());
        }
        if self.fuse.get() == Some(index) {
            return std::future::pending().await;
        }
        self.trace.borrow_mut().push(kind);
        let due: Vec<Disturbance> = {
            let script = self.script.borrow();
            script
                .iter()
                .filter(|(at, _)| *at == index)
                .map(|(_, what)| *what)
                .collect()
        };
        let mut fault = None;
        for disturbance in due {
            match disturbance {
                Disturbance::Fails(with) => fault = Some(with),
                Disturbance::Meanwhile(happening) => self.happen(happening),
            }
        }
        fault
    }
}
