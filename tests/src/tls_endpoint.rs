//! A TLS endpoint of this machine that the API server can call, as a webhook: by its address, or through a Service.

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
    /// The certificate names the address, and the Service `service` of the namespace.
    pub(crate) fn open(ns: &Namespace, service: &str) -> Result<Self> {
        let address = ns.cluster.variable("HOST_ADDRESS").unwrap_or_default().to_owned();
        let listener = TcpListener::bind((address.as_str(), 0)).map_err(unexpected)?;
        listener.set_nonblocking(true).map_err(unexpected)?;
        let port = listener.local_addr().map_err(unexpected)?.port();
        let authority = Authority::generate(OffsetDateTime::now_utc()).map_err(unexpected)?;
        let names = [address.clone(), format!("{service}.{}.svc", ns.name)];
        Ok(Self {
            listener,
            acceptor: acceptor(&authority, &names)?,
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

    /// The `clientConfig` of a registration that calls the Service of [`Self::service`].
    pub(crate) fn by_service(&self, ns: &Namespace, service: &str, path: &str) -> Value {
        json!({
            "service": {"name": service, "namespace": ns.name, "path": format!("/{path}"), "port": 443},
            "caBundle": self.ca_bundle,
        })
    }

    /// The Service, and the endpoints that it has no selector for.
    pub(crate) fn service(&self, ns: &Namespace, service: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": ns.name},
                "spec": {"ports": [{"name": "https", "port": 443, "targetPort": self.port}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": service, "namespace": ns.name, "labels": {"kubernetes.io/service-name": service},
                },
                "endpoints": [{"addresses": [self.address], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": self.port, "protocol": "TCP"}],
            },
        ]})
    }
}

fn acceptor(authority: &Authority, names: &[String]) -> Result<TlsAcceptor> {
    let signed = authority.sign_pem(names, OffsetDateTime::now_utc());
    let (certificate, key) = signed.map_err(unexpected)?;
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unexpected)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unexpected)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unexpected)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(unexpected)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
