//! An agent on a simulated node: it drives the core as the program's worker does.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use agent_core::{
    delegate::{Call, Command},
    effect::{Action, Effect, EffectId, Now, Outcome, Timing, Trigger},
    identity::PodIdentity,
    other_controller::Hold,
    pod::PodObservation,
    pod_state::PodState,
    record::Phase,
    turn::Context,
};
use shared::config::Config;

use crate::{
    Crash, Disturbance, EffectKind, Fingerprints, Incident, Mutant, Node, Pool, TICK, UID, agent::Agent,
    crash::Crashes,
};

/// How many calls a node may run at once, where a test does not say otherwise.
pub(crate) const PERMITS: usize = 8;
/// After so long a call is late; so long a lost call may still run.
pub(crate) const WAITS: Duration = Duration::from_secs(30);
/// An agent on a simulated node.
pub struct Harness {
    /// The node.
    pub node: Node,
    pub(crate) agent: Agent,
    pub(crate) pool: Rc<RefCell<Pool>>,
    pub(crate) mutant: Option<Mutant>,
    /// Prints each step, for a person who reads a history.
    pub verbose: bool,
    /// The pod's number among those that share the pool.
    pub(crate) owner: usize,
    config: Rc<Config>,
    /// Started effects that are not carried out yet.
    pub(crate) queue: VecDeque<(EffectId, Effect)>,
    /// The effect that is being carried out.
    pub(crate) current: Option<EffectId>,
    /// What disturbs the reconcile, and before which effect.
    pub(crate) script: Vec<(u32, Disturbance)>,
    /// Effects that are slow, if they are of that kind.
    pub(crate) slow: Vec<(u32, EffectKind)>,
    pub(crate) crash_at: Option<u32>,
    /// The effects of the reconcile so far.
    pub(crate) trace: Vec<EffectKind>,
    pub(crate) crashes: Option<Crashes>,
    /// The agent knew that the pod terminates when it began the reconcile.
    pub(crate) knew_that_it_terminates: bool,
}

impl Harness {
    /// An agent that is to start on `node`.
    pub(crate) fn on(node: Node, config: &str) -> Self {
        Self {
            node,
            agent: Agent::Started,
            pool: Rc::new(RefCell::new(Pool::new(PERMITS))),
            mutant: None,
            verbose: false,
            owner: 0,
            config: Rc::new(Config::parse(config).unwrap()),
            queue: VecDeque::new(),
            current: None,
            script: Vec::new(),
            slow: Vec::new(),
            crash_at: None,
            trace: Vec::new(),
            crashes: None,
            knew_that_it_terminates: false,
        }
    }

    /// Makes the agent a mutant, from its next start.
    #[must_use]
    pub fn with_mutant(mut self, mutant: Option<Mutant>) -> Self {
        self.mutant = mutant;
        if mutant.is_some() && matches!(self.agent, Agent::Waits(_)) {
            self.restart();
            self.reconcile();
        }
        self
    }

    /// Shares the permits of a node with other pods, as pod number `owner`.
    #[must_use]
    pub fn sharing(mut self, pool: &Rc<RefCell<Pool>>, owner: usize) -> Self {
        self.pool = Rc::clone(pool);
        self.owner = owner;
        self
    }

    /// The core's state, while the agent runs.
    pub fn state(&self) -> Option<&PodState> {
        match &self.agent {
            Agent::Waits(state) => Some(state),
            Agent::Away | Agent::Started => None,
        }
    }

    pub(crate) fn context(&self) -> Rc<Context> {
        let grace = match self.mutant {
            Some(Mutant::DoesNotWait) => Duration::ZERO,
            _ => WAITS,
        };
        Rc::new(Context {
            config: Rc::clone(&self.config),
            own: Some(PodIdentity::new("kube-system", "agent", "uid-agent").unwrap()),
            timing: Timing { late: WAITS, grace },
        })
    }

    fn now(&self) -> Now {
        let monotonic = match self.mutant {
            Some(Mutant::OversleepsRetries) => Duration::ZERO,
            _ => self.node.now,
        };
        Now {
            monotonic,
            epoch: self.node.epoch(),
            jitter: 0.0,
        }
    }

    /// Lets the core decide, and takes what it asks for.
    pub(crate) fn with_state(&mut self, decide: impl FnOnce(&mut PodState, Now) -> Vec<Action>) {
        let now = self.now();
        let Agent::Waits(state) = &mut self.agent else {
            return;
        };
        for action in decide(state, now) {
            match action {
                Action::Start(id, effect) => {
                    let effect = self.mutate_effect(effect);
                    self.check_condition(&effect);
                    self.queue.push_back((id, effect));
                }
                Action::Release(id) => self.release(id),
                // The place is free; the permit is released when the call ends.
                Action::Late(id) => self.pool.borrow_mut().release((self.owner, id)),
                Action::Event(_, event) => self.node.events.push((event.reason.as_str(), event.text)),
                Action::Count(count) => self.node.counts.push(count),
            }
        }
    }

    /// Reports an outcome.
    pub(crate) fn complete(&mut self, id: EffectId, outcome: Outcome) {
        if self.verbose {
            println!("           {outcome:?}");
        }
        self.with_state(|state, now| state.complete(id, outcome, now));
    }

    fn release(&mut self, id: EffectId) {
        self.pool.borrow_mut().release((self.owner, id));
        self.queue.retain(|(queued, _)| *queued != id);
        self.node.running.retain(|running| running.id != Some(id));
        self.current = self.current.filter(|current| *current != id);
    }

    /// Whether other pods hold permits.
    pub(crate) fn others_call(&self) -> bool {
        self.pool.borrow().is_held_by_others(self.owner)
    }

    pub(crate) fn acquire_permit(&mut self, id: EffectId) {
        self.pool.borrow_mut().acquire((self.owner, id));
    }

    /// An incident happens, and the watchers are told.
    pub fn happen(&mut self, incident: Incident) {
        if !self.can(incident) {
            return;
        }
        self.node.effects = 0;
        match incident {
            Incident::Pass => self.pass(TICK),
            Incident::AgentAway => {
                self.die();
                self.agent = Agent::Away;
            }
            Incident::AgentBack => self.agent = Agent::Started,
            Incident::MultusAway => {
                self.node.change(incident);
                self.lose_answers();
            }
            _ => self.node.change(incident),
        }
        self.node.changes += 1;
        self.hear();
        if let Some(trigger) = incident.trigger(&self.node) {
            self.with_state(|state, now| state.trigger(&trigger, now));
        }
    }

    /// Time passes: what was running comes to its end, and the node's list of sandboxes is polled.
    pub fn pass(&mut self, time: Duration) {
        self.node.now += time;
        for running in self.node.take_due() {
            self.finish(&running);
        }
        self.show_next();
        let follows = self.state().is_some_and(PodState::follows_sandboxes);
        if follows && !self.node.runtime_away {
            let of_pod = self
                .node
                .sandboxes
                .iter()
                .filter(|sandbox| sandbox.pod.uid() == UID);
            let of_pod = of_pod.cloned().collect();
            self.with_state(|state, now| state.observe_sandboxes(of_pod, now));
        }
    }

    /// The watch of the pod reports what is new, if anything is.
    pub(crate) fn hear(&mut self) -> bool {
        if self.node.api_away {
            return false;
        }
        let present = self.node.observed_pod();
        if let Some(unseen) = &mut self.node.unseen {
            if unseen.back() != Some(&present) {
                unseen.push_back(present);
            }
            return false;
        }
        self.show(present)
    }

    fn show(&mut self, observed: PodObservation) -> bool {
        let Some(state) = self.state() else { return false };
        if observed == *state.pod() {
            return false;
        }
        self.with_state(|state, now| state.observe_pod(observed, now));
        true
    }

    /// A late watch shows the next version, and is in time again after the last one.
    fn show_next(&mut self) {
        if self.node.api_away {
            return;
        }
        let next = self.node.unseen.as_mut().and_then(VecDeque::pop_front);
        if self.node.unseen.as_ref().is_some_and(VecDeque::is_empty) {
            self.node.unseen = None;
        }
        if let Some(next) = next {
            self.show(next);
        }
    }

    /// In the next reconcile, `disturbance` comes just before effect number `effect`.
    pub fn disturb(&mut self, effect: u32, disturbance: Disturbance) {
        self.script.push((effect, disturbance));
    }

    /// In the next reconcile, effect number `effect` is slow if it is of this kind.
    pub fn slow(&mut self, effect: u32, kind: EffectKind) {
        self.slow.push((effect, kind));
    }

    /// The pod gets another label.
    pub fn relabel(&mut self) {
        self.node.touch();
        self.hear();
    }

    /// Another writer takes our entries out of network-status.
    pub fn overwrite_status(&mut self) {
        if let Some(pod) = self.node.touch() {
            pod.status = Some(r#"[{"name":"podnet","interface":"eth0","default":true,"dns":{}}]"#.into());
        }
        self.hear();
    }

    /// In the next reconcile, the agent dies just before effect number `effect`.
    pub fn crash_at(&mut self, effect: u32) {
        self.crash_at = Some(effect);
    }

    pub(crate) fn clear_script(&mut self) {
        self.queue.clear();
        self.current = None;
        self.script.clear();
        self.slow.clear();
        self.crash_at = None;
    }

    /// The agent is asked to stop.
    pub fn stop(&mut self) {
        self.with_state(PodState::stop);
    }

    /// The node's disk is scanned for what multus and libcni keep.
    pub fn scan(&mut self) {
        let kept = self.state().map(PodState::kept_files).unwrap_or_default();
        let looked: Vec<_> = kept
            .into_iter()
            .map(|file| (file.clone(), self.node.has_file(&file)))
            .collect();
        self.with_state(|state, now| state.observe_files(&looked, now));
    }

    /// The agent has to hold back, or may go on.
    pub fn hold(&mut self, hold: Option<Hold>) {
        self.with_state(|state, now| state.hold(hold, now));
    }

    /// Everything that may be asked about the pod, in words.
    pub fn explain(&self) -> String {
        let state = self.state();
        state
            .map(|state| state.explain(self.node.now))
            .unwrap_or_default()
    }

    /// The agent dies, and starts again from what is on the disk.
    pub fn restart(&mut self) {
        self.die();
        self.agent = Agent::Started;
    }

    pub(crate) fn die(&mut self) {
        self.clear_script();
        self.pool.borrow_mut().release_all(self.owner);
        self.node.abandon_running();
    }

    /// Everything that failed is tried again now.
    pub(crate) fn wakes_all(&mut self) -> bool {
        self.with_state(|state, now| state.trigger(&Trigger::Anything, now));
        !self.queue.is_empty()
    }

    /// A pod that terminates keeps its network: nothing is begun in it.
    pub(crate) fn check_call(&mut self, call: &Call) {
        if !self.knew_that_it_terminates || !self.node.exists(&call.sandbox) {
            return;
        }
        let record = self.node.record(&call.sandbox, &call.interface);
        let plugged = |phase: &Phase| {
            matches!(
                phase,
                Phase::Plugged { .. } | Phase::Unplugging { result: Some(_), .. }
            )
        };
        if call.command == Command::Add || record.is_some_and(|record| plugged(&record.phase)) {
            self.node.break_rule(format!(
                "{:?} of {} in a pod that terminates",
                call.command, call.interface
            ));
        }
    }

    /// Whether nothing was started that is neither carried out nor running.
    pub(crate) fn has_no_work_in_hand(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn has_work(&self) -> bool {
        let granted = self.pool.borrow().has_granted(self.owner);
        matches!(self.agent, Agent::Started) || !self.queue.is_empty() || granted || self.is_due()
    }

    /// Notes every point of the next reconcile at which a crash would find the node changed, and
    /// what it would leave, unless that is `known`.
    pub(crate) fn note_crashes(&mut self, known: &Fingerprints) {
        self.crashes = Some(Crashes::new(known));
    }

    /// What was noted.
    pub(crate) fn crashes(&mut self) -> Vec<Crash> {
        self.crashes
            .take()
            .map(|crashes| crashes.found)
            .unwrap_or_default()
    }

    /// The effects of the last reconcile.
    pub fn effects(&self) -> &[EffectKind] {
        &self.trace
    }

    /// The ticks of the clock so far.
    pub fn ticks(&self) -> u64 {
        self.node.now.as_secs() / TICK.as_secs()
    }

    /// How many permits the pod holds or waits for.
    pub(crate) fn permits(&self) -> usize {
        self.pool.borrow().count(self.owner)
    }
}
