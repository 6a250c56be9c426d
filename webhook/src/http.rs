//! How requests come in: connections under limits, bodies under a budget, and the routes of both
//! ports.

pub mod body;
mod connection;
mod drain;
mod limits;
pub mod probes;
pub mod routes;
mod server;

pub use drain::Drain;
pub use limits::Limits;
pub use server::Server;
