//! Takes new settings over: reports those that are refused, and returns when this replica is to
//! restart for good ones.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use shared_process::settings::{Follower, News};
use tokio::time::{sleep, timeout};

use crate::cluster::replicas::Replicas;

/// Between two questions for another ready replica.
const RETRY: Duration = Duration::from_secs(5);
/// For an event to be written.
const EVENT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest note that the API takes, in bytes.
const MAX_NOTE: usize = 1024;

/// The pod of this program, and how events on it are written.
#[derive(Clone)]
pub struct OwnPod {
    recorder: Recorder,
    reference: ObjectReference,
}

impl OwnPod {
    /// `None` without a name: then there are no events.
    pub fn new(client: Client, namespace: &str, name: &str, uid: &str) -> Option<Self> {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        let reporter = Reporter {
            controller: "dynamic-networks-webhook".to_owned(),
            instance: reference.name.clone(),
        };
        reference.name.as_ref()?;
        Some(Self {
            recorder: Recorder::new(client, reporter),
            reference,
        })
    }

    async fn settings_refused(&self, cause: &str) {
        let mut note = format!("new settings are refused, the previous ones stay in use: {cause}");
        while note.len() > MAX_NOTE {
            note.pop();
        }
        let event = Event {
            type_: EventType::Warning,
            reason: "SettingsRefused".to_owned(),
            note: Some(note),
            action: "TakeOverSettings".to_owned(),
            secondary: None,
        };
        let written = timeout(EVENT_DEADLINE, self.recorder.publish(&event, &self.reference));
        let cause = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::warn!(%cause, "writing an event on the own pod failed");
    }
}

/// Returns when this replica is to restart.
pub async fn wait_until_due(mut follower: Follower, own: Option<OwnPod>, replicas: &Replicas) {
    let mut last = None;
    loop {
        match follower.next().await {
            News::Refused(cause) => {
                if let Some(own) = &own {
                    own.settings_refused(&cause).await;
                }
            }
            News::Due => {
                let Err(why) = replicas.may_restart().await else {
                    return;
                };
                if last.as_ref() != Some(&why) {
                    tracing::info!(why, "the restart for new settings waits");
                }
                last = Some(why);
                sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
