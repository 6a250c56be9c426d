//! Peers at a socket that play a named part.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod api;
pub mod cri;
pub mod grpc;
pub mod kubelet;
pub mod multus;

use std::{future::Future, time::Duration};

/// Awaits what must happen soon; a hang is a failure, not a stuck run.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("this takes too long")
}
