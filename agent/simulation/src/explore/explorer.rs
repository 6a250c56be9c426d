//! Walks through all histories of a scope, one state at a time: equal states are walked through
//! once.

use std::collections::HashSet;

use super::{
    Scope,
    counts::{Counts, Edge, count_histories},
    history::{Move, What},
};
use crate::{Crash, Disturbance, EffectKind, Fingerprints, Harness, Mutant, Snapshot, settle::too_late};

/// A history after which something is wrong.
pub struct Failure {
    /// What.
    pub broken: String,
    /// After what.
    pub history: Vec<Move>,
}

/// See the module.
pub struct Explorer<'s> {
    /// So far.
    pub counts: Counts,
    scope: &'s Scope,
    length: usize,
    harness: Harness,
    /// The number of each state.
    states: Fingerprints,
    /// How each state was first reached: from which one, by which move.
    origins: Vec<(usize, Option<Move>)>,
    /// States from which more is to happen, by the length of their history.
    open: Vec<Vec<(usize, Snapshot)>>,
    edges: Vec<Edge>,
    /// Waits without outages from which the agent is known to come to a good rest, and after how
    /// many ticks.
    settled: Fingerprints,
}

/// One wait on the way to a rest.
struct Wait {
    fingerprint: Option<u64>,
    tick: u64,
    /// The work after it changed something.
    changed: bool,
    /// Something runs on that the agent cannot end.
    busy: bool,
    /// A plugin refuses a DEL for good.
    refused: bool,
    /// Effects of the work after it.
    effects: usize,
}

impl<'s> Explorer<'s> {
    /// All histories of up to `length` incidents and faults.
    pub fn new(scope: &'s Scope, length: usize, mutant: Option<Mutant>) -> Self {
        Self {
            counts: Counts::default(),
            scope,
            length,
            harness: Harness::begin(scope.begin).with_mutant(mutant),
            states: Fingerprints::default(),
            origins: Vec::new(),
            open: vec![Vec::new(); length + 1],
            edges: Vec::new(),
            settled: Fingerprints::default(),
        }
    }

    /// Walks.
    ///
    /// # Errors
    /// The first history that ends badly.
    pub fn run(&mut self) -> Result<Counts, Failure> {
        let begin = self.harness.snapshot();
        self.states.borrow_mut().insert(self.harness.fingerprint(), 0);
        self.origins.push((0, None));
        self.open[0].push((0, begin));
        for so_far in 0..self.length {
            // A crash, and the work of an agent that has just started, make a history no longer.
            while let Some((state, snapshot)) = self.open[so_far].pop() {
                self.go_on(state, &snapshot, so_far)?;
            }
        }
        self.counts.states = self.origins.len();
        self.counts.histories = count_histories(&self.edges, self.origins.len(), self.length);
        Ok(self.counts)
    }

    fn go_on(&mut self, state: usize, snapshot: &Snapshot, so_far: usize) -> Result<(), Failure> {
        if snapshot.has_just_started() {
            self.try_move(state, snapshot, Move::of(What::Nothing), so_far)?;
        }
        for incident in self.scope.incidents {
            self.harness.resume(snapshot);
            if self.harness.can(*incident) {
                self.try_move(state, snapshot, Move::of(What::Happens(*incident)), so_far)?;
            }
        }
        Ok(())
    }

    /// Plays a move with the disturbances that it has, then with one more at each later effect, as
    /// long as the history may be.
    fn try_move(
        &mut self,
        from: usize,
        snapshot: &Snapshot,
        step: Move,
        so_far: usize,
    ) -> Result<(), Failure> {
        let happened = usize::from(step.what != What::Nothing) + step.script.len();
        let length = so_far + happened;
        self.counts.reconciles += 1;
        self.harness.resume(snapshot);
        self.harness.note_crashes(&self.states);
        let broken = step.play(&mut self.harness);
        let (crashes, effects) = (self.harness.crashes(), self.harness.effects().to_vec());
        if let Some(broken) = broken {
            return Err(self.failure(broken, from, vec![step]));
        }
        let fingerprint = self.harness.fingerprint();
        let end = (!self.states.borrow().contains_key(&fingerprint)).then(|| self.harness.snapshot());
        let to = self.arrive(from, &step, fingerprint, end, length)?;
        self.edges.push(Edge {
            from,
            to,
            happened,
            crashed: false,
        });
        for crash in crashes {
            let died = Move {
                crash: Some(crash.before),
                ..step.clone()
            };
            let to = self.arrive(from, &died, crash.fingerprint, crash.left, length)?;
            self.edges.push(Edge {
                from,
                to,
                happened,
                crashed: true,
            });
            self.counts.crashes += 1;
        }
        if length == self.length {
            return Ok(());
        }
        let tried = step.script.last().map_or(0, |(effect, _)| *effect + 1);
        for (effect, kind) in (0..).zip(effects).filter(|(effect, _)| *effect >= tried) {
            for disturbance in self.disturbances(kind) {
                let mut disturbed = step.clone();
                disturbed.script.push((effect, disturbance));
                self.try_move(from, snapshot, disturbed, so_far)?;
            }
        }
        Ok(())
    }

    fn disturbances(&self, effect: EffectKind) -> Vec<Disturbance> {
        let scope = self.scope;
        let faults = effect
            .faults()
            .iter()
            .filter(|fault| (scope.faults)(effect, **fault));
        let meanwhile = scope.meanwhile.iter();
        let unseen = meanwhile.clone().filter(|incident| incident.is_of_pod());
        faults
            .map(|fault| Disturbance::Fails(*fault))
            .chain(
                meanwhile
                    .clone()
                    .map(|incident| Disturbance::Meanwhile(*incident)),
            )
            .chain(unseen.map(|incident| Disturbance::Unseen(*incident)))
            .collect()
    }

    /// A move has led to a state, `length` incidents from the beginning; `left` is that state, if
    /// it was not known when the move was played. The answer is its number.
    fn arrive(
        &mut self,
        from: usize,
        step: &Move,
        fingerprint: u64,
        left: Option<Snapshot>,
        length: usize,
    ) -> Result<usize, Failure> {
        let known = self.states.borrow().get(&fingerprint).copied();
        if let Some(state) = known.and_then(|state| usize::try_from(state).ok()) {
            return Ok(state);
        }
        let state = self.origins.len();
        self.origins.push((from, Some(step.clone())));
        self.states.borrow_mut().insert(fingerprint, state as u64);
        if let Some(left) = left {
            self.settle(state, &left)?;
            if length < self.length {
                self.open[length].push((state, left));
            }
        }
        Ok(state)
    }

    /// Outages last for a while, then they end; from here the agent has to come to a good rest,
    /// wherever it is killed on the way, and killed again.
    fn settle(&mut self, state: usize, end: &Snapshot) -> Result<(), Failure> {
        if end.has_outage() {
            self.harness.resume(end);
            if let Some(broken) = self.harness.storm_of_an_outage() {
                return Err(self.failure(broken, state, Vec::new()));
            }
        }
        let begin = match (end.has_outage(), end.has_just_started()) {
            (true, _) => What::OutagesEnd,
            (false, true) => What::Nothing,
            (false, false) => What::Wait,
        };
        let mut open = vec![(end.clone(), Vec::new(), begin)];
        if end.has_broken_network() {
            open.push((end.clone(), Vec::new(), What::Mended));
        }
        let mut begun = HashSet::new();
        while let Some((from, path, what)) = open.pop() {
            self.harness.resume(&from);
            for (fingerprint, left, path) in self.come_to_rest(state, path, what)? {
                if begun.insert(fingerprint) {
                    open.push((left, path, What::Nothing));
                }
            }
        }
        Ok(())
    }

    /// One way to a rest. The answer is what crashes on it leave that was not known to be good,
    /// with the way to it.
    fn come_to_rest(
        &mut self,
        state: usize,
        mut path: Vec<Move>,
        mut what: What,
    ) -> Result<Vec<(u64, Snapshot, Vec<Move>)>, Failure> {
        let (mut way, mut left_by_crashes) = (Vec::<Wait>::new(), Vec::new());
        let ticks_left = loop {
            let goes_on = what.begin(&mut self.harness);
            // The end of an outage is reported to the agent, so what it does then does not follow
            // from the state alone.
            let is_state = !matches!(what, What::OutagesEnd | What::Mended);
            let fingerprint = is_state.then(|| self.harness.fingerprint());
            let settled = fingerprint.and_then(|print| self.settled.borrow().get(&print).copied());
            if let Some(ticks) = settled {
                break ticks;
            }
            let before = way.iter().position(|wait| wait.fingerprint == fingerprint);
            if !goes_on || before.is_some() {
                let storm = before.and_then(|before| self.storm_of_a_rest(&way[before..]));
                match storm.or_else(|| self.harness.broken_invariant()) {
                    Some(broken) => return Err(self.failure(broken, state, path)),
                    None => break 0,
                }
            }
            let tick = self.harness.ticks();
            let (busy, refused) = (self.harness.node.is_busy(), self.harness.node.refuses_for_good());
            self.harness.note_crashes(&self.settled);
            let changed = self.harness.reconcile_changes();
            self.counts.reconciles += 1;
            for Crash {
                before,
                fingerprint,
                left,
            } in self.harness.crashes()
            {
                self.counts.crashes += 1;
                if let Some(left) = left {
                    let last = Move {
                        crash: Some(before),
                        ..Move::of(what)
                    };
                    left_by_crashes.push((fingerprint, left, path.iter().cloned().chain([last]).collect()));
                }
            }
            path.push(Move::of(what));
            way.push(Wait {
                fingerprint,
                tick,
                changed,
                busy,
                refused,
                effects: self.harness.effects().len(),
            });
            what = What::Wait;
        };
        match self.note_way(&way, ticks_left) {
            Some(broken) => Err(self.failure(broken, state, path)),
            None => Ok(left_by_crashes),
        }
    }

    /// I8: a rest that repeats itself costs little.
    fn storm_of_a_rest(&self, cycle: &[Wait]) -> Option<String> {
        let effects: usize = cycle.iter().map(|wait| wait.effects).sum();
        let begin = cycle.first().map_or(0, |wait| wait.tick);
        let ticks = self.harness.ticks().saturating_sub(begin).max(1);
        self.harness.too_many(effects, ticks)
    }

    /// Notes how long it took from each wait to the last change. `ticks_left`: from where the
    /// harness is now.
    fn note_way(&self, way: &[Wait], ticks_left: u64) -> Option<String> {
        let mut last_change = (ticks_left > 0).then_some(self.harness.ticks() + ticks_left);
        let mut settled = self.settled.borrow_mut();
        for wait in way.iter().rev() {
            if wait.changed {
                last_change = last_change.max(Some(wait.tick));
            }
            let ticks = last_change.map_or(0, |last| last.saturating_sub(wait.tick));
            if let Some(broken) = too_late(ticks, wait.refused).filter(|_| !wait.busy) {
                return Some(broken);
            }
            if let Some(print) = wait.fingerprint {
                settled.insert(print, ticks);
            }
        }
        None
    }

    fn failure(&self, broken: String, state: usize, then: Vec<Move>) -> Failure {
        let mut history: Vec<Move> = then.into_iter().rev().collect();
        let mut at = state;
        while let Some((from, Some(step))) = self.origins.get(at) {
            history.push(step.clone());
            at = *from;
        }
        history.reverse();
        Failure { broken, history }
    }
}
