//! The admission webhook: fills, refuses and validates the networks annotation.
//!
//! ```text
//! run ─► http: server, connection ─► routes ─► admission: review ┬─► fill  (names: a JSON patch)
//!          │                        probes                      └─► check (every rule, one answer)
//!          ▼                           │                               │
//!         tls ◄── tls::ca              ▼                               ▼
//!                   └──────────► cluster: client, cache, networks, namespaces, replicas
//! ```
//! `lint` passes files instead of reviews to `admission`; all modules may count in `metrics`. The
//! rules are in the `shared` crate. While a review is answered the API server is called only to
//! look up a network before a refusal that rests on it or a warning that it is missing, and to list
//! the pods that use a deleted network. `takeover` restarts the program for new settings.

#![allow(
    missing_docs,
    reason = "internal library of one program: where a name says it all, a comment would repeat it"
)]

pub mod admission;
pub mod args;
pub mod cluster;
pub mod http;
pub mod lint;
pub mod metrics;
pub mod run;
pub mod takeover;
#[cfg(test)]
mod testing;
pub mod tls;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit of this build, where the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
