//! Mistakes that an agent could make, planted between the core and the node: each has to be found, or the checker checks nothing.

use super::Simulated;
use crate::{
    multus::{Answer, Call, Command, Refusal},
    records::{AttachmentRecord, Phase},
};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No intent is written before ADD.
    ForgetsTheIntent,
    /// A failed ADD is not followed by its DEL.
    SkipsTheCleanup,
    /// The address of an ended sandbox is not given back.
    ForgetsTheLease,
    /// An ADD whose answer is lost is sent again at once.
    AddsAgain,
    /// A plugin that may still run is not waited for.
    DoesNotWait,
    /// network-status is not written.
    ForgetsTheStatus,
    /// A record outlives its attachment.
    KeepsTheRecord,
    /// A sandbox counts as ended while it lives.
    ReleasesEarly,
    /// "already exists" counts as a failure of the agent's own.
    TakesWhatIsThere,
    /// What is to be tried again is never due.
    OversleepsRetries,
    /// A DEL that a plugin refused counts as done.
    BelievesItself,
}

impl Simulated {
    /// A record is not written, though the agent believes so.
    pub(super) fn forgets(&self, record: &AttachmentRecord) -> bool {
        self.bug == Some(Bug::ForgetsTheIntent) && matches!(record.phase, Phase::Plugging { .. })
    }

    /// A call is not sent, though the agent believes that it succeeded.
    pub(super) fn skips(&self, call: &Call) -> bool {
        let cleanup = || {
            let node = self.node.borrow();
            let record = node
                .records
                .get(&call.sandbox)
                .and_then(|records| records.attachments.get(&call.interface));
            record.is_some_and(|record| matches!(record.phase, Phase::Unplugging { result: None, .. }))
        };
        call.command == Command::Del
            && match self.bug {
                Some(Bug::SkipsTheCleanup) => cleanup(),
                Some(Bug::ForgetsTheLease) => call.netns.is_empty(),
                _ => false,
            }
    }

    /// What the agent takes an answer for.
    pub(super) fn takes(&self, call: &Call, answer: Answer) -> Answer {
        match (self.bug, answer) {
            (Some(Bug::AddsAgain), Answer::Lost(_)) if call.command == Command::Add => {
                self.node.borrow_mut().add(call, None)
            }
            (
                Some(Bug::TakesWhatIsThere),
                Answer::Refused {
                    cause: Refusal::AlreadyExists,
                    plugin,
                    text,
                },
            ) => Answer::Refused {
                cause: Refusal::Other,
                plugin,
                text,
            },
            (
                Some(Bug::BelievesItself),
                Answer::Refused {
                    cause: Refusal::Other,
                    ..
                },
            ) if call.command == Command::Del => Answer::Done(serde_json::Value::Null),
            (_, answer) => answer,
        }
    }
}
