//! What can go wrong with an effect.

use agent_core::{delegate::Command, effect::Effect};

use crate::Incident;

/// A kind of effect, as far as it can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// ADD.
    Add,
    /// DEL.
    Del,
    /// The status patch.
    Patch,
    /// Writing a record.
    Write,
    /// Removing a record.
    Remove,
    /// Writing multus' delegate file.
    List,
    /// Asking the runtime, the API server or libcni's cache.
    Read,
    /// Reading the pod condition.
    Condition,
    /// Waiting for a permit.
    Permit,
}

/// How an effect goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is done, and the answer is an error.
    Refused,
    /// A plugin fails half-way: after ADD link and address exist, after DEL the link is gone and
    /// the address is not.
    HalfDone,
    /// Multus is not there for a moment.
    NotSent,
    /// It is done, but the answer is lost.
    LostDone,
    /// The answer is lost while the plugin runs; it is done two ticks later.
    LostRunning,
    /// Multus dies while the plugin runs. It is done two ticks later, but libcni's cache is never
    /// written.
    Killed,
    /// Multus' handler panics on the request before it does anything; multus goes on.
    Crashed,
    /// The network namespace cannot be entered for a moment; no plugin has run.
    NamespaceAway,
    /// Another writer is faster.
    Conflict,
    /// It is done one tick later.
    Slow,
    /// It is done five ticks later: later than a call may take.
    Late,
    /// The answer is lost after five ticks; it is done two ticks after that.
    LateLost,
}

/// What disturbs a reconcile just before one of its effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disturbance {
    /// The effect goes wrong.
    Fails(Fault),
    /// Something happens in the meantime.
    Meanwhile(Incident),
    /// The same, and the watch is late: it shows this version of the pod and those that follow one
    /// by one, a tick each.
    Unseen(Incident),
}

impl EffectKind {
    /// The kind of an effect.
    pub fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Delegate(call) if call.command == Command::Add => Self::Add,
            Effect::Delegate(_) => Self::Del,
            Effect::PatchStatus { .. } => Self::Patch,
            Effect::PutRecord { .. } | Effect::PutSandbox(..) => Self::Write,
            Effect::RemoveRecord(..) | Effect::RemoveSandbox(_) => Self::Remove,
            Effect::ListDelegate { .. } | Effect::UnlistDelegate { .. } => Self::List,
            Effect::AcquirePermit { .. } => Self::Permit,
            Effect::ListSandboxes
            | Effect::SandboxNetwork(_)
            | Effect::HasEnded { .. }
            | Effect::ReadCniState(_)
            | Effect::ReadCniEntry { .. }
            | Effect::ReadNetwork(_)
            | Effect::ReadDevices { .. }
            | Effect::ReadPodUid(_)
            | Effect::ReadStatus(_) => Self::Read,
            Effect::ReadCondition(_) => Self::Condition,
        }
    }

    /// All the ways in which it can go wrong.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Self::Add | Self::Del => &[
                Fault::Refused,
                Fault::HalfDone,
                Fault::NotSent,
                Fault::LostDone,
                Fault::LostRunning,
                Fault::Killed,
                Fault::Crashed,
                Fault::Slow,
                Fault::Late,
                Fault::LateLost,
            ],
            Self::Patch => &[Fault::Refused, Fault::LostDone, Fault::Conflict, Fault::Slow],
            Self::Read | Self::Condition => &[Fault::Refused, Fault::Slow],
            Self::Permit => &[Fault::Slow],
            Self::Write | Self::Remove | Self::List => &[Fault::Refused],
        }
    }
}
