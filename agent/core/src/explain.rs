//! What the agent wants, sees and waits for in one pod, in words and in numbers.

use std::{fmt::Write as _, time::Duration};

use shared::{names::InterfaceName, selection::Selection};

use crate::{
    attachment::{Attachment, Verb},
    condition::Condition,
    event::Event,
    operation::{AddStage, Adding, DelStage, Operation, Removing, Why},
    pod::{Annotation, PodObservation},
    pod_state::PodState,
    record::{AttachmentRecord, Origin, Phase},
    sandbox_state::SandboxState,
};

/// How many attachments are in each state; the fields are metric labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachmentCounts {
    /// Plugged.
    pub plugged: i64,
    /// An ADD without an answer.
    pub in_doubt: i64,
    /// A plug failed and is retried.
    pub failing: i64,
    /// A DEL is outstanding.
    pub unplugging: i64,
    /// In a sandbox that has ended, and not released yet.
    pub unreleased: i64,
    /// What an earlier attachment held is not released yet.
    pub owed: i64,
    /// Plugged, and libcni's result has gone.
    pub lost_results: i64,
    /// Plugged, and multus' delegate file of its sandbox has gone.
    pub lost_delegates: i64,
}

impl std::ops::AddAssign for AttachmentCounts {
    fn add_assign(&mut self, other: Self) {
        self.plugged += other.plugged;
        self.in_doubt += other.in_doubt;
        self.failing += other.failing;
        self.unplugging += other.unplugging;
        self.unreleased += other.unreleased;
        self.owed += other.owed;
        self.lost_results += other.lost_results;
        self.lost_delegates += other.lost_delegates;
    }
}

impl PodState {
    /// `namespace/name`; empty when only records of an unknown pod are left.
    pub fn name(&self) -> String {
        if let Some(pod) = self.pod().pod() {
            return pod.identity.to_string();
        }
        let mut recorded = self.sandboxes().values().filter_map(SandboxState::record);
        recorded
            .next()
            .map(|record| record.pod.to_string())
            .unwrap_or_default()
    }

    /// The numbers.
    pub fn counts(&self) -> AttachmentCounts {
        let mut counts = AttachmentCounts::default();
        for sandbox in self.sandboxes().values() {
            for attachment in sandbox.attachments().values() {
                if attachment.retry(Verb::Plug).is_some() {
                    counts.failing += 1;
                }
                let Some(record) = attachment.record() else {
                    continue;
                };
                if matches!(record.phase, Phase::Plugged { .. }) && !sandbox.has_ended() {
                    counts.lost_results += i64::from(attachment.is_drifted());
                    counts.lost_delegates += i64::from(sandbox.has_lost_delegates());
                }
                counts.owed += i64::try_from(record.owed.len()).unwrap_or(i64::MAX);
                if let Some(count) = count_of(&mut counts, record, sandbox.has_ended()) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// The words.
    pub fn explain(&self, now: Duration) -> String {
        let mut text = String::new();
        let mut say = |line: String| {
            let _ = writeln!(text, "  {line}");
        };
        wanted(self.pod()).into_iter().for_each(&mut say);
        if let Some(held) = self.held() {
            say(format!("held: {held}"));
        }
        if let Some(blocked) = self.blocked() {
            say(format!(
                "blocked: {}; next try {}",
                blocked.error,
                wait(blocked.due, now)
            ));
        }
        for problem in &self.reported {
            say(Event::problem(problem).text);
        }
        for sandbox in self.sandboxes().values() {
            let ended = if sandbox.has_ended() {
                ", which has ended"
            } else {
                ""
            };
            say(format!("sandbox {}{ended}", sandbox.id()));
            for (interface, attachment) in sandbox.attachments() {
                explain_attachment(interface, attachment, sandbox.has_ended(), now)
                    .into_iter()
                    .for_each(&mut say);
            }
            for interface in sandbox.foreign().keys() {
                say(format!("observed: {interface}: foreign, left unchanged"));
            }
        }
        for line in self.drift() {
            say(format!("drift: {line}"));
        }
        if let Some(edit) = &self.edit {
            say(format!("last edit: {edit}"));
        }
        self.explain_condition(now).into_iter().for_each(&mut say);
        if let Some(retry) = self.publication.retry() {
            let due = wait(retry.due, now);
            say(format!(
                "writing network-status failed: {}; next try {due}",
                retry.error
            ));
        }
        text
    }
}

impl PodState {
    fn explain_condition(&self, now: Duration) -> Vec<String> {
        let known = self.condition().known().map(|known| {
            let Condition {
                status,
                reason,
                message,
            } = known;
            format!(
                "condition NetworksReady: {} ({reason}): {message}",
                status.as_str()
            )
        });
        let failed = self.condition().retry().map(|retry| {
            let due = wait(retry.due, now);
            format!(
                "the pod condition cannot be read or written: {}; next try {due}",
                retry.error
            )
        });
        known.into_iter().chain(failed).collect()
    }
}

fn wanted(observation: &PodObservation) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let pod = match observation {
        PodObservation::Present(pod) if pod.terminating => {
            return one("the pod is terminating: nothing is added or removed any more");
        }
        PodObservation::Present(pod) => pod,
        PodObservation::Gone => return one("the pod is gone"),
        PodObservation::Unknown => return one("the pods of this node have not been listed yet"),
    };
    let element = |element: &Selection| {
        let interface = element.interface.as_ref();
        let interface = interface.map_or("an interface without a name", InterfaceName::as_str);
        format!("wanted: {interface} on {}", element.network)
    };
    match &pod.networks {
        Annotation::List(list) if !list.elements.is_empty() => list.elements.iter().map(element).collect(),
        Annotation::List(_) | Annotation::Absent => one("wanted: nothing"),
        Annotation::Unreadable { .. } => one("wanted: unknown, the networks annotation cannot be read"),
    }
}

fn explain_attachment(
    interface: &InterfaceName,
    attachment: &Attachment,
    ended: bool,
    now: Duration,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(record) = attachment.record() {
        let mut counts = AttachmentCounts::default();
        count_of(&mut counts, record, ended);
        let state = state_of(record, attachment, ended);
        lines.push(format!("observed: {interface} on {}: {state}", record.network));
        for owed in &record.owed {
            lines.push(format!("owed release: {interface} on {}", owed.network));
        }
    }
    if let Some(operation) = &attachment.operation {
        lines.push(format!(
            "in progress: {}",
            operation_in_words(interface, operation, now)
        ));
    }
    for (verb, retry) in attachment.retries() {
        let verb = match verb {
            Verb::Plug => "plugging",
            Verb::Unplug => "unplugging",
            Verb::ReleaseOwed => "an owed release of",
        };
        lines.push(format!(
            "failed {}: {verb} {interface}: {}; next try {}",
            times(retry.failures),
            retry.error,
            wait(retry.due, now)
        ));
    }
    lines
}

fn count_of<'c>(
    counts: &'c mut AttachmentCounts,
    record: &AttachmentRecord,
    ended: bool,
) -> Option<&'c mut i64> {
    match (&record.phase, record.origin) {
        (Phase::Tombstone | Phase::Owed, _) if !ended => None,
        (_, Origin::ColdPlugged) if ended => None,
        (_, Origin::HotPlugged) if ended => Some(&mut counts.unreleased),
        (Phase::Plugged { .. }, _) => Some(&mut counts.plugged),
        (Phase::Plugging { .. }, _) => Some(&mut counts.in_doubt),
        (Phase::Unplugging { .. }, _) => Some(&mut counts.unplugging),
        (Phase::Tombstone | Phase::Owed, _) => None,
    }
}

fn state_of(record: &AttachmentRecord, attachment: &Attachment, ended: bool) -> &'static str {
    match (&record.phase, record.origin) {
        (_, Origin::ColdPlugged) if ended => "multus releases it",
        (_, Origin::HotPlugged) if ended => "not released yet",
        (Phase::Plugged { .. }, _) => "attached",
        (Phase::Plugging { .. }, _) => "ADD has no answer yet",
        (Phase::Unplugging { .. }, _) if attachment.is_gone() => "unplugged, still in network-status",
        (Phase::Unplugging { .. }, _) => "to be unplugged",
        (Phase::Tombstone, _) => "unplugged after a lost ADD; watched",
        (Phase::Owed, _) => "unplugged",
    }
}

fn operation_in_words(interface: &InterfaceName, operation: &Operation, now: Duration) -> String {
    let since = |since: Duration| format!("for {:.1} s", now.saturating_sub(since).as_secs_f64());
    match operation {
        Operation::Add(Adding { selection, stage, .. }) => {
            let stage = match stage {
                AddStage::Network => "reading the network".to_owned(),
                AddStage::Devices => "reading the pod's devices".to_owned(),
                AddStage::Permit => "waiting for a permit".to_owned(),
                AddStage::Intent => "writing the intent".to_owned(),
                AddStage::Listing => "listing it in multus' delegate file".to_owned(),
                AddStage::Calling(running) => format!("calling multus {}", since(running.since)),
                AddStage::Unlisting => "taking it out of multus' delegate file".to_owned(),
            };
            format!("plug {interface} on {}: {stage}", selection.network)
        }
        Operation::Del(Removing { why, stage, .. }) => {
            let what = match why {
                Why::Unplug => "unplug",
                Why::LostAdd => "clean up the lost ADD of",
                Why::Owed | Why::BeforeAdd(_) => "release what is owed of",
                Why::Release => "release",
            };
            let stage = match stage {
                DelStage::Permit => "waiting for a permit".to_owned(),
                DelStage::Recording | DelStage::RecordingOwed => "writing the record".to_owned(),
                DelStage::Calling(running) => format!("calling multus {}", since(running.since)),
                DelStage::Unlisting => "taking it out of multus' delegate file".to_owned(),
            };
            format!("{what} {interface}: {stage}")
        }
    }
}

fn wait(due: Duration, now: Duration) -> String {
    match due.saturating_sub(now) {
        Duration::ZERO => "now".to_owned(),
        left => format!("in {:.1} s", left.as_secs_f64()),
    }
}

fn times(count: u32) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}
