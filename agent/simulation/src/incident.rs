//! What can happen to the pod and the node, other than by the agent.

use std::rc::Rc;

use agent_core::{effect::Trigger, record::Phase};
use shared::selection::SelectionList;

use crate::{
    DEFAULT_NETWORK, Node, Variant,
    node::{interface, network},
    plugins::refuses_add,
    running::Running,
};

/// Something that happens. `Debug` writes it as Rust does, so that a history can be copied into a
/// test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Incident {
    /// The networks annotation is written, or removed.
    Edit(Option<&'static str>),
    /// The clock goes on by one tick.
    Pass,
    /// The sandbox is not ready any more; its containers run on, with network.
    SandboxFalls,
    /// The sandbox ends: multus, if it is there, tears down what it lists; containers, links and
    /// namespace go.
    SandboxEnds,
    /// A new sandbox starts; multus attaches what the annotation asks for and writes
    /// network-status.
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
    /// The kubelet does not say which devices the pod has.
    KubeletAway,
    /// It does again.
    KubeletBack,
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
    /// Whether it makes a new version of the pod.
    pub(crate) fn is_of_pod(self) -> bool {
        matches!(
            self,
            Self::Edit(_) | Self::SandboxStarts | Self::PodTerminates | Self::PodDeleted | Self::OtherWrites
        )
    }

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
            Incident::KubeletAway => !self.kubelet_away,
            Incident::KubeletBack => self.kubelet_away,
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

    /// The kubelet and multus can start a sandbox: they need the API server, a list that multus can
    /// read, and networks that can be attached.
    fn can_start(&self) -> bool {
        let free = self.ready().is_none() && !self.multus_away && !self.api_away && !self.runtime_away;
        let attachable = |name: &shared::names::NetworkName| {
            let definition = self.networks.get(name);
            definition.is_some_and(|definition| !refuses_add(self, &definition.config))
        };
        let wanted = self.wanted();
        let list = wanted.as_ref().filter(|_| free);
        // Multus does not avoid clashes of names, and cannot start such a pod.
        let clash = |list: &&Rc<SelectionList>| {
            let mut elements = list.elements.iter();
            elements.any(|element| {
                let named = element.interface.as_ref();
                named.is_some_and(|named| Some(named.as_str()) == self.default_network)
            })
        };
        let list = list.filter(|list| !clash(list));
        let default = self.default_network.is_none() || attachable(&network(DEFAULT_NETWORK));
        let on_devices = |list: &Rc<SelectionList>| {
            let elements = list.elements.iter();
            elements
                .filter(|element| self.is_on_devices(&element.network))
                .count()
        };
        // The kubelet starts a sandbox only when the one before has ended.
        let home = self.moved.is_empty();
        let enough = |list: &&Rc<SelectionList>| {
            let wanted = on_devices(list);
            wanted == 0 || (home && wanted <= self.devices.len())
        };
        let list = list.filter(enough);
        self.own_pod().is_some_and(|pod| !pod.terminating)
            && default
            && list.is_some_and(|list| list.elements.iter().all(|element| attachable(&element.network)))
    }

    /// A name that no one has, and that no call in doubt may be about to take: the kernel would not
    /// tell whose it is.
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

    /// A predecessor plugs what the annotation asks for, into sandboxes that this agent has never
    /// seen.
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
}
