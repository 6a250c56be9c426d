//! The invariants, on a node at rest. `agent_core`'s documentation lists them. What shows only on
//! the way (overlapping calls, a DEL of another's interface, a storm) is noted when it happens: see
//! `multus` and `harness`.

use std::collections::BTreeMap;

use agent_core::{
    identity::SandboxId,
    plan::Problem,
    pod_state::PodState,
    record::{AttachmentRecord, Phase, SandboxRecords},
};
use shared::{
    names::{InterfaceName, NetworkName},
    status,
};

use crate::{
    DEFAULT_NETWORK, Harness, Incident, Lease, Node, Variant,
    incident::OTHERS_ENTRY,
    plugins::{refuses_add, refuses_del},
    variant::{is_broken, list_name},
};

impl Harness {
    /// The invariant that is broken, if any.
    pub fn broken_invariant(&self) -> Option<String> {
        let node = &self.node;
        let broken = node.broken.clone();
        broken
            .or_else(|| node.records_against_wishes(self.state()))
            .or_else(|| node.links_against_records())
            .or_else(|| node.leases_against_links())
            .or_else(|| node.devices_against_records())
            .or_else(|| node.traces_of_ended_sandboxes())
            .or_else(|| node.status_against_records())
            .or_else(|| node.default_network_is_gone())
            .or_else(|| node.condition_against_truth(self.state()))
            .or_else(|| self.permits_are_held())
    }

    /// I9: a permit that no call needs would make other pods wait.
    fn permits_are_held(&self) -> Option<String> {
        let held = self.permits();
        (held > 0).then(|| format!("I9: {held} permits are held at rest"))
    }

    /// The links of a sandbox, as `list@interface`.
    pub fn links(&self, sandbox: &str) -> Vec<String> {
        let links = self.node.links.iter();
        links
            .filter(|((of, _), _)| of.as_str() == sandbox)
            .map(|((_, interface), name)| format!("{name}@{interface}"))
            .collect()
    }
}

impl Node {
    /// Whether a network has a configuration that is not good.
    pub(crate) fn has_broken_network(&self) -> bool {
        !self.mended_by().is_empty()
    }

    /// What gives every network a good configuration.
    pub(crate) fn mended_by(&self) -> Vec<Incident> {
        let broken = |name: &&str| {
            let definition = self.networks.get(&crate::network(name));
            definition.is_some_and(|definition| is_broken(&definition.config))
        };
        ["a", "b", "c", "d", "v", "w"]
            .into_iter()
            .filter(broken)
            .map(|name| Incident::NetworkBroken(name, Variant::Good))
            .collect()
    }

    /// Whether a DEL that is recorded, or may come, is refused for good.
    pub(crate) fn refuses_for_good(&self) -> bool {
        let attachments = self
            .records
            .values()
            .flat_map(|records| records.attachments.values());
        let refused = |record: &AttachmentRecord| {
            refuses_del(self, &record.config)
                || record.owed.iter().any(|owed| refuses_del(self, &owed.config))
        };
        let delegates = self.delegates.values().flat_map(|file| file.iter());
        let mut plugged = delegates.filter(|delegate| !delegate.default);
        self.has_broken_network()
            || attachments.into_iter().any(refused)
            || plugged.any(|delegate| refuses_del(self, &String::from_utf8_lossy(&delegate.config)))
    }

    /// The attachments that the disk says are attached, or are to be.
    pub(crate) fn plugged<'n>(
        &'n self,
        sandbox: &SandboxId,
    ) -> BTreeMap<&'n InterfaceName, &'n AttachmentRecord> {
        let records = self.records.get(sandbox);
        let attachments = records.into_iter().flat_map(|records| &records.attachments);
        attachments
            .filter(|(_, record)| !matches!(record.phase, Phase::Tombstone | Phase::Owed))
            .collect()
    }

    fn published(&self) -> Vec<String> {
        let entries = status::read(self.own_pod().and_then(|pod| pod.status.as_deref()));
        let others = entries.into_iter().filter(|entry| !entry.default);
        others
            .map(|entry| format!("{}@{}", entry.name, entry.interface))
            .collect()
    }

    /// What is not the agent's in this sandbox, whether it has seen it or not.
    fn is_left_alone(&self, sandbox: &SandboxId, interface: &InterfaceName) -> bool {
        let key = (sandbox.clone(), interface.clone());
        let records = self.records.get(sandbox);
        let foreign = |records: &SandboxRecords| {
            let record = records.sandbox.as_ref();
            record.is_some_and(|record| record.foreign.contains(interface))
        };
        let unknown = self.record(sandbox, interface).is_none();
        self.foreign.contains(&key)
            || (unknown && self.predecessors.contains(&key))
            || (unknown && records.is_some_and(foreign))
    }

    /// The sandbox that the agent keeps as the annotation says: adopted, of a pod that does not
    /// terminate.
    fn kept(&self) -> Option<&SandboxId> {
        let pod = self.own_pod().filter(|pod| !pod.terminating);
        pod.and_then(|_| self.ready()).filter(|id| self.is_adopted(id))
    }

    /// An owed release that this list explains and that is really refused.
    fn is_owed(&self, sandbox: &SandboxId, interface: &InterfaceName, name: &str) -> bool {
        let owed = self.record(sandbox, interface).map(|record| record.owed.iter());
        owed.into_iter()
            .flatten()
            .any(|owed| list_name(&owed.config) == name && refuses_del(self, &owed.config))
    }

    /// I2: links = records.
    fn links_against_records(&self) -> Option<String> {
        let pod = self.own_pod().filter(|pod| !pod.terminating);
        let sandbox = pod.and_then(|_| self.ready())?;
        let plugged = self.plugged(sandbox);
        for ((_, interface), name) in self.links.iter().filter(|((of, _), _)| of == sandbox) {
            let record = plugged.get(interface);
            let ours = record.is_some_and(|record| list_name(&record.config) == *name)
                || self.is_owed(sandbox, interface, name);
            if !ours && !self.is_left_alone(sandbox, interface) {
                return Some(format!(
                    "I2: the link {name}@{interface} of {sandbox} has no record"
                ));
            }
        }
        plugged.into_iter().find_map(|(interface, record)| {
            let exists = self.links.contains_key(&(sandbox.clone(), interface.clone()));
            let sound = exists && matches!(record.phase, Phase::Plugged { .. });
            // What is half done at rest is stuck.
            let rule = match record.phase {
                Phase::Plugged { .. } => "I2",
                _ => "I7",
            };
            (!sound).then(|| {
                format!(
                    "{rule}: {interface} of {sandbox} is recorded as {:?}, link: {exists}",
                    record.phase
                )
            })
        })
    }

    /// I3: leases = live attachments, or an owed release knows them.
    fn leases_against_links(&self) -> Option<String> {
        for lease in &self.leases {
            if !self.is_explained(lease) {
                let (name, sandbox, interface) = lease;
                return Some(format!(
                    "I3: the address of {name}@{interface} in {sandbox} is leaked"
                ));
            }
        }
        let sandbox = self.kept()?;
        let mut links = self.links.iter().filter(|((of, _), _)| of == sandbox);
        let missing = links.find(|((of, interface), name)| {
            let lease = ((*name).clone(), of.clone(), interface.clone());
            let key = (of.clone(), interface.clone());
            !self.foreign.contains(&key)
                && !self.leases.contains(&lease)
                && !self.is_owed(of, interface, name)
        });
        missing.map(|((_, interface), _)| format!("I3: {interface} in {sandbox} has no address"))
    }

    fn is_explained(&self, lease: &Lease) -> bool {
        let (name, sandbox, interface) = lease;
        if self.is_owed(sandbox, interface, name) || self.excused.contains(lease) {
            return true;
        }
        if self.kept() == Some(sandbox) {
            return self.links.get(&(sandbox.clone(), interface.clone())) == Some(name);
        }
        let recorded = self.record(sandbox, interface).is_some();
        let unknown = self.predecessors.contains(&(sandbox.clone(), interface.clone()));
        self.exists(sandbox) && (recorded || unknown || self.lists(sandbox, lease))
    }

    /// I2, I3: nothing is left of a sandbox that has ended, but what a plugin refuses to release.
    fn traces_of_ended_sandboxes(&self) -> Option<String> {
        let owes_only = |records: &SandboxRecords| {
            let mut attachments = records.attachments.values();
            !records.attachments.is_empty()
                && attachments.all(|record| {
                    record.phase == Phase::Owed
                        && record.owed.iter().all(|owed| refuses_del(self, &owed.config))
                })
        };
        let record = self
            .records
            .iter()
            .find(|(id, records)| !self.exists(id) && !self.host_network && !owes_only(records));
        let entry = self.cache.keys().find(|entry| {
            let (name, sandbox, interface) = entry;
            let owed = self.is_owed(sandbox, interface, name);
            !self.exists(sandbox) && !owed && !self.excused.contains(*entry)
        });
        record
            .map(|(id, _)| format!("I2: records of the ended sandbox {id} are left"))
            .or_else(|| {
                entry.map(|(name, id, _)| format!("I3: a cache entry of {name} in the ended {id} is left"))
            })
    }

    /// I2: records = network-status, and entries of others are unchanged.
    fn status_against_records(&self) -> Option<String> {
        let (pod, sandbox) = (self.own_pod()?, self.kept()?);
        let mut published = self.published();
        let status = pod.status.as_deref().unwrap_or_default();
        if status.contains(OTHERS_ENTRY) {
            published.retain(|entry| entry != "other/x@sx0");
        }
        let foreign = |entry: &String| {
            let named = entry
                .rsplit_once('@')
                .and_then(|(_, name)| InterfaceName::parse(name).ok());
            named.is_some_and(|name| self.is_left_alone(sandbox, &name))
        };
        let (others, mut ours): (Vec<_>, Vec<_>) = published.into_iter().partition(foreign);
        let default = self
            .default_network
            .map(|given| format!("default/{DEFAULT_NETWORK}@{given}"));
        if default.is_some_and(|default| !others.contains(&default)) {
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

    /// I6: multus' own network stays attached as long as its sandbox lives.
    fn default_network_is_gone(&self) -> Option<String> {
        let given = self.default_network.filter(|_| !self.host_network)?;
        let mut alive = self.namespaces.iter();
        let lacks = alive.find(|id| {
            let key = ((*id).clone(), crate::interface(given));
            !self.links.contains_key(&key)
        });
        lacks.map(|id| format!("I6: multus' own network is gone from {id}"))
    }

    /// I1, I7: what is wanted is attached, or it is known why not; what is not wanted is not
    /// attached.
    fn records_against_wishes(&self, state: Option<&PodState>) -> Option<String> {
        let pod = self.own_pod().filter(|pod| !pod.terminating)?;
        let sandbox = self.ready().filter(|_| !self.host_network)?;
        let problems = || state.into_iter().flat_map(PodState::problems);
        let Some(list) = self.wanted() else {
            let reported = problems().any(|problem| matches!(problem, Problem::Unreadable(_)));
            return (!reported)
                .then(|| format!("I1: it is not reported that {:?} cannot be read", pod.networks));
        };
        let plugged = self.plugged(sandbox);
        for element in &list.elements {
            let network = &element.network;
            let Some(interface) = &element.interface else {
                continue;
            };
            let attached = |record: &&AttachmentRecord| {
                record.network == *network && matches!(record.phase, Phase::Plugged { .. })
            };
            if plugged.get(interface).is_some_and(attached) {
                continue;
            }
            let id = element.attributes().device_id.as_deref();
            if !self.is_impossible(sandbox, interface, network) && !self.lacks_device(network, id) {
                return Some(format!(
                    "I7: {network}@{interface} is not attached, and nothing prevents it"
                ));
            }
            let rejected = |problem: &Problem| matches!(problem, Problem::Rejected { interface: of, .. } if of == interface);
            let attachment = state
                .and_then(|state| state.sandboxes().get(sandbox))
                .and_then(|sandbox| sandbox.attachments().get(interface));
            let retried = attachment.is_some_and(|attachment| attachment.retries().next().is_some());
            if !retried && !problems().any(rejected) {
                return Some(format!(
                    "I1: it is not reported why {network}@{interface} is not attached"
                ));
            }
        }
        let wanted = |record: &AttachmentRecord| {
            list.elements.iter().any(|element| {
                let named = element.interface.as_ref();
                element.network == record.network && named.is_none_or(|named| *named == record.interface)
            })
        };
        let unwanted = plugged.into_values().find(|record| !wanted(record))?;
        Some(format!(
            "I1: {}@{} is attached, and nothing asks for it",
            unwanted.network, unwanted.interface
        ))
    }

    fn is_impossible(&self, sandbox: &SandboxId, interface: &InterfaceName, network: &NetworkName) -> bool {
        let definition = self.networks.get(network);
        definition.is_none_or(|definition| refuses_add(self, &definition.config))
            || self.is_left_alone(sandbox, interface)
    }
}
