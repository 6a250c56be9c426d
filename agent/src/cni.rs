//! The files of multus and libcni on the node: the state that they keep of each sandbox is read,
//! and multus' delegate file is changed.

pub mod cache;
pub mod delegate_file;
pub mod sandbox_network;
