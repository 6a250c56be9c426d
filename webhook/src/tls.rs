//! Server-side TLS: which certificate is served, and where new ones come from.

pub mod ca;
mod directory;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use certs::Pair;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use time::OffsetDateTime;

pub use directory::follow;

use crate::metrics::Metrics;

/// The pair in use. A new one applies from the next handshake on; open connections keep theirs.
#[derive(Debug)]
pub struct CertificateStore {
    pair: ArcSwapOption<Pair>,
    /// Why clients would not accept the pair, or why there is none.
    error: Mutex<Option<String>>,
    metrics: Metrics,
}

impl CertificateStore {
    /// Without a pair: handshakes fail, and the program is not ready.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            pair: ArcSwapOption::empty(),
            error: Mutex::default(),
            metrics,
        }
    }

    /// Serves `pair` from now on.
    pub fn install(&self, pair: Pair) {
        self.metrics.certificate("ok");
        self.metrics.certificate_expires(pair.not_after());
        self.pair.store(Some(Arc::new(pair)));
    }

    /// Sets or clears the reason why clients would not accept the pair.
    pub fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Why this replica is not ready to be called; `None`: it is.
    pub fn unready_reason(&self, now: OffsetDateTime) -> Option<String> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match &*self.pair.load() {
            None => Some(error.unwrap_or_else(|| "no certificate yet".to_owned())),
            Some(pair) if pair.not_after() <= now => Some(format!("it expired at {}", pair.not_after())),
            Some(_) => error,
        }
    }

    /// The pair in use.
    pub fn pair(&self) -> Option<Arc<Pair>> {
        self.pair.load_full()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.pair.load().as_ref()?.certified()))
    }
}

/// How the server speaks TLS: 1.2 and 1.3, HTTP/2 preferred, no sessions to resume (a resumed
/// session would outlive a rotation, and API servers keep their connections anyway).
///
/// # Errors
/// The crypto provider lacks a protocol version: never, with *ring*.
pub fn server_config(certificates: Arc<CertificateStore>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests;
