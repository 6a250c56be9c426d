//! Everything about one attachment: its record, the operation in progress, what failed, and what
//! network-status has to show. Its fields are private: the methods are the only way to change it.

use std::time::Duration;

use shared::{
    cni::CniResult,
    names::{InterfaceName, NetworkName},
    selection::Selection,
    status::{self, StatusEntry},
};

use crate::{
    cni_state::Entry,
    delegate::{FailedPlugin, Refusal},
    effect::Trigger,
    flap_damping::FlapDamping,
    kept_file::Presence,
    operation::{Job, Operation, PATIENCE},
    plan::{
        desired::Attributes,
        observed::{Attachment as Observed, State},
    },
    record::{AttachmentRecord, Phase},
    retry::{Retry, RetryOn},
};

/// How soon the disk is tried again after it refused a write.
pub const DISK_RETRY: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Attachment {
    /// Never ahead of the disk where it matters: an intent is on the disk before its ADD is sent.
    record: Option<AttachmentRecord>,
    disk: Disk,
    pub(crate) operation: Option<Box<Operation>>,
    /// When a call without an answer counts as lost.
    doubt_ends: Option<Duration>,
    lookup: Lookup,
    /// libcni's result of a plugged attachment.
    result_file: Presence,
    /// How often libcni's cache was read since the last call, and when last.
    lookups: (u32, Duration),
    retries: [Option<Retry>; 3],
    /// The element that the last ADD was for: the retry of another one does not wait for its
    /// failures.
    tried: Option<Box<Selection>>,
    /// How the network of the last ADD changed while an operation was in progress.
    changed_meanwhile: Option<Trigger>,
    removals: FlapDamping,
    /// A lost ADD may still run: its clean-up leaves a tombstone.
    lost_add: bool,
    /// Unplugged; the record stays until network-status has forgotten it.
    gone: bool,
    /// How the last ADD was refused, to tell what it cannot have left.
    refused_add: Option<(Option<FailedPlugin>, Refusal)>,
    entries: Vec<StatusEntry>,
}

/// The verbs that fail and are retried independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// ADD.
    Plug,
    /// DEL.
    Unplug,
    /// DEL of what earlier attachments hold.
    ReleaseOwed,
}

/// The record on the disk, against the one in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// The same.
    #[default]
    Clean,
    /// A write is in progress.
    Writing,
    /// The disk refused a write; it is tried again then.
    Refused {
        /// When.
        retry: Duration,
    },
}

/// libcni's result, for a record whose state depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Lookup {
    /// Not known.
    #[default]
    Unknown,
    /// It is being read.
    Reading,
    /// Read: the result; `None`: there is none.
    Known(Option<Box<Entry>>),
    /// It cannot be read.
    Failed,
}

impl Attachment {
    /// An attachment that the disk has a record of.
    pub fn recorded(record: AttachmentRecord) -> Self {
        let mut attachment = Self::default();
        attachment.set_record(record);
        attachment
    }

    /// The record.
    pub fn record(&self) -> Option<&AttachmentRecord> {
        self.record.as_ref()
    }

    /// Whether there is neither a record nor an operation, and the disk knows that.
    pub fn is_free(&self) -> bool {
        self.record.is_none() && self.operation.is_none() && self.disk == Disk::Clean
    }

    /// Whether nothing is known of it any more that decides anything.
    pub fn is_empty(&self, now: Duration) -> bool {
        self.is_free() && self.retries.iter().all(Option::is_none) && self.removals.is_over(now)
    }

    /// Changes the record in memory.
    pub fn set_record(&mut self, record: AttachmentRecord) {
        self.entries = match &record.phase {
            Phase::Plugged { result } => entries_of(&record, result),
            _ => {
                self.result_file = Presence::Unknown;
                Vec::new()
            }
        };
        self.record = Some(record);
    }

    /// Forgets the record, but not how often its plugging failed.
    pub fn forget_record(&mut self) {
        self.record = None;
        self.entries.clear();
        self.gone = false;
        self.lost_add = false;
        self.refused_add = None;
        self.doubt_ends = None;
        self.lookup = Lookup::Unknown;
        self.result_file = Presence::Unknown;
    }

    /// Whether libcni's result was there when it was last looked for.
    pub(crate) fn result_file(&self) -> Presence {
        self.result_file
    }

    /// libcni's result was looked for.
    pub(crate) fn set_result_file(&mut self, presence: Presence) {
        self.result_file = presence;
    }

    /// Whether it is plugged, and libcni's result of it has gone.
    pub fn is_drifted(&self) -> bool {
        self.result_file == Presence::Gone
    }

    /// The entries of network-status for its result.
    pub fn entries(&self) -> &[StatusEntry] {
        &self.entries
    }

    /// See [`Disk`].
    pub fn disk(&self) -> Disk {
        self.disk
    }

    /// A write begins, or ended with this state.
    pub fn set_disk(&mut self, disk: Disk) {
        self.disk = disk;
    }

    /// See [`Lookup`].
    pub fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// libcni's cache is being read, or was.
    pub fn set_lookup(&mut self, lookup: Lookup) {
        self.lookup = lookup;
    }

    /// How often libcni's cache was read since the last call, and when last.
    pub fn lookups(&self) -> (u32, Duration) {
        self.lookups
    }

    /// libcni's cache is read now.
    pub fn note_lookup(&mut self, now: Duration) {
        self.lookups = (self.lookups.0.saturating_add(1), now);
    }

    /// Unplugged, but still in network-status.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Notes that nothing is attached any more. The record stays until network-status has forgotten
    /// it.
    pub fn set_gone(&mut self) {
        self.gone = true;
        self.entries.clear();
    }

    /// Network-status has forgotten what is unplugged; only what is owed is left.
    pub fn set_forgotten(&mut self) {
        self.gone = false;
    }

    /// Whether the state depends on a call without an answer, or on a tombstone.
    pub fn is_doubtful(&self) -> bool {
        let phase = self.record.as_ref().map(|record| &record.phase);
        !self.gone
            && matches!(
                phase,
                Some(Phase::Plugging { .. } | Phase::Unplugging { .. } | Phase::Tombstone)
            )
    }

    /// When a call without an answer counts as lost. A call of an earlier agent gets the whole time
    /// from now, because the stamp in its record does not say how long it has run: the wall clock
    /// may have been moved.
    pub fn doubt_ends(&mut self, now: Duration, grace: Duration) -> Duration {
        *self.doubt_ends.get_or_insert(now + grace)
    }

    /// The end of the doubt, if one was set.
    pub fn doubt_end(&self) -> Option<Duration> {
        self.doubt_ends
    }

    /// The answer to a call was lost now.
    pub fn answer_lost(&mut self, now: Duration, grace: Duration) {
        self.doubt_ends = Some(now + grace);
        self.lookup = Lookup::Unknown;
        self.lookups = (0, now);
    }

    /// The last call has ended for certain.
    pub fn call_ended(&mut self, now: Duration) {
        self.doubt_ends = Some(now);
        self.lookup = Lookup::Unknown;
        if !self.lost_add {
            self.lookups = (0, now);
        }
    }

    /// A DEL has cleaned up after a lost ADD. libcni's cache is taken to be empty until it is read
    /// again, ever more slowly where it keeps an entry that the DEL should have removed. `first`:
    /// the lost ADD was found out now.
    pub fn buried(&mut self, first: bool, now: Duration) {
        self.lookup = Lookup::Known(None);
        self.lookups = (if first { 0 } else { self.lookups.0 }, now);
    }

    /// A lost ADD may still run.
    pub fn is_lost_add(&self) -> bool {
        self.lost_add
    }

    /// Notes whether a lost ADD may still run.
    pub fn set_lost_add(&mut self, lost_add: bool) {
        self.lost_add = lost_add;
    }

    /// How the last ADD was refused.
    pub fn refused_add(&self) -> Option<&(Option<FailedPlugin>, Refusal)> {
        self.refused_add.as_ref()
    }

    /// Notes how the last ADD was refused.
    pub fn set_refused_add(&mut self, refused: Option<(Option<FailedPlugin>, Refusal)>) {
        self.refused_add = refused;
    }

    /// The retry of a verb.
    pub fn retry(&self, verb: Verb) -> Option<&Retry> {
        self.retries[verb as usize].as_ref()
    }

    /// Whether the network of the last ADD changed while an operation was in progress.
    pub fn has_news(&self) -> bool {
        self.changed_meanwhile.is_some()
    }

    /// Notes a failure of a verb. A plug whose network changed while it was tried is due at once.
    pub fn set_failed(&mut self, verb: Verb, mut retry: Retry, now: Duration) {
        if verb == Verb::Plug
            && let Some(change) = self.changed_meanwhile.take()
        {
            retry.trigger(&change, now);
        }
        self.set_retry(verb, Some(retry));
    }

    /// Sets or clears the retry of a verb.
    pub fn set_retry(&mut self, verb: Verb, retry: Option<Retry>) {
        self.retries[verb as usize] = retry;
    }

    /// The element that the last ADD was for.
    pub fn tried(&self) -> Option<&Selection> {
        self.tried.as_deref()
    }

    /// An ADD for this element begins.
    pub fn set_tried(&mut self, element: &Selection) {
        self.changed_meanwhile = None;
        self.tried = Some(Box::new(element.clone()));
    }

    /// The retries that stand.
    pub fn retries(&self) -> impl Iterator<Item = (Verb, &Retry)> {
        [Verb::Plug, Verb::Unplug, Verb::ReleaseOwed]
            .into_iter()
            .filter_map(|verb| Some((verb, self.retry(verb)?)))
    }

    /// Makes due what `trigger` may have cleared.
    pub fn trigger(&mut self, trigger: &Trigger, now: Duration) {
        if self.operation.is_some()
            && let Trigger::Network(network, _) = trigger
            && self.tried().is_some_and(|tried| tried.network == *network)
        {
            self.changed_meanwhile = Some(trigger.clone());
        }
        for retry in self.retries.iter_mut().flatten() {
            retry.trigger(trigger, now);
        }
        if let (Disk::Refused { retry }, Trigger::Anything) = (&mut self.disk, trigger) {
            *retry = now;
        }
    }

    /// Makes due what waits for a device.
    pub fn device_released(&mut self, now: Duration) {
        let retries = self.retries.iter_mut().flatten();
        for retry in retries.filter(|retry| matches!(retry.on, RetryOn::Device { .. })) {
            retry.due = retry.due.min(now);
        }
    }

    /// Makes everything due: the sandbox has ended, and nothing that failed while it lived says
    /// that it fails again.
    pub fn make_due(&mut self, now: Duration) {
        for retry in self.retries.iter_mut().flatten() {
            retry.due = retry.due.min(now);
        }
    }

    /// When `verb` may be tried; `None`: now.
    pub fn due(&self, verb: Verb) -> Option<Duration> {
        let pause = match verb {
            Verb::Unplug => self.removals.next(),
            Verb::Plug | Verb::ReleaseOwed => None,
        };
        self.retry(verb).map(|retry| retry.due).max(pause)
    }

    /// Notes a removal that an edit asked for.
    pub fn note_removal(&mut self, now: Duration) {
        self.removals.note(now);
    }

    /// See [`FlapDamping`].
    pub fn removals(&self) -> &FlapDamping {
        &self.removals
    }

    /// What its owed releases need.
    pub fn owed_jobs(&self, now: Duration) -> Vec<Job> {
        let retry = self.retry(Verb::ReleaseOwed);
        let long = retry.is_some_and(|retry| now >= retry.since + PATIENCE);
        let owed = self.record.iter().flat_map(|record| &record.owed);
        owed.map(|owed| Job::of_owed(owed).failing_for_long(long))
            .collect()
    }

    /// What the plan sees; `None`: there is no record.
    pub fn observe(&mut self, now: Duration, grace: Duration) -> Option<Observed> {
        let doubtful = self.is_doubtful();
        let ends = if doubtful {
            self.doubt_ends(now, grace)
        } else {
            now
        };
        let record = self.record.as_ref()?;
        let in_cache = match &self.lookup {
            Lookup::Known(entry) => Some(entry.is_some()),
            Lookup::Unknown | Lookup::Reading | Lookup::Failed => None,
        };
        let state = if self.gone {
            State::Absent
        } else {
            State::of(record, in_cache, ends, now)
        };
        Some(Observed {
            network: record.network.clone(),
            interface: record.interface.clone(),
            state,
            attributes: Attributes::recorded(record),
            owes: !record.owed.is_empty(),
        })
    }

    /// What network-status has to forget when this attachment is gone.
    pub fn stale_status(&self) -> Vec<(NetworkName, Vec<InterfaceName>)> {
        let Some(record) = &self.record else {
            return Vec::new();
        };
        let mut all = record.stale_status.clone();
        let Some(result) = record.result() else { return all };
        let entries = entries_of(record, result);
        let mut interfaces: Vec<_> = entries
            .iter()
            .filter_map(|entry| InterfaceName::parse(&entry.interface).ok())
            .collect();
        if !interfaces.contains(&record.interface) {
            interfaces.push(record.interface.clone());
        }
        if entries.iter().any(|entry| entry.interface.is_empty()) {
            all.push((record.network.clone(), Vec::new()));
        }
        all.push((record.network.clone(), interfaces));
        all
    }
}

/// What a result of the record's network means in network-status.
fn entries_of(record: &AttachmentRecord, result: &serde_json::Value) -> Vec<StatusEntry> {
    let info = record.device.as_ref().and_then(|device| device.info.as_ref());
    let entries = CniResult::parse(result).map(|result| status::entries(&record.network, &result));
    let shown = entries.unwrap_or_default().into_iter();
    shown
        .map(|entry| StatusEntry {
            device_info: info.cloned(),
            ..entry
        })
        .collect()
}
