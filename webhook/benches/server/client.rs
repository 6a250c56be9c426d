//! The client: one connection that is kept, requests as fast as they are answered or at a steady
//! pace.

use std::{sync::Arc, time::Duration};

use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::TlsConnector;

use crate::{Outcome, SERVICE, child::Child};

/// Requests of a round.
pub const REQUESTS: usize = 4_000;
/// How long a pace is kept.
pub const PACED_FOR: Duration = Duration::from_secs(10);
/// 500 requests a second.
const PACE: Duration = Duration::from_millis(2);
/// Requests under way at once.
const AT_ONCE: usize = 16;

/// A connection to a server, cheap to clone.
#[derive(Clone)]
pub struct Connection(http2::SendRequest<Full<Bytes>>);

impl Child {
    /// Connects.
    pub async fn connect(&self) -> Outcome<Connection> {
        let authority =
            CertificateDer::from_pem_slice(self.authority.as_bytes()).map_err(|e| format!("{e:?}"))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(format!("{}.{}.svc", SERVICE[0], SERVICE[1]))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection(send))
    }
}

impl Connection {
    /// Sends a review and gives the answer.
    pub async fn ask(mut self, path: &str, review: Bytes) -> Outcome<Bytes> {
        let uri = format!("https://{}.{}.svc{path}", SERVICE[0], SERVICE[1]);
        let request = hyper::Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(review))?;
        let response = Box::pin(self.0.send_request(request)).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::OK && !answer.is_empty() {
            Ok(answer)
        } else {
            Err(format!("answered {status}").into())
        }
    }

    /// Makes sure that what is measured is what is meant: `/mutate` patches, `/validate` allows
    /// without a word.
    pub async fn fills(self, path: &str, review: &Bytes) -> Outcome<()> {
        let answer = self.ask(path, review.clone()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let response = &answer["response"];
        let patched = response.get("patch").is_some();
        if response["allowed"] == true && response.get("warnings").is_none() && patched == (path == "/mutate")
        {
            Ok(())
        } else {
            Err(format!("not the answer that is meant: {answer}").into())
        }
    }
}

/// Requests per second of the server's processor time.
pub async fn rate(server: &Child, path: &'static str, review: &Bytes) -> Outcome<f64> {
    let connection = server.connect().await?;
    let before = server.process.cpu()?;
    let mut running = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (connection, review) = (connection.clone(), review.clone());
        running.spawn(async move {
            for _ in 0..REQUESTS / AT_ONCE {
                connection.clone().ask(path, review.clone()).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    Ok(REQUESTS as f64 / (server.process.cpu()? - before))
}

/// The medium latency and that of the slowest hundredth, of requests that do not wait for earlier
/// ones.
pub async fn paced(server: &Child, path: &'static str, review: &Bytes) -> Outcome<(Duration, Duration)> {
    let connection = server.connect().await?;
    let mut ticks = tokio::time::interval(PACE);
    let mut running = JoinSet::new();
    for _ in 0..PACED_FOR.as_millis() / PACE.as_millis() {
        let due = ticks.tick().await;
        let (connection, review) = (connection.clone(), review.clone());
        running.spawn(async move { connection.ask(path, review).await.map(|_| due.elapsed()) });
    }
    let mut taken = Vec::new();
    while let Some(ended) = running.join_next().await {
        taken.push(ended??);
    }
    taken.sort_unstable();
    let quantile = |hundredths: usize| taken.get(taken.len() * hundredths / 100).copied();
    Ok((quantile(50).ok_or("no answer")?, quantile(99).ok_or("no answer")?))
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
