//! What can happen to the pod and the node, other than by the agent.

use agent_core::{
    effect::Trigger,
    identity::SandboxId,
    pod::{Annotation, Pod},
    record::Phase,
    sandbox::Sandbox,
};

use agent_core::delegate::{Call, Command};

use crate::{
    DEFAULT_NETWORK, Node, Variant,
    delegate_file::entry,
    node::{identity, interface, netns, network, pod, sandbox_id},
    plugins::refuses_add,
    running::Running,
    variant::list_name,
};

/// Something that happens. `Debug` writes it as Rust does, so that a history can be copied into a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Incident {
    /// The networks annotation is written, or removed.
    Edit(Option<&'static str>),
    /// The clock goes on by one tick.
    Pass,
    /// The sandbox is not ready any more; its containers run on, with network.
    SandboxFalls,
    /// The sandbox ends: multus, if it is there, tears down what it lists; containers, links and namespace go.
    SandboxEnds,
    /// A new sandbox starts; multus attaches what the annotation asks for and writes network-status.
    SandboxStarts,
    /// Multus tears down an ended sandbox once more, with the present annotation.
    TornDownAgain,
    /// The pod gets a deletion timestamp.
    PodTerminates,
    /// The pod's object goes.
    PodDeleted,
    /// Another pod of the same name is created.
    PodRecreated,
    /// A network is created.
    NetworkCreated(&'static str),
    /// A network gets this configuration.
    NetworkBroken(&'static str, Variant),
    /// A network gets another good configuration, or the first one again.
    NetworkChanged(&'static str),
    /// A network is deleted.
    NetworkDeleted(&'static str),
    /// The binary of a plugin is removed.
    PluginGone(&'static str),
    /// It is installed again.
    PluginBack(&'static str),
    /// There is no multus.
    MultusAway,
    /// It is back.
    MultusBack,
    /// The API server does not answer.
    ApiAway,
    /// It is back.
    ApiBack,
    /// The container runtime does not answer.
    RuntimeAway,
    /// It is back.
    RuntimeBack,
    /// Nothing more fits on the disk.
    DiskFull,
    /// There is room again.
    DiskFree,
    /// The agent stops.
    AgentAway,
    /// It starts.
    AgentBack,
    /// While the agent is away, another controller plugs `network@interface`.
    PredecessorPlugs(&'static str, &'static str),
    /// While the agent is away, the record of an interface is damaged.
    RecordDamaged(&'static str),
    /// An interface of that name is made inside the pod.
    ForeignPlugs(&'static str),
    /// Another writer adds an entry to network-status, or takes it away.
    OtherWrites,
}

/// The entry that another writer adds.
pub(crate) const OTHERS_ENTRY: &str = r#"{"name":"other/x","interface":"sx0","dns":{}}"#;

impl Incident {
    /// What the agent is told of it besides the pod.
    pub(crate) fn trigger(self, node: &Node) -> Option<Trigger> {
        let version = |name: &str| {
            let definition = node.networks.get(&network(name));
            definition.map(|definition| definition.resource_version.clone())
        };
        match self {
            Self::MultusBack => Some(Trigger::Multus),
            Self::ApiBack | Self::DiskFree | Self::RuntimeBack => Some(Trigger::Anything),
            Self::NetworkCreated(name)
            | Self::NetworkChanged(name)
            | Self::NetworkBroken(name, _)
            | Self::NetworkDeleted(name)
                if !node.api_away =>
            {
                Some(Trigger::Network(network(name), version(name)))
            }
            _ => None,
        }
    }
}

impl Node {
    /// Whether it can happen now, and makes a difference.
    pub(crate) fn can(&self, incident: Incident) -> bool {
        let pod = self.own_pod();
        match incident {
            Incident::Edit(annotation) => pod.is_some() && self.annotation != annotation,
            Incident::Pass | Incident::AgentAway | Incident::AgentBack => true,
            Incident::SandboxFalls => self.ready().is_some(),
            Incident::SandboxEnds => self.alive().is_some(),
            Incident::SandboxStarts => self.can_start(),
            Incident::TornDownAgain => pod.is_some() && !self.multus_away && self.ended().is_some(),
            Incident::PodTerminates => pod.is_some_and(|pod| !pod.terminating),
            Incident::PodDeleted => pod.is_some(),
            Incident::PodRecreated => self.pod.is_none(),
            Incident::NetworkCreated(name) => !self.networks.contains_key(&network(name)),
            Incident::NetworkChanged(name) | Incident::NetworkDeleted(name) => {
                self.networks.contains_key(&network(name))
            }
            Incident::NetworkBroken(name, variant) => {
                let now = self.networks.get(&network(name));
                now.is_some_and(|now| now.config != variant.config(name))
            }
            Incident::PluginGone(plugin) => !self.missing_plugins.contains(plugin),
            Incident::PluginBack(plugin) => self.missing_plugins.contains(plugin),
            Incident::MultusAway => !self.multus_away,
            Incident::MultusBack => self.multus_away,
            Incident::ApiAway => !self.api_away,
            Incident::ApiBack => self.api_away,
            Incident::RuntimeAway => !self.runtime_away,
            Incident::RuntimeBack => self.runtime_away,
            Incident::DiskFull => !self.disk_full,
            Incident::DiskFree => self.disk_full,
            Incident::PredecessorPlugs(name, given) => self.can_be_predecessors(name, given),
            Incident::RecordDamaged(given) => self.can_be_damaged(given),
            Incident::ForeignPlugs(given) => self.is_free(given),
            Incident::OtherWrites => pod.is_some_and(|pod| pod.status.is_some()),
        }
    }

    /// The kubelet and multus can start a sandbox: they need the API server, a list that multus can read, and networks
    /// that can be attached.
    fn can_start(&self) -> bool {
        let free = self.ready().is_none() && !self.multus_away && !self.api_away && !self.runtime_away;
        let attachable = |name: &shared::names::NetworkName| {
            let definition = self.networks.get(name);
            definition.is_some_and(|definition| !refuses_add(self, &definition.config))
        };
        let wanted = self.wanted();
        let list = wanted.as_ref().filter(|_| free);
        // Multus does not avoid clashes of names, and cannot start such a pod.
        let clash = |list: &&std::rc::Rc<shared::selection::SelectionList>| {
            let mut elements = list.elements.iter();
            elements.any(|element| {
                let named = element.interface.as_ref();
                named.is_some_and(|named| Some(named.as_str()) == self.default_network)
            })
        };
        let list = list.filter(|list| !clash(list));
        let default = self.default_network.is_none() || attachable(&network(DEFAULT_NETWORK));
        self.own_pod().is_some_and(|pod| !pod.terminating)
            && default
            && list.is_some_and(|list| list.elements.iter().all(|element| attachable(&element.network)))
    }

    /// A name that no one has, and that no call in doubt may be about to take: the kernel would not tell whose it is.
    fn is_free(&self, given: &str) -> bool {
        self.ready()
            .filter(|_| !self.host_network)
            .is_some_and(|sandbox| {
                let key = (sandbox.clone(), interface(given));
                let mut calls = self.running.iter().filter_map(Running::call);
                let called = calls.any(|call| call.sandbox == key.0 && call.interface == key.1);
                self.record(&key.0, &key.1).is_none() && !self.links.contains_key(&key) && !called
            })
    }

    /// A predecessor plugs what the annotation asks for, into sandboxes that this agent has never seen.
    fn can_be_predecessors(&self, name: &str, given: &str) -> bool {
        let wanted = self.wanted().is_some_and(|list| {
            let mut elements = list.elements.iter();
            elements.any(|element| {
                element.network == network(name) && element.interface == Some(interface(given))
            })
        });
        let definition = self.networks.get(&network(name));
        wanted
            && self.is_free(given)
            && !self.multus_away
            && !self.api_away
            && definition.is_some_and(|definition| !refuses_add(self, &definition.config))
            && self.ready().is_some_and(|sandbox| !self.is_adopted(sandbox))
    }

    /// The record of an attachment of which the node itself knows enough.
    fn can_be_damaged(&self, given: &str) -> bool {
        let Some(sandbox) = self.ready() else { return false };
        let plugged = self.record(sandbox, &interface(given)).is_some_and(|record| {
            let plugged = matches!(record.phase, Phase::Plugged { .. });
            plugged && record.owed.is_empty() && record.stale_status.is_empty()
        });
        plugged && self.running.is_empty() && self.refused.is_empty()
    }

    /// It happens to the node.
    pub(crate) fn change(&mut self, incident: Incident) {
        match incident {
            Incident::Edit(annotation) => self.edit(annotation),
            Incident::SandboxFalls => {
                let all = self.sandboxes.iter_mut();
                all.for_each(|sandbox| sandbox.ready = false);
            }
            Incident::SandboxEnds => {
                if let Some(id) = self.alive().cloned() {
                    self.end_sandbox(&id);
                }
            }
            Incident::SandboxStarts => self.start_as_annotated(),
            Incident::TornDownAgain => {
                if let Some(id) = self.ended().cloned() {
                    self.tear_down_again(&id);
                }
            }
            Incident::PodTerminates => {
                if let Some(pod) = self.touch() {
                    pod.terminating = true;
                }
            }
            Incident::PodDeleted => self.pod = None,
            Incident::PodRecreated => {
                self.pod = Some(pod("uid-2").into());
                self.annotation = None;
            }
            Incident::NetworkCreated(name) => self.define(name, Variant::Good),
            Incident::NetworkBroken(name, variant) => self.define(name, variant),
            Incident::NetworkChanged(name) => {
                let good = self.networks[&network(name)].config == Variant::Good.config(name);
                self.define(name, if good { Variant::Changed } else { Variant::Good });
            }
            Incident::NetworkDeleted(name) => {
                std::rc::Rc::make_mut(&mut self.networks).remove(&network(name));
            }
            Incident::PluginGone(plugin) => {
                self.missing_plugins.insert(plugin);
            }
            Incident::PluginBack(plugin) => {
                self.missing_plugins.remove(plugin);
            }
            Incident::MultusAway => self.multus_away = true,
            Incident::MultusBack => self.multus_away = false,
            Incident::ApiAway => self.api_away = true,
            Incident::ApiBack => self.api_away = false,
            Incident::RuntimeAway => self.runtime_away = true,
            Incident::RuntimeBack => self.runtime_away = false,
            Incident::DiskFull => self.disk_full = true,
            Incident::DiskFree => self.disk_full = false,
            Incident::PredecessorPlugs(name, given) => self.predecessor_plugs(name, given),
            Incident::RecordDamaged(given) => self.damage(given),
            Incident::ForeignPlugs(given) => {
                if let Some(id) = self.ready().cloned() {
                    let key = (id, interface(given));
                    self.links.insert(key.clone(), "another program".to_owned());
                    self.foreign.insert(key);
                }
            }
            Incident::OtherWrites => self.other_writes(),
            Incident::Pass | Incident::AgentAway | Incident::AgentBack => {}
        }
    }

    fn edit(&mut self, annotation: Option<&'static str>) {
        self.annotation = annotation;
        if let Some(pod) = self.touch() {
            pod.networks = Annotation::parse(annotation, "default", Some(&pod.networks));
        }
    }

    /// A sandbox as the runtime makes it, before multus attaches anything but the cluster's network.
    pub(crate) fn start_sandbox(&mut self, id: &SandboxId) {
        let Some(pod) = self.own_pod().map(|pod| pod.identity.clone()) else {
            return;
        };
        self.sandboxes.push(Sandbox {
            id: id.clone(),
            pod,
            ready: true,
            created_at: i64::try_from(self.epoch()).unwrap() * 1_000_000_000,
        });
        self.containers.insert(id.clone());
        if self.host_network {
            return;
        }
        self.namespaces.insert(id.clone());
        let cluster = entry(0, None, interface("eth0"), "", false);
        self.delegates.insert(id.clone(), vec![cluster].into());
    }

    /// Multus attaches `network@interface` at the start of a sandbox. `requested`: an element names the interface.
    pub(crate) fn cold_plug(&mut self, id: &SandboxId, name: &str, given: &str, requested: bool) {
        let config = self.plug_directly(id, name, given);
        let file = self.delegates.entry(id.clone()).or_default();
        let file = std::rc::Rc::make_mut(file);
        let (network, interface) = (Some(network(name)), interface(given));
        file.push(entry(file.len(), network, interface, &config, requested));
    }

    /// An ADD that is not the agent's; its configuration.
    pub(crate) fn plug_directly(&mut self, id: &SandboxId, name: &str, given: &str) -> String {
        let config = self.networks[&network(name)].config.clone();
        let call = Call {
            command: Command::Add,
            sandbox: id.clone(),
            netns: netns(id).to_string_lossy().into_owned(),
            interface: interface(given),
            pod: identity(crate::UID),
            config: config.clone(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
        };
        self.run(&call, true);
        config
    }

    fn start_as_annotated(&mut self) {
        let id = sandbox_id(&format!("s{}", self.sandboxes.len() + 1));
        let mut attachments = Vec::new();
        if let Some(given) = self.default_network.filter(|_| !self.host_network) {
            attachments.push((DEFAULT_NETWORK.to_owned(), given.to_owned(), false));
            self.foreign.insert((id.clone(), interface(given)));
        }
        let list = self.wanted().filter(|_| !self.host_network);
        for element in list.iter().flat_map(|list| &list.elements) {
            let position = attachments.len() + 1;
            let named = element.interface.as_ref().map(ToString::to_string);
            let requested = named.is_some();
            let given = named.unwrap_or_else(|| format!("net{position}"));
            attachments.push((element.network.name().to_owned(), given, requested));
        }
        self.start_sandbox(&id);
        let mut status = r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}"#.to_owned();
        for (name, given, requested) in &attachments {
            self.cold_plug(&id, name, given, *requested);
            status += &format!(r#",{{"name":"default/{name}","interface":"{given}","dns":{{}}}}"#);
        }
        status.push(']');
        self.results += 1;
        if let Some(pod) = self.touch() {
            pod.status = Some(status.into());
        }
    }

    fn end_sandbox(&mut self, id: &SandboxId) {
        let mut of_it = self.sandboxes.iter_mut().filter(|sandbox| sandbox.id == *id);
        of_it.by_ref().for_each(|sandbox| sandbox.ready = false);
        self.containers.remove(id);
        let excused: Vec<_> = self
            .leases
            .iter()
            .filter(|lease| self.is_multus_own(id, lease))
            .cloned()
            .collect();
        if !self.multus_away {
            self.tear_down(id);
        }
        let left = excused.into_iter().filter(|lease| self.leases.contains(lease));
        self.excused.extend(left.collect::<Vec<_>>());
        self.namespaces.remove(id);
        self.results += 1;
        self.links.retain(|(of, _), _| of != id);
        self.foreign.retain(|(of, _)| of != id);
        self.predecessors.retain(|(of, _)| of != id);
    }

    /// What multus plugged and lists, or another controller plugged and the agent has no record of: when they do not
    /// release it, it is not the agent's fault.
    fn is_multus_own(&self, id: &SandboxId, lease: &crate::Lease) -> bool {
        let key = (id.clone(), lease.2.clone());
        let unknown = self.predecessors.contains(&key) && self.record(id, &lease.2).is_none();
        lease.1 == *id && !self.hot.contains(&key) && (self.lists(id, lease) || unknown)
    }

    fn predecessor_plugs(&mut self, name: &str, given: &str) {
        if let Some(id) = self.ready().cloned() {
            self.plug_directly(&id, name, given);
            self.predecessors.insert((id, interface(given)));
        }
    }

    /// An ADD whose agent has given it up completes, and libcni writes its result.
    pub fn plug_late(&mut self, sandbox: &str, name: &str, given: &str) {
        self.plug_directly(&sandbox_id(sandbox), name, given);
    }

    /// A record is set aside: the agent's next start finds it damaged.
    pub(crate) fn damage(&mut self, given: &str) {
        if let Some(id) = self.ready().cloned() {
            let records = self.records_of(&id);
            records.attachments.remove(&interface(given));
            records.damaged.insert(interface(given));
            self.hot.remove(&(id, interface(given)));
        }
    }

    pub(crate) fn other_writes(&mut self) {
        let Some(pod) = self.touch() else { return };
        let Some(status) = pod.status.take() else { return };
        let entry = format!(",{OTHERS_ENTRY}");
        pod.status = Some(if status.contains(&entry) {
            status.replace(&entry, "").into()
        } else {
            status.replacen("}]", &format!("}}{entry}]"), 1).into()
        });
    }

    /// The pod as its status view.
    pub(crate) fn view(pod: &Pod) -> agent_core::effect::StatusView {
        agent_core::effect::StatusView {
            uid: pod.identity.uid().to_owned(),
            status: pod.status.clone(),
            annotation_bytes: pod.annotation_bytes,
        }
    }

    /// Whether what multus' lists name at that lease was plugged with this configuration.
    pub(crate) fn lists(&self, sandbox: &SandboxId, (name, _, given): &crate::Lease) -> bool {
        let file = self.delegates.get(sandbox);
        file.into_iter().flat_map(|file| file.iter()).any(|delegate| {
            delegate.interface.as_ref() == Some(given)
                && list_name(&String::from_utf8_lossy(&delegate.config)) == *name
        })
    }
}
