//! One turn of the core: the time, what never changes, and what the turn asks the shell to do.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use shared::{config::Config, names::NetworkName};

use crate::{
    effect::{Action, Count, Effect, EffectId, Now, Timing},
    event::Event,
    identity::{AttachmentKey, PodIdentity, SandboxId},
};

/// What every pod shares and nothing changes.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration.
    pub config: Rc<Config>,
    /// The agent's own pod; `None`: not known.
    pub own: Option<PodIdentity>,
    /// The waits.
    pub timing: Timing,
}

/// Who waits for the outcome of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The list of sandboxes.
    Listing,
    /// The network of a sandbox at first sight.
    SandboxNetwork(SandboxId),
    /// Whether a sandbox has ended.
    Ended(SandboxId),
    /// The first sight of a sandbox.
    Sight(SandboxId),
    /// A network that a take-over compares with.
    TakeOver(SandboxId, NetworkName),
    /// What libcni knows of attachments with damaged records.
    Damaged(SandboxId),
    /// The record of a sandbox.
    SandboxRecord(SandboxId),
    /// Under whose name a sandbox is released.
    Identity(SandboxId),
    /// The operation on an attachment.
    Operation(AttachmentKey),
    /// libcni's result of an attachment.
    Lookup(AttachmentKey),
    /// A record that is written beside operations.
    Record(AttachmentKey),
    /// network-status, with the condition or without.
    Status,
    /// The condition that the API server has.
    Condition,
    /// A patch of the condition alone.
    ConditionPatch,
}

/// The effects that have no outcome yet.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    next: u64,
    purposes: BTreeMap<EffectId, Purpose>,
}

impl InFlight {
    /// Takes out the purpose of an effect that has an outcome.
    pub fn take(&mut self, id: EffectId) -> Option<Purpose> {
        self.purposes.remove(&id)
    }

    /// The purposes, in the order in which the effects were started.
    pub fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        self.purposes.values()
    }

    /// Whether anything is in flight.
    pub fn is_empty(&self) -> bool {
        self.purposes.is_empty()
    }
}

/// See the module.
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// What never changes.
    pub context: &'a Context,
    /// The agent is to stop: no new call is begun.
    pub stopping: bool,
    pub(crate) in_flight: &'a mut InFlight,
    pub(crate) actions: &'a mut Vec<Action>,
    pub(crate) wake: &'a mut Option<Duration>,
}

impl Turn<'_> {
    /// Starts an effect.
    pub fn start(&mut self, purpose: Purpose, effect: Effect) -> EffectId {
        let id = EffectId(self.in_flight.next);
        self.in_flight.next += 1;
        self.in_flight.purposes.insert(id, purpose);
        self.actions.push(Action::Start(id, effect));
        id
    }

    /// Gives a permit back, or stops waiting for it.
    pub fn release(&mut self, permit: EffectId) {
        self.in_flight.purposes.remove(&permit);
        self.actions.push(Action::Release(permit));
    }

    /// Has an event written.
    pub fn event(&mut self, pod: &PodIdentity, event: Event) {
        self.actions.push(Action::Event(pod.clone(), event));
    }

    /// Counts something.
    pub fn count(&mut self, count: Count) {
        self.actions.push(Action::Count(count));
    }

    /// Takes another turn no later than at `time`.
    pub fn wake_at(&mut self, time: Duration) {
        *self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Whether `time` has come; if not, a turn is taken then.
    pub fn is_due(&mut self, time: Duration) -> bool {
        let due = time <= self.now.monotonic;
        if !due {
            self.wake_at(time);
        }
        due
    }
}
