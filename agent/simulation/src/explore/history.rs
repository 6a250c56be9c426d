//! A history: what happened, what went wrong, where the agent died. It can be replayed, shrunk, and
//! printed as a test.

use std::fmt::{self, Write as _};

use super::Scope;
use crate::{Disturbance, Harness, Incident, Mutant};

/// Something happens (or time passes, or outages end), then the agent works.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What happens.
    pub what: What,
    /// What disturbs the work, and before which of its effects.
    pub script: Vec<(u32, Disturbance)>,
    /// The effect before which the agent dies.
    pub crash: Option<u32>,
}

/// What begins a move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Nothing: an agent that has just started begins to work.
    Nothing,
    /// This.
    Happens(Incident),
    /// All outages end.
    OutagesEnd,
    /// All outages end, and all networks are corrected.
    Mended,
    /// Time goes on until the agent wakes.
    Wait,
}

impl What {
    /// Lets it happen. `false`: the agent will not wake for it, nor by itself.
    pub fn begin(self, harness: &mut Harness) -> bool {
        match self {
            Self::Nothing => {}
            Self::Happens(incident) => harness.happen(incident),
            Self::OutagesEnd => harness.end_outages(),
            Self::Mended => harness.mend(),
            Self::Wait => return harness.wait(),
        }
        true
    }
}

impl Move {
    /// Undisturbed.
    pub fn of(what: What) -> Self {
        Self {
            what,
            script: Vec::new(),
            crash: None,
        }
    }

    /// Plays it. What is broken already, if anything.
    pub fn play(&self, harness: &mut Harness) -> Option<String> {
        self.what.begin(harness);
        for (effect, disturbance) in &self.script {
            harness.disturb(*effect, *disturbance);
        }
        if let Some(effect) = self.crash {
            harness.crash_at(effect);
        }
        let undisturbed = harness.reconcile() && self.script.is_empty();
        match self.what {
            What::Happens(incident) if undisturbed => harness.missed_wakeup(incident),
            _ => None,
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        if self.crash.is_some() {
            simpler.push(Self {
                crash: None,
                ..self.clone()
            });
        }
        for index in 0..self.script.len() {
            let mut script = self.script.clone();
            script.remove(index);
            simpler.push(Self {
                script,
                ..self.clone()
            });
        }
        simpler
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Nothing => {}
            What::Happens(incident) => writeln!(f, "    harness.happen(Incident::{});", Qualified(incident))?,
            What::OutagesEnd => writeln!(f, "    harness.end_outages();")?,
            What::Mended => writeln!(f, "    harness.mend();")?,
            What::Wait => writeln!(f, "    harness.wait();")?,
        }
        for (effect, disturbance) in &self.script {
            let what = match disturbance {
                Disturbance::Fails(fault) => format!("Fails(Fault::{fault:?})"),
                Disturbance::Meanwhile(incident) => format!("Meanwhile(Incident::{})", Qualified(*incident)),
                Disturbance::Unseen(incident) => format!("Unseen(Incident::{})", Qualified(*incident)),
            };
            writeln!(f, "    harness.disturb({effect}, Disturbance::{what});")?;
        }
        if let Some(effect) = self.crash {
            writeln!(f, "    harness.crash_at({effect});")?;
        }
        writeln!(f, "    harness.reconcile();")
    }
}

/// An incident as Rust writes it.
struct Qualified(Incident);

impl fmt::Display for Qualified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Incident::NetworkBroken(name, variant) => {
                write!(f, "NetworkBroken({name:?}, Variant::{variant:?})")
            }
            incident => write!(f, "{incident:?}"),
        }
    }
}

/// What is wrong after a history and the rest that follows it, if anything.
pub fn replay(scope: &Scope, history: &[Move], mutant: Option<Mutant>) -> Option<String> {
    let mut harness = Harness::begin(scope.begin).with_mutant(mutant);
    let broken = history.iter().find_map(|step| step.play(&mut harness));
    broken
        .or_else(|| harness.storm_of_an_outage())
        .or_else(|| harness.settle())
        .or_else(|| {
            harness.mend();
            harness.settle()
        })
}

/// Leaves out whatever is not needed for something to be wrong.
pub fn shrink(scope: &Scope, mut history: Vec<Move>, mutant: Option<Mutant>) -> Vec<Move> {
    loop {
        let shorter = (0..history.len()).map(|index| {
            let mut shorter = history.clone();
            shorter.remove(index);
            shorter
        });
        let simpler = (0..history.len()).flat_map(|index| {
            let history = &history;
            history[index].simpler().into_iter().map(move |simpler| {
                let mut all = history.clone();
                all[index] = simpler;
                all
            })
        });
        let found = shorter
            .chain(simpler)
            .find(|candidate| replay(scope, candidate, mutant).is_some());
        match found {
            Some(found) => history = found,
            None => return history,
        }
    }
}

/// The history as a test, to be given a name that says what must hold.
pub fn as_test(scope: &Scope, history: &[Move]) -> String {
    let begin = scope.begin;
    let mut text = format!(
        "#[test]\nfn found_by_the_explorer() {{\n    let mut harness = Harness::begin(Begin::{begin:?});\n"
    );
    for step in history {
        let _ = write!(text, "{step}");
    }
    text + "    assert_eq!(harness.settle(), None);\n}\n"
}
