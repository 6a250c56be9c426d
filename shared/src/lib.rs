//! The rule book: everything about the networks annotation, pure. Both programs obey it; nothing here does I/O,
//! reads a clock or knows a Kubernetes client.

mod address;
pub mod annotations;
pub mod cni;
pub mod config;
mod distance;
pub mod history;
pub mod json;
pub mod names;
pub mod naming;
pub mod selection;
pub mod status;
pub mod validate;
pub mod violation;
mod work;
