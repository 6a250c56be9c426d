//! The accept loop: passes the requests of every connection to a router, under limits, until
//! shutdown.
//!
//! No client holds resources for long: the handshake, the headers, an idle connection and its close
//! have deadlines (a body has its own, where it is read). Connections are bounded: when all are in
//! use, the one that has been idle for longest is closed for a new one.
//!
//! Shutdown has two steps. *Draining*: API servers may still have a replica that is being replaced
//! in their endpoint list, so new connections are served as before, but clients are asked to
//! reconnect (HTTP/1.1 `Connection: close`, HTTP/2 GOAWAY). *Stopping*: once no request has come
//! for a few seconds, nothing new is accepted, and open connections are closed as their requests
//! end.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Connection, EVICTION, Progress},
    drain::Drain,
    limits::Limits,
};
use crate::metrics::Metrics;

/// A port that is being served.
pub struct Server {
    pub listener: TcpListener,
    /// `None`: plain HTTP.
    pub tls: Option<TlsAcceptor>,
    pub router: Router,
    pub limits: Limits,
    pub drain: Drain,
    pub metrics: Metrics,
}

impl Server {
    /// Serves until drained.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let stop = CancellationToken::new();
        let mut open = JoinSet::new();
        let mut drained = std::pin::pin!(self.drain.drained(self.limits.drain_idle, self.limits.drain));
        let mut progresses = Progresses::default();
        let mut next: Option<TcpStream> = None;
        loop {
            tokio::select! {
                () = &mut drained => break,
                Some(ended) = open.join_next() => report(ended),
                stream = accept(&self.listener), if next.is_none() => {
                    if permits.available_permits() == 0 {
                        progresses.evict_longest_idle();
                    }
                    next = Some(stream);
                }
                // Never closed: an error would mean no more limits, so it drops the connection.
                permit = Arc::clone(&permits).acquire_owned(), if next.is_some() => {
                    if let (Some(stream), Ok(permit)) = (next.take(), permit) {
                        open.spawn(self.serve(stream, permit, progresses.add(), stop.clone()));
                    }
                }
                () = tokio::time::sleep(EVICTION * 2), if next.is_some() => progresses.evict_longest_idle(),
            }
        }
        drop(self.listener);
        stop.cancel();
        // Every connection ends within its close timeout.
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection {
            router: self.router.clone(),
            limits: self.limits,
            drain: self.drain.clone(),
            stop,
            progress,
        };
        let (tls, metrics) = (self.tls.clone(), self.metrics.clone());
        async move {
            let _held = (permit, tls.is_some().then(|| metrics.connect()));
            connection.serve(stream, tls, &metrics).await;
        }
    }
}

/// The progress of all open connections.
#[derive(Default)]
struct Progresses(Vec<Weak<Progress>>);

impl Progresses {
    fn add(&mut self) -> Arc<Progress> {
        self.0.retain(|progress| progress.strong_count() > 0);
        let progress = Arc::new(Progress::new());
        self.0.push(Arc::downgrade(&progress));
        progress
    }

    /// Closes the connection that has been idle for longest. Those on which no request was ever
    /// answered go first, so that a flood of connections does not close those of API servers.
    fn evict_longest_idle(&self) {
        let open = self.0.iter().filter_map(Weak::upgrade);
        let idle = open.filter_map(|progress| Some((progress.idle_since()?, progress)));
        if let Some((_, progress)) = idle.min_by_key(|(since, _)| *since) {
            progress.evict();
        }
    }
}

/// The next connection. Errors concern one connection, or a temporary shortage of resources.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are one small write; not delaying it is worth the failure that never
                // happens.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; will retry in 100 ms");
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
        tracing::error!(%error, "connection task panicked; the connection is closed");
    }
}

#[cfg(test)]
mod tests;
