//! The node agent: plugs and unplugs pod interfaces to match the networks annotation.
//!
//! The core ([`plan`], [`adopt`], [`execute`], [`release`], [`reconcile`]) touches the outside only through [`world::World`]; the rest is
//! the outside: the watches, the clients of multus, the runtime and the API server, the records on the disk.

pub mod admin;
pub mod adopt;
pub mod api;
pub mod api_error;
pub mod args;
pub mod backoff;
pub mod board;
pub mod cni_cache;
pub mod cri;
pub mod events;
pub mod execute;
pub mod explain;
pub mod failpoint;
pub mod health;
pub mod identity;
pub mod live;
pub mod mailbox;
pub mod memory;
pub mod metrics;
#[cfg(test)]
mod model;
pub mod multus;
pub mod networks;
pub mod pace;
pub mod plan;
pub mod pod;
pub mod pods;
pub mod reconcile;
pub mod records;
pub mod regular_file;
pub mod release;
pub mod run;
pub mod sandbox_poller;
#[cfg(test)]
mod simulated;
pub mod status_writer;
pub mod uds;
pub mod worker;
pub mod world;

/// The version that is logged at start.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this was built from, as far as the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
