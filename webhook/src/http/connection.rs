//! One connection: TLS handshake, requests, graceful close.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, Version, header::CONNECTION},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{drain::Drain, limits::Limits};
use crate::metrics::Metrics;

/// HTTP/2 requests at once on one connection; API servers open another connection beyond it.
const STREAMS: u32 = 100;
/// Body bytes that a client may send before they are read: on one stream, and on all streams of a
/// connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Headers of one request, in bytes. An API server sends a few hundred.
const HEADERS: u32 = 16 * 1024;
/// Between two HTTP/2 pings on a silent connection; they detect peers that vanished.
const PING: Duration = Duration::from_secs(30);

/// How long an idle connection that is evicted for another one may take to close.
pub(super) const EVICTION: Duration = Duration::from_millis(200);

/// What one connection needs of its server.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) stop: CancellationToken,
    pub(super) progress: Arc<Progress>,
}

impl Connection {
    /// Serves one connection to its end.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>, metrics: &Metrics) {
        let Some(tls) = tls else {
            return self.requests(stream, false).await;
        };
        let handshake = async {
            tokio::select! {
                done = tls.accept(stream) => Some(done),
                () = self.progress.evicted.cancelled() => None,
            }
        };
        match timeout(self.limits.handshake, handshake).await {
            Ok(Some(Ok(stream))) => {
                metrics.handshake("ok");
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.requests(stream, http2).await;
            }
            Ok(Some(Err(error))) => {
                metrics.handshake("failed");
                tracing::debug!(%error, "TLS handshake failed");
            }
            Ok(None) | Err(_) => metrics.handshake("timeout"),
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, http2: bool) {
        let progress = &self.progress;
        let service =
            service_fn(|request| answer(self.router.clone(), self.drain.clone(), progress, request));
        let builder = protocol(&self.limits);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // A client is asked to close when it idles and at shutdown. Over HTTP/2 it is asked as soon
        // as draining begins, but not before its first request is answered: it may just have
        // chosen this replica.
        let reason = async {
            tokio::select! {
                () = progress.idle(&self.limits) => {}
                () = self.stop.cancelled() => {}
                () = async { self.drain.begun().await; progress.first_answer().await }, if http2 => {}
            }
        };
        tokio::select! {
            // The client closed, or violated the protocol: neither is logged.
            _ = connection.as_mut() => return,
            // The answer takes memory, and a client that does not read it reads no GOAWAY either.
            () = progress.overdue(self.limits.request) => return,
            () = reason => connection.as_mut().graceful_shutdown(),
            () = progress.evicted.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(EVICTION, connection).await;
                return;
            }
        }
        let _ = timeout(self.limits.close_timeout, connection).await;
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(limits.headers);
    builder
}

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn answer(
    router: Router,
    drain: Drain,
    progress: &Arc<Progress>,
    mut request: Request<Incoming>,
) -> Answered {
    let under_way = Arc::new(Progress::begin(progress, &drain));
    request.extensions_mut().insert(Arc::clone(&under_way));
    Box::pin(async move {
        let http1 = request.version() <= Version::HTTP_11;
        let mut response = router.oneshot(request.map(Body::new)).await?;
        if http1 && drain.has_begun() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        drop(under_way);
        Ok(response)
    })
}

/// What a connection's requests are doing.
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Notify,
    evicted: CancellationToken,
}

#[derive(Clone)]
struct State {
    /// When each request that is under way began, oldest first.
    under_way: BTreeMap<u64, Instant>,
    requests: u64,
    answered: bool,
    /// When the connection opened, or a request last began or ended.
    last: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let state = State {
            under_way: BTreeMap::new(),
            requests: 0,
            answered: false,
            last: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            evicted: CancellationToken::new(),
        }
    }

    /// Whether a request was ever answered, and since when nothing is under way; `None`: something
    /// is, or the connection closes already.
    pub(super) fn idle_since(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        let is_idle = state.under_way.is_empty() && !self.evicted.is_cancelled();
        is_idle.then_some((state.answered, state.last))
    }

    pub(super) fn evict(&self) {
        self.evicted.cancel();
    }

    fn begin(progress: &Arc<Self>, drain: &Drain) -> UnderWay {
        drain.saw_request();
        let mut id = 0;
        progress.update(|state| {
            state.requests += 1;
            id = state.requests;
            state.under_way.insert(id, Instant::now());
        });
        UnderWay {
            id,
            progress: Arc::clone(progress),
            drain: drain.clone(),
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.last = Instant::now();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns when nothing has been asked for longer than allowed.
    async fn idle(&self, limits: &Limits) {
        loop {
            let changed = self.changed.notified();
            let state = self.state();
            if !state.under_way.is_empty() {
                changed.await;
                continue;
            }
            let end = state.last
                + if state.answered {
                    limits.idle
                } else {
                    limits.headers
                };
            if end <= Instant::now() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(end) => {}
            }
        }
    }

    /// Returns when a request has been under way for `limit`.
    async fn overdue(&self, limit: Duration) {
        loop {
            let changed = self.changed.notified();
            let Some(end) = self.state().under_way.values().next().map(|begun| *begun + limit) else {
                changed.await;
                continue;
            };
            if end <= Instant::now() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(end) => {}
            }
        }
    }

    /// Returns when a request has been answered.
    async fn first_answer(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().answered {
                return;
            }
            changed.await;
        }
    }
}

/// A request that is under way until this is dropped: answered or given up. A handler finds it
/// among the request's extensions, and may keep it until its answer is written.
pub(super) struct UnderWay {
    id: u64,
    progress: Arc<Progress>,
    drain: Drain,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.drain.saw_request();
        self.progress.update(|state| {
            state.under_way.remove(&self.id);
            state.answered = true;
        });
    }
}
