//! The agent's events about a pod.

use k8s_openapi::api::core::v1::Event as ApiEvent;
use kube::api::ListParams;

use crate::{
    error::{Doing, Error, Result},
    pod::Pod,
    wait::{PLUG, eventually},
};

/// An event about the pod, from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `AddedInterface`…
    pub reason: String,
    /// For people.
    pub message: String,
    /// `Warning`, not `Normal`.
    pub warning: bool,
    /// How often it happened.
    pub count: i32,
    /// When it happened last by the clock of who wrote it: seconds since the epoch.
    pub last: i64,
}

impl Pod {
    /// The agent's events about it (multus' own have the same reasons).
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn events(&self) -> Result<Vec<Event>> {
        let selector = ListParams::default().fields(&format!("involvedObject.uid={}", self.uid));
        let events = self.events.list(&selector).await.doing("list events")?;
        let ours = events.items.into_iter().filter(is_ours);
        Ok(ours.map(Event::from).collect())
    }

    /// Waits for an event of the agent whose message contains `part`.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the events that are there.
    pub async fn has_event(&self, reason: &str, part: &str) -> Result<Event> {
        eventually(PLUG, format!("an event {reason} about {part:?}"), async || {
            let events = self.events().await?;
            let found = events
                .iter()
                .find(|e| e.reason == reason && e.message.contains(part))
                .cloned();
            found.ok_or_else(|| Error::Unexpected(format!("{events:?}")))
        })
        .await
    }
}

/// Multus' events carry its name as the source; ours carry ours.
pub(crate) fn is_ours(event: &ApiEvent) -> bool {
    let source = event.source.as_ref().and_then(|s| s.component.as_deref());
    let component = event
        .reporting_component
        .as_deref()
        .filter(|c| !c.is_empty())
        .or(source);
    component.is_some_and(|c| c.starts_with("dynamic-networks"))
}

impl From<ApiEvent> for Event {
    fn from(event: ApiEvent) -> Self {
        let series = event.series.and_then(|s| s.count);
        Self {
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            warning: event.type_.as_deref() == Some("Warning"),
            last: event.last_timestamp.map_or(0, |time| time.0.as_second()),
            count: series.or(event.count).unwrap_or(1),
        }
    }
}
