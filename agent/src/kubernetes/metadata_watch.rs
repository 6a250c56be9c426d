//! Watches the metadata of the objects of one kind.
//!
//! Flow: list, open the watch at the list's version, then events. After a fault: a pause, and the
//! watch is opened again at the version of the last event. Only when the API server no longer has
//! that version is the list read again.
//!
//! Guarantees: between two [`Signal::Listed`] every event is signalled, once or more, in order. One
//! connection. Memory is bounded by [`PAGE_BYTES`] and [`LINE_BYTES`].
//!
//! Errors: each is a [`Signal::Failed`], and the next step is tried after a jittered backoff of at
//! most [`CAP`], or later if the API server says so. [`Signal::Open`] ends the outage. A version
//! that the API server no longer has, as after its restart, is no reason to wait as long as the
//! outage has lasted: such answers have a backoff of their own.
//!
//! kube's own watcher does not say when a watch is open again after a fault, nor does it know
//! `Retry-After`.

mod lines;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use agent_core::backoff;
use futures::Stream;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::Request,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::kubernetes::{
    api_request::{self, RequestError},
    client,
};
use lines::{Line, Lines};

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

/// A watch that is opened again brings its first line within this time if it is that the version is
/// too old.
const FIRST_LINE: Duration = Duration::from_millis(100);

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
    /// The list is complete, or the version known at which the watch begins: what follows is what
    /// happened since.
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
        expiries: 0,
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
    /// In a row, answers that the version is too old left out.
    failures: u32,
    /// Such answers in a row.
    expiries: u32,
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
    /// Read and not signalled yet.
    first: Option<Line>,
    since: Instant,
    /// It has brought an event.
    works: bool,
}

#[derive(Deserialize)]
struct List<M> {
    metadata: ListMetadata,
    /// Null where there is none.
    items: Option<Vec<Object<M>>>,
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
            Err(error) => self.failed(Position::Unlisted, error),
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
                let objects = list.items.into_iter().flatten();
                pages.items = objects.map(|object| object.metadata).collect();
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
            Err(error) => return Some(self.failed(Position::Unlisted, error)),
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
        let mut params = WatchParams::default().timeout(client::watch_seconds());
        if !self.source.fields.is_empty() {
            params = params.fields(&self.source.fields);
        }
        let opened = async {
            let request = Request::new(&self.source.path).watch_metadata(&params, &version)?;
            api_request::open(&self.source.client, request, DEADLINE).await
        };
        let response = match opened.await {
            Ok(response) => response,
            Err(error) => return self.failed(Position::At(version), error),
        };
        let mut watching = Watching {
            version,
            lines: Lines::new(response.into_body(), LINE_BYTES),
            first: None,
            since: Instant::now(),
            works: false,
        };
        if self.failures > 0 || self.expiries > 0 {
            match tokio::time::timeout(FIRST_LINE, watching.lines.next()).await {
                Ok(Ok(Some(line))) if line.read::<M>().is_ok() => watching.first = Some(line),
                Ok(line) => return self.line(watching, line),
                Err(_) => {}
            }
        }
        self.position = Position::Watching(watching);
        Signal::Open
    }

    /// The next event of a watch.
    async fn follow(&mut self, mut watching: Watching) -> Signal<M> {
        let line = match watching.first.take() {
            Some(first) => Ok(Some(first)),
            None => watching.lines.next().await,
        };
        self.line(watching, line)
    }

    fn line(&mut self, mut watching: Watching, line: Result<Option<Line>, RequestError>) -> Signal<M> {
        let has_worked = watching.works || watching.since.elapsed() >= SHORTEST_WATCH;
        match line.and_then(|line| line.as_ref().map(Line::read).transpose()) {
            Ok(Some((version, signal))) => {
                (self.failures, self.expiries) = (0, 0);
                watching.works = true;
                watching.version = version;
                self.position = Position::Watching(watching);
                signal
            }
            Ok(None) if has_worked => {
                (self.failures, self.expiries) = (0, 0);
                self.position = Position::At(watching.version);
                Signal::Ended
            }
            Ok(None) => {
                let text = "the API server ended the watch at once".to_owned();
                self.fault(Position::At(watching.version), text, None)
            }
            Err(error) => self.failed(Position::At(watching.version), error),
        }
    }

    /// Goes on at `next`, if that is of any use after `error`.
    fn failed(&mut self, next: Position<M>, error: RequestError) -> Signal<M> {
        let text = error.to_string();
        match error {
            RequestError::Refused { status, .. } if matches!(status.code, 404 | 410) => {
                self.expiries = self.expiries.saturating_add(1);
                self.failures = 0;
                self.position = Position::Unlisted;
                self.pause = Some(pause(self.expiries, fastrand::f64()));
                Signal::Failed(text)
            }
            RequestError::Refused { retry_after, .. } => self.fault(next, text, retry_after),
            // An event that cannot be read would come again, unless it is the half of one at a cut.
            RequestError::Undecodable(error) if !error.is_eof() => self.fault(Position::Unlisted, text, None),
            RequestError::TooLarge(_) => self.fault(Position::Unlisted, text, None),
            _ => self.fault(next, text, None),
        }
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

/// The pause after so many failures in a row. `jitter` from 0 to 1 takes up to half of it away.
fn pause(failures: u32, jitter: f64) -> Duration {
    backoff::jittered(backoff::doubled(FIRST, failures, CAP), jitter)
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
