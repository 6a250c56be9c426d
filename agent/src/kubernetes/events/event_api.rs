//! One event in the API. An event that happens again raises the count of the one that exists, also
//! after a restart of the agent: its name follows from what it says.

use std::{cell::RefCell, time::Duration};

use k8s_openapi::{
    api::core::v1::{Event as ApiEvent, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{Event, Reason, lru::Lru};
use crate::kubernetes::api_error;
use agent_core::identity::PodIdentity;

/// The component that our events come from; multus' have the same reason AddedInterface, but
/// another component.
pub const SOURCE: &str = "dynamic-networks-controller";
/// So many events' counts are remembered.
const COUNTS: usize = 4096;
/// For one request.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest message that the API takes, in bytes.
const MAX_MESSAGE: usize = 1024;

/// An event in the form that the API server stores.
pub(super) struct Post {
    pub(super) pod: PodIdentity,
    pub(super) reason: Reason,
    /// How often it happened since it was last written.
    pub(super) occurrences: i32,
    /// The same for the same event, also in another version of this program.
    pub(super) key: u64,
    warning: bool,
    message: String,
}

/// What became of one.
pub(super) enum Outcome {
    Written,
    /// For good: the namespace is terminating, the permission is missing, the event is not valid.
    Refused(String),
    /// The API server asks for fewer.
    TooMany,
    /// It does not answer, or fails: a later try may succeed.
    Failed(String),
}

pub(super) struct EventApi {
    client: Client,
    node: String,
    /// The count in the API by key.
    counts: RefCell<Lru<u64, i32>>,
}

impl Post {
    pub(super) fn new(pod: &PodIdentity, event: &Event) -> Self {
        Self {
            key: key(pod.uid(), event),
            message: message(event),
            pod: pod.clone(),
            reason: event.reason,
            warning: event.warning,
            occurrences: 1,
        }
    }

    fn name(&self) -> String {
        let short: String = self.pod.name().chars().take(200).collect();
        format!("{}.{:016x}", short.trim_end_matches(['.', '-']), self.key)
    }
}

impl EventApi {
    pub(super) fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
            counts: RefCell::new(Lru::new(COUNTS)),
        }
    }

    /// Writes it once.
    pub(super) async fn write(&self, post: &Post) -> Outcome {
        match self.try_write(post).await {
            Ok(()) => Outcome::Written,
            Err(error) => match api_error::code(&error) {
                Some(429) => Outcome::TooMany,
                Some(400..500) => Outcome::Refused(api_error::text(&error)),
                _ => Outcome::Failed(api_error::text(&error)),
            },
        }
    }

    async fn try_write(&self, post: &Post) -> Result<(), kube::Error> {
        let known = *self.counts.borrow_mut().entry(&post.key, || 0);
        if known == 0 && self.create(post).await? {
            return Ok(());
        }
        let known = match known {
            // From before a restart: a patch returns the count, and reading it would need one more
            // permission.
            0 => {
                let found = self.patch(post, json!({"message": post.message})).await?;
                found.and_then(|event| event.count).unwrap_or(1)
            }
            known => known,
        };
        let count = known.saturating_add(post.occurrences);
        let change = json!({
            "count": count,
            "lastTimestamp": Time(Timestamp::now()),
            "message": post.message,
        });
        if self.patch(post, change).await?.is_some() {
            self.remember(post, count);
        } else {
            // The API server forgets events after an hour.
            self.create(post).await?;
        }
        Ok(())
    }

    /// Whether it was created; otherwise it exists.
    async fn create(&self, post: &Post) -> Result<bool, kube::Error> {
        let event = self.event(post);
        let created = within(self.events(post).create(&PostParams::default(), &event)).await;
        match created {
            Ok(_) => {
                self.remember(post, post.occurrences);
                Ok(true)
            }
            Err(error) if api_error::code(&error) == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `None`: it does not exist.
    async fn patch(&self, post: &Post, change: Value) -> Result<Option<ApiEvent>, kube::Error> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(change));
        match within(self.events(post).patch(&post.name(), &params, &patch)).await {
            Ok(event) => Ok(Some(event)),
            Err(error) if api_error::code(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember(&self, post: &Post, count: i32) {
        *self.counts.borrow_mut().entry(&post.key, || count) = count;
    }

    fn events(&self, post: &Post) -> Api<ApiEvent> {
        Api::namespaced(self.client.clone(), post.pod.namespace())
    }

    fn event(&self, post: &Post) -> ApiEvent {
        let now = Time(Timestamp::now());
        let pod = &post.pod;
        ApiEvent {
            metadata: ObjectMeta {
                name: Some(post.name()),
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
            reason: Some(post.reason.as_str().to_owned()),
            message: Some(post.message.clone()),
            type_: Some(if post.warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some(SOURCE.to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some(SOURCE.to_owned()),
            reporting_instance: Some(self.node.clone()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(post.occurrences),
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

/// FNV-1a, 64 bits: the hasher of the standard library may change with the compiler, and then each
/// event would exist twice.
fn key(uid: &str, event: &Event) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // No UTF-8 contains 0xff.
    let parts = [
        uid.as_bytes(),
        event.reason.as_str().as_bytes(),
        event.text.as_bytes(),
    ]
    .join(&0xff);
    parts
        .iter()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// At most [`MAX_MESSAGE`] bytes.
fn message(event: &Event) -> String {
    let next = event
        .next_try
        .map(|wait| format!("; next try in {:.0} s", wait.as_secs_f64().ceil()))
        .unwrap_or_default();
    let mut text = event.text.clone();
    let room = MAX_MESSAGE.saturating_sub(next.len());
    if text.len() > room {
        let end = (0..=room.saturating_sub(3)).rfind(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
    text + &next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodIdentity {
        PodIdentity::new("default", "p", "u").unwrap()
    }

    #[test]
    fn names_an_event_by_what_it_says() {
        let once = Event::blocked("x");
        let again = Event {
            next_try: Some(Duration::from_secs(9)),
            ..once.clone()
        };
        let name = |event: &Event| Post::new(&pod(), event).name();
        assert_eq!(name(&once), name(&again));
        assert_ne!(name(&once), name(&Event::blocked("y")));
        assert!(message(&again).ends_with("; next try in 9 s"));
    }

    /// An agent that is upgraded must find the events of its predecessor.
    #[test]
    fn the_name_of_an_event_never_changes() {
        let event = Event::warning(Reason::FailedAddingInterface, "x".to_owned());
        assert_eq!(Post::new(&pod(), &event).name(), "p.235be5d63d833da3");
    }

    #[test]
    fn cuts_a_text_that_the_api_would_not_take() {
        let long = Event {
            next_try: Some(Duration::from_secs(60)),
            ..Event::blocked(&"é".repeat(2000))
        };
        assert!(message(&long).len() <= MAX_MESSAGE);
        assert!(message(&long).ends_with("...; next try in 60 s"));
    }
}
