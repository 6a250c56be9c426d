//! The agent between two reconciles.

use agent_core::pod_state::PodState;

/// The agent of a node.
#[derive(Clone)]
pub(crate) enum Agent {
    /// It is away.
    Away,
    /// It has just started, and has not done anything.
    Started,
    /// It waits for something to do.
    Waits(Box<PodState>),
}
