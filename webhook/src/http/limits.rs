//! Limits of one port, per client connection and for shutdown.

use std::time::Duration;

/// Bounds in time and number; past one of them a connection is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; for one more, the one that has been idle for longest is closed.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake, or from the last HTTP/1.1 request, to the end of the next request's
    /// headers.
    pub headers: Duration,
    /// Without a request, on a connection that had one.
    pub idle: Duration,
    /// From a request's headers to the last byte of its answer, which a client may leave unread.
    pub request: Duration,
    /// From a graceful close of a connection to its forced one.
    pub close_timeout: Duration,
    /// Draining ends when no request has come for this long …
    pub drain_idle: Duration,
    /// … or after this long at the latest. Together with `close_timeout` it is less than a pod's
    /// usual grace period of 30 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server opens a handful; each may have a window of unread bytes, which no other
            // limit counts.
            connections: 256,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            // API servers close idle connections themselves, after 90 s.
            idle: Duration::from_secs(120),
            // A body has 5 s, the lookup of networks 2 s.
            request: Duration::from_secs(12),
            close_timeout: Duration::from_secs(5),
            drain_idle: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}
