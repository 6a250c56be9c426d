//! Events on pods: what the core reports, written to the API.

mod writer;

pub use agent_core::event::{Event, Reason};
pub use writer::{EventSink, EventWriter, SOURCE};
