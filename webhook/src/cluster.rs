//! What is known of the cluster: the client of the API server, watch caches, the other replicas.

mod cache;
pub mod client;
pub mod namespaces;
pub mod networks;
pub mod replicas;

pub use cache::State;
