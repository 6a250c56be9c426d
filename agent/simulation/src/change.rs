//! What incidents do to the node.

use std::rc::Rc;

use agent_core::{
    cni_state::Delegate,
    delegate::{Call, Command},
    effect::StatusView,
    identity::SandboxId,
    pod::{Annotation, Pod},
    sandbox::Sandbox,
};

use crate::{
    DEFAULT_NETWORK, Incident, Lease, Node, RESOURCE, Variant,
    delegate_file::entry,
    devices::with_device,
    incident::OTHERS_ENTRY,
    node::{identity, interface, netns, network, pod, sandbox_id},
    variant::list_name,
};

impl Node {
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
            Incident::PodDeleted => {
                self.pod = None;
                self.condition = None;
            }
            Incident::PodRecreated => {
                self.pod = Some(pod("uid-2").into());
                self.condition = None;
                self.annotation = None;
            }
            Incident::NetworkCreated(name) => self.define(name, Variant::Good),
            Incident::NetworkBroken(name, variant) => self.define(name, variant),
            Incident::NetworkChanged(name) => {
                let good = self.networks[&network(name)].config == Variant::Good.config(name);
                self.define(name, if good { Variant::Changed } else { Variant::Good });
            }
            Incident::NetworkDeleted(name) => {
                Rc::make_mut(&mut self.networks).remove(&network(name));
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
            Incident::ApiBack => {
                self.api_away = false;
                // The watch starts again with a list.
                self.unseen = None;
            }
            Incident::KubeletAway => self.kubelet_away = true,
            Incident::KubeletBack => self.kubelet_away = false,
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

    /// A sandbox as the runtime makes it, before multus attaches anything but the cluster's
    /// network.
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

    /// Multus attaches `network@interface` at the start of a sandbox. `requested`: an element names
    /// the interface.
    pub(crate) fn cold_plug(
        &mut self,
        id: &SandboxId,
        (name, given): (&str, &str),
        requested: bool,
        device: Option<String>,
    ) {
        let config = self.plug_directly(id, name, given, device.as_deref());
        let file = self.delegates.entry(id.clone()).or_default();
        let file = Rc::make_mut(file);
        let (network, interface) = (Some(network(name)), interface(given));
        file.push(Delegate {
            resource_name: device.as_ref().map(|_| RESOURCE.to_owned()),
            device_id: device,
            ..entry(file.len(), network, interface, &config, requested)
        });
    }

    /// An ADD that is not the agent's; its configuration.
    pub(crate) fn plug_directly(
        &mut self,
        id: &SandboxId,
        name: &str,
        given: &str,
        device: Option<&str>,
    ) -> String {
        let config = &self.networks[&network(name)].config;
        let config = device.map_or_else(|| config.clone(), |device| with_device(config, device));
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
            attachments.push((DEFAULT_NETWORK.to_owned(), given.to_owned(), false, None));
            self.foreign.insert((id.clone(), interface(given)));
        }
        let list = self.wanted().filter(|_| !self.host_network);
        let elements = list.iter().flat_map(|list| list.elements.iter().enumerate());
        for (place, element) in elements {
            let device = list.as_ref().and_then(|list| self.given_at_start(list, place));
            let position = attachments.len() + 1;
            let named = element.interface.as_ref().map(ToString::to_string);
            let requested = named.is_some();
            let given = named.unwrap_or_else(|| format!("net{position}"));
            attachments.push((element.network.name().to_owned(), given, requested, device));
        }
        self.start_sandbox(&id);
        // The cluster network gives each sandbox another address.
        let address = self.sandboxes.len() % 2;
        let mut status = format!(
            r#"[{{"name":"podnet","interface":"eth0","ips":["10.1.0.{address}"],"default":true,"dns":{{}}}}"#
        );
        for (name, given, requested, device) in &attachments {
            self.cold_plug(&id, (name, given), *requested, device.clone());
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
        self.moved.retain(|_, (of, _)| of != id);
        self.foreign.retain(|(of, _)| of != id);
        self.predecessors.retain(|(of, _)| of != id);
    }

    /// What multus plugged and lists, or another controller plugged and the agent has no record of:
    /// when they do not release it, it is not the agent's fault.
    fn is_multus_own(&self, id: &SandboxId, lease: &Lease) -> bool {
        let key = (id.clone(), lease.2.clone());
        let unknown = self.predecessors.contains(&key) && self.record(id, &lease.2).is_none();
        lease.1 == *id && !self.hot.contains(&key) && (self.lists(id, lease) || unknown)
    }

    fn predecessor_plugs(&mut self, name: &str, given: &str) {
        if let Some(id) = self.ready().cloned() {
            self.plug_directly(&id, name, given, None);
            self.predecessors.insert((id, interface(given)));
        }
    }

    /// An ADD whose agent has given it up completes, and libcni writes its result.
    pub fn plug_late(&mut self, sandbox: &str, name: &str, given: &str) {
        self.plug_directly(&sandbox_id(sandbox), name, given, None);
    }

    /// A record is set aside: the agent's next start finds it damaged.
    pub(crate) fn damage(&mut self, given: &str) {
        if let Some(id) = self.ready().cloned() {
            let records = self.records_of(&id);
            records.attachments.remove(&interface(given));
            records.damaged.insert(interface(given));
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
    pub(crate) fn view(pod: &Pod) -> StatusView {
        StatusView {
            uid: pod.identity.uid().to_owned(),
            version: pod.resource_version.clone(),
            status: pod.status.clone(),
            annotation_bytes: pod.annotation_bytes,
        }
    }

    /// Whether what multus' lists name at that lease was plugged with this configuration.
    pub(crate) fn lists(&self, sandbox: &SandboxId, (name, _, given): &Lease) -> bool {
        let file = self.delegates.get(sandbox);
        file.into_iter().flat_map(|file| file.iter()).any(|delegate| {
            delegate.interface.as_ref() == Some(given)
                && list_name(&String::from_utf8_lossy(&delegate.config)) == *name
        })
    }
}
