//! Everything that decides what a node and its agent will do, as one number: two equal ones have the same future.
//!
//! Times count from now, in what is left of them; versions count only as "the present one or not"; sandboxes are numbered by age among
//! those of which there is a trace; places in the order of plugging are ranks. What nothing reads again is left out: what was said and
//! called, a result's content, and the annotations of the past once the living sandbox has been seen. (A sandbox that starts later gets
//! exactly what the annotation of that moment asks for, which the agent has seen or will see last: older annotations could claim
//! nothing of it.)

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use super::{Node, TICK, UID};
use crate::{
    identity::SandboxId,
    mailbox::Known,
    memory::{Cure, Key, Memory},
    plan::Step,
    records::{AttachmentRecord, Phase, SandboxRecords},
};

/// Waits no longer than the backoff's cap are told apart, and so many failures lead to the cap.
const FAILURES: u32 = 8;

struct Print<'a> {
    hasher: DefaultHasher,
    node: &'a Node,
    sandboxes: Vec<SandboxId>,
}

/// See the module.
pub fn fingerprint(node: &Node, memory: Option<&Memory>, heard: &Known, news: bool) -> u64 {
    let mut print = Print {
        hasher: DefaultHasher::new(),
        node,
        sandboxes: traced(node, memory),
    };
    print.node();
    print.pod(heard);
    print.memory(memory);
    print.add((news, heard == &Known::Unknown));
    print.hasher.finish()
}

/// The same, of a node on which an agent is to start.
pub fn fingerprint_of_start(node: &Node) -> u64 {
    fingerprint(node, None, &Known::Unknown, !node.records.is_empty())
}

/// The sandboxes of which there is a trace, oldest first.
fn traced(node: &Node, memory: Option<&Memory>) -> Vec<SandboxId> {
    let mut all: BTreeSet<&SandboxId> = node
        .sandboxes
        .iter()
        .map(|sandbox| &sandbox.id)
        .filter(|id| node.exists(id))
        .collect();
    all.extend(node.records.keys());
    all.extend(memory.into_iter().flat_map(|memory| memory.sandboxes.keys()));
    all.extend(node.leases.iter().map(|(_, id, _)| id));
    all.extend(node.cache.keys().map(|(_, id, _)| id));
    all.extend(node.unfinished.iter().map(|running| &running.call.sandbox));
    all.into_iter().cloned().collect()
}

impl Print<'_> {
    fn add(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    fn age_of(&self, sandbox: &SandboxId) -> usize {
        self.sandboxes
            .iter()
            .position(|id| id == sandbox)
            .unwrap_or(usize::MAX)
    }

    fn key(&mut self, (sandbox, interface): &Key) {
        let age = self.age_of(sandbox);
        self.add((age, interface));
    }

    /// Ticks from now until a time comes.
    fn until(&mut self, time: Duration) {
        let left = time.saturating_sub(self.node.now).as_millis();
        self.add(left.div_ceil(TICK.as_millis()));
    }

    fn node(&mut self) {
        let node = self.node;
        self.add((node.disk_full, node.multus_away, node.api_away, node.runtime_away));
        self.add(node.broken.is_some());
        self.add((
            self.sandboxes.len(),
            node.links.len(),
            node.leases.len(),
            node.cache.len(),
            node.foreign.len(),
            node.refused.len(),
        ));
        for (key, config) in &node.links {
            self.key(key);
            self.add(config);
        }
        for (config, sandbox, interface) in node.leases.iter().chain(node.cache.keys()) {
            let age = self.age_of(sandbox);
            self.add((config, age, interface));
        }
        for key in node.foreign.iter().chain(&node.refused) {
            self.key(key);
        }
        for key in node.standing.keys().filter(|(sandbox, _)| node.exists(sandbox)) {
            self.key(key);
        }
        for running in &node.unfinished {
            self.until(running.ends);
            self.key(&(running.call.sandbox.clone(), running.call.interface.clone()));
            self.add((
                running.call.command == crate::multus::Command::Add,
                running.orphaned,
                &running.call.config,
            ));
        }
        for (network, definition) in node.networks.iter() {
            self.add((network, &definition.config));
        }
        for id in self.sandboxes.clone() {
            let listed = node.sandboxes.iter().find(|sandbox| sandbox.id == id);
            let delegates = node.delegates.get(&id);
            self.add((
                listed.map(|sandbox| sandbox.ready),
                node.running.contains(&id),
                node.exists(&id),
            ));
            for delegate in delegates.into_iter().flat_map(|list| list.iter()) {
                self.add((&delegate.network, &delegate.interface, &delegate.config));
            }
            self.add(node.records.contains_key(&id));
            if let Some(records) = node.records.get(&id) {
                self.records(records);
            }
        }
    }

    fn pod(&mut self, heard: &Known) {
        let node = self.node;
        self.add(node.pod.as_ref().map(|pod| pod.identity.uid() == UID));
        if let Some(pod) = &node.pod {
            self.add((&pod.networks, pod.terminating));
            self.status(pod.status.as_deref());
        }
        let Known::Present(pod) = heard else {
            self.add(heard == &Known::Gone);
            return;
        };
        self.add((&pod.networks, pod.terminating));
        self.status(pod.status.as_deref());
        let recorded = |id: &SandboxId| {
            let record = node.records.get(id).and_then(|records| records.sandbox.as_ref());
            record.is_some_and(|record| record.adopted)
        };
        if let Some(unseen) = node.ready().filter(|id| !recorded(id)) {
            let made = node
                .sandboxes
                .iter()
                .find(|sandbox| sandbox.id == *unseen)
                .map(|sandbox| sandbox.created_at);
            let made = u64::try_from(made.unwrap_or(0) / 1_000_000_000).unwrap_or(0);
            for seen in pod.seen.iter() {
                self.add((&seen.networks, seen.since.saturating_sub(made).min(31)));
            }
        }
    }

    /// Entries are found by their names, so their order decides nothing.
    fn status(&mut self, status: Option<&str>) {
        let mut entries: Vec<&str> = status.unwrap_or_default().split("},{").collect();
        entries.sort_unstable();
        self.add(entries);
    }

    fn records(&mut self, records: &SandboxRecords) {
        self.add(
            records
                .sandbox
                .as_ref()
                .map(|record| (record.adopted, record.foreign.clone())),
        );
        let mut ordered: Vec<&AttachmentRecord> = records.attachments.values().collect();
        ordered.sort_by_key(|record| (record.order, record.interface.clone()));
        self.add(ordered.len());
        for record in ordered {
            self.record(record);
        }
    }

    fn record(&mut self, record: &AttachmentRecord) {
        let phase = match &record.phase {
            Phase::Plugging { attempt } => (0, (*attempt).min(2), false),
            Phase::Plugged { result } => (1, 0, result.get("interfaces").is_some()),
            Phase::Unplugging { attempt, result } => (2, (*attempt).min(2), result.is_some()),
            Phase::Tombstone => (3, 0, false),
        };
        let origin = record.origin == crate::records::Origin::HotPlugged;
        self.add((
            &record.network,
            &record.interface,
            origin,
            phase,
            &record.config,
            &record.unpublish,
        ));
    }

    fn memory(&mut self, memory: Option<&Memory>) {
        // An agent that has just started remembers what the disk does, and nothing else.
        let start;
        let memory = match memory {
            Some(memory) => memory,
            None => {
                start = Memory::default();
                for id in self.node.records.keys() {
                    let age = self.age_of(id);
                    self.add((age, true));
                }
                &start
            }
        };
        for (id, records) in &memory.sandboxes {
            let same = self.node.records.get(id) == Some(records);
            let age = self.age_of(id);
            self.add((age, same));
            if !same {
                self.records(records);
            }
        }
        self.add((
            memory.looks.min(FAILURES),
            memory.trouble.is_some(),
            &memory.complained,
        ));
        self.add(memory.wake.is_some());
        if let Some(wake) = memory.wake {
            self.until(wake);
        }
        for (key, retry) in &memory.retries {
            self.key(key);
            let step = match &retry.step {
                Step::Plug { selection, .. } => (0, Some(&selection.network)),
                Step::Unplug(_) => (1, None),
                Step::Bury(_) => (2, None),
                Step::Confirm(_) => (3, None),
                Step::Await { .. } => (4, None),
            };
            self.add((step, retry.failures.min(FAILURES), &retry.missing_plugin));
            self.until(retry.due);
            self.cure(&retry.cure);
        }
        for (key, ends) in &memory.doubts {
            self.key(key);
            self.until(*ends);
        }
        for key in memory.unplugged.iter().chain(&memory.unsaved) {
            self.key(key);
        }
        for (key, removals) in memory.pace.latest(self.node.now) {
            self.key(key);
            self.add(removals);
        }
        for sandbox in &memory.ended {
            let age = self.age_of(sandbox);
            self.add(age);
        }
        self.add((memory.unplugged.len(), memory.unsaved.len(), memory.ended.len()));
        self.add(
            memory
                .status_retry
                .as_ref()
                .map(|retry| retry.failures.min(FAILURES)),
        );
        if let Some(retry) = &memory.status_retry {
            self.until(retry.due);
        }
        let version = self.node.pod.as_ref().map(|pod| &pod.resource_version);
        let written = memory.written.as_ref().filter(|(of, _)| Some(of) == version);
        self.add(written.is_some());
        self.status(written.and_then(|(_, view)| view.status.as_deref()));
    }

    fn cure(&mut self, cure: &Cure) {
        match cure {
            Cure::Time => self.add(0),
            Cure::Multus => self.add(1),
            Cure::Network { network, version } => {
                let present = self
                    .node
                    .networks
                    .get(network)
                    .map(|network| &network.resource_version);
                self.add((2, network, version.is_some(), present == version.as_ref()));
            }
        }
    }
}
