//! A watch cache with one small value per object, and the state that says whether it is complete.
//!
//! Fed by list and watch. *Not listed yet* is not *empty*: until the first list is complete,
//! lookups return nothing. A lost watch keeps the last content and is retried without end; a
//! resource that the API server does not know empties the cache.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use axum::http::Request;
use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    client::Body,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tower::service_fn;

use crate::metrics::Metrics;

/// The cached values of the objects of one kind.
#[derive(Debug)]
pub struct Cache<K, V> {
    name: &'static str,
    content: RwLock<Content<K, V>>,
    /// When the API server last answered a list or a watch, or a watch brought something.
    heard: Arc<Mutex<Instant>>,
}

#[derive(Debug)]
struct Content<K, V> {
    entries: BTreeMap<K, V>,
    /// A list that is not complete yet.
    incoming: BTreeMap<K, V>,
    state: State,
}

/// Whether a cache is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The first list is not complete, for this reason.
    Waiting(String),
    /// Complete, and kept up to date by a watch.
    Synced,
    /// The API server does not know the resource.
    NotInstalled,
}

impl<K: Ord, V> Cache<K, V> {
    /// An empty cache that waits for its first list; `name` is for logs and metrics.
    pub fn new(name: &'static str) -> Self {
        let state = State::Waiting("not listed yet".to_owned());
        let content = Content {
            entries: BTreeMap::new(),
            incoming: BTreeMap::new(),
            state,
        };
        Self {
            name,
            content: RwLock::new(content),
            heard: Arc::new(Mutex::new(Instant::now())),
        }
    }

    pub fn state(&self) -> State {
        self.read().state.clone()
    }

    /// How long ago the API server last answered a list or a watch, or a watch brought something;
    /// before that, since the cache was made. A watch is renewed each minute, so that a cache that
    /// is followed is never much older.
    pub fn age(&self) -> Duration {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    /// `client`, each of whose successful answers resets the age. The renewal of a watch without
    /// events is visible nowhere else.
    pub fn heard_through(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let heard = Arc::clone(&self.heard);
        let service = service_fn(move |request: Request<Body>| {
            let (client, heard) = (client.clone(), Arc::clone(&heard));
            async move {
                let response = client.send(request).await?;
                if response.status().is_success() {
                    hear(&heard);
                }
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(service, namespace)
    }

    /// Replaces the whole content by a complete list.
    pub fn replace(&self, entries: impl IntoIterator<Item = (K, V)>) {
        let mut content = self.write();
        content.entries = entries.into_iter().collect();
        content.incoming = BTreeMap::new();
        content.state = State::Synced;
    }

    /// Calls `at` with the entries; `None` until the first list is complete. A resource that is not
    /// installed has no entries.
    pub fn with_entries<T>(&self, at: impl FnOnce(&BTreeMap<K, V>) -> T) -> Option<T> {
        let content = self.read();
        let is_complete = matches!(content.state, State::Synced | State::NotInstalled);
        is_complete.then(|| at(&content.entries))
    }

    /// Lists and watches `api`, and keeps what `entry` makes of each object: its key, and the value
    /// if there is one to keep. Never returns.
    pub async fn follow<O>(
        &self,
        api: Api<O>,
        config: watcher::Config,
        metrics: &Metrics,
        entry: impl Fn(&O) -> Option<(K, Option<V>)>,
    ) where
        O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut events = std::pin::pin!(watcher(api, config).backoff(ConstantBackoff));
        let mut last_error = String::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    hear(&self.heard);
                    // Init only announces a retry.
                    if !last_error.is_empty() && !matches!(event, Event::Init) {
                        tracing::info!(cache = self.name, "watch re-established");
                        last_error.clear();
                    }
                    self.apply(event, &entry);
                }
                Err(error) => {
                    self.fail(&error);
                    let text = error.to_string();
                    if text != last_error {
                        tracing::warn!(cache = self.name, %error, "list or watch failed; will retry");
                        last_error = text;
                    }
                }
            }
            metrics.cache_synced(self.name, self.read().state == State::Synced);
        }
    }

    fn apply<O>(&self, event: Event<O>, entry: impl Fn(&O) -> Option<(K, Option<V>)>) {
        let mut content = self.write();
        match event {
            Event::Init => content.incoming = BTreeMap::new(),
            Event::InitApply(object) => {
                if let Some((key, Some(value))) = entry(&object) {
                    content.incoming.insert(key, value);
                }
            }
            Event::InitDone => {
                content.entries = std::mem::take(&mut content.incoming);
                content.state = State::Synced;
            }
            Event::Apply(object) => match entry(&object) {
                Some((key, Some(value))) => _ = content.entries.insert(key, value),
                Some((key, None)) => _ = content.entries.remove(&key),
                None => {}
            },
            Event::Delete(object) => {
                if let Some((key, _)) = entry(&object) {
                    content.entries.remove(&key);
                }
            }
        }
    }

    fn fail(&self, error: &watcher::Error) {
        let mut content = self.write();
        if is_not_installed(error) {
            content.entries = BTreeMap::new();
            content.state = State::NotInstalled;
        } else if content.state != State::Synced {
            content.state = State::Waiting(error.to_string());
        }
    }

    // A poisoned lock means that a thread panicked between two assignments; the data is still
    // whole.
    fn read(&self) -> RwLockReadGuard<'_, Content<K, V>> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content<K, V>> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hear(heard: &Mutex<Instant>) {
    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

/// A list of a resource that does not exist answers 404; of one that does exist, never.
fn is_not_installed(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

/// The same short pause before every retry: it costs two small requests per replica, and a resource
/// that gets installed is noticed within seconds.
struct ConstantBackoff;

impl Iterator for ConstantBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(3))
    }
}

impl Backoff for ConstantBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests;
