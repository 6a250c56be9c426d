//! A simulated node for the agent's core, and a model checker over it. For tests only.
//!
//! Multus and its plugins, the runtime, libcni's cache, the disk, the API server and the clock are
//! small, but have their real manners. The core is the program's own: [`Harness`] drives
//! [`agent_core::pod_state::PodState`] as the program's worker does. Every effect can fail, be slow
//! or late; every incident can happen just before it; the agent can die before it.
//!
//! The clock goes in steps of [`TICK`]. The agent wakes at the first step at or after the time that
//! it asked for: late, but never early. An effect takes no time unless a fault says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is a test: a broken assumption has to stop it"
)]

mod agent;
mod change;
mod condition;
mod crash;
mod delegate_file;
mod devices;
mod effects;
pub mod explore;
mod fault;
mod fingerprint;
mod harness;
mod incident;
mod invariants;
mod multus;
mod mutant;
mod node;
mod plugins;
mod pool;
mod reconcile;
mod rules;
mod running;
mod settle;
mod snapshot;
mod variant;

use std::time::Duration;

pub use crash::{Crash, Fingerprints};
pub use fault::{Disturbance, EffectKind, Fault};
pub use harness::Harness;
pub use incident::Incident;
pub use mutant::Mutant;
pub use node::{Lease, Node, interface, network, sandbox_id};
pub use pool::Pool;
pub use snapshot::{Begin, Snapshot};
pub use variant::Variant;

/// The step of the clock.
pub const TICK: Duration = Duration::from_secs(10);
/// The time at which the node's clock begins, seconds since 1970.
const EPOCH: u64 = 1_000_000;
/// The resource of the networks that are on devices.
pub const RESOURCE: &str = "vendor.example/vf";
/// The network that multus attaches to every sandbox, where a node is set up so.
const DEFAULT_NETWORK: &str = "d";
/// The uid of the pod that the agent works for; other pods of its name have others.
const UID: &str = "uid-1";
