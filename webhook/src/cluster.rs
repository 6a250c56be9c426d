//! What is known of the cluster: the client of the API server, and watch caches.

mod cache;
pub mod client;
pub mod namespaces;
pub mod networks;

pub use cache::State;
