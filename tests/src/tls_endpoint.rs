//! A TLS endpoint of this machine that the API server can call, as a webhook, by its address.

use std::{net::TcpListener, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use certs::Authority;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use crate::{
    error::{Error, Result},
    namespace::Namespace,
};

/// A listener on the wire between this machine and the node, and what proves its identity.
pub(crate) struct TlsEndpoint {
    /// Does not block.
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    address: String,
    port: u16,
    ca_bundle: String,
}

impl TlsEndpoint {
    /// The certificate names the address.
    pub(crate) fn open(ns: &Namespace) -> Result<Self> {
        let address = ns.cluster.variable("HOST_ADDRESS").unwrap_or_default().to_owned();
        let listener = TcpListener::bind((address.as_str(), 0)).map_err(unexpected)?;
        listener.set_nonblocking(true).map_err(unexpected)?;
        let port = listener.local_addr().map_err(unexpected)?.port();
        let authority = Authority::generate(OffsetDateTime::now_utc()).map_err(unexpected)?;
        let signed = authority.sign_pem(std::slice::from_ref(&address), OffsetDateTime::now_utc());
        let (certificate, key) = signed.map_err(unexpected)?;
        Ok(Self {
            listener,
            acceptor: acceptor(&certificate, &key)?,
            address,
            port,
            ca_bundle: BASE64_STANDARD.encode(authority.certificate_pem()),
        })
    }

    /// The `clientConfig` of a registration that calls the address.
    pub(crate) fn by_address(&self, path: &str) -> Value {
        let url = format!("https://{}:{}/{path}", self.address, self.port);
        json!({"url": url, "caBundle": self.ca_bundle})
    }
}

/// A server with this certificate and key, in PEM.
pub(crate) fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unexpected)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unexpected)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unexpected)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(unexpected)?;
    // As webhooks do that are written with the usual servers: an API server then takes HTTP/2.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
