//! A double between one agent and the API server. It passes everything on, unless an order about
//! requests of that kind says otherwise; and it can cut every connection, or let them all fall
//! silent, as networks do.

mod answers;

use std::{
    collections::BTreeMap,
    future::pending,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub use answers::{Answer, RequestKind};

use crate::{
    cluster::{Cluster, client_as},
    error::{Error, Result},
    wait::{PLUG, eventually},
};

/// Stands before the API server until it is dropped.
pub struct ApiDouble {
    shared: Arc<Shared>,
    kubeconfig: String,
    // Ended when dropped, and with it every connection.
    _listening: JoinSet<()>,
}

/// What all connections share.
struct Shared {
    server: Client,
    line: watch::Sender<Line>,
    orders: Mutex<BTreeMap<(RequestKind, String), Order>>,
    /// Requests by kind and namespace, and refused connections.
    asked: Mutex<BTreeMap<(RequestKind, String), u64>>,
}

struct Order {
    answer: Answer,
    played: u32,
    revoked: bool,
}

/// How the connections are.
#[derive(Clone, Copy, Default)]
struct Line {
    cuts: u32,
    silences: u32,
    silent: bool,
    away: bool,
}

impl ApiDouble {
    /// Starts it where the node reaches it, without orders.
    ///
    /// # Errors
    /// [`Error::Setup`].
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let setup = |e: &dyn std::fmt::Display| Error::Setup(format!("the double of the API server: {e}"));
        let host = cluster.variable("HOST_ADDRESS").unwrap_or_default();
        let listener = TcpListener::bind((host, 0)).await.map_err(|e| setup(&e))?;
        let address = listener.local_addr().map_err(|e| setup(&e))?;
        let path = cluster.kubeconfig();
        let real = std::fs::read_to_string(&path).map_err(|e| setup(&e))?;
        let server = format!("https://{}:6443", cluster.variable("NODE_IP").unwrap_or_default());
        if !real.contains(&server) {
            return Err(setup(&format!("{} does not name {server}", path.display())));
        }
        let shared = Arc::new(Shared {
            // What the agent is told, and when, is the API server's own.
            server: client_as(&path, |config| config.default_retry = false).await?,
            line: watch::Sender::default(),
            orders: Mutex::default(),
            asked: Mutex::default(),
        });
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            kubeconfig: real.replace(&server, &format!("http://{address}")),
            _listening: listening,
        })
    }

    /// With this one comes here who would go to the API server.
    pub(crate) fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// From now on plays `answer` to such requests, if their path contains `about`.
    pub fn plays(&self, asked: RequestKind, about: &str, answer: Answer) {
        let order = Order {
            answer,
            played: 0,
            revoked: false,
        };
        self.shared.orders().insert((asked, about.to_owned()), order);
    }

    /// Passes everything on again.
    pub fn steps_aside(&self) {
        for order in self.shared.orders().values_mut() {
            order.revoked = true;
        }
    }

    /// How often it has played the last order of this kind.
    pub fn played(&self, asked: RequestKind, about: &str) -> u32 {
        let orders = self.shared.orders();
        orders
            .get(&(asked, about.to_owned()))
            .map_or(0, |order| order.played)
    }

    /// Waits until it has played that order `times` more.
    ///
    /// # Errors
    /// [`Error::Deadline`] when nobody asks so often.
    pub async fn plays_on(&self, asked: RequestKind, about: &str, times: u32) -> Result<()> {
        let wanted = self.played(asked, about) + times;
        let description = format!("{asked:?} is asked {times} more times about {about:?}");
        eventually(PLUG, description, async || {
            let played = self.played(asked, about);
            (played >= wanted)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{played} of {wanted}")))
        })
        .await
    }

    /// Closes every connection, in the middle of whatever it carries. New ones are welcome.
    pub fn cuts(&self) {
        self.shared.line.send_modify(|line| line.cuts += 1);
    }

    /// From now on nothing comes through and nothing is closed, not on old connections and not on
    /// new ones.
    pub fn falls_silent(&self) {
        self.shared.line.send_modify(|line| {
            line.silences += 1;
            line.silent = true;
        });
    }

    /// Closes every connection, and new ones at once, as a server that is gone. A new connection
    /// counts as a request.
    pub fn refuse_connections(&self) {
        self.shared.line.send_modify(|line| {
            line.cuts += 1;
            line.away = true;
        });
    }

    /// Undoes [`Self::refuse_connections`].
    pub fn accept_connections(&self) {
        self.shared.line.send_modify(|line| line.away = false);
    }

    /// How many requests it has had of the kinds and namespaces that `counts` accepts. The
    /// namespace is empty for requests about none.
    pub fn asked(&self, counts: impl Fn(RequestKind, &str) -> bool) -> u64 {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = asked
            .iter()
            .filter(|((kind, namespace), _)| counts(*kind, namespace));
        counted.map(|(_, number)| number).sum()
    }

    /// New connections work again. Those of before stay dead without a word, as where a router has
    /// forgotten them.
    pub fn heals(&self) {
        self.shared.line.send_modify(|line| line.silent = false);
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, BTreeMap<(RequestKind, String), Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, asked: RequestKind, namespace: &str) {
        let mut counts = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((asked, namespace.to_owned())).or_default() += 1;
    }

    /// What to play to a request, which counts as played.
    fn order(&self, asked: RequestKind, path: &str) -> Option<Answer> {
        let mut orders = self.orders();
        let (_, order) = orders.iter_mut().find(|((kind, about), order)| {
            *kind == asked && !order.revoked && path.contains(about.as_str())
        })?;
        order.played += 1;
        Some(order.answer)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(talk(stream, Arc::clone(&shared)));
    }
}

/// Serves one connection until it ends, is cut, or falls silent.
async fn talk(stream: TcpStream, shared: Arc<Shared>) {
    let mut line = shared.line.subscribe();
    let born = *line.borrow_and_update();
    if born.away {
        return shared.count(RequestKind::Other, "");
    }
    let service = service_fn(|request| shared.answer(request));
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ends = async {
        let changed =
            line.wait_for(|now| now.silent || now.silences != born.silences || now.cuts != born.cuts);
        changed.await.is_ok_and(|now| now.silent)
    };
    let silent = tokio::select! {
        biased;
        silent = ends => silent,
        _ = &mut serving => false,
    };
    if silent {
        // It stays open, and nobody reads.
        pending::<()>().await;
    }
}
