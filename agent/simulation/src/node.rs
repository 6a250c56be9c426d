//! The node's state, and what can be asked about it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use agent_core::{
    cni_state::{Delegate, Entry},
    condition::Condition,
    delegate::{Call, Command},
    effect::Count,
    identity::{AttachmentKey, PodIdentity, SandboxId},
    kept_file::KeptFile,
    network::NetworkDefinition,
    pod::{Annotation, Pod, PodObservation},
    record::{AttachmentRecord, SandboxRecords},
    sandbox::Sandbox,
};
use shared::{
    names::{InterfaceName, NetworkName},
    selection::SelectionList,
};

use crate::{EPOCH, Fault, Incident, RESOURCE, UID, Variant, running::Running, variant::takes_device};

/// An address that IPAM has given out: by the list's name, as host-local keeps them.
pub type Lease = (String, SandboxId, InterfaceName);

/// The simulated node. Public, so that tests can read and change it.
#[derive(Clone, Default)]
pub struct Node {
    /// Links in each sandbox but `lo` and `eth0`. The value is the list's name, or says who else
    /// made it.
    pub links: BTreeMap<AttachmentKey, String>,
    /// Addresses that IPAM has given out.
    pub leases: BTreeSet<Lease>,
    /// libcni's results.
    pub cache: BTreeMap<Lease, Rc<Entry>>,
    /// Multus' delegate files.
    pub delegates: BTreeMap<SandboxId, Rc<Vec<Delegate>>>,
    /// The agent's disk.
    pub records: Rc<BTreeMap<SandboxId, SandboxRecords>>,
    /// What the runtime lists, oldest first.
    pub sandboxes: Vec<Sandbox>,
    /// Sandboxes with running containers.
    pub containers: BTreeSet<SandboxId>,
    /// Sandboxes whose network namespace exists.
    pub namespaces: BTreeSet<SandboxId>,
    /// NetworkAttachmentDefinitions.
    pub networks: Rc<BTreeMap<NetworkName, NetworkDefinition>>,
    /// Devices of [`RESOURCE`](crate::RESOURCE) that the kubelet gave the pod.
    pub devices: BTreeSet<String>,
    /// Devices that are in a sandbox, and under which name.
    pub moved: BTreeMap<String, AttachmentKey>,
    /// Devices that were in a sandbox once.
    pub(crate) ever_moved: BTreeSet<String>,
    /// The kubelet's PodResources API does not answer.
    pub kubelet_away: bool,
    /// Plugins whose binary is not on the node.
    pub missing_plugins: BTreeSet<&'static str>,
    /// The object of the pod's name; `None`: deleted.
    pub pod: Option<Rc<Pod>>,
    /// Its condition `NetworksReady`.
    pub condition: Option<Condition>,
    /// What was written to it, in order.
    pub conditions: Vec<Condition>,
    /// While the watch is late: the versions of the pod that it has not shown.
    pub unseen: Option<VecDeque<PodObservation>>,
    /// The text of its networks annotation.
    pub annotation: Option<&'static str>,
    /// Calls that multus saw, in order.
    pub calls: Vec<Seen>,
    /// Events on the pod: reason and text.
    pub events: Vec<(&'static str, String)>,
    /// What the core counted.
    pub counts: Vec<Count>,
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
    /// The API server does not answer.
    pub api_away: bool,
    /// The runtime does not answer.
    pub runtime_away: bool,
    /// libcni cannot remove its results.
    pub cache_read_only: bool,
    /// So many seconds the wall clock was moved forward.
    pub clock_ahead: u64,
    /// The pod uses the node's network.
    pub host_network: bool,
    /// The interface of the network that multus attaches to every sandbox.
    pub default_network: Option<&'static str>,
    /// Interfaces that are neither the annotation's nor the agent's.
    pub foreign: BTreeSet<AttachmentKey>,
    /// Interfaces that another controller hot-plugged: without a record until the agent takes them
    /// over.
    pub predecessors: BTreeSet<AttachmentKey>,
    /// Interfaces that the agent hot-plugged.
    pub hot: BTreeSet<AttachmentKey>,
    /// Addresses that multus plugged and did not release, because it was away at the end.
    pub excused: BTreeSet<Lease>,
    /// Effects that take time, and plugins that outlive their caller.
    pub(crate) running: Vec<Running>,
    /// The first rule that was broken on the way.
    pub(crate) broken: Option<String>,
    /// Records that the disk refused to write, until it writes them.
    pub(crate) refused: BTreeSet<AttachmentKey>,
    /// Counts what the agent and others did to the node.
    pub(crate) changes: u32,
    /// The count at the last crash point.
    pub(crate) kept: u32,
    /// Counts changes that users see: links, addresses, network-status.
    pub(crate) results: u32,
    /// Effects since the last incident.
    pub(crate) effects: u32,
    pub(crate) versions: u32,
    pub(crate) now: Duration,
}

/// One call that multus saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// ADD or DEL.
    pub command: Command,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The interface.
    pub interface: InterfaceName,
    /// The types of the plugins, in order.
    pub plugins: Vec<String>,
}

/// A sandbox id that tests write.
pub fn sandbox_id(name: &str) -> SandboxId {
    SandboxId::parse(name).unwrap()
}

/// An interface that tests write.
pub fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

/// A network of the namespace `default`.
pub fn network(name: &str) -> NetworkName {
    NetworkName::new("default", name).unwrap()
}

/// The path of a sandbox's network namespace.
pub(crate) fn netns(sandbox: &SandboxId) -> PathBuf {
    PathBuf::from(format!("/run/netns/{sandbox}"))
}

/// A DEL in the namespace `netns`, which is empty after the sandbox has ended.
pub(crate) fn del(sandbox: &SandboxId, netns: String, interface: InterfaceName, config: String) -> Call {
    Call {
        command: Command::Del,
        sandbox: sandbox.clone(),
        netns,
        interface,
        pod: identity(UID),
        config,
        ips: Vec::new(),
        mac: None,
        cni_args: None,
    }
}

/// The identity of the pod that the agent works for.
pub(crate) fn identity(uid: &str) -> PodIdentity {
    PodIdentity::new("default", "pod", uid).unwrap()
}

impl Node {
    /// A pod without networks and without a sandbox, and good networks `a` to `d`. `c` is a chain
    /// of two plugins. `v` and `w` are on devices of which the pod was given two, `1` and `2`;
    /// `0` and `3` are another pod's.
    pub fn new() -> Self {
        let mut node = Self {
            pod: Some(Rc::new(pod(UID))),
            ..Self::default()
        };
        for name in ["a", "b", "c", "d", "v", "w"] {
            node.define(name, Variant::Good);
        }
        node.devices = ["1", "2"].map(str::to_owned).into();
        node
    }

    /// Seconds since 1970.
    pub(crate) fn epoch(&self) -> u64 {
        EPOCH + self.now.as_secs() + self.clock_ahead
    }

    /// The pod that the agent works for, while it exists.
    pub(crate) fn own_pod(&self) -> Option<&Rc<Pod>> {
        self.pod.as_ref().filter(|pod| pod.identity.uid() == UID)
    }

    /// What a watch shows of the pod that the agent works for.
    pub(crate) fn observed_pod(&self) -> PodObservation {
        let own = self.own_pod();
        own.map_or(PodObservation::Gone, |pod| {
            PodObservation::Present(Rc::clone(pod))
        })
    }

    /// The pod that the agent works for, to be changed: a new version of it.
    pub(crate) fn touch(&mut self) -> Option<&mut Pod> {
        let version = self.next_version().to_string();
        let pod = self.pod.as_mut().filter(|pod| pod.identity.uid() == UID)?;
        let pod = Rc::make_mut(pod);
        pod.resource_version = version;
        Some(pod)
    }

    /// The sandbox that is ready.
    pub(crate) fn ready(&self) -> Option<&SandboxId> {
        let mut newest_first = self.sandboxes.iter().rev();
        newest_first
            .find(|sandbox| sandbox.ready)
            .map(|sandbox| &sandbox.id)
    }

    /// The newest sandbox whose namespace exists.
    pub(crate) fn alive(&self) -> Option<&SandboxId> {
        let mut newest_first = self.sandboxes.iter().rev().map(|sandbox| &sandbox.id);
        newest_first.find(|id| self.exists(id))
    }

    /// The newest sandbox that has ended.
    pub(crate) fn ended(&self) -> Option<&SandboxId> {
        let mut newest_first = self.sandboxes.iter().rev().map(|sandbox| &sandbox.id);
        newest_first.find(|id| !self.exists(id))
    }

    /// Whether the sandbox's namespace exists.
    pub(crate) fn exists(&self, sandbox: &SandboxId) -> bool {
        self.namespaces.contains(sandbox)
    }

    /// What the annotation asks for; `None`: it cannot be read, or there is no pod.
    pub(crate) fn wanted(&self) -> Option<Rc<SelectionList>> {
        match &self.own_pod()?.networks {
            Annotation::List(list) => Some(Rc::clone(list)),
            Annotation::Absent => SelectionList::parse(None, "default").ok().map(Rc::new),
            Annotation::Unreadable { .. } => None,
        }
    }

    pub(crate) fn record(&self, sandbox: &SandboxId, interface: &InterfaceName) -> Option<&AttachmentRecord> {
        self.records.get(sandbox)?.attachments.get(interface)
    }

    pub(crate) fn records_of(&mut self, sandbox: &SandboxId) -> &mut SandboxRecords {
        Rc::make_mut(&mut self.records)
            .entry(sandbox.clone())
            .or_default()
    }

    /// Whether the agent has recorded the first sight of the sandbox.
    pub(crate) fn is_adopted(&self, sandbox: &SandboxId) -> bool {
        let records = self.records.get(sandbox);
        let record = records.and_then(|records| records.sandbox.as_ref());
        record.is_some_and(|record| record.adopted)
    }

    pub(crate) fn next_version(&mut self) -> u32 {
        self.versions += 1;
        self.versions
    }

    /// Notes the first rule that is broken.
    pub(crate) fn break_rule(&mut self, rule: String) {
        self.broken.get_or_insert(rule);
    }

    /// Writes a network.
    pub(crate) fn define(&mut self, name: &str, variant: Variant) {
        let definition = NetworkDefinition {
            resource_version: self.next_version().to_string(),
            config: variant.config(name),
            resource_name: takes_device(name).then(|| RESOURCE.to_owned()),
        };
        Rc::make_mut(&mut self.networks).insert(network(name), definition);
    }

    /// Whether a file of multus or libcni is on the disk.
    pub(crate) fn has_file(&self, file: &KeptFile) -> bool {
        match file {
            KeptFile::Result {
                config_name,
                sandbox,
                interface,
            } => {
                let key = (config_name.clone(), sandbox.clone(), interface.clone());
                self.cache.contains_key(&key)
            }
            KeptFile::Delegates(sandbox) => self.delegates.contains_key(sandbox),
        }
    }

    /// Whether something is away, missing or full.
    pub(crate) fn has_outage(&self) -> bool {
        self.disk_full
            || self.multus_away
            || self.api_away
            || self.runtime_away
            || self.kubelet_away
            || !self.missing_plugins.is_empty()
    }

    /// Ends every outage of the node; the incidents that do it.
    pub(crate) fn outages_ended_by(&self) -> Vec<Incident> {
        let mut ends = vec![
            Incident::DiskFree,
            Incident::RuntimeBack,
            Incident::KubeletBack,
            Incident::ApiBack,
            Incident::MultusBack,
        ];
        ends.extend(
            self.missing_plugins
                .iter()
                .map(|plugin| Incident::PluginBack(plugin)),
        );
        ends.retain(|incident| self.can(*incident));
        ends
    }
}

/// A pod without networks.
pub(crate) fn pod(uid: &str) -> Pod {
    Pod {
        identity: identity(uid),
        networks: Annotation::Absent,
        status: Some(r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}]"#.into()),
        annotation_bytes: 0,
        resource_version: "0".to_owned(),
        virt_launcher: false,
        terminating: false,
    }
}
