//! What can happen to the pod and the node, other than by the agent.

use std::rc::Rc;

use super::{DEFAULT_NETWORK, Node, Simulated, TICK, UID, definition, interface, netns, network, sandbox_id};
use crate::{
    cni_cache::Delegate,
    cri::Sandbox,
    identity::{PodIdentity, SandboxId},
    mailbox::{Cured, Known},
    multus::{Call, Command},
    pod::{Pod, remember},
};

/// Something that happens. `Debug` writes it as Rust does, so that a history can be copied into a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Happening {
    /// Somebody writes the networks annotation, or removes it.
    Edit(Option<&'static str>),
    /// The clock goes on by one tick.
    Pass,
    /// The sandbox is not ready any more; its containers run on, with network.
    SandboxFalls,
    /// The sandbox ends: containers, links and namespace go, multus tears down what it attached.
    SandboxEnds,
    /// A new sandbox starts; multus attaches what the annotation asks for and writes network-status.
    SandboxStarts,
    /// Multus tears down an ended sandbox once more, with the annotation as it is by now.
    TornDownAgain,
    /// The pod gets a deletion timestamp.
    PodTerminates,
    /// The pod's object goes.
    PodDeleted,
    /// Another pod of the same name is created.
    PodRecreated,
    /// A network is created.
    NetworkCreated(&'static str),
    /// A network gets another configuration, or the old one again.
    NetworkChanged(&'static str),
    /// A network is deleted.
    NetworkDeleted(&'static str),
    /// There is no multus.
    MultusAway,
    /// It is back.
    MultusBack,
    /// The API server answers nobody.
    ApiAway,
    /// It is back.
    ApiBack,
    /// The container runtime answers nobody.
    RuntimeAway,
    /// It is back.
    RuntimeBack,
    /// Nothing more fits on the disk.
    DiskFull,
    /// There is room again.
    DiskFree,
    /// Somebody makes an interface of that name inside the pod.
    StrangerPlugs(&'static str),
    /// Somebody else adds an entry to network-status, or takes it away.
    StrangerWrites,
}

/// The entry that somebody else writes.
pub(super) const STRANGERS_ENTRY: &str = r#"{"name":"stranger/x","interface":"sx0","dns":{}}"#;

impl Node {
    /// It can happen now, and makes a difference.
    pub fn can(&self, happening: Happening) -> bool {
        let pod = self.own_pod();
        match happening {
            Happening::Edit(networks) => pod.is_some_and(|pod| pod.networks.as_deref() != networks),
            Happening::Pass => true,
            Happening::SandboxFalls => self.ready().is_some(),
            Happening::SandboxEnds => self.alive().is_some() && !self.multus_away,
            Happening::SandboxStarts => self.can_start(),
            Happening::TornDownAgain => {
                self.own_pod().is_some() && !self.multus_away && self.ended().is_some()
            }
            Happening::PodTerminates => pod.is_some_and(|pod| !pod.terminating),
            Happening::PodDeleted => pod.is_some(),
            Happening::PodRecreated => self.pod.is_none(),
            Happening::NetworkCreated(name) => !self.networks.contains_key(&network(name)),
            Happening::NetworkChanged(name) | Happening::NetworkDeleted(name) => {
                self.networks.contains_key(&network(name))
            }
            Happening::MultusAway => !self.multus_away,
            Happening::MultusBack => self.multus_away,
            Happening::ApiAway => !self.api_away,
            Happening::ApiBack => self.api_away,
            Happening::RuntimeAway => !self.runtime_away,
            Happening::RuntimeBack => self.runtime_away,
            Happening::DiskFull => !self.disk_full,
            Happening::DiskFree => self.disk_full,
            Happening::StrangerPlugs(name) => self.can_be_strange(name),
            Happening::StrangerWrites => pod.is_some_and(|pod| pod.status.is_some()),
        }
    }

    /// Kubelet and multus can start a sandbox: they need the API server, a list that multus can read, and its networks.
    fn can_start(&self) -> bool {
        let free = self.ready().is_none() && !self.multus_away && !self.api_away && !self.runtime_away;
        let exists = |list: shared::selection::SelectionList| {
            list.elements
                .iter()
                .all(|element| self.networks.contains_key(&element.network))
        };
        free && self.own_pod().is_some_and(|pod| !pod.terminating) && self.wanted().is_some_and(exists)
    }

    /// A stranger takes a name that nobody has, and that no call in doubt may be about to take: the kernel would not tell whose it is.
    fn can_be_strange(&self, name: &str) -> bool {
        self.ready().is_some_and(|sandbox| {
            let key = (sandbox.clone(), interface(name));
            let recorded = self
                .records
                .get(sandbox)
                .is_some_and(|records| records.attachments.contains_key(&key.1));
            !recorded && !self.links.contains_key(&key) && !self.standing.contains_key(&key)
        })
    }

    /// The newest sandbox that has ended.
    fn ended(&self) -> Option<&SandboxId> {
        let mut newest_first = self.sandboxes.iter().rev().map(|sandbox| &sandbox.id);
        newest_first.find(|id| !self.exists(id))
    }

    /// Makes the pod look changed to its watchers.
    fn touch(&mut self) -> Option<&mut Pod> {
        let version = self.next_version().to_string();
        let pod = self.pod.as_mut().filter(|pod| pod.identity.uid() == UID)?;
        pod.resource_version = version;
        Some(pod)
    }

    /// A sandbox as the runtime makes it, before multus attaches anything but the cluster's network.
    pub(super) fn start_sandbox(&mut self, id: &SandboxId, created_at: i64) {
        let Some(pod) = self.own_pod().map(|pod| pod.identity.clone()) else {
            return;
        };
        self.sandboxes.push(Sandbox {
            id: id.clone(),
            pod,
            ready: true,
            created_at,
        });
        self.running.insert(id.clone());
        self.namespaces.insert(netns(id));
        let default = Delegate {
            network: None,
            interface: Some(interface("eth0")),
            config: Vec::new(),
            default: true,
            ..Delegate::default()
        };
        self.delegates.insert(id.clone(), Rc::new(vec![default]));
    }

    /// Multus attaches `network@interface` at the start of a sandbox.
    pub(super) fn cold_plug(&mut self, id: &SandboxId, name: &str, given: &str) {
        let call = Call {
            command: Command::Add,
            sandbox: id.clone(),
            netns: netns(id).to_string_lossy().into_owned(),
            interface: interface(given),
            pod: PodIdentity::new("default", "pod", UID).unwrap(),
            config: self.networks[&network(name)].config.clone(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
        };
        self.plug(&call, true);
        let delegate = Delegate {
            network: Some(network(name)),
            interface: Some(interface(given)),
            config: call.config.into_bytes(),
            default: false,
            ..Delegate::default()
        };
        let list = self.delegates.entry(id.clone()).or_default();
        Rc::make_mut(list).push(delegate);
    }

    fn start_as_annotated(&mut self, created_at: i64) {
        let id = sandbox_id(&format!("s{}", self.sandboxes.len() + 1));
        let mut attachments = Vec::new();
        if self.default_network {
            attachments.push((DEFAULT_NETWORK.0.to_owned(), DEFAULT_NETWORK.1.to_owned()));
            self.foreign.insert((id.clone(), interface(DEFAULT_NETWORK.1)));
        }
        for element in self.wanted().map(|list| list.elements).unwrap_or_default() {
            let position = attachments.len() + 1;
            let given = element
                .interface
                .map_or_else(|| format!("net{position}"), |name| name.to_string());
            attachments.push((element.network.name().to_owned(), given));
        }
        self.start_sandbox(&id, created_at);
        let mut status = r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}"#.to_owned();
        for (name, given) in &attachments {
            self.cold_plug(&id, name, given);
            status += &format!(r#",{{"name":"default/{name}","interface":"{given}","dns":{{}}}}"#);
        }
        status.push(']');
        if let Some(pod) = self.touch() {
            pod.status = Some(status);
        }
    }

    fn end_sandbox(&mut self, id: &SandboxId) {
        let of_it = self.sandboxes.iter_mut().filter(|sandbox| sandbox.id == *id);
        of_it.for_each(|sandbox| sandbox.ready = false);
        self.running.remove(id);
        self.tear_down(id);
        self.namespaces.remove(&netns(id));
        self.links.retain(|(of, _), _| of != id);
        self.foreign.retain(|(of, _)| of != id);
    }

    pub(super) fn stranger_writes(&mut self) {
        let Some(pod) = self.touch() else { return };
        let Some(status) = pod.status.take() else { return };
        let entry = format!(",{STRANGERS_ENTRY}");
        pod.status = Some(if status.contains(&entry) {
            status.replace(&entry, "")
        } else {
            status.replacen("}]", &format!("}}{entry}]"), 1)
        });
    }
}

impl Simulated {
    /// It happens, and whoever watches is told.
    pub fn happen(&self, happening: Happening) {
        if !self.node.borrow().can(happening) {
            return;
        }
        self.change(happening);
        self.node.borrow_mut().changes += 1;
        self.hear();
        match happening {
            Happening::MultusBack => self.mailbox.cure(Cured::Multus),
            Happening::ApiBack | Happening::DiskFree => self.mailbox.cure(Cured::Anything),
            // The runtime's return nudges every worker; the sandboxes' doings show in the pod's own status.
            Happening::RuntimeBack | Happening::SandboxFalls | Happening::SandboxStarts => {
                self.mailbox.nudge()
            }
            _ => {}
        }
    }

    fn change(&self, happening: Happening) {
        let mut node = self.node.borrow_mut();
        let created_at = i64::try_from(self.epoch_of(&node)).unwrap() * 1_000_000_000;
        match happening {
            Happening::Edit(networks) => {
                if let Some(pod) = node.touch() {
                    pod.networks = networks.map(str::to_owned);
                }
            }
            Happening::Pass => node.pass(TICK),
            Happening::SandboxFalls => node
                .sandboxes
                .iter_mut()
                .for_each(|sandbox| sandbox.ready = false),
            Happening::SandboxEnds => {
                if let Some(id) = node.alive().cloned() {
                    node.end_sandbox(&id);
                }
            }
            Happening::SandboxStarts => node.start_as_annotated(created_at),
            Happening::TornDownAgain => {
                if let Some(id) = node.ended().cloned() {
                    node.tear_down_again(&id);
                }
            }
            Happening::PodTerminates => {
                if let Some(pod) = node.touch() {
                    pod.terminating = true;
                }
            }
            Happening::PodDeleted => node.pod = None,
            Happening::PodRecreated => {
                let mut pod = Self::new().node.into_inner().pod;
                if let Some(pod) = &mut pod {
                    pod.identity = PodIdentity::new("default", "pod", "uid-2").unwrap();
                }
                node.pod = pod;
            }
            Happening::NetworkCreated(name) => node.define(name, false),
            Happening::NetworkChanged(name) => {
                let changed = node.networks[&network(name)].config.contains("-changed");
                node.define(name, !changed);
            }
            Happening::NetworkDeleted(name) => {
                Rc::make_mut(&mut node.networks).remove(&network(name));
            }
            Happening::MultusAway => node.multus_away = true,
            Happening::MultusBack => node.multus_away = false,
            Happening::ApiAway => node.api_away = true,
            Happening::ApiBack => node.api_away = false,
            Happening::RuntimeAway => node.runtime_away = true,
            Happening::RuntimeBack => node.runtime_away = false,
            Happening::DiskFull => node.disk_full = true,
            Happening::DiskFree => node.disk_full = false,
            Happening::StrangerPlugs(name) => {
                if let Some(id) = node.ready().cloned() {
                    node.links
                        .insert((id.clone(), interface(name)), "stranger".to_owned());
                    node.foreign.insert((id, interface(name)));
                }
            }
            Happening::StrangerWrites => node.stranger_writes(),
        }
    }

    /// The watch of the pod tells what is new, if anything is.
    pub(super) fn hear(&self) {
        let node = self.node.borrow();
        if node.api_away {
            return;
        }
        let before = self.heard.borrow().clone();
        let known = node.own_pod().map_or(Known::Gone, |pod| {
            let seen = match &before {
                Known::Present(before) => remember(Some(&before.seen), &pod.networks, self.epoch_of(&node)),
                _ => remember(None, &pod.networks, self.epoch_of(&node)),
            };
            Known::Present(Rc::new(Pod { seen, ..pod.clone() }))
        });
        if known != before {
            self.heard.replace(known.clone());
            self.mailbox.tell(known);
        }
    }
}

impl Node {
    /// A network is written.
    pub(super) fn define(&mut self, name: &str, changed: bool) {
        let version = self.next_version();
        Rc::make_mut(&mut self.networks).insert(network(name), definition(name, changed, version));
    }
}
