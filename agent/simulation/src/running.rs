//! What takes time: effects that are slow or late, and plugins that outlive their caller.

use std::{rc::Rc, time::Duration};

use agent_core::{
    delegate::Call,
    effect::{Effect, EffectId},
};

use crate::{Node, TICK};

/// How long a plugin that outlives its caller takes.
pub(crate) const RUNS_ON: Duration = Duration::from_secs(2 * TICK.as_secs());
/// How long a slow effect takes.
pub(crate) const SLOW: Duration = TICK;
/// How long a late call takes: longer than [`agent_core::effect::Timing::late`].
pub(crate) const LATE: Duration = Duration::from_secs(5 * TICK.as_secs());

/// An effect that is not carried out yet.
#[derive(Clone)]
pub struct Running {
    /// When it is carried out.
    pub ends: Duration,
    /// The effect.
    pub effect: Rc<Effect>,
    /// Who waits for its outcome.
    pub id: Option<EffectId>,
    /// Multus has died meanwhile: libcni's cache is never written.
    pub orphaned: bool,
    /// At its end the answer is lost, and the plugin runs on.
    pub lost: bool,
}

impl Running {
    /// The call to multus, if it is one.
    pub fn call(&self) -> Option<&Call> {
        match &*self.effect {
            Effect::Delegate(call) => Some(call),
            _ => None,
        }
    }
}

impl Node {
    /// The effect is carried out later.
    pub(crate) fn run_later(&mut self, running: Running) {
        self.running.push(running);
    }

    /// Takes out what is due, in the order of its end.
    pub(crate) fn take_due(&mut self) -> Vec<Running> {
        let now = self.now;
        let (mut due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| running.ends <= now);
        self.running = rest;
        due.sort_by_key(|running| running.ends);
        due
    }

    /// The agent has died: calls run on without a caller, but no longer than plugins do; everything
    /// else is dropped.
    pub(crate) fn abandon_running(&mut self) {
        let longest = self.now + RUNS_ON;
        self.unseen = None;
        self.running.retain(|running| running.call().is_some());
        for running in &mut self.running {
            running.id = None;
            running.lost = false;
            running.ends = running.ends.min(longest);
        }
    }
}
