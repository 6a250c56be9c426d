//! I10: what the condition `NetworksReady` says. A reader relies on True at every moment, so that
//! is checked when a write of it begins; what it says at rest is checked with the other invariants.

use agent_core::{
    condition::{Condition, ConditionChange, ConditionStatus},
    effect::Effect,
    identity::SandboxId,
    pod::Annotation,
    pod_state::PodState,
    record::Phase,
};

use crate::{Harness, Node};

impl Harness {
    /// True, with the digest of an annotation, is not written before the kernel has its interfaces.
    pub(crate) fn check_condition(&mut self, effect: &Effect) {
        if let Effect::PatchStatus {
            condition: Some(change),
            ..
        } = effect
            && let Some(rule) = self.wrong_condition(&change.condition)
        {
            self.node.break_rule(rule);
        }
    }

    fn wrong_condition(&self, condition: &Condition) -> Option<String> {
        let state = self.state()?;
        let pod = state.pod().pod()?;
        if !condition.speaks_of(pod.networks.digest()) {
            return Some(format!("I10: {condition:?} speaks of another annotation"));
        }
        // Of a sandbox that the agent has not seen it cannot say anything.
        let seen = |id: &&SandboxId| state.sandboxes().contains_key(*id);
        let sandbox = self.node.ready().filter(seen)?;
        let elements = pod.networks.list().into_iter().flat_map(|list| &list.elements);
        let mut named = elements.filter_map(|element| element.interface.as_ref());
        let missing = named.find(|interface| {
            let key = (sandbox.clone(), (*interface).clone());
            !self.node.links.contains_key(&key)
        })?;
        (condition.status == ConditionStatus::True).then(|| format!("I10: True before {missing} is attached"))
    }
}

impl Node {
    /// The API server takes a condition.
    pub(crate) fn write_condition(&mut self, change: &ConditionChange) {
        let before = self.condition.as_ref().map(|condition| condition.status);
        let changes = before != Some(change.condition.status);
        if changes != change.changed_at.is_some() {
            self.break_rule(format!(
                "I10: lastTransitionTime {:?} from {before:?} to {:?}",
                change.changed_at, change.condition.status
            ));
        }
        if changes {
            self.results += 1;
        }
        self.conditions.push(change.condition.clone());
        self.condition = Some(change.condition.clone());
    }

    /// At rest the condition says what is true, about the present annotation.
    pub(crate) fn condition_against_truth(&self, state: Option<&PodState>) -> Option<String> {
        let pod = self.own_pod().filter(|pod| !pod.terminating)?;
        let (sandbox, state) = (self.ready()?, state?);
        if pod.networks == Annotation::Absent {
            return None;
        }
        let Some(condition) = &self.condition else {
            return Some("I10: the condition is missing".to_owned());
        };
        if !condition.speaks_of(pod.networks.digest()) {
            return Some(format!("I10: {condition:?} speaks of another annotation"));
        }
        let plugged = self.plugged(sandbox);
        let attached = pod.networks.list().is_some_and(|list| {
            list.elements.iter().all(|element| {
                let mut all = plugged.iter();
                all.any(|(interface, record)| {
                    element.interface.as_ref().is_none_or(|named| named == *interface)
                        && record.network == element.network
                        && matches!(record.phase, Phase::Plugged { .. })
                })
            })
        });
        let ready = attached && state.problems().is_empty();
        let expected = if ready {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        (condition.status != expected).then(|| format!("I10: {condition:?}, and it should be {expected:?}"))
    }
}
