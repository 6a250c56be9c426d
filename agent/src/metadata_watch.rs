//! Watches the metadata of the objects of one kind.
//!
//! Flow: list, open the watch at the list's version, then events. After a fault: a pause, and the watch is opened again
//! at the version of the last event. Only when the API server no longer has that version is the list read again.
//!
//! Guarantees: between two [`Signal::Listed`] every event is signalled, once or more, in order. One connection. Memory
//! is bounded by [`PAGE_BYTES`] and [`LINE_BYTES`].
//!
//! Errors: each is a [`Signal::Failed`], and the next step is tried after a jittered backoff of at most [`CAP`], or
//! later if the API server says so. [`Signal::Open`] ends the outage.
//!
//! kube's own watcher does not say when a watch is open again after a fault, nor does it know `Retry-After`.

mod lines;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use futures::Stream;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::Request,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    api,
    api_request::{self, RequestError},
};
use lines::Lines;

/// The longest pause between two tries, unless the API server asks for a longer one.
pub const CAP: Duration = Duration::from_secs(5);
/// The pause after the first failure, before jitter.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause that the API server can ask for.
const LONGEST_TOLD: Duration = Duration::from_secs(60);
/// A page of a list has at most so many objects: fewer once it was longer than [`PAGE_BYTES`].
const PAGE: u32 = 50;
/// A page of a list has at most so many bytes. One object has less.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// An event has at most so many bytes.
const LINE_BYTES: usize = 8 * 1024 * 1024;
/// The deadline for a page, and for the head of a watch's answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A watch that ends sooner than this and without an event has not worked.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// What is watched, and how.
pub struct Source {
    /// For requests without retries.
    pub client: Client,
    /// The collection's path.
    pub path: String,
    /// A field selector; empty: all objects.
    pub fields: String,
    /// Where the watch begins.
    pub start: Start,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With a list of every object.
    Everything,
    /// Now: of the list one object is asked for, because its version is that of all.
    Now,
}

/// The metadata of an object: the fields that are wanted, and its version.
pub trait Metadata: DeserializeOwned {
    /// `metadata.resourceVersion`
    fn resource_version(&self) -> Option<&str>;
}

/// What has happened.
#[derive(Debug, PartialEq)]
pub enum Signal<M> {
    /// A list of everything begins.
    Listing,
    /// An object of the list.
    Item(M),
    /// The list is complete, or the version known at which the watch begins: what follows is what happened since.
    Listed,
    /// The watch is open.
    Open,
    /// An object was created or changed.
    Changed(M),
    /// An object was deleted.
    Deleted(M),
    /// The API server says that it is there.
    Progress,
    /// The watch ended at its time; it is opened again.
    Ended,
    /// Something failed; it is tried again.
    Failed(String),
}

/// What happens to the objects of `source`. Never ends.
pub fn watch<M: Metadata>(source: Source) -> impl Stream<Item = Signal<M>> {
    let watcher = Watcher {
        source,
        position: Position::Unlisted,
        failures: 0,
        pause: None,
    };
    futures::stream::unfold(watcher, |watcher| async {
        let (signal, watcher) = watcher.step().await;
        Some((signal, watcher))
    })
}

struct Watcher<M> {
    source: Source,
    position: Position<M>,
    /// In a row.
    failures: u32,
    /// Before the next step.
    pause: Option<Duration>,
}

enum Position<M> {
    Unlisted,
    Listing(Pages<M>),
    At(String),
    Watching(Watching),
}

/// A list that is being read.
struct Pages<M> {
    /// Read and not signalled yet.
    items: VecDeque<M>,
    size: u32,
    next: Next,
}

enum Next {
    Page(Option<String>),
    /// The version of the list.
    Nothing(String),
}

struct Watching {
    version: String,
    lines: Lines,
    since: Instant,
    /// It has brought an event.
    works: bool,
}

#[derive(Deserialize)]
struct List<M> {
    metadata: ListMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<Object<M>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Object<M> {
    metadata: M,
}

impl<M: Metadata> Watcher<M> {
    async fn step(mut self) -> (Signal<M>, Self) {
        loop {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let signal = match std::mem::replace(&mut self.position, Position::Unlisted) {
                Position::Unlisted if self.source.start == Start::Everything => {
                    self.position = Position::Listing(Pages::new());
                    Some(Signal::Listing)
                }
                Position::Unlisted => Some(self.locate().await),
                Position::Listing(pages) => self.list(pages).await,
                Position::At(version) => Some(self.open(version).await),
                Position::Watching(watching) => Some(self.follow(watching).await),
            };
            if let Some(signal) = signal {
                return (signal, self);
            }
        }
    }

    /// Learns the version of the whole collection.
    async fn locate(&mut self) -> Signal<M> {
        match self.page(1, None).await {
            Ok(list) => {
                self.position = Position::At(list.metadata.resource_version);
                Signal::Listed
            }
            Err(error) => self.failed(Position::Unlisted, &error),
        }
    }

    /// Signals the next object of a list, or reads its next page.
    async fn list(&mut self, mut pages: Pages<M>) -> Option<Signal<M>> {
        if let Some(item) = pages.items.pop_front() {
            self.position = Position::Listing(pages);
            return Some(Signal::Item(item));
        }
        let token = match pages.next {
            Next::Page(token) => token,
            Next::Nothing(version) => {
                self.position = Position::At(version);
                return Some(Signal::Listed);
            }
        };
        match self.page(pages.size, token.as_deref()).await {
            Ok(list) => {
                pages.items = list.items.into_iter().map(|object| object.metadata).collect();
                pages.next = match list.metadata.next {
                    next if next.is_empty() => Next::Nothing(list.metadata.resource_version),
                    next => Next::Page(Some(next)),
                };
            }
            Err(RequestError::TooLarge(_)) if pages.size > 1 => {
                pages.size = (pages.size / 4).max(1);
                pages.next = Next::Page(token);
            }
            // From the beginning: the token may be what failed.
            Err(error) => return Some(self.failed(Position::Unlisted, &error)),
        }
        self.position = Position::Listing(pages);
        None
    }

    async fn page(&self, size: u32, token: Option<&str>) -> Result<List<M>, RequestError> {
        let mut params = ListParams::default().limit(size);
        if !self.source.fields.is_empty() {
            params = params.fields(&self.source.fields);
        }
        if let Some(token) = token {
            params = params.continue_token(token);
        }
        let request = Request::new(&self.source.path).list_metadata(&params)?;
        let body = api_request::read(&self.source.client, request, PAGE_BYTES, DEADLINE).await?;
        let list: List<M> = serde_json::from_slice(&body)?;
        if list.metadata.resource_version.is_empty() && list.metadata.next.is_empty() {
            return Err(RequestError::without("resourceVersion"));
        }
        Ok(list)
    }

    async fn open(&mut self, version: String) -> Signal<M> {
        let mut params = WatchParams::default().timeout(api::watch_seconds());
        if !self.source.fields.is_empty() {
            params = params.fields(&self.source.fields);
        }
        let opened = async {
            let request = Request::new(&self.source.path).watch_metadata(&params, &version)?;
            api_request::open(&self.source.client, request, DEADLINE).await
        };
        match opened.await {
            Ok(response) => {
                self.position = Position::Watching(Watching {
                    version,
                    lines: Lines::new(response.into_body(), LINE_BYTES),
                    since: Instant::now(),
                    works: false,
                });
                Signal::Open
            }
            Err(error) if forgets(&error) => self.failed(Position::Unlisted, &error),
            Err(error) => self.failed(Position::At(version), &error),
        }
    }

    /// The next event of a watch.
    async fn follow(&mut self, mut watching: Watching) -> Signal<M> {
        let line = match watching.lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) if watching.works || watching.since.elapsed() >= SHORTEST_WATCH => {
                self.failures = 0;
                self.position = Position::At(watching.version);
                return Signal::Ended;
            }
            Ok(None) => {
                let text = "the API server ended the watch at once".to_owned();
                return self.fault(Position::At(watching.version), text, None);
            }
            Err(error) => return self.failed(Position::At(watching.version), &error),
        };
        let (version, signal) = match line.read() {
            Ok(read) => read,
            Err(error) if is_transient(&error) => {
                return self.failed(Position::At(watching.version), &error);
            }
            // An event that cannot be read comes again after its predecessor's version.
            Err(error) => return self.failed(Position::Unlisted, &error),
        };
        self.failures = 0;
        watching.works = true;
        watching.version = version;
        self.position = Position::Watching(watching);
        signal
    }

    fn failed(&mut self, next: Position<M>, error: &RequestError) -> Signal<M> {
        let told = match error {
            RequestError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        self.fault(next, error.to_string(), told)
    }

    fn fault(&mut self, next: Position<M>, text: String, told: Option<Duration>) -> Signal<M> {
        self.position = next;
        self.failures = self.failures.saturating_add(1);
        let told = told.unwrap_or_default().min(LONGEST_TOLD);
        self.pause = Some(told + pause(self.failures, fastrand::f64()));
        Signal::Failed(text)
    }
}

impl<M> Pages<M> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            size: PAGE,
            next: Next::Page(None),
        }
    }
}

/// Whether the refusal means that the version is of no use any more: too old, or of another store, in which it is still
/// to come.
fn forgets(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused { status, .. }
        if matches!(status.code, 400 | 404 | 410) || status.message.contains("Too large resource version"))
}

/// Whether a line that is no event is one because of the moment: a refusal, or the half of an event at a cut.
fn is_transient(error: &RequestError) -> bool {
    match error {
        RequestError::Undecodable(error) => error.is_eof(),
        error => !forgets(error),
    }
}

/// The pause after so many failures in a row. `jitter` from 0 to 1 takes up to half of it away.
fn pause(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(CAP).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1, 0.0, 250)]
    #[case(1, 1.0, 125)]
    #[case(3, 0.0, 1_000)]
    #[case(6, 0.0, 5_000)]
    #[case(u32::MAX, 0.0, 5_000)]
    fn pauses_at_most_five_seconds(#[case] failures: u32, #[case] jitter: f64, #[case] millis: u64) {
        assert_eq!(pause(failures, jitter), Duration::from_millis(millis));
    }
}
