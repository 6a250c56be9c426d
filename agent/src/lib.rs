//! The node agent: plugs and unplugs pod interfaces to match the networks annotation.
//!
//! The decisions are in the crate `agent-core`, which cannot do I/O. This crate is the shell around it: [`pods`] and
//! [`worker`] feed it with what the watches and the [`sandbox_poller`] see, [`node`] carries out its effects, the rest
//! are the clients of multus, the runtime, the API server and the disk, one place for each.

pub mod admin;
pub mod args;
pub mod cni;
pub mod cri;
pub mod disk;
pub mod failpoint;
pub mod health;
pub mod kubernetes;
pub mod metrics;
pub mod multus;
pub mod node;
pub mod open_files;
pub mod pods;
pub mod run;
pub mod uds;
pub mod worker;

/// The version that is logged at start.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this was built from, as far as the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
