//! When to go: the signal, and the last request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shared by everything that has to know that the end is near.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: CancellationToken,
    last_request: Arc<Mutex<Instant>>,
}

impl Drain {
    /// Not draining until `begun` is cancelled.
    pub fn new(begun: CancellationToken) -> Self {
        Self {
            begun,
            last_request: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Whether the end is near.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Returns when draining begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// A request came, or was answered.
    pub(super) fn saw_request(&self) {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when draining has begun and no request has come for `quiet` since, or `limit` after it began.
    pub(super) async fn drained(&self, quiet: Duration, limit: Duration) {
        self.begun().await;
        let begun = Instant::now();
        loop {
            let last = *self.last_request.lock().unwrap_or_else(PoisonError::into_inner);
            let end = (last.max(begun) + quiet).min(begun + limit);
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
