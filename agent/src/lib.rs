//! The node agent: plugs and unplugs pod interfaces to match the networks annotation.
//!
//! The decisions are in the crate `agent-core`, which cannot do I/O. This crate is the shell around
//! it. [`run`] puts the program together. [`pods`] feeds the core with what the watches and the
//! [`health::sandbox_poller`] see, and has a [`pods::worker`] for each pod, which carries out the
//! core's effects through [`node`], several at once.
//!
//! Each peer has one module: [`kubernetes`] the API server, [`multus`] the daemon, [`cri`] the
//! container runtime, [`devices`] the kubelet, [`cni`] the files of multus and libcni, [`disk`] the
//! agent's own records. [`health`] says which of them can be reached; [`admin`] shows that, the
//! [`metrics`] and an explanation of each pod.

pub mod admin;
pub mod args;
pub mod cni;
pub mod cri;
pub mod devices;
pub mod disk;
pub mod failpoint;
pub mod health;
pub mod kubernetes;
pub mod metrics;
pub mod multus;
pub mod multus_config;
pub mod node;
pub mod pods;
pub mod run;
pub mod uds;

/// The version that is logged at start.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this was built from, as far as the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
