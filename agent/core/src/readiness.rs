//! What the pod condition `NetworksReady` has to say, and when that is written.
//!
//! # Flow
//! Each turn judges the pod ([`Verdict`]). What the API server has is read once, before the first
//! write, because the watch shows metadata only. A change goes out with a patch of network-status,
//! or alone when there is none to write.
//!
//! # Guarantees
//! - True: everything that the annotation asks for is attached in the ready sandbox, and nothing
//!   else is attached for it.
//! - False at once when something failed, and when a sandbox that is seen for the first time is not
//!   complete; after an edit only when it is not done within [`GRACE`], because a readiness gate
//!   would take the pod out of its Services.
//! - The message ends with the digest of the annotation that the condition speaks of.
//! - `changed_at` is set only when the status changes.
//! - A refused or failed write of the condition delays no write of network-status.

mod judge;
mod write;

use std::time::Duration;

use shared::readiness::NetworksDigest;

use crate::{
    condition::{Condition, ConditionChange, ConditionStatus, MAX_MESSAGE},
    effect::{Now, PatchOutcome},
    identity::SandboxId,
    pod::Annotation,
    retry::{Failure, Retry},
    turn::Turn,
};

/// An edit that is done within this time leaves the condition True.
pub const GRACE: Duration = Duration::from_secs(1);
/// A condition that is False for the same reason gets another text no sooner than this after the
/// last write.
const REWORD: Duration = Duration::from_secs(10);

/// What the pod is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// So many networks are asked for, and all are attached.
    Complete(usize),
    /// Something failed, or will not be done: reason and cause.
    Failing(&'static str, String),
    /// Steps are outstanding, and nothing has failed.
    InProgress,
}

/// What is known of the condition, and what stands in the way of the next write.
#[derive(Clone, Debug, Default)]
pub struct ConditionState {
    /// Of the present annotation.
    digest: Option<NetworksDigest>,
    /// The pod has, or had, the annotation's key.
    concerned: bool,
    known: Known,
    /// What it should say; `None`: whatever it says may stay.
    wanted: Option<Condition>,
    /// The sandbox that `wanted` is about.
    wanted_for: Option<SandboxId>,
    /// The last sandbox of which the condition spoke, or could have spoken.
    judged: Option<SandboxId>,
    /// The pod was complete without a look at a sandbox, because it asked for nothing: an edit is
    /// what makes the first sight of its sandbox incomplete.
    asked_for_nothing: bool,
    incomplete_since: Option<Duration>,
    /// What a patch in flight carries, and the sandbox that it is about.
    sent: Option<(Condition, Option<SandboxId>)>,
    written_at: Option<Duration>,
    retry: Option<Retry>,
}

/// What the API server has.
#[derive(Clone, Debug, Default, PartialEq)]
enum Known {
    #[default]
    Unknown,
    Reading,
    Is(Option<Condition>),
}

/// What the condition says of a pod that was found to be so.
fn condition_of(verdict: &Verdict, digest: NetworksDigest) -> Condition {
    let (status, reason, text) = match verdict {
        Verdict::Complete(0) => (
            ConditionStatus::True,
            "NoNetworks",
            "no networks are asked for".to_owned(),
        ),
        Verdict::Complete(1) => (
            ConditionStatus::True,
            "Attached",
            "the network is attached".to_owned(),
        ),
        Verdict::Complete(count) => (
            ConditionStatus::True,
            "Attached",
            format!("all {count} networks are attached"),
        ),
        Verdict::Failing(reason, cause) => (ConditionStatus::False, *reason, cause.clone()),
        Verdict::InProgress => {
            let text = "interfaces are being added or removed";
            (ConditionStatus::False, "InProgress", text.to_owned())
        }
    };
    Condition {
        status,
        reason: reason.to_owned(),
        message: message(&text, digest),
    }
}

/// `text`, shortened where it has to be, and the digest.
fn message(text: &str, digest: NetworksDigest) -> String {
    let end = format!("; {digest}");
    let room = MAX_MESSAGE - end.len();
    if text.len() <= room {
        return format!("{text}{end}");
    }
    const MARK: &str = "...";
    let mut cut = room - MARK.len();
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{MARK}{end}", text.get(..cut).unwrap_or_default())
}

impl ConditionState {
    /// The annotation is another one, or seen for the first time.
    pub(crate) fn edited(&mut self, networks: &Annotation, now: Duration) {
        self.digest = Some(networks.digest());
        self.concerned |= *networks != Annotation::Absent;
        // Of what is False already no time has to be waited for: the next word may be True.
        let ready = matches!(&self.known, Known::Is(Some(known)) if known.status == ConditionStatus::True);
        if !ready || self.incomplete_since.is_none() {
            self.incomplete_since = Some(now);
        }
    }

    /// A turn begins: nothing is judged yet.
    pub(crate) fn begin_turn(&mut self) {
        self.wanted = None;
    }

    /// The last condition that was read or written.
    pub fn known(&self) -> Option<&Condition> {
        match &self.known {
            Known::Is(known) => known.as_ref(),
            Known::Unknown | Known::Reading => None,
        }
    }

    /// The failure that stands.
    pub fn retry(&self) -> Option<&Retry> {
        self.retry.as_ref()
    }

    /// Tries again now.
    pub fn make_due(&mut self, now: Duration) {
        if let Some(retry) = &mut self.retry {
            retry.due = retry.due.min(now);
        }
    }

    /// Decides what the condition should say. `sandbox`: the one that was judged, if it matters.
    fn judge(&mut self, verdict: &Verdict, sandbox: Option<&SandboxId>, turn: &mut Turn<'_>) {
        let Some(digest) = self.digest.filter(|_| self.concerned && !turn.stopping) else {
            return;
        };
        let condition = condition_of(verdict, digest);
        match verdict {
            Verdict::Complete(_) => self.incomplete_since = None,
            Verdict::Failing(..) => {
                self.incomplete_since.get_or_insert(turn.now.monotonic);
            }
            Verdict::InProgress => {
                let since = *self.incomplete_since.get_or_insert(turn.now.monotonic);
                let is_told = self
                    .known()
                    .is_some_and(|known| known.status == ConditionStatus::False && known.speaks_of(digest));
                let is_new = sandbox.is_some() && self.judged.as_ref() != sandbox;
                let at_once = is_new && !self.asked_for_nothing;
                if is_told || !(at_once || turn.is_due(since + GRACE)) {
                    return;
                }
            }
        }
        if *verdict != Verdict::InProgress && sandbox.is_some() {
            self.judged = sandbox.cloned();
        }
        self.asked_for_nothing = sandbox.is_none();
        self.wanted = Some(condition);
        self.wanted_for = sandbox.cloned();
    }

    /// The change that can go out with a patch of network-status, or alone.
    fn change(&mut self, turn: &mut Turn<'_>) -> Option<ConditionChange> {
        let (wanted, Known::Is(known)) = (self.wanted.clone()?, &self.known) else {
            return None;
        };
        if known.as_ref() == Some(&wanted) {
            return None;
        }
        let same = known.as_ref().is_some_and(|known| known.status == wanted.status);
        let reworded = known.as_ref().is_some_and(|known| {
            let end = |condition: &Condition| condition.message.rsplit("; ").next().map(str::to_owned);
            same && known.reason == wanted.reason && end(known) == end(&wanted)
        });
        let pause = self.written_at.map(|written| written + REWORD);
        if reworded && pause.is_some_and(|pause| !turn.is_due(pause)) {
            return None;
        }
        Some(ConditionChange {
            condition: wanted,
            changed_at: (!same).then_some(turn.now.epoch),
        })
    }

    /// The change that goes out with a patch of network-status. One that was refused goes alone.
    pub(crate) fn send_along(&mut self, turn: &mut Turn<'_>) -> Option<ConditionChange> {
        let change = self.change(turn).filter(|_| self.retry.is_none());
        if let Some(change) = &change {
            self.note_sent(change);
        }
        change
    }

    fn note_sent(&mut self, change: &ConditionChange) {
        self.sent = Some((change.condition.clone(), self.wanted_for.clone()));
    }

    /// What came of a patch that carried the condition.
    pub(crate) fn patched(&mut self, outcome: &PatchOutcome, with_status: bool, now: Now) {
        let Some((sent, sandbox)) = self.sent.take() else {
            return;
        };
        let error = match outcome {
            PatchOutcome::Written(_) => {
                self.known = Known::Is(Some(sent));
                self.written_at = Some(now.monotonic);
                self.retry = None;
                self.judged = sandbox.or(self.judged.take());
                return;
            }
            // With network-status the newest version is read next; alone it is another pod.
            PatchOutcome::Conflict if with_status => return,
            PatchOutcome::Conflict => "the pod is another one by now",
            PatchOutcome::Gone => "the pod does not exist any more",
            PatchOutcome::Failed(error) => {
                // It may have been done all the same.
                self.known = Known::Unknown;
                error
            }
        };
        self.retry = Some(Retry::after(self.retry.as_ref(), Failure::new(error), now));
    }

    fn read(&mut self, read: Result<Option<Condition>, String>, now: Now) {
        match read {
            Ok(known) => {
                self.known = Known::Is(known);
                self.retry = None;
            }
            Err(error) => {
                self.known = Known::Unknown;
                self.retry = Some(Retry::after(self.retry.as_ref(), Failure::new(error), now));
            }
        }
    }
}

impl ConditionState {
    /// What decides the next write, but for texts: for telling states apart.
    pub(crate) fn fingerprint(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let known = match &self.known {
            Known::Unknown => None,
            Known::Reading => Some(None),
            Known::Is(known) => Some(Some(known.as_ref().map(|known| {
                let present = self.digest.is_some_and(|digest| known.speaks_of(digest));
                (known.status, &known.reason, present)
            }))),
        };
        (known, self.concerned, self.sent.is_some()).hash(hasher);
        self.asked_for_nothing.hash(hasher);
        self.retry
            .as_ref()
            .map(|retry| retry.failures.min(8))
            .hash(hasher);
    }

    /// The last sandbox of which the condition spoke.
    pub(crate) fn judged(&self) -> Option<&SandboxId> {
        self.judged.as_ref()
    }

    /// The times that decide the next write.
    pub(crate) fn times(&self) -> [Option<Duration>; 3] {
        let is_false = self
            .known()
            .is_some_and(|known| known.status == ConditionStatus::False);
        [
            self.incomplete_since.map(|since| since + GRACE),
            self.written_at
                .filter(|_| is_false)
                .map(|written| written + REWORD),
            self.retry.as_ref().map(|retry| retry.due),
        ]
    }
}

#[cfg(test)]
mod tests;
