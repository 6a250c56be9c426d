//! Writes events to the API, apart from everything else: nothing waits for it. Which events and in
//! which order is decided by
//! [`Filter`] and [`Queue`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use kube::Client;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    Event,
    event_api::{EventApi, Outcome, Post},
    filter::Filter,
    queue::Queue,
};
use crate::metrics::Metrics;
use agent_core::identity::PodIdentity;

/// Events that are written at the same time, each of another namespace.
const WRITERS: usize = 8;
/// An event waits so long for what people wait for: calls to multus, and the status after them.
const GIVES_WAY: Duration = Duration::from_millis(30);
/// So often in a row, and no longer.
const LONGEST_WAY: u32 = 30;
/// How often one is tried while the API server fails.
const TRIES: u32 = 8;

/// Where the rest of the agent puts its events. Clones share them.
#[derive(Clone)]
pub struct EventSink(Rc<Shared>);

/// The task that writes them.
pub struct EventWriter {
    shared: Rc<Shared>,
    api: EventApi,
}

struct Shared {
    started: Instant,
    filter: RefCell<Filter>,
    queue: RefCell<Queue<Job>>,
    news: Notify,
    is_closed: Cell<bool>,
    metrics: Metrics,
}

struct Job {
    post: Post,
    tries: u32,
}

impl EventSink {
    /// A sink and the writer behind it; `node` is the node's name. The client should not retry by
    /// itself: the writer does, and a namespace that is refused must not take a place among other
    /// calls.
    pub fn new(client: Client, node: &str, metrics: Metrics) -> (Self, EventWriter) {
        let shared = Rc::new(Shared {
            started: Instant::now(),
            filter: RefCell::new(Filter::new()),
            queue: RefCell::new(Queue::new()),
            news: Notify::new(),
            is_closed: Cell::new(false),
            metrics,
        });
        let writer = EventWriter {
            shared: Rc::clone(&shared),
            api: EventApi::new(client, node),
        };
        (Self(shared), writer)
    }

    /// Has `event` written on `pod`, unless its pod has had too many. Never waits.
    pub fn send(&self, pod: &PodIdentity, event: &Event) {
        let shared = &self.0;
        let mut post = Post::new(pod, event);
        let admitted = shared
            .filter
            .borrow_mut()
            .admit(pod.uid(), event, post.key, shared.now());
        match admitted {
            Ok(occurrences) => post.occurrences = occurrences,
            Err(cause) => return shared.metrics.event_suppressed(cause),
        }
        let job = Job { post, tries: 0 };
        if !shared.queue.borrow_mut().push(pod.namespace(), job) {
            shared.metrics.event_dropped();
        }
        shared.news.notify_one();
    }

    /// Has the writer end when everything that waits is written.
    pub fn close(&self) {
        self.0.is_closed.set(true);
        self.0.news.notify_one();
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn next(&self) -> Option<(String, Job)> {
        self.queue.borrow_mut().next(self.now())
    }

    /// The time until another event may be written, if nothing happens before.
    fn pause(&self) -> Option<Duration> {
        let now = self.now();
        let due = self.queue.borrow().due(now)?;
        Some(due.saturating_sub(now))
    }
}

impl EventWriter {
    /// Writes until the sink is closed and everything is written; returns why it ended.
    pub async fn run(self) -> String {
        let shared = &self.shared;
        let mut writing = FuturesUnordered::new();
        loop {
            while writing.len() < WRITERS
                && let Some((namespace, job)) = shared.next()
            {
                writing.push(self.write(namespace, job));
            }
            if shared.is_closed.get() && shared.queue.borrow().is_idle() {
                return "the event writer was closed".to_owned();
            }
            let pause = shared.pause().filter(|_| writing.len() < WRITERS);
            tokio::select! {
                Some(()) = writing.next(), if !writing.is_empty() => {}
                () = shared.news.notified() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    /// On a small machine, an event that is written at once delays the status that it is about.
    async fn give_way(&self) {
        for _ in 0..LONGEST_WAY {
            if self.shared.is_closed.get() {
                return;
            }
            sleep(GIVES_WAY).await;
            if !self.shared.metrics.is_calling() {
                return;
            }
        }
    }

    async fn write(&self, namespace: String, mut job: Job) {
        let Shared { queue, metrics, .. } = &*self.shared;
        if job.tries == 0 {
            self.give_way().await;
        }
        let outcome = self.api.write(&job.post).await;
        let now = self.shared.now();
        let (pod, reason) = (&job.post.pod, job.post.reason);
        match outcome {
            Outcome::Written => {
                metrics.event(reason, true);
                queue.borrow_mut().done(&namespace, now);
            }
            Outcome::Refused(cause) => {
                metrics.event(reason, false);
                tracing::warn!(%pod, reason = reason.as_str(), cause, "event refused; not written");
                queue.borrow_mut().done(&namespace, now);
            }
            Outcome::TooMany => {
                metrics.event_dropped();
                tracing::warn!(
                    namespace,
                    "too many events for the API server (429); one was dropped"
                );
                queue.borrow_mut().failed(&namespace, None, now);
            }
            Outcome::Failed(cause) => {
                job.tries += 1;
                let again = job.tries < TRIES;
                if !again {
                    metrics.event(reason, false);
                    tracing::warn!(%pod, reason = reason.as_str(), cause, "event not written");
                }
                queue.borrow_mut().failed(&namespace, again.then_some(job), now);
            }
        }
    }
}
