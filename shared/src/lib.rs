//! The rules of the networks annotation, its formats and its configuration, for both programs.
//! Pure: no I/O, no clock, no Kubernetes client.

pub mod annotations;
pub mod cni;
pub mod config;
mod distance;
mod go_net;
pub mod history;
pub mod names;
pub mod naming;
pub mod readiness;
pub mod selection;
pub mod spanned_json;
pub mod status;
pub mod validate;
pub mod violation;
mod work;
