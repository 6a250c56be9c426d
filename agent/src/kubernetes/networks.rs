//! NetworkAttachmentDefinitions: those that pods of this node use are read once, and again when one
//! metadata watch of all networks says that they have changed.
//!
//! Flow: the watch is open while any pod is followed, and a while longer: the next edit of a pod
//! that has no networks any more does not wait for it. It begins at the version of a list of one
//! object, so that no full list is ever read; events of networks that no followed pod names are
//! dropped. Where the API server no longer has the watch's version, the same list, and one read of
//! each network that was read before.
//!
//! Guarantees: one connection for the watch, [`READS_AT_ONCE`] for reads; a network is not read
//! again while the watch is open and no event of it has come, also where there is none of that
//! name. While the watch is not open, each use reads it. Memory does not depend on networks that
//! this node does not use.

pub mod cache;
mod file;
mod flights;
mod object;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use kube::Client;
use shared::names::NetworkName;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};

use crate::kubernetes::{
    client::ApiServer,
    metadata_watch::{self, CAP, Signal, Source, Start},
};
use agent_core::network::{NetworkDefinition, NetworkError};
use cache::{Cache, Found, LINGERING};
use flights::{Flights, Outcome, Sent};
pub use object::MAX_CONFIG_BYTES;
use object::NetworkMetadata;

/// So many networks are read at once.
pub const READS_AT_ONCE: usize = 4;
/// So many of them because another network of the same pod is plugged: a pod never waits behind all
/// of those.
const AHEAD_AT_ONCE: usize = 3;
/// So many of them because they may have changed, so that a pod's read never waits behind all of
/// those.
const REFRESHES_AT_ONCE: usize = 2;
/// The deadline of a read, the time in which it waits for others included.
const DEADLINE: Duration = Duration::from_secs(10);
/// A read waits so long for a watch that is just being opened: what is read before cannot be kept.
const OPENING: Duration = Duration::from_secs(1);
/// So many networks are followed without a pod.
const MOST_LINGERING: usize = 16;
/// After an outage what happened meanwhile comes so long after the watch is open again. Until then
/// each use reads.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What is told about the networks of followed pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A network was created, changed or deleted, or may have been.
    Changed {
        /// The network.
        network: NetworkName,
        /// Its version now; `None`: there is none of that name.
        resource_version: Option<String>,
        /// The uids of the followed pods that use it.
        pods: Vec<String>,
    },
    /// The watch is lost, for this reason: changes are told late.
    Lost(String),
    /// It is back, or needed no more. What changed meanwhile is told as usual.
    Resumed,
}

/// See the module. Clones are the same networks.
#[derive(Clone)]
pub struct Networks(Rc<Inner>);

struct Inner {
    calls: Client,
    watches: Client,
    conf_dir: PathBuf,
    linger: Duration,
    /// The networks that no pod uses any more, and until when they are followed all the same.
    lingering: RefCell<VecDeque<(Instant, NetworkName)>>,
    cache: RefCell<Cache>,
    flights: Flights,
    reads: Semaphore,
    ahead: Semaphore,
    watch: Cell<Watch>,
    /// The watch or the followed pods have changed, or there is something to tell.
    news: Notify,
}

/// How the watch is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Watch {
    Closed,
    /// For the first time since it was closed.
    Opening,
    /// What is held counts from then on.
    Open(Instant),
    Down,
}

impl Networks {
    /// `conf_dir`: where the CNI files for networks with an empty spec are; `linger`: how long a
    /// network is followed after its last pod.
    pub fn new(server: &ApiServer, conf_dir: PathBuf, linger: Duration) -> Self {
        Self(Rc::new(Inner {
            calls: server.calls.clone(),
            watches: server.watches.clone(),
            conf_dir,
            linger,
            lingering: RefCell::default(),
            cache: RefCell::default(),
            flights: Flights::default(),
            reads: Semaphore::new(READS_AT_ONCE),
            ahead: Semaphore::new(AHEAD_AT_ONCE),
            watch: Cell::new(Watch::Closed),
            news: Notify::new(),
        }))
    }

    /// The pod uses exactly these networks from now on.
    pub fn follow(&self, pod_uid: &str, networks: BTreeSet<NetworkName>) {
        let mut cache = self.0.cache.borrow_mut();
        let mut left = cache.networks_of(pod_uid);
        left.retain(|network| !networks.contains(network));
        if !left.is_empty() {
            self.linger(left, &mut cache);
        }
        cache.follow(pod_uid, networks);
        if cache.is_followed() && self.0.watch.get() == Watch::Closed {
            self.0.watch.set(Watch::Opening);
        }
        self.0.news.notify_waiters();
    }

    fn linger(&self, left: BTreeSet<NetworkName>, cache: &mut Cache) {
        if self.0.linger.is_zero() {
            return;
        }
        let until = Instant::now() + self.0.linger;
        let mut lingering = self.0.lingering.borrow_mut();
        lingering.retain(|(_, network)| !left.contains(network));
        lingering.extend(left.into_iter().map(|network| (until, network)));
        while lingering.len() > MOST_LINGERING {
            lingering.pop_front();
        }
        cache.follow(
            LINGERING,
            lingering.iter().map(|(_, network)| network.clone()).collect(),
        );
    }

    fn next_end(&self) -> Option<Instant> {
        self.0.lingering.borrow().front().map(|(until, _)| *until)
    }

    /// Forgets the networks that have been followed long enough. The answer is when the next one
    /// is.
    fn end_lingering(&self) -> Option<Instant> {
        let mut lingering = self.0.lingering.borrow_mut();
        let before = lingering.len();
        let now = Instant::now();
        lingering.retain(|(until, _)| *until > now);
        if lingering.len() < before {
            let left = lingering.iter().map(|(_, network)| network.clone()).collect();
            self.0.cache.borrow_mut().follow(LINGERING, left);
        }
        drop(lingering);
        self.next_end()
    }

    /// The pod uses none any more.
    pub fn forget(&self, pod_uid: &str) {
        self.follow(pod_uid, BTreeSet::new());
    }

    /// The present state of the network.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub async fn read(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError> {
        let found = timeout(DEADLINE, self.find(network)).await;
        let found = found.unwrap_or_else(|_| {
            Err(NetworkError::Api {
                network: network.clone(),
                cause: format!("the API server did not answer within {} s", DEADLINE.as_secs()),
            })
        })?;
        let found = match &*found {
            Found::Missing => return Err(NetworkError::Missing(network.clone())),
            Found::TooLarge(_) => {
                return Err(NetworkError::TooLarge {
                    network: network.clone(),
                    part: "config",
                    limit: MAX_CONFIG_BYTES,
                });
            }
            Found::Network(found) => found,
        };
        let config = if found.config.is_empty() {
            self.file(network).await?
        } else {
            found.config.clone()
        };
        Ok(NetworkDefinition {
            resource_version: found.version.version.clone(),
            config,
            resource_name: found.resource_name.clone(),
        })
    }

    /// Reads what the pod uses besides `network` and is not held, so that its next ADD does not
    /// wait for the API server.
    pub async fn read_ahead(&self, pod_uid: &str, network: &NetworkName) {
        let mut networks = self.0.cache.borrow().networks_of(pod_uid);
        networks.remove(network);
        let reads = networks.into_iter().map(|network| async move {
            let Ok(_permit) = self.0.ahead.acquire().await else {
                return;
            };
            let is_kept = matches!(self.0.watch.get(), Watch::Opening | Watch::Open(_));
            if is_kept && self.0.cache.borrow().uses(&network) {
                // The ADD that needs it says why there is no answer.
                let _ = timeout(DEADLINE, self.find(&network)).await;
            }
        });
        let mut reads = pin!(futures::stream::iter(reads).buffer_unordered(AHEAD_AT_ONCE));
        while reads.next().await.is_some() {}
    }

    /// Keeps the watch open and calls `tell` for each event. Never returns.
    pub async fn run(&self, tell: impl Fn(NetworkEvent)) {
        loop {
            self.until(|cache| cache.is_followed()).await;
            self.watch_while_followed(&tell).await;
        }
    }

    async fn file(&self, network: &NetworkName) -> Result<String, NetworkError> {
        let (directory, wanted) = (self.0.conf_dir.clone(), network.clone());
        let found = tokio::task::spawn_blocking(move || file::find(&directory, &wanted)).await;
        found.unwrap_or_else(|_| {
            Err(NetworkError::NoFile {
                network: network.clone(),
                dir: self.0.conf_dir.display().to_string(),
            })
        })
    }

    async fn find(&self, network: &NetworkName) -> Outcome {
        if self.0.cache.borrow().uses(network) {
            let opened = self.until_watch(|watch| watch != Watch::Opening);
            let _ = timeout(OPENING, opened).await;
        }
        self.obtain(network, || self.held(network)).await
    }

    /// What `held` has, or else the answer of a read that is sent after now.
    async fn obtain(&self, network: &NetworkName, held: impl Fn() -> Option<Rc<Found>>) -> Outcome {
        let arrival = self.0.flights.arrival();
        loop {
            if let Some(found) = held() {
                return Ok(found);
            }
            match self.0.flights.current(network, arrival) {
                Some((flight, true)) => return flight.await,
                Some((flight, false)) => drop(flight.await),
                None => return self.fetch(network).await,
            }
        }
    }

    /// What is held, as far as it counts.
    fn held(&self, network: &NetworkName) -> Option<Rc<Found>> {
        match self.0.watch.get() {
            Watch::Open(from) if from <= Instant::now() => self.0.cache.borrow_mut().held(network),
            _ => None,
        }
    }

    /// Reads from the API server.
    async fn fetch(&self, network: &NetworkName) -> Outcome {
        let begin = |sent: Sent| {
            let (networks, network) = (self.clone(), network.clone());
            async move {
                let _permit = networks.0.reads.acquire().await;
                sent.now();
                let stamp = networks.0.cache.borrow().stamp(&network);
                let found = object::get(&networks.0.calls, &network).await.map(Rc::new);
                if let Ok(found) = &found {
                    networks.0.cache.borrow_mut().learn(&network, stamp, found);
                    networks.0.news.notify_waiters();
                }
                found
            }
        };
        let flight = self.0.flights.begin(network, begin);
        flight.await
    }

    /// Reads until there is an answer, so that a change is noticed.
    async fn refresh(&self, network: NetworkName) {
        let held = || self.0.cache.borrow_mut().held(&network);
        while self.0.cache.borrow().uses(&network) && self.obtain(&network, held).await.is_err() {
            tokio::time::sleep(CAP.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    async fn watch_while_followed(&self, tell: &impl Fn(NetworkEvent)) {
        self.0.watch.set(Watch::Opening);
        let source = Source {
            client: self.0.watches.clone(),
            path: object::PATH.to_owned(),
            fields: String::new(),
            start: Start::Now,
        };
        let mut signals = pin!(metadata_watch::watch::<NetworkMetadata>(source));
        let mut due: VecDeque<NetworkName> = VecDeque::new();
        let mut refreshes = FuturesUnordered::new();
        loop {
            let next_end = self.end_lingering();
            if !self.0.cache.borrow().is_followed() {
                break;
            }
            while refreshes.len() < REFRESHES_AT_ONCE
                && let Some(network) = due.pop_front()
            {
                refreshes.push(self.refresh(network));
            }
            tokio::select! {
                Some(signal) = signals.next() => due.extend(self.apply(signal, tell)),
                Some(()) = refreshes.next() => {}
                () = self.until(|cache| {
                    cache.has_changed() || !cache.is_followed() || self.next_end() != next_end
                }) => {}
                () = tokio::time::sleep_until(next_end.unwrap_or_else(Instant::now)), if next_end.is_some() => {}
            }
            self.tell_changes(tell);
        }
        self.0.cache.borrow_mut().close();
        if self.0.watch.replace(Watch::Closed) == Watch::Down {
            tell(NetworkEvent::Resumed);
        }
    }

    /// The answer is what has to be read again.
    fn apply(&self, signal: Signal<NetworkMetadata>, tell: &impl Fn(NetworkEvent)) -> Vec<NetworkName> {
        let before = self.0.watch.get();
        let event = |metadata: &NetworkMetadata, version| {
            if let Some(network) = metadata.network() {
                self.0.cache.borrow_mut().event(&network, version);
            }
        };
        match signal {
            Signal::Listed => return self.0.cache.borrow_mut().begin(),
            Signal::Open if before == Watch::Down => {
                self.set(Watch::Open(Instant::now() + CATCH_UP));
                tell(NetworkEvent::Resumed);
            }
            Signal::Open => self.set(Watch::Open(Instant::now())),
            Signal::Changed(metadata) => event(&metadata, Some(metadata.version())),
            Signal::Deleted(metadata) => event(&metadata, None),
            Signal::Ended => self.set(Watch::Opening),
            Signal::Failed(cause) => {
                self.set(Watch::Down);
                if before != Watch::Down {
                    tell(NetworkEvent::Lost(cause));
                }
            }
            Signal::Listing | Signal::Item(_) | Signal::Progress => {}
        }
        Vec::new()
    }

    fn tell_changes(&self, tell: &impl Fn(NetworkEvent)) {
        let changed = self.0.cache.borrow_mut().take_changed();
        for (network, resource_version) in changed {
            let pods = self.0.cache.borrow().pods_of(&network);
            tell(NetworkEvent::Changed {
                network,
                resource_version,
                pods,
            });
        }
    }

    fn set(&self, watch: Watch) {
        self.0.watch.set(watch);
        self.0.news.notify_waiters();
    }

    async fn until(&self, is: impl Fn(&Cache) -> bool) {
        loop {
            let news = self.0.news.notified();
            if is(&self.0.cache.borrow()) {
                return;
            }
            news.await;
        }
    }

    async fn until_watch(&self, is: impl Fn(Watch) -> bool) {
        loop {
            let news = self.0.news.notified();
            if is(self.0.watch.get()) {
                return;
            }
            news.await;
        }
    }
}
