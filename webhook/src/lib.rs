//! The admission webhook: fills, refuses and validates the networks annotation.
//!
//! ```text
//! server ── routes ── review ─┬─ mutate    (fill in interface names: a JSON patch)
//!   │                         └─ verdict   (every rule: one status message)
//!   tls ◄── certificates         │
//!                             networks, namespaces (watch caches)
//! ```
//! The rules themselves are in the `shared` crate. No call to an API server happens while a review is answered, but
//! for the one look that precedes a refusal because of a missing network.

pub mod admin;
mod api;
pub mod args;
mod cache;
pub mod certificates;
pub mod lint;
pub mod log;
pub mod metrics;
pub mod mutate;
pub mod namespaces;
pub mod networks;
pub mod review;
pub mod routes;
pub mod run;
pub mod server;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod verdict;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit of this build, where the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
