//! Serves a router over plain HTTP/1.1 to anyone who can reach the port, at a bounded cost.
//!
//! Guarantees: at most [`Limits::connections`] are open; a new one is always served, whatever
//! others hold (see [`Places`]); one on which no request comes, or comes or is read slowly, is
//! closed; each takes a few kilobytes. Depends on nothing else of this program.

use std::{collections::HashMap, convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use super::places::Places;

/// For the head of a request, in bytes: the least that hyper takes.
const HEAD_BYTES: usize = 8 * 1024;
/// Between two tries to accept a connection when files or memory are short.
const SHORTAGE: Duration = Duration::from_millis(100);

/// What peers may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections of one address.
    pub per_peer: usize,
    /// From the beginning, or from the last answer, to the end of the next request's head.
    pub head: Duration,
    /// From the beginning of a connection to its end.
    pub lifetime: Duration,
    /// From the end of its lifetime until it is cut, if an answer is under way.
    pub farewell: Duration,
}

/// A port that is served.
pub struct Server {
    /// Where connections come in.
    pub listener: TcpListener,
    /// What answers; a request carries its peer as [`ConnectInfo`].
    pub router: Router,
    /// What peers may take.
    pub limits: Limits,
}

/// The open connections.
struct Connections {
    tasks: JoinSet<()>,
    handles: HashMap<Id, AbortHandle>,
    places: Places<Id>,
}

impl Default for Limits {
    /// For the kubelet, a few scrapers, and people.
    fn default() -> Self {
        Self {
            connections: 32,
            per_peer: 8,
            head: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
            farewell: Duration::from_secs(5),
        }
    }
}

impl Server {
    /// Serves without end.
    pub async fn run(self) -> Infallible {
        let mut connections = Connections {
            tasks: JoinSet::new(),
            handles: HashMap::new(),
            places: Places::new(self.limits.connections, self.limits.per_peer),
        };
        loop {
            tokio::select! {
                Some(ended) = connections.tasks.join_next_with_id() => connections.forget(ended),
                (stream, peer) = accept(&self.listener) => {
                    connections.make_room(peer).await;
                    let serve = serve(stream, peer, self.router.clone(), self.limits);
                    let handle = connections.tasks.spawn(serve);
                    connections.places.opened(peer.ip().to_canonical(), handle.id());
                    connections.handles.insert(handle.id(), handle);
                }
            }
        }
    }
}

impl Connections {
    /// Ends another connection, if need be, and returns when its file is closed.
    async fn make_room(&mut self, peer: SocketAddr) {
        let displaced = self.places.displaced_by(peer.ip().to_canonical());
        let Some(handle) = displaced.and_then(|id| self.handles.get(&id)).cloned() else {
            return;
        };
        handle.abort();
        while self.handles.contains_key(&handle.id()) {
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.forget(ended),
                None => return,
            }
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "serving an admin connection panicked");
                }
                error.id()
            }
        };
        self.handles.remove(&id);
        self.places.closed(id);
    }
}

/// The next connection. An error is about that one connection, or about a shortage that passes.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut is_short = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if !is_short {
                    tracing::warn!(%error, "cannot accept admin connections; will retry");
                }
                is_short = true;
                sleep(SHORTAGE).await;
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

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // An error is the peer's: it broke a rule of the protocol, or was too slow.
    if timeout(limits.lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits.farewell, connection).await;
    }
}
