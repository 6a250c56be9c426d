//! What one worker remembers of its pod between two looks at it. Nothing here has to outlive the process: what has to is in the
//! records, of which this holds a copy that is never ahead of the disk where it matters (an intent is on the disk first).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    backoff,
    failpoint::patience,
    identity::SandboxId,
    pace::Pace,
    plan::{Complaint, Step, observed::GRACE},
    records::{AttachmentRecord, SandboxRecords},
    world::StatusView,
};

/// The key of an attachment: CNI's own.
pub type Key = (SandboxId, InterfaceName);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The pod's uid.
    pub uid: String,
    /// The records, by sandbox.
    pub sandboxes: BTreeMap<SandboxId, SandboxRecords>,
    /// What failed, and when it is tried again.
    pub retries: BTreeMap<Key, Retry>,
    /// Unplugged, but network-status still has to forget them: their records stay until then.
    pub unplugged: BTreeSet<Key>,
    /// The sandboxes that have ended and are not released yet.
    pub ended: BTreeSet<SandboxId>,
    /// The step that is being carried out, and since when.
    pub running: Option<(Step, Duration)>,
    /// Records of which the disk has an older state than this memory, because it refused a write.
    pub unsaved: BTreeSet<Key>,
    /// Sandboxes that use the node's network.
    pub host_network: BTreeSet<SandboxId>,
    /// What the pod has been told and is still true.
    pub complained: BTreeSet<Complaint>,
    /// The pod has been told that it uses the node's network.
    pub told_host_network: bool,
    /// The pod's status as our last patch left it, and the version of the pod that was known then.
    pub written: Option<(String, StatusView)>,
    /// Failures of the status patch.
    pub status_retry: Option<StatusRetry>,
    /// A neighbour that has to be there before anything can be decided, in its own words.
    pub trouble: Option<String>,
    /// Looks in a row that found nothing to act on yet.
    pub looks: u32,
    /// When to look again without being told, on the clock that never goes back.
    pub wake: Option<Duration>,
    /// When a call without an answer counts as lost, as it was judged at first sight.
    pub doubts: BTreeMap<Key, Duration>,
    /// How fast interfaces that come and go are removed.
    pub pace: Pace,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The step. Another step for the same attachment need not wait.
    pub step: Step,
    /// How often in a row.
    pub failures: u32,
    /// When it is tried again.
    pub due: Duration,
    /// The first cause.
    pub error: String,
    /// What would be worth an early try.
    pub cure: Cure,
    /// The binary that a DEL needs and does not find.
    pub missing_plugin: Option<String>,
}

/// What can be seen to clear a failure.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Cure {
    /// Only time.
    #[default]
    Time,
    /// Multus can be reached again.
    Multus,
    /// The network is created, or becomes another version than this.
    Network {
        /// The network.
        network: NetworkName,
        /// The version that was tried; `None`: there was none.
        version: Option<String>,
    },
}

/// Failures of the status patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRetry {
    /// How often in a row.
    pub failures: u32,
    /// When it is tried again.
    pub due: Duration,
    /// The cause.
    pub error: String,
}

impl Memory {
    /// The memory of a pod of which the disk tells `sandboxes`.
    pub fn new(uid: &str, sandboxes: BTreeMap<SandboxId, SandboxRecords>) -> Self {
        Self {
            uid: uid.to_owned(),
            sandboxes,
            ..Self::default()
        }
    }

    /// The record of an attachment.
    pub fn record(&self, key: &Key) -> Option<&AttachmentRecord> {
        self.sandboxes.get(&key.0)?.attachments.get(&key.1)
    }

    /// Remembers a record.
    pub fn put(&mut self, sandbox: &SandboxId, record: AttachmentRecord) {
        self.sandboxes
            .entry(sandbox.clone())
            .or_default()
            .attachments
            .insert(record.interface.clone(), record);
    }

    /// The interfaces of a sandbox whose record was damaged and has not been written anew.
    pub fn damaged(&self, sandbox: &SandboxId) -> BTreeSet<InterfaceName> {
        let damaged = |records: &SandboxRecords| {
            let lost = records.damaged.iter();
            lost.filter(|interface| !records.attachments.contains_key(*interface))
                .cloned()
                .collect()
        };
        self.sandboxes.get(sandbox).map(damaged).unwrap_or_default()
    }

    /// Forgets a record and what hangs on it, but not how often its plugging failed.
    pub fn forget(&mut self, key: &Key) {
        if let Some(records) = self.sandboxes.get_mut(&key.0) {
            records.attachments.remove(&key.1);
        }
        self.unplugged.remove(key);
        self.doubts.remove(key);
    }

    /// Forgets a sandbox.
    pub fn forget_sandbox(&mut self, sandbox: &SandboxId) {
        self.sandboxes.remove(sandbox);
        self.ended.remove(sandbox);
        self.retries.retain(|(of, _), _| of != sandbox);
        self.unplugged.retain(|(of, _)| of != sandbox);
        self.doubts.retain(|(of, _), _| of != sandbox);
        self.unsaved.retain(|(of, _)| of != sandbox);
        self.host_network.remove(sandbox);
    }

    /// The next free place in a sandbox's order of plugging.
    pub fn next_order(&self, sandbox: &SandboxId) -> u64 {
        let records = self
            .sandboxes
            .get(sandbox)
            .into_iter()
            .flat_map(|records| records.attachments.values());
        records.map(|record| record.order + 1).max().unwrap_or(0)
    }

    /// The interfaces of a sandbox that have a record, in the order of plugging.
    pub fn interfaces(&self, sandbox: &SandboxId) -> Vec<InterfaceName> {
        let records = self
            .sandboxes
            .get(sandbox)
            .into_iter()
            .flat_map(|records| records.attachments.values());
        let mut ordered: Vec<_> = records
            .map(|record| (record.order, record.interface.clone()))
            .collect();
        ordered.sort();
        ordered.into_iter().map(|(_, interface)| interface).collect()
    }

    /// When a call without an answer counts as lost. One of an agent before this one is given the whole time from its first sight: the
    /// stamp in its record does not tell how long it runs, because the wall clock may have been moved since.
    pub fn doubt_ends(&mut self, key: &Key, now: Duration) -> Duration {
        *self
            .doubts
            .entry(key.clone())
            .or_insert_with(|| now + patience(GRACE))
    }

    /// A call is sent now: its doubt, should it come to that, begins now.
    pub fn doubt_from(&mut self, key: &Key, now: Duration) {
        self.doubts.insert(key.clone(), now + patience(GRACE));
    }

    /// When `step` may be tried; `None`: now, as far as is known.
    pub fn due(&self, sandbox: &SandboxId, step: &Step) -> Option<Duration> {
        let key = (sandbox.clone(), step.interface().clone());
        let retry = self.retries.get(&key).filter(|retry| retry.step == *step);
        let pause = match step {
            Step::Unplug(_) if !self.ended.contains(sandbox) => self.pace.next_removal(&key),
            _ => None,
        };
        retry.map(|retry| retry.due).max(pause)
    }

    /// The last call has ended for certain.
    pub fn doubt_no_more(&mut self, key: &Key, now: Duration) {
        self.doubts.insert(key.clone(), now);
    }

    /// Whether `step` may be tried now.
    pub fn is_due(&self, sandbox: &SandboxId, step: &Step, now: Duration) -> bool {
        self.due(sandbox, step).is_none_or(|due| due <= now)
    }

    /// Notes that an attachment was removed because an edit asked for it.
    pub fn removed(&mut self, key: &Key, now: Duration) {
        self.pace.removed(key, now);
    }

    /// Notes that a sandbox has ended. Nothing that failed while it lived says that it fails again.
    pub fn end(&mut self, sandbox: &SandboxId, now: Duration) {
        if self.ended.insert(sandbox.clone()) {
            let of_it = self.retries.iter_mut().filter(|((of, _), _)| of == sandbox);
            of_it.for_each(|(_, retry)| retry.due = now);
        }
    }

    /// Notes a failure; the answer is how long to wait.
    pub fn failed(&mut self, key: Key, failed: Failed, now: Duration, jitter: f64) -> Duration {
        let before = self
            .retries
            .get(&key)
            .filter(|retry| retry.step == failed.step)
            .map_or(0, |retry| retry.failures);
        let failures = before.saturating_add(1);
        let wait = backoff::delay(failures, jitter);
        let Failed {
            step,
            error,
            cure,
            missing_plugin,
        } = failed;
        self.retries.insert(
            key,
            Retry {
                step,
                failures,
                due: now + wait,
                error,
                cure,
                missing_plugin,
            },
        );
        wait
    }

    /// A step succeeded. Plugging counts its failures across the removals between its tries.
    pub fn succeeded(&mut self, key: &Key, step: &Step) {
        let other =
            |retry: &Retry| matches!(retry.step, Step::Plug { .. }) && !matches!(step, Step::Plug { .. });
        if !self.retries.get(key).is_some_and(other) {
            self.retries.remove(key);
        }
    }

    /// Makes due what waits for this cure.
    pub fn cured(&mut self, by: impl Fn(&Cure) -> bool, now: Duration) {
        for retry in self.retries.values_mut().filter(|retry| by(&retry.cure)) {
            retry.due = now;
        }
    }

    /// Looks again no later than at `time`.
    pub fn wake_at(&mut self, time: Duration) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Looks again later, and later each time in a row: for what will most likely be told by a watch.
    pub fn look_later(&mut self, now: Duration, jitter: f64) {
        self.looks = self.looks.saturating_add(1);
        self.wake_at(now + backoff::delay(self.looks, jitter));
    }

    /// Looks again soon, and less soon each time in a row: for what shows in no watch, such as a namespace that goes away.
    pub fn look_again(&mut self, now: Duration) {
        const FIRST: Duration = Duration::from_millis(150);
        const LAST: Duration = Duration::from_secs(2);
        let wait = FIRST.saturating_mul(self.looks / 2 + 1).min(LAST);
        self.looks = self.looks.saturating_add(1);
        self.wake_at(now + wait);
    }
}

/// A failure as it is noted.
#[derive(Debug, PartialEq)]
pub struct Failed {
    /// The step.
    pub step: Step,
    /// The cause.
    pub error: String,
    /// What would clear it.
    pub cure: Cure,
    /// See [`Retry::missing_plugin`].
    pub missing_plugin: Option<String>,
}
