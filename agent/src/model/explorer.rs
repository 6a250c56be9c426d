//! Walks through all histories of a theme, one state at a time: states that are equal are looked at once.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    Theme,
    history::{Move, What},
};
use crate::simulated::{Bug, Crash, Disturbance, Effect, Prints, Rig, Snapshot, too_late};

/// What was enumerated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Histories, each with no crash or one at any of its points: so many paths lead through the states.
    pub histories: f64,
    /// Different states.
    pub states: usize,
    /// Looks of the agent that were run.
    pub looks: usize,
    /// Points at which it was killed: before effects that came after a change of the node.
    pub crashes: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            histories,
            states,
            looks,
            crashes,
        } = self;
        write!(
            f,
            "{histories:.0} histories through {states} states, {crashes} crash points, {looks} looks"
        )
    }
}

/// A history after which something is wrong.
pub struct Failure {
    /// What.
    pub breach: String,
    /// After what.
    pub history: Vec<Move>,
}

/// See the module.
pub struct Explorer<'t> {
    /// So far.
    pub counts: Counts,
    theme: &'t Theme,
    length: usize,
    rig: Rig,
    /// The number of each state.
    states: Prints,
    /// How each state was first reached: from which one, by which move.
    origins: Vec<(usize, Option<Move>)>,
    /// States from which more is to happen, by the length of their history.
    open: Vec<Vec<(usize, Snapshot)>>,
    edges: Vec<Edge>,
    /// Sleeps without outages from which the agent is known to come to a good rest, and after how many ticks.
    settled: Prints,
}

/// A move from state to state.
struct Edge {
    from: usize,
    to: usize,
    /// How much longer the history is.
    happened: usize,
    crashed: bool,
}

/// One sleep on the way to a rest.
struct Sleep {
    print: Option<u64>,
    tick: u64,
    /// The look after it changed something.
    changed: bool,
}

impl<'t> Explorer<'t> {
    /// All histories of up to `length` happenings and faults.
    pub fn new(theme: &'t Theme, length: usize, bug: Option<Bug>) -> Self {
        let mut rig = theme.begin();
        rig.plant(bug);
        Self {
            counts: Counts::default(),
            theme,
            length,
            rig,
            states: Prints::default(),
            origins: Vec::new(),
            open: vec![Vec::new(); length + 1],
            edges: Vec::new(),
            settled: Prints::default(),
        }
    }

    /// Walks.
    ///
    /// # Errors
    /// The first history that ends badly.
    pub fn run(&mut self) -> Result<Counts, Failure> {
        let begin = self.rig.snapshot();
        self.states.borrow_mut().insert(self.rig.fingerprint(), 0);
        self.origins.push((0, None));
        self.open[0].push((0, begin));
        for so_far in 0..self.length {
            // A crash, and the first look of an agent that has just started, make a history no longer.
            while let Some((state, snapshot)) = self.open[so_far].pop() {
                self.go_on(state, &snapshot, so_far)?;
            }
        }
        self.counts.states = self.origins.len();
        self.counts.histories = self.count_histories();
        Ok(self.counts)
    }

    fn go_on(&mut self, state: usize, snapshot: &Snapshot, so_far: usize) -> Result<(), Failure> {
        if snapshot.has_just_started() {
            self.try_move(state, snapshot, Move::of(What::Nothing), so_far)?;
        }
        for happening in self.theme.happenings {
            if snapshot.can(*happening) {
                self.try_move(state, snapshot, Move::of(What::Happens(*happening)), so_far)?;
            }
        }
        Ok(())
    }

    /// Plays a move with the disturbances that it has, then with one more at each later effect, as long as the history may be.
    fn try_move(
        &mut self,
        from: usize,
        snapshot: &Snapshot,
        step: Move,
        so_far: usize,
    ) -> Result<(), Failure> {
        let happened = usize::from(step.what != What::Nothing) + step.script.len();
        let length = so_far + happened;
        self.counts.looks += 1;
        self.rig.resume(snapshot);
        self.rig.note_crashes(&self.states);
        let broken = step.play(&mut self.rig);
        if let Some(breach) = broken {
            return Err(self.failure(breach, from, vec![step]));
        }
        let (crashes, effects) = (self.rig.crashes(), self.rig.effects());
        let print = self.rig.fingerprint();
        let end = (!self.states.borrow().contains_key(&print)).then(|| self.rig.snapshot());
        let to = self.arrive(from, &step, print, end, length)?;
        self.edges.push(Edge {
            from,
            to,
            happened,
            crashed: false,
        });
        for Crash { before, print, left } in crashes {
            let crash = Move {
                crash: Some(before),
                ..step.clone()
            };
            let to = self.arrive(from, &crash, print, left, length)?;
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

    fn disturbances(&self, effect: Effect) -> Vec<Disturbance> {
        let theme = self.theme;
        let faults = effect
            .faults()
            .iter()
            .filter(|fault| (theme.faults)(effect, **fault));
        let happenings = theme
            .meanwhile
            .iter()
            .map(|happening| Disturbance::Meanwhile(*happening));
        faults
            .map(|fault| Disturbance::Fails(*fault))
            .chain(happenings)
            .collect()
    }

    /// A move has led to a state, `length` happenings from the beginning; `left` is that state, if it was not known when the move was
    /// played. The answer is its number.
    fn arrive(
        &mut self,
        from: usize,
        step: &Move,
        print: u64,
        left: Option<Snapshot>,
        length: usize,
    ) -> Result<usize, Failure> {
        let known = self.states.borrow().get(&print).copied();
        if let Some(state) = known.and_then(|state| usize::try_from(state).ok()) {
            return Ok(state);
        }
        let state = self.origins.len();
        self.origins.push((from, Some(step.clone())));
        self.states.borrow_mut().insert(print, state as u64);
        if let Some(left) = left {
            self.settle(state, &left)?;
            if length < self.length {
                self.open[length].push((state, left));
            }
        }
        Ok(state)
    }

    /// Outages end; from here the agent has to come to a good rest, wherever it is killed on the way, and killed again.
    fn settle(&mut self, state: usize, end: &Snapshot) -> Result<(), Failure> {
        let begin = match (end.has_outage(), end.has_just_started()) {
            (true, _) => What::Calm,
            (false, true) => What::Nothing,
            (false, false) => What::Wait,
        };
        let mut open = vec![(end.clone(), Vec::new(), begin)];
        let mut begun = HashSet::new();
        while let Some((from, path, what)) = open.pop() {
            self.rig.resume(&from);
            for (print, left, path) in self.come_to_rest(state, path, what)? {
                if begun.insert(print) {
                    open.push((left, path, What::Nothing));
                }
            }
        }
        Ok(())
    }

    /// One way to a rest. The answer is what crashes on it leave that was not known to be good, with the way to it.
    fn come_to_rest(
        &mut self,
        state: usize,
        mut path: Vec<Move>,
        mut what: What,
    ) -> Result<Vec<(u64, Snapshot, Vec<Move>)>, Failure> {
        let (mut way, mut left_by_crashes) = (Vec::<Sleep>::new(), Vec::new());
        let ticks_left = loop {
            let goes_on = what.begin(&mut self.rig);
            // Outages that end are told to the agent, so what it does then does not follow from the state alone.
            let print = (what != What::Calm).then(|| self.rig.fingerprint());
            let settled = print.and_then(|print| self.settled.borrow().get(&print).copied());
            if let Some(ticks) = settled {
                break ticks;
            }
            if !goes_on || way.iter().any(|sleep| sleep.print == print) {
                match self.rig.breach() {
                    Some(breach) => return Err(self.failure(breach, state, path)),
                    None => break 0,
                }
            }
            let tick = self.rig.ticks();
            self.rig.note_crashes(&self.settled);
            let changed = self.rig.look_changes();
            self.counts.looks += 1;
            for crash in self.rig.crashes() {
                self.counts.crashes += 1;
                if let Some(left) = crash.left {
                    let last = Move {
                        crash: Some(crash.before),
                        ..Move::of(what)
                    };
                    left_by_crashes.push((crash.print, left, path.iter().cloned().chain([last]).collect()));
                }
            }
            path.push(Move::of(what));
            way.push(Sleep { print, tick, changed });
            what = What::Wait;
        };
        match self.note_way(&way, ticks_left) {
            Some(breach) => Err(self.failure(breach, state, path)),
            None => Ok(left_by_crashes),
        }
    }

    /// Notes how long it took from each sleep to the last change. `ticks_left`: from where the rig is now.
    fn note_way(&self, way: &[Sleep], ticks_left: u64) -> Option<String> {
        let mut last_change = (ticks_left > 0).then_some(self.rig.ticks() + ticks_left);
        let mut settled = self.settled.borrow_mut();
        for sleep in way.iter().rev() {
            if sleep.changed {
                last_change = last_change.max(Some(sleep.tick));
            }
            let ticks = last_change.map_or(0, |last| last.saturating_sub(sleep.tick));
            if let Some(breach) = too_late(ticks) {
                return Some(breach);
            }
            if let Some(print) = sleep.print {
                settled.insert(print, ticks);
            }
        }
        None
    }

    fn failure(&self, breach: String, state: usize, then: Vec<Move>) -> Failure {
        let mut history: Vec<Move> = then.into_iter().rev().collect();
        let mut at = state;
        while let Some((from, Some(step))) = self.origins.get(at) {
            history.push(step.clone());
            at = *from;
        }
        history.reverse();
        Failure { breach, history }
    }

    /// How many paths there are from the beginning, none longer than allowed, each with at most one crash.
    fn count_histories(&self) -> f64 {
        let mut out: HashMap<usize, Vec<&Edge>> = HashMap::new();
        for edge in &self.edges {
            out.entry(edge.from).or_default().push(edge);
        }
        // By length, then without and with a crash, then by state.
        let mut paths = vec![[vec![0.0; self.origins.len()], vec![0.0; self.origins.len()]]; self.length + 1];
        paths[0][0][0] = 1.0;
        let mut total = 0.0;
        for length in 0..=self.length {
            for crashed in [false, true] {
                // Those that have just started come first: their first look makes a history no longer.
                let starts = |state: &usize| {
                    out.get(state)
                        .is_some_and(|edges| edges.iter().any(|edge| edge.happened == 0))
                };
                let (first, second): (Vec<usize>, Vec<usize>) = (0..self.origins.len()).partition(starts);
                for state in first.into_iter().chain(second) {
                    let here: f64 = paths[length][usize::from(crashed)][state];
                    if here == 0.0 {
                        continue;
                    }
                    total += here;
                    for edge in out.get(&state).into_iter().flatten() {
                        let longer = length + edge.happened;
                        if longer <= self.length && !(crashed && edge.crashed) {
                            paths[longer][usize::from(crashed || edge.crashed)][edge.to] += here;
                        }
                    }
                }
            }
        }
        total
    }
}
