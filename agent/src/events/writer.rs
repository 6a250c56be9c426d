//! Writes events to the API, in order, away from everything that waits for nobody. An event that happens again raises the count of the
//! one that is there, also across restarts, because its name follows from what it says.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event as ApiEvent, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::Event;
use agent_core::identity::PodIdentity;

use crate::{api_error, metrics::Metrics};

/// The component that our events come from; multus' have the same reason AddedInterface, but another component.
pub const SOURCE: &str = "dynamic-networks-controller";
/// So many events may wait to be written; more are dropped and counted.
const QUEUE: usize = 1024;
/// So many events' counts are remembered.
const REMEMBERED: usize = 4096;
/// How often one is tried while the API server does not answer.
const TRIES: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(10);

/// Where the rest of the agent puts its events.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: mpsc::Sender<(PodIdentity, Event)>,
    metrics: Metrics,
}

/// The task that writes them.
pub struct EventWriter {
    queue: mpsc::Receiver<(PodIdentity, Event)>,
    client: Client,
    node: String,
    counts: HashMap<String, i32>,
    metrics: Metrics,
}

impl EventSink {
    /// A sink and the writer behind it; `node` is the node's name.
    pub fn new(client: Client, node: &str, metrics: Metrics) -> (Self, EventWriter) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = EventWriter {
            queue: receiver,
            client,
            node: node.to_owned(),
            counts: HashMap::new(),
            metrics: metrics.clone(),
        };
        (
            Self {
                queue: sender,
                metrics,
            },
            writer,
        )
    }

    /// Has `event` written on `pod`. Never waits.
    pub fn send(&self, pod: &PodIdentity, event: Event) {
        if self.queue.try_send((pod.clone(), event)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

impl EventWriter {
    /// Writes until every sink is gone.
    pub async fn run(mut self) {
        while let Some((pod, event)) = self.queue.recv().await {
            let written = self.write(&pod, &event).await;
            self.metrics.event(event.reason, written.is_ok());
            if let Err(error) = written {
                tracing::warn!(%pod, reason = event.reason.as_str(), text = event.text, %error, "an event could not be written");
            }
        }
    }

    async fn write(&mut self, pod: &PodIdentity, event: &Event) -> Result<(), String> {
        let mut wait = Duration::from_secs(1);
        for _ in 1..TRIES {
            match self.try_write(pod, event).await {
                Ok(()) => return Ok(()),
                Err(error) if is_final(&error) => return Err(api_error::text(&error)),
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait *= 2;
        }
        self.try_write(pod, event)
            .await
            .map_err(|error| api_error::text(&error))
    }

    async fn try_write(&mut self, pod: &PodIdentity, event: &Event) -> Result<(), kube::Error> {
        let api: Api<ApiEvent> = Api::namespaced(self.client.clone(), pod.namespace());
        let name = name(pod, event);
        let known = self.counts.get(&name).copied();
        if known.is_none() {
            let created = within(api.create(&PostParams::default(), &self.event(pod, event, &name))).await;
            match created {
                Ok(_) => {
                    self.remember(name, 1);
                    return Ok(());
                }
                Err(error) if api_error::code(&error) == Some(409) => {}
                Err(error) => return Err(error),
            }
        }
        let count = match known {
            Some(count) => count,
            // From before a restart: a patch tells the count, which reading would need one more permission for.
            None => within(api.patch(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"message": message(event)})),
            ))
            .await?
            .count
            .unwrap_or(1),
        };
        let count = count.saturating_add(1);
        let patch =
            json!({"count": count, "lastTimestamp": Time(Timestamp::now()), "message": message(event)});
        match within(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Ok(_) => self.remember(name, count),
            Err(error) if api_error::code(&error) == Some(404) => {
                self.counts.remove(&name);
                within(api.create(&PostParams::default(), &self.event(pod, event, &name))).await?;
                self.remember(name, 1);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn remember(&mut self, name: String, count: i32) {
        if self.counts.len() >= REMEMBERED {
            self.counts.clear();
        }
        self.counts.insert(name, count);
    }

    fn event(&self, pod: &PodIdentity, event: &Event, name: &str) -> ApiEvent {
        let now = Time(Timestamp::now());
        ApiEvent {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(pod.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(pod.namespace().to_owned()),
                name: Some(pod.name().to_owned()),
                uid: Some(pod.uid().to_owned()),
                ..ObjectReference::default()
            },
            reason: Some(event.reason.as_str().to_owned()),
            message: Some(message(event)),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some(SOURCE.to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some(SOURCE.to_owned()),
            reporting_instance: Some(self.node.clone()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..ApiEvent::default()
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(outcome) => outcome,
        Err(elapsed) => Err(kube::Error::Service(Box::new(elapsed))),
    }
}

/// The API server has understood and says no.
fn is_final(error: &kube::Error) -> bool {
    api_error::code(error).is_some_and(|code| (400..500).contains(&code) && code != 429)
}

/// At most 1024 bytes, which is what the API takes.
fn message(event: &Event) -> String {
    let next = event
        .next_try
        .map(|wait| format!("; next try in {:.0} s", wait.as_secs_f64().ceil()))
        .unwrap_or_default();
    let mut text = event.text.clone();
    let room = 1024 - next.len();
    if text.len() > room {
        let end = (0..=room - 3)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text + &next
}

fn name(pod: &PodIdentity, event: &Event) -> String {
    let mut hasher = DefaultHasher::new();
    (pod.uid(), event.reason.as_str(), &event.text).hash(&mut hasher);
    let short: String = pod.name().chars().take(200).collect();
    format!("{}.{:016x}", short.trim_end_matches(['.', '-']), hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodIdentity {
        PodIdentity::new("default", "p", "u").unwrap()
    }

    #[test]
    fn names_the_same_event_the_same_whenever_it_is_tried_next() {
        let once = Event::blocked("x");
        let again = Event {
            next_try: Some(Duration::from_secs(9)),
            ..once.clone()
        };
        assert_eq!(name(&pod(), &once), name(&pod(), &again));
        assert_ne!(name(&pod(), &once), name(&pod(), &Event::blocked("y")));
        assert!(message(&again).ends_with("; next try in 9 s"));
    }

    #[test]
    fn cuts_a_text_that_the_api_would_not_take() {
        let long = Event {
            next_try: Some(Duration::from_secs(60)),
            ..Event::blocked(&"é".repeat(2000))
        };
        assert!(message(&long).len() <= 1024);
        assert!(message(&long).ends_with("...; next try in 60 s"));
    }
}
