//! How much was enumerated.

use std::{collections::HashMap, fmt};

/// What was enumerated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Histories, each with no crash or one at any of its points: so many paths lead through the
    /// states.
    pub histories: f64,
    /// Different states.
    pub states: usize,
    /// Reconciles that were run.
    pub reconciles: usize,
    /// Points at which the agent was killed.
    pub crashes: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            histories,
            states,
            reconciles,
            crashes,
        } = self;
        write!(
            f,
            "{histories:.0} histories through {states} states, {crashes} crash points, {reconciles} reconciles"
        )
    }
}

/// A move from state to state.
pub struct Edge {
    /// From here.
    pub from: usize,
    /// To here.
    pub to: usize,
    /// How much longer the history is.
    pub happened: usize,
    /// The agent died.
    pub crashed: bool,
}

/// How many paths there are from the beginning, none longer than allowed, each with at most one
/// crash.
pub fn count_histories(edges: &[Edge], states: usize, longest: usize) -> f64 {
    let mut out: HashMap<usize, Vec<&Edge>> = HashMap::new();
    for edge in edges {
        out.entry(edge.from).or_default().push(edge);
    }
    // By length, then without and with a crash, then by state.
    let mut paths = vec![[vec![0.0; states], vec![0.0; states]]; longest + 1];
    paths[0][0][0] = 1.0;
    let mut total = 0.0;
    for length in 0..=longest {
        for crashed in [false, true] {
            // Those that have just started come first: their work makes a history no longer.
            let starts = |state: &usize| {
                out.get(state)
                    .is_some_and(|edges| edges.iter().any(|edge| edge.happened == 0))
            };
            let (first, second): (Vec<usize>, Vec<usize>) = (0..states).partition(starts);
            for state in first.into_iter().chain(second) {
                let here: f64 = paths[length][usize::from(crashed)][state];
                if here == 0.0 {
                    continue;
                }
                total += here;
                for edge in out.get(&state).into_iter().flatten() {
                    let longer = length + edge.happened;
                    if longer <= longest && !(crashed && edge.crashed) {
                        paths[longer][usize::from(crashed || edge.crashed)][edge.to] += here;
                    }
                }
            }
        }
    }
    total
}
