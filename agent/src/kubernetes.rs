//! The API server: the client and its errors, the watches of this node's pods and of their
//! networks, and the events on pods.

pub mod api_error;
pub mod api_request;
pub mod client;
pub mod events;
pub mod metadata_watch;
pub mod networks;
pub mod pod_object;
pub mod pod_status;
pub mod pod_watch;
