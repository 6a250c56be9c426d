//! Writes the condition, alone or with network-status, and hears what came of it.

use std::rc::Rc;

use super::Known;
use crate::{
    condition::Condition,
    effect::{Effect, Outcome, PatchOutcome},
    pod::Pod,
    pod_state::PodState,
    turn::{Purpose, Turn},
};

impl PodState {
    /// Writes the condition where no patch of network-status is to be written, or reads it first.
    pub(crate) fn publish_condition(&mut self, pod: &Rc<Pod>, turn: &mut Turn<'_>) {
        let condition = &mut self.condition;
        if condition.wanted.is_none()
            || condition
                .retry
                .as_ref()
                .is_some_and(|retry| !turn.is_due(retry.due))
        {
            return;
        }
        if condition.known == Known::Unknown {
            condition.known = Known::Reading;
            turn.start(Purpose::Condition, Effect::ReadCondition(pod.identity.clone()));
            return;
        }
        if self.publication.in_flight {
            return;
        }
        let Some(change) = condition.change(turn) else {
            return;
        };
        condition.note_sent(&change);
        self.publication.in_flight = true;
        let effect = Effect::PatchStatus {
            pod: pod.identity.clone(),
            old: Box::new(self.newest_view(pod)),
            new: None,
            condition: Some(Box::new(change)),
        };
        turn.start(Purpose::ConditionPatch, effect);
    }

    pub(crate) fn condition_read(&mut self, read: Result<Option<Condition>, String>, turn: &Turn<'_>) {
        self.condition.read(read, turn.now);
    }

    /// What came of a patch of the condition alone. Its answer shows the pod, too.
    pub(crate) fn condition_patched(&mut self, outcome: Outcome, turn: &Turn<'_>) {
        self.publication.in_flight = false;
        let Outcome::Patched(outcome) = outcome else {
            tracing::error!(?outcome, "an outcome that no condition waits for");
            return;
        };
        self.note_condition(&outcome, false, turn);
        let (PatchOutcome::Written(view), Some(pod)) = (outcome, self.pod.pod().cloned()) else {
            return;
        };
        if view.status != self.newest_view(&pod).status {
            // Another writer, perhaps multus for a new sandbox: the watch will show it.
            self.listing.stale = true;
        } else if !self.publication.doubted {
            self.publication.written = Some(view);
        }
    }

    pub(crate) fn note_condition(&mut self, outcome: &PatchOutcome, with_status: bool, turn: &Turn<'_>) {
        self.condition.patched(outcome, with_status, turn.now);
        if let (PatchOutcome::Failed(error), Some(retry)) = (outcome, &self.condition.retry) {
            tracing::warn!(uid = %self.uid, pod = self.pod.pod().map(|pod| tracing::field::display(&pod.identity)),
                cause = %error, failures = retry.failures, "writing the pod condition failed; will retry");
        }
    }
}
