//! What can go wrong with an effect.

use super::Happening;

/// A kind of effect, as far as it can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// ADD.
    Add,
    /// DEL.
    Del,
    /// The status patch.
    Patch,
    /// Writing a record.
    Write,
    /// Removing a record.
    Erase,
    /// Asking the runtime, the API server or the CNI cache.
    Read,
    /// A question whose answer is yes or no, and no when in doubt.
    Ask,
}

/// How an effect goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is done. A plugin, the API server, the disk or whoever is asked says so.
    Refused,
    /// A plugin fails half-way: after ADD the link and the address are there, after DEL the link is gone and the address is not.
    HalfDone,
    /// Multus is not there for a moment.
    NotSent,
    /// It is done, but the answer is lost.
    LostDone,
    /// The answer is lost while the plugin runs; it will be done two ticks later.
    LostRunning,
    /// Multus dies while the plugin runs. It runs on and is done two ticks later, but libcni's cache is never told.
    Killed,
    /// Multus' handler crashes on the request before it does anything; multus goes on.
    Crashed,
    /// The way into the network namespace is not there for a moment; no plugin has run.
    NamespaceAway,
    /// Somebody else writes first.
    Conflict,
}

/// What disturbs a look just before one of its effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disturbance {
    /// The effect goes wrong.
    Fails(Fault),
    /// Something happens in the meantime.
    Meanwhile(Happening),
}

impl Effect {
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
            ],
            Self::Patch => &[Fault::Refused, Fault::LostDone, Fault::Conflict],
            Self::Write | Self::Erase | Self::Read => &[Fault::Refused],
            Self::Ask => &[],
        }
    }
}
