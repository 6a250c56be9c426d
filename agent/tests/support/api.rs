//! An API server on a real TCP socket that keeps pods and NetworkAttachmentDefinitions, and counts
//! what it is asked. It lists, gets and watches as the real one does, metadata only; an order
//! changes its answers to one kind of request.

mod store;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

#[allow(unused_imports, reason = "each test file uses its own part")]
pub use store::{Kind, network, pod};
use store::{Query, Store};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    List,
    Watch,
    Get,
    Patch,
}

/// An order about requests of one kind.
#[derive(Clone, Debug)]
pub enum Order {
    /// The connection closes without an answer.
    Hangup,
    /// Nothing comes until [`ScriptedApi::obeys`] is called again.
    Silence,
    /// This status, as a plain text, with a `Retry-After` of so many seconds.
    Refusal(u16, Option<u32>),
    /// A Status object.
    Status(u16, &'static str),
    /// A watch that says at once that its version is too old.
    Expired,
    /// The usual answer after this time.
    Slow(Duration),
}

/// What has been counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests by kind, with their path and query.
    pub requests: Vec<(Kind, Verb, String)>,
    /// Requests that are being answered, watches excluded, and the most at once.
    pub at_once: (usize, usize),
    /// Connections accepted since the start, open now, and the most open at once.
    pub connections: (usize, usize, usize),
}

/// Runs until it is dropped.
pub struct ScriptedApi {
    shared: Arc<Shared>,
    kubeconfig: tempfile::NamedTempFile,
    _listening: JoinSet<()>,
}

struct Shared {
    store: Mutex<Store>,
    orders: Mutex<BTreeMap<(Kind, Verb), Order>>,
    counts: Mutex<Counts>,
    /// Changes with every event, order and cut.
    news: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
    ends: watch::Sender<u64>,
    open: Mutex<bool>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl ScriptedApi {
    /// Listens on loopback.
    pub async fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut kubeconfig = tempfile::NamedTempFile::new().expect("a file");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        });
        kubeconfig
            .write_all(config.to_string().as_bytes())
            .expect("a file");
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            orders: Mutex::default(),
            counts: Mutex::default(),
            news: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            ends: watch::Sender::new(0),
            open: Mutex::new(true),
        });
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            shared,
            kubeconfig,
            _listening: listening,
        }
    }

    /// A client of it, as the agent makes one.
    pub async fn client(&self) -> agent::kubernetes::client::ApiServer {
        let made = agent::kubernetes::client::ApiServer::new(Some(self.kubeconfig.path())).await;
        made.expect("a client")
    }

    /// Stores an object, new or changed; the answer is its resourceVersion.
    pub fn put(&self, kind: Kind, object: Value) -> String {
        let version = self.shared.store().put(kind, object);
        self.shared.news.send_modify(|news| *news += 1);
        version
    }

    /// Deletes an object.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.shared.store().delete(kind, namespace, name);
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// The resourceVersion of an object; `None`: there is none.
    pub fn version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        self.shared.store().version(kind, namespace, name)
    }

    /// Whether there is such an object.
    pub fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.version(kind, namespace, name).is_some()
    }

    /// Tells every watch of `kind` the present version.
    pub fn bookmark(&self, kind: Kind) {
        self.shared.store().bookmark(kind);
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// Forgets what has happened: a watch from before now is too old.
    pub fn expires(&self) {
        self.shared.store().expire();
    }

    /// From now on answers requests of this kind so.
    pub fn ordered(&self, kind: Kind, verb: Verb, order: Order) {
        self.shared.orders().insert((kind, verb), order);
    }

    /// Answers every request as usual again, those that wait included.
    pub fn obeys(&self) {
        self.shared.orders().clear();
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// Answers these requests as usual again, those that wait included.
    pub fn obeys_about(&self, kind: Kind, verb: Verb) {
        self.shared.orders().remove(&(kind, verb));
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// Ends every watch, as after its time.
    pub fn ends_watches(&self) {
        self.shared.ends.send_modify(|ends| *ends += 1);
    }

    /// Cuts every connection; new ones are accepted if `open`.
    pub fn cuts(&self, open: bool) {
        *self.shared.open.lock().expect("a lock") = open;
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Accepts connections again.
    pub fn opens(&self) {
        *self.shared.open.lock().expect("a lock") = true;
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// How many requests of this kind have come.
    pub fn count(&self, kind: Kind, verb: Verb) -> usize {
        let counts = self.shared.counts();
        counts
            .requests
            .iter()
            .filter(|seen| (seen.0, seen.1) == (kind, verb))
            .count()
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("a lock")
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<(Kind, Verb), Order>> {
        self.orders.lock().expect("a lock")
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("a lock")
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, String> {
        let query = Query::of(request.method(), request.uri())?;
        let (kind, verb) = (query.kind, query.verb);
        self.counts()
            .requests
            .push((kind, verb, request.uri().to_string()));
        if matches!(verb, Verb::List | Verb::Watch) {
            let accepts = request
                .headers()
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok());
            if !accepts.is_some_and(|accepts| accepts.contains("as=PartialObjectMetadata")) {
                return Err("whole objects are asked for".to_owned());
            }
        }
        let _counted = (verb != Verb::Watch).then(|| Counted::new(&self));
        let order = self.orders().get(&(kind, verb)).cloned();
        match order {
            None => {}
            Some(Order::Hangup) => return Err("an order".to_owned()),
            Some(Order::Refusal(code, seconds)) => return Ok(refusal(code, seconds)),
            Some(Order::Status(code, message)) => return Ok(json_answer(code, &status(code, message, ""))),
            Some(Order::Expired) => {
                let event = json!({"type": "ERROR", "object": status(410, "too old resource version", "")});
                return Ok(json_answer(200, &event));
            }
            Some(Order::Slow(time)) => tokio::time::sleep(time).await,
            Some(Order::Silence) => {
                let mut news = self.news.subscribe();
                while self.orders().contains_key(&(kind, verb)) {
                    news.changed().await.map_err(|error| error.to_string())?;
                }
            }
        }
        match verb {
            Verb::Watch => Ok(self.watch(&query)),
            _ => {
                let (code, body) = self.store().answer(&query);
                Ok(json_answer(code, &body))
            }
        }
    }

    fn watch(self: &Arc<Self>, query: &Query) -> Response<Body> {
        if let Some(gone) = self.store().is_gone(query) {
            return json_answer(410, &gone);
        }
        let (kind, fields) = (query.kind, query.fields.clone());
        let (news, ends) = (self.news.subscribe(), self.ends.subscribe());
        let state = (Arc::clone(self), news, ends, query.version);
        let events = futures::stream::unfold(state, move |(shared, mut news, mut ends, from)| {
            let fields = fields.clone();
            async move {
                loop {
                    let next = shared.store().next_event(kind, &fields, from);
                    if let Some((version, event)) = next {
                        let frame = Frame::data(Bytes::from(format!("{event}\n")));
                        return Some((Ok(frame), (shared, news, ends, version)));
                    }
                    tokio::select! {
                        changed = news.changed() => changed.ok()?,
                        _ = ends.changed() => return None,
                    }
                }
            }
        });
        let body = StreamBody::new(events.boxed()).boxed_unsync();
        Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .expect("an answer")
    }
}

/// One request that is being answered.
struct Counted<'a>(&'a Shared);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared) -> Self {
        let at_once = &mut shared.counts().at_once;
        *at_once = (at_once.0 + 1, at_once.1.max(at_once.0 + 1));
        Self(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.counts().at_once.0 -= 1;
    }
}

fn refusal(code: u16, seconds: Option<u32>) -> Response<Body> {
    let mut answer = Response::builder().status(code);
    if let Some(seconds) = seconds {
        answer = answer.header(RETRY_AFTER, seconds);
    }
    let text = "Too many requests, please try again later.\n";
    answer.body(whole(text.to_owned())).expect("an answer")
}

fn json_answer(code: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .header(CONTENT_TYPE, "application/json")
        .body(whole(format!("{body}\n")))
        .expect("an answer")
}

fn whole(body: String) -> Body {
    Full::new(Bytes::from(body)).boxed_unsync()
}

fn status(code: u16, message: &str, name: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "", "details": {"name": name}, "code": code,
    })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *shared.open.lock().expect("a lock") {
            connections.spawn(talk(stream, Arc::clone(&shared)));
        }
    }
}

async fn talk(stream: TcpStream, shared: Arc<Shared>) {
    {
        let connections = &mut shared.counts().connections;
        let open = connections.1 + 1;
        *connections = (connections.0 + 1, open, connections.2.max(open));
    }
    let mut cuts = shared.cuts.subscribe();
    let service = service_fn(|request| Arc::clone(&shared).answer(request));
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        _ = cuts.changed() => {}
    }
    shared.counts().connections.1 -= 1;
}
