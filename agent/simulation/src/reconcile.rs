//! What the agent does between two waits: it starts, carries out effects in the order of their
//! start, and can die before each of them.

use agent_core::{
    effect::{Effect, EffectId, Outcome},
    pod_state::PodState,
};

use crate::{Disturbance, EffectKind, Fault, Harness, UID, agent::Agent};

/// I8: so many effects may follow one incident or one tick.
const MOST_EFFECTS: u32 = 80;
/// So many turns in a row without rest are no rest.
const MOST_TURNS: u32 = 200;

impl Harness {
    /// The worker of a pod that the disk remembers begins before the first list of pods has come.
    fn start(&mut self) {
        if !matches!(self.agent, Agent::Started) {
            return;
        }
        let records = (*self.node.records).clone();
        let remembered = !records.is_empty();
        let state = PodState::new(UID, self.context(), records);
        self.agent = Agent::Waits(Box::new(state));
        if remembered {
            self.with_state(PodState::wake_up);
        }
    }

    /// The agent does what there is to do now. `false`: it died on the way and is to start again.
    pub fn reconcile(&mut self) -> bool {
        self.trace.clear();
        self.start();
        let pod = self.state().and_then(|state| state.pod().pod());
        self.knew_that_it_terminates = pod.is_some_and(|pod| pod.terminating);
        let mut turns = 0;
        let lived = loop {
            if !self.drain() {
                break false;
            }
            turns += 1;
            if turns > MOST_TURNS {
                self.node
                    .break_rule("I8: the agent does not come to rest".to_owned());
                break true;
            }
            if !(self.hear() || self.take_granted() || self.wake_if_due() || self.mutate()) {
                break true;
            }
        };
        if lived {
            self.clear_script();
        } else {
            self.restart();
        }
        lived
    }

    /// Carries out what was started, in order. `false`: the agent dies.
    fn drain(&mut self) -> bool {
        while let Some((id, effect)) = self.queue.pop_front() {
            if !self.step(id, effect) {
                return false;
            }
        }
        true
    }

    fn step(&mut self, id: EffectId, effect: Effect) -> bool {
        let index = u32::try_from(self.trace.len()).unwrap();
        if let Some(crashes) = self.crashes.as_mut() {
            crashes.before(index, &mut self.node);
        }
        if self.crash_at == Some(index) {
            return false;
        }
        self.trace.push(EffectKind::of(&effect));
        self.node.effects += 1;
        if self.node.effects > MOST_EFFECTS {
            self.node
                .break_rule(format!("I8: more than {MOST_EFFECTS} effects at once"));
            self.queue.clear();
            return true;
        }
        if self.verbose {
            println!("{:5} #{index} {effect:?}", self.node.now.as_secs());
        }
        self.current = Some(id);
        let script = self.script.clone();
        let is_slow = self.slow.contains(&(index, EffectKind::of(&effect)));
        let mut fault = is_slow.then_some(Fault::Slow);
        for (_, disturbance) in script.into_iter().filter(|(at, _)| *at == index) {
            match disturbance {
                Disturbance::Fails(with) => fault = Some(with),
                Disturbance::Meanwhile(incident) => self.happen(incident),
                Disturbance::Unseen(incident) => {
                    self.node.unseen.get_or_insert_default();
                    self.happen(incident);
                }
            }
        }
        if self.current.take().is_some()
            && self.state().is_some()
            && let Some(outcome) = self.carry_out(id, effect, fault)
        {
            self.complete(id, outcome);
        }
        if self.node.unseen.is_some() {
            self.hear();
        }
        true
    }

    fn take_granted(&mut self) -> bool {
        let granted = self.pool.borrow_mut().take_granted(self.owner);
        if let Some(id) = granted {
            self.complete(id, Outcome::Done);
        }
        granted.is_some()
    }

    pub(crate) fn is_due(&self) -> bool {
        let wake = self.state().and_then(PodState::wake);
        wake.is_some_and(|wake| wake <= self.node.now)
    }

    fn wake_if_due(&mut self) -> bool {
        if !self.is_due() {
            return false;
        }
        let wake = |harness: &Self| harness.state().and_then(PodState::wake);
        let before = wake(self);
        self.with_state(PodState::wake_up);
        if wake(self) != before || !self.queue.is_empty() {
            return true;
        }
        if self.mutant.is_none() {
            self.node
                .break_rule("I8: the agent wakes without anything to do".to_owned());
        }
        false
    }
}
