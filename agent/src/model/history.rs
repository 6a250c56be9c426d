//! A history: what happened, what went wrong, where the agent died. It can be replayed, shrunk, and printed as a test.

use std::fmt::{self, Write as _};

use super::Theme;
use crate::simulated::{Bug, Disturbance, Happening, Rig};

/// Something happens (or time passes, or outages end), then the agent looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What happens.
    pub what: What,
    /// What disturbs the look, and before which of its effects.
    pub script: Vec<(u32, Disturbance)>,
    /// The effect of the look before which the agent dies.
    pub crash: Option<u32>,
}

/// What begins a move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Nothing: an agent that has just started looks for the first time.
    Nothing,
    /// This.
    Happens(Happening),
    /// All outages end.
    Calm,
    /// Time goes on until the agent wakes.
    Wait,
}

impl What {
    /// Lets it happen. `false`: the agent will not wake for it, nor by itself.
    pub fn begin(self, rig: &mut Rig) -> bool {
        match self {
            Self::Nothing => true,
            Self::Happens(happening) => {
                rig.happen(happening);
                true
            }
            Self::Calm => {
                rig.calm();
                true
            }
            Self::Wait => rig.wait(),
        }
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
    pub fn play(&self, rig: &mut Rig) -> Option<String> {
        self.what.begin(rig);
        for (effect, disturbance) in &self.script {
            rig.disturb(*effect, *disturbance);
        }
        if let Some(effect) = self.crash {
            rig.crash_before(effect);
        }
        let undisturbed = rig.look() && self.script.is_empty();
        match self.what {
            What::Happens(happening) if undisturbed => rig.oversleeps(happening),
            _ => None,
        }
    }

    fn without_one(&self) -> Vec<Self> {
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
            What::Happens(happening) => writeln!(f, "    rig.happen(Happening::{happening:?});")?,
            What::Calm => writeln!(f, "    rig.calm();")?,
            What::Wait => writeln!(f, "    rig.wait();")?,
        }
        for (effect, disturbance) in &self.script {
            match disturbance {
                Disturbance::Fails(fault) => {
                    writeln!(
                        f,
                        "    rig.disturb({effect}, Disturbance::Fails(Fault::{fault:?}));"
                    )?;
                }
                Disturbance::Meanwhile(happening) => {
                    writeln!(
                        f,
                        "    rig.disturb({effect}, Disturbance::Meanwhile(Happening::{happening:?}));"
                    )?;
                }
            }
        }
        if let Some(effect) = self.crash {
            writeln!(f, "    rig.crash_before({effect});")?;
        }
        writeln!(f, "    rig.look();")
    }
}

/// What is wrong after a history and the rest that follows it, if anything.
pub fn replay(theme: &Theme, history: &[Move], bug: Option<Bug>) -> Option<String> {
    let mut rig = theme.begin();
    rig.plant(bug);
    let broken = history.iter().find_map(|step| step.play(&mut rig));
    broken.or_else(|| rig.settle())
}

/// Leaves out whatever is not needed for something to be wrong.
pub fn shrink(theme: &Theme, mut history: Vec<Move>, bug: Option<Bug>) -> Vec<Move> {
    loop {
        let shorter = (0..history.len()).map(|index| {
            let mut shorter = history.clone();
            shorter.remove(index);
            shorter
        });
        let simpler = (0..history.len()).flat_map(|index| {
            history[index].without_one().into_iter().map({
                let history = &history;
                move |simpler| {
                    let mut all = history.clone();
                    all[index] = simpler;
                    all
                }
            })
        });
        let found = shorter
            .chain(simpler)
            .find(|candidate| replay(theme, candidate, bug).is_some());
        match found {
            Some(found) => history = found,
            None => return history,
        }
    }
}

/// The history as a test, to be given a name that says what must hold.
pub fn as_test(theme: &Theme, history: &[Move]) -> String {
    let begin = if theme.running { "running" } else { "before_start" };
    let mut text = format!("#[test]\nfn found_by_the_model() {{\n    let mut rig = Rig::{begin}();\n");
    for step in history {
        let _ = write!(text, "{step}");
    }
    text + "    assert_eq!(rig.settle(), None);\n}\n"
}
