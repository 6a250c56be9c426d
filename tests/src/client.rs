//! A client of the gate's TLS port that writes what it likes: the requests of an API server, and
//! those of an attacker.

use std::{io, net::SocketAddr, sync::Arc};

use certs::Authority;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::error::{Error, Result};

/// Who trusts one authority and calls one server by one name.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Client {
    /// A client of the server at `address`, whose certificate must be for `name` and signed by
    /// `authority`.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when the authority or the name is none.
    pub fn new(address: SocketAddr, name: &str, authority: &Authority) -> Result<Self> {
        let unexpected = |e: &dyn std::fmt::Display| Error::Unexpected(e.to_string());
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())
            .map_err(|e| unexpected(&e))?;
        roots.add(root).map_err(|e| unexpected(&e))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| unexpected(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            name: ServerName::try_from(name.to_owned()).map_err(|e| unexpected(&e))?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// A connection after its handshake.
    ///
    /// # Errors
    /// Nobody listens, or the certificate is not trusted.
    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        self.connector.connect(self.name.clone(), stream).await
    }

    /// Sends JSON over a connection of its own, with `headers` (each with its line end) beside the
    /// necessary ones: the status code and the body of the answer.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is no answer.
    pub async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Result<(u16, String)> {
        let unexpected = |e: io::Error| Error::Unexpected(format!("POST {path}: {e}"));
        let mut stream = self.connect().await.map_err(unexpected)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.map_err(unexpected)?;
        let mut received = Vec::new();
        {
            // A server that refuses by the headers alone answers before the end of the body, and
            // closes.
            let (mut reading, mut writing) = tokio::io::split(&mut stream);
            let sent = async {
                let _ = writing.write_all(body).await.and(writing.flush().await);
            };
            let _ = tokio::join!(sent, reading.read_to_end(&mut received));
        }
        let answer = String::from_utf8_lossy(&received);
        let code = answer
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| Error::Unexpected(format!("POST {path}: no answer: {answer:?}")))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((code, body.to_owned()))
    }
}
