//! The node's disk: the agent's own records, and how files are read that other programs write, too.
//! What waits for the disk runs on a thread of its own.

pub mod blocking;
pub mod records;
pub mod regular_file;
