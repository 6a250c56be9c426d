//! Events on pods: what the core reports, within a budget for each pod, written to the API in turns
//! of namespaces.

mod event_api;
mod filter;
mod lru;
mod queue;
mod token_bucket;
mod writer;

pub use agent_core::event::{Event, Reason};
pub use event_api::SOURCE;
pub use writer::{EventSink, EventWriter};
