//! When to stop: after the signal, once no request has come for a while.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whether the program shuts down, and when the last request was; cheap to clone.
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

    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// A request came, or was answered.
    pub(super) fn saw_request(&self) {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when draining has begun and no request has come for `idle` since, or `limit` after
    /// it began.
    pub(super) async fn drained(&self, idle: Duration, limit: Duration) {
        self.begun().await;
        let begun = Instant::now();
        loop {
            let last = *self.last_request.lock().unwrap_or_else(PoisonError::into_inner);
            let end = (last.max(begun) + idle).min(begun + limit);
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
