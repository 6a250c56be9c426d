//! The accept loop: connections in, requests to a router, under limits, until the end.
//!
//! Nothing that a client does or leaves undone holds anything for long: the handshake, the headers, an idle connection
//! and the farewell have deadlines (a body has its own, where it is read), and connections are bounded.
//!
//! The end comes in two steps. *Draining*: a replica that is being replaced is still in somebody's list of endpoints, so
//! new connections are served as before, but clients are told to go elsewhere (HTTP/1.1 `Connection: close`, HTTP/2
//! GOAWAY). *Stopping*: when no request has come for a few seconds, nothing new is accepted and what is open is closed
//! as its requests end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{connection::Connection, drain::Drain, limits::Limits};
use crate::metrics::Metrics;

/// A port that is being served.
pub struct Server {
    /// Where connections come in.
    pub listener: TcpListener,
    /// How TLS is spoken; `None`: plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// What answers.
    pub router: Router,
    /// What clients may take.
    pub limits: Limits,
    /// The end.
    pub drain: Drain,
    /// What is counted.
    pub metrics: Metrics,
}

impl Server {
    /// Serves until drained.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let stop = CancellationToken::new();
        let mut open = JoinSet::new();
        let mut drained = std::pin::pin!(self.drain.drained(self.limits.quiet, self.limits.drain));
        loop {
            let next = async {
                // Closed never: an error would mean no more limits, so it ends the loop as a cancelled accept does.
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (permit, accept(&self.listener).await)
            };
            tokio::select! {
                () = &mut drained => break,
                Some(ended) = open.join_next() => report(ended),
                (permit, stream) = next => {
                    let connection = Connection {
                        router: self.router.clone(),
                        limits: self.limits,
                        drain: self.drain.clone(),
                        stop: stop.clone(),
                    };
                    let tls = self.tls.clone();
                    let metrics = self.metrics.clone();
                    open.spawn(async move {
                        let _held = (permit, tls.is_some().then(|| metrics.connect()));
                        connection.serve(stream, tls, &metrics).await;
                    });
                }
            }
        }
        drop(self.listener);
        stop.cancel();
        // Every connection cuts itself after its farewell.
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    }
}

/// The next connection. Errors here are about one connection, or about a shortage that passes.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are one small write; not delaying it is worth the failure that never happens.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests;
