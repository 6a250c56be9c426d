//! Mistakes that an agent could make, made between the core and the node: each has to be found, or
//! the checker checks nothing.

use agent_core::{
    condition::ConditionStatus,
    delegate::{Answer, Call, Command, Refusal},
    effect::Effect,
    record::{AttachmentRecord, Phase},
};

use crate::{Harness, Node};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// No intent is written before ADD.
    ForgetsTheIntent,
    /// A failed ADD is not followed by its DEL.
    SkipsTheCleanup,
    /// The address of an ended sandbox is not released.
    ForgetsTheLease,
    /// An ADD whose answer is lost is sent again at once.
    AddsAgain,
    /// A plugin that may still run is not waited for.
    DoesNotWait,
    /// network-status is not written.
    ForgetsTheStatus,
    /// The condition is not written.
    ForgetsTheCondition,
    /// The condition is True while it has to be False.
    SaysReadyEarly,
    /// A record outlives its attachment.
    KeepsTheRecord,
    /// A sandbox counts as ended while it lives.
    ReleasesEarly,
    /// "already exists" counts as a failure of the agent's own.
    TakesOthersInterfaces,
    /// A retry is never due.
    OversleepsRetries,
    /// A DEL that a plugin refused counts as done.
    BelievesItself,
    /// What failed is tried again at once.
    RetriesWithoutPause,
    /// A list whose DEL is refused is never taken apart.
    NeverTakesApart,
    /// A dependency that does not answer is asked again at once.
    AsksWithoutPause,
    /// A call waits for the calls of other pods.
    WaitsForOthers,
    /// An owed release is sent while its interface name is in use.
    SendsOwedWhileInUse,
    /// A device of another pod counts as the pod's own.
    TakesOthersDevices,
    /// The smallest device is given, whatever is in use.
    GivesADeviceTwice,
    /// A device that was released counts as in use.
    KeepsReleasedDevices,
}

impl Node {
    /// A record is not written, though the agent believes so.
    pub(crate) fn forgets(mutant: Option<Mutant>, record: &AttachmentRecord) -> bool {
        mutant == Some(Mutant::ForgetsTheIntent) && matches!(record.phase, Phase::Plugging { .. })
    }

    /// What will be owed cannot be written, so that the list is not taken apart.
    pub(crate) fn refuses_owed(
        &self,
        mutant: Option<Mutant>,
        sandbox: &agent_core::identity::SandboxId,
        record: &AttachmentRecord,
    ) -> bool {
        let owed = self
            .record(sandbox, &record.interface)
            .map_or(0, |known| known.owed.len());
        mutant == Some(Mutant::NeverTakesApart) && record.owed.len() > owed
    }

    /// An effect of an agent that gives every attachment the same device.
    pub(crate) fn with_smallest_device(mutant: Option<Mutant>, effect: Effect) -> Effect {
        if mutant != Some(Mutant::GivesADeviceTwice) {
            return effect;
        }
        let smallest = |config: &str| config.replace(r#"ID":"2""#, r#"ID":"1""#);
        match effect {
            Effect::PutRecord {
                sandbox,
                mut record,
                durable,
            } => {
                record.config = smallest(&record.config);
                Effect::PutRecord {
                    sandbox,
                    record,
                    durable,
                }
            }
            Effect::Delegate(mut call) => {
                call.config = smallest(&call.config);
                Effect::Delegate(call)
            }
            effect => effect,
        }
    }

    /// A call is not sent, though the agent believes that it succeeded.
    pub(crate) fn skips(&self, mutant: Option<Mutant>, call: &Call) -> bool {
        let cleanup = || {
            let record = self.record(&call.sandbox, &call.interface);
            record.is_some_and(|record| matches!(record.phase, Phase::Unplugging { result: None, .. }))
        };
        call.command == Command::Del
            && match mutant {
                Some(Mutant::SkipsTheCleanup) => cleanup(),
                Some(Mutant::ForgetsTheLease) => call.netns.is_empty(),
                _ => false,
            }
    }

    /// What the agent takes an answer for.
    pub(crate) fn mistakes(&mut self, mutant: Option<Mutant>, call: &Call, answer: Answer) -> Answer {
        match (mutant, answer) {
            (Some(Mutant::AddsAgain), Answer::Lost(_)) if call.command == Command::Add => {
                match self.take_call(call, None) {
                    Ok(()) => self.answer_call(call, None),
                    Err(answer) => answer,
                }
            }
            (
                Some(Mutant::TakesOthersInterfaces),
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
                Some(Mutant::BelievesItself),
                Answer::Refused {
                    cause: Refusal::Other,
                    ..
                },
            ) if call.command == Command::Del => Answer::Done(serde_json::Value::Null),
            (_, answer) => answer,
        }
    }
}

impl Harness {
    /// What a mutant asks for instead of this.
    pub(crate) fn mutate_effect(&self, mut effect: Effect) -> Effect {
        if self.mutant == Some(Mutant::SaysReadyEarly)
            && let Effect::PatchStatus {
                condition: Some(change),
                ..
            } = &mut effect
        {
            change.condition.status = ConditionStatus::True;
        }
        effect
    }

    /// What a mutant does by itself, after everything that the core asked for is done. Whether it
    /// did something.
    pub(crate) fn mutate(&mut self) -> bool {
        match self.mutant {
            Some(Mutant::RetriesWithoutPause) => {
                let failing = |state: &agent_core::pod_state::PodState| {
                    let sandboxes = state.sandboxes().values();
                    let mut attachments = sandboxes.flat_map(|sandbox| sandbox.attachments().values());
                    attachments.any(|attachment| attachment.retries().next().is_some())
                };
                self.state().is_some_and(failing) && self.wakes_all()
            }
            Some(Mutant::AsksWithoutPause) => {
                self.state().is_some_and(|state| state.blocked().is_some()) && self.wakes_all()
            }
            Some(Mutant::SendsOwedWhileInUse) => self.send_owed(),
            _ => false,
        }
    }

    fn send_owed(&mut self) -> bool {
        let mut owed = Vec::new();
        for (sandbox, records) in self.node.records.iter() {
            for (interface, record) in &records.attachments {
                let in_use = matches!(record.phase, Phase::Plugged { .. });
                if let Some(release) = record.owed.first().filter(|_| in_use) {
                    owed.push((sandbox.clone(), interface.clone(), release.config.clone()));
                }
            }
        }
        for (sandbox, interface, config) in owed {
            let netns = crate::node::netns(&sandbox).to_string_lossy().into_owned();
            let call = crate::node::del(&sandbox, netns, interface, config);
            if self.node.take_call(&call, None).is_ok() {
                self.node.answer_call(&call, None);
            }
        }
        false
    }
}
