//! The agent's decisions: state in, effects out, outcomes back in. This crate cannot do I/O, read a
//! clock or an environment variable: `tests/dependencies.rs` holds the list of what it may depend
//! on.
//!
//! ```text
//! watch, node list, triggers    ┌───────────── pod_state ─────────────┐
//! ─────────────────────────────►│ sight → converge → publish          │
//!                               │           │        release          │
//! outcomes of effects           │         plan (desired × observed)   │
//! ─────────────────────────────►│           │                         │─► effects, events, counts
//!                               │   add, del (operation, teardown)    │
//!                               └─────────────────────────────────────┘
//! ```
//!
//! [`pod_state::PodState`] is the whole interface: one value per pod. The shell carries out
//! [`effect::Effect`]s, several at once, and reports each [`effect::Outcome`].
//!
//! # Invariants
//! - I1: what the annotation asks for is attached, or it is known and reported why not; nothing
//!   else is attached by us.
//! - I2: links, records and network-status agree.
//! - I3: leases are those of live attachments, or an owed release knows them.
//! - I4: no two calls run for one sandbox at the same time while it lives.
//! - I5: once nothing fails any more, all is done within the cap of the backoff and the grace
//!   period.
//! - I6: foreign interfaces, leases and entries of network-status stay unchanged.
//! - I7 (no wedge): when the network is good and its plugins are there, a wanted attachment is
//!   attached within the cap of the backoff, whatever failed before.
//! - I8 (no storm): calls and questions per second are bounded, at rest and in every outage.
//! - I9 (no head of line): an attachment waits only for its own sandbox.
//! - I10: the condition NetworksReady is never True with the digest of an annotation before its
//!   interfaces are attached, and says what is true once all is done.

mod add;
pub mod adopt;
pub mod attachment;
pub mod backoff;
pub mod cni_state;
pub mod condition;
mod converge;
mod del;
pub mod delegate;
pub mod device;
pub mod drift;
pub mod edit_times;
pub mod effect;
pub mod event;
pub mod explain;
pub mod fingerprint;
pub mod flap_damping;
pub mod identity;
pub mod kept_file;
pub mod multus_config;
pub mod network;
pub mod operation;
pub mod other_controller;
pub mod plan;
pub mod pod;
pub mod pod_state;
pub mod publication;
pub mod publish;
pub mod readiness;
pub mod record;
mod release;
pub mod retry;
pub mod sandbox;
pub mod sandbox_state;
mod sight;
mod site;
pub mod teardown;
pub mod turn;
