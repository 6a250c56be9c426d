//! The admission webhook: fills, refuses and validates the networks annotation.
//!
//! ```text
//! run ─► http: server, connection ─► routes ─► admission: review ─┬─► fill   (names: a JSON patch)
//!          │                         probes                      └─► check  (every rule: one answer)
//!          ▼                           │                               │
//!         tls ◄── tls::ca              ▼                               ▼
//!                   └──────────► cluster: client, cache, networks, namespaces
//! ```
//! `lint` asks `admission` about files instead of reviews; everything may count in `metrics`. The rules
//! themselves are in the `shared` crate. No call to an API server happens while a review is
//! answered, but for the one lookup before a refusal that rests on a network, or before the warning
//! that there is no such network.

pub mod admission;
pub mod args;
pub mod cluster;
pub mod http;
pub mod lint;
pub mod metrics;
pub mod run;
#[cfg(test)]
mod testing;
pub mod tls;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit of this build, where the build knew it.
pub const COMMIT: &str = match option_env!("GIT_SHA") {
    Some(commit) => commit,
    None => "unknown",
};
