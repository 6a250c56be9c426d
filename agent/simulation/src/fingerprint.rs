//! A number for everything that decides what a node and its agent will do: equal numbers have the
//! same future.
//!
//! Times count from now, versions only as "the present one or not", sandboxes by age among those of
//! which there is a trace. What nothing reads again is left out: events, past calls, the content of
//! results.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use agent_core::{
    condition::Condition,
    effect::Effect,
    fingerprint::{self, Measure},
    identity::{AttachmentKey, SandboxId},
    pod_state::PodState,
    record::{AttachmentRecord, SandboxRecords},
};
use shared::names::NetworkName;

use crate::{Harness, Node, TICK, UID, agent::Agent};

struct Print<'a> {
    hasher: DefaultHasher,
    node: &'a Node,
    sandboxes: Vec<SandboxId>,
}

impl Harness {
    /// See the module.
    pub fn fingerprint(&self) -> u64 {
        match &self.agent {
            Agent::Away => of(&self.node, None, 1, self.permits()),
            Agent::Started => of_start(&self.node),
            Agent::Waits(state) => of(&self.node, Some(state), 2, self.permits()),
        }
    }
}

/// The fingerprint of a node on which an agent is to start.
pub(crate) fn of_start(node: &Node) -> u64 {
    of(node, None, 0, 0)
}

fn of(node: &Node, state: Option<&PodState>, agent: u8, permits: usize) -> u64 {
    let mut print = Print {
        hasher: DefaultHasher::new(),
        node,
        sandboxes: traced(node, state),
    };
    print.node();
    print.pod();
    print.add((agent, permits));
    if let Some(state) = state {
        let sandboxes = print.sandboxes.clone();
        let rank = |id: &SandboxId| rank(&sandboxes, id);
        let is_present = |network: &NetworkName, version: Option<&str>| {
            let present = node.networks.get(network);
            present.map(|network| network.resource_version.as_str()) == version
        };
        print.add(state.fingerprint(&Measure {
            now: node.now,
            step: TICK,
            rank: &rank,
            is_present: &is_present,
        }));
        print.differences(state);
        print.versions(state);
        print.unseen(state);
    }
    print.hasher.finish()
}

fn rank(sandboxes: &[SandboxId], id: &SandboxId) -> usize {
    let place = sandboxes.iter().position(|known| known == id);
    place.unwrap_or(usize::MAX)
}

/// The sandboxes of which there is a trace, oldest first.
fn traced(node: &Node, state: Option<&PodState>) -> Vec<SandboxId> {
    let listed = node
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready || node.exists(&sandbox.id) || node.containers.contains(&sandbox.id));
    let mut all: BTreeSet<&SandboxId> = listed.map(|sandbox| &sandbox.id).collect();
    all.extend(node.records.keys());
    all.extend(state.into_iter().flat_map(|state| state.sandboxes().keys()));
    all.extend(node.leases.iter().map(|(_, id, _)| id));
    all.extend(node.cache.keys().map(|(_, id, _)| id));
    let calls = node.running.iter().filter_map(crate::running::Running::call);
    all.extend(calls.map(|call| &call.sandbox));
    all.into_iter().cloned().collect()
}

impl Print<'_> {
    fn add(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    fn key(&mut self, (sandbox, interface): &AttachmentKey) {
        let age = rank(&self.sandboxes, sandbox);
        self.add((age, interface));
    }

    /// Whether this is the pod's present version: a patch that names another one is a conflict.
    fn is_present(&self, version: &str) -> bool {
        let pod = self.node.pod.as_ref();
        pod.is_some_and(|pod| pod.resource_version == version)
    }

    /// Ticks from now until a time comes.
    fn until(&mut self, time: Duration) {
        let left = time.saturating_sub(self.node.now).as_millis();
        self.add(left.div_ceil(TICK.as_millis()));
    }

    fn node(&mut self) {
        let node = self.node;
        self.add((
            node.disk_full,
            node.multus_away,
            node.api_away,
            node.runtime_away,
            node.host_network,
            &node.missing_plugins,
        ));
        self.add((node.kubelet_away, node.moved.len()));
        for (id, key) in &node.moved {
            self.add(id);
            self.key(key);
        }
        self.add(node.broken.is_some());
        self.add((self.sandboxes.len(), node.links.len(), node.leases.len()));
        for (key, made_by) in &node.links {
            self.key(key);
            self.add((
                made_by,
                node.foreign.contains(key),
                node.predecessors.contains(key),
            ));
        }
        for lease in &node.leases {
            let key = (lease.1.clone(), lease.2.clone());
            self.key(&key);
            self.add((&lease.0, node.excused.contains(lease), node.hot.contains(&key)));
        }
        self.add(node.cache.len());
        for (name, sandbox, interface) in node.cache.keys() {
            let age = rank(&self.sandboxes, sandbox);
            self.add((name, age, interface));
        }
        self.add(node.refused.len());
        for key in &node.refused {
            self.key(key);
        }
        self.running();
        for (network, definition) in node.networks.iter() {
            self.add((network, &definition.config));
        }
        for id in self.sandboxes.clone() {
            self.sandbox(&id);
        }
    }

    fn running(&mut self) {
        self.add(self.node.running.len());
        for running in &self.node.running {
            self.until(running.ends);
            self.add((running.id.is_some(), running.orphaned, running.lost));
            match &*running.effect {
                Effect::Delegate(call) => {
                    self.key(&(call.sandbox.clone(), call.interface.clone()));
                    self.add((call.command, &call.config));
                }
                Effect::PatchStatus {
                    old, new, condition, ..
                } => {
                    let present = new.is_some() && self.is_present(&old.version);
                    self.add((present, new));
                    let condition = condition.as_ref().map(|change| &change.condition);
                    self.condition(condition);
                }
                effect => self.add(std::mem::discriminant(effect)),
            }
        }
    }

    fn sandbox(&mut self, id: &SandboxId) {
        let node = self.node;
        let listed = node.sandboxes.iter().find(|sandbox| sandbox.id == *id);
        self.add((
            listed.map(|sandbox| sandbox.ready),
            node.containers.contains(id),
            node.exists(id),
        ));
        let file = node.delegates.get(id);
        self.add(file.map(|file| file.len()));
        for delegate in file.into_iter().flat_map(|file| file.iter()) {
            self.add((
                &delegate.network,
                &delegate.interface,
                &delegate.config,
                (delegate.requested, delegate.hot_plugged),
            ));
        }
        self.add(node.records.contains_key(id));
        if let Some(records) = node.records.get(id) {
            self.records(records);
        }
    }

    fn pod(&mut self) {
        let node = self.node;
        self.add(node.pod.as_ref().map(|pod| pod.identity.uid() == UID));
        if let Some(pod) = &node.pod {
            self.add((node.annotation, pod.terminating));
            // Entries are found by their names, so their order decides nothing.
            let mut entries: Vec<&str> = pod.status.as_deref().unwrap_or_default().split("},{").collect();
            entries.sort_unstable();
            self.add(entries);
        }
        self.condition(node.condition.as_ref());
    }

    fn condition(&mut self, condition: Option<&Condition>) {
        let pod = self.node.own_pod();
        self.add(condition.map(|condition| {
            let present = pod.is_some_and(|pod| condition.speaks_of(pod.networks.digest()));
            (condition.status, &condition.reason, present)
        }));
    }

    /// What a late watch will show.
    fn unseen(&mut self, state: &PodState) {
        let Some(unseen) = &self.node.unseen else { return };
        let written = state.written_version();
        for version in unseen {
            let pod = version.pod();
            self.add(pod.map(|pod| {
                (
                    &pod.status,
                    pod.terminating,
                    Some(pod.resource_version.as_str()) == written,
                )
            }));
            self.add(pod.map(|pod| format!("{:?}", pod.networks)));
        }
    }

    fn records(&mut self, records: &SandboxRecords) {
        let sandbox = records.sandbox.as_ref();
        self.add(sandbox.map(|record| (record.adopted, record.foreign.clone())));
        self.add((&records.damaged, records.attachments.len()));
        let mut ordered: Vec<&AttachmentRecord> = records.attachments.values().collect();
        ordered.sort_by_key(|record| (record.order, record.interface.clone()));
        for record in ordered {
            fingerprint::record(record, &mut self.hasher);
        }
    }

    /// Which of the versions that the agent knows is the pod's present one.
    fn versions(&mut self, state: &PodState) {
        let watched = state.pod().pod().map(|pod| pod.resource_version.as_str());
        let present = |version: Option<&str>| version.is_some_and(|version| self.is_present(version));
        let known = [watched, state.written_version(), state.read_version()].map(present);
        self.add(known);
    }

    /// Where the agent's memory is ahead of the disk.
    fn differences(&mut self, state: &PodState) {
        for (id, sandbox) in state.sandboxes() {
            let known = self.node.records.get(id);
            for (interface, attachment) in sandbox.attachments() {
                let disk = known.and_then(|records| records.attachments.get(interface));
                self.add(disk == attachment.record());
            }
        }
    }
}
