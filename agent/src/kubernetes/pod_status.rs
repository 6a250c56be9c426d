//! What the agent reads of one pod and writes to it: the network-status annotation and the
//! condition `NetworksReady`, by a strategic merge patch of pods/status, which names a condition by
//! its type.
//!
//! The patch names the uid, so that it never reaches another pod of the same name (the API server
//! answers 422). With network-status it names the resourceVersion that the new value was made from
//! (409 when another writer was faster). Of the answer only the metadata is asked for.

use std::time::Duration;

use agent_core::{
    condition::{Condition, ConditionChange, ConditionStatus, MAX_MESSAGE},
    effect::{PatchOutcome, StatusView},
    identity::PodIdentity,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Client,
    api::{GetParams, Patch, PatchParams},
    core::{Request, metadata::PartialObjectMeta},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{annotations::NETWORK_STATUS, readiness::NETWORKS_READY};

use crate::kubernetes::{
    api_error::{self, PatchRefusal},
    api_request::{self, RequestError},
    pod_object::annotation_bytes,
};

const DEADLINE: Duration = Duration::from_secs(10);
/// The API server takes no object of more bytes.
const MAX_ANSWER: usize = 3 * 1024 * 1024;
/// Asks for the metadata of the object that was written, and not for the whole.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Reads what a status patch needs; `None`: there is no such pod.
///
/// # Errors
/// For people.
pub async fn read(client: &Client, pod: &PodIdentity) -> Result<Option<StatusView>, String> {
    let failed = |error: RequestError| format!("reading the pod {pod}: {error}");
    let request = requests(pod).get_metadata(pod.name(), &GetParams::default());
    let request = request.map_err(|error| failed(error.into()))?;
    match api_request::read(client, request, MAX_ANSWER, DEADLINE).await {
        Ok(body) => view(&body).map(Some).map_err(failed),
        Err(RequestError::Refused { status, .. }) if status.code == 404 => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What a patch writes.
pub struct StatusPatch<'a> {
    /// The pod that it is for.
    pub old: &'a StatusView,
    /// The new network-status, made from the one in `old`.
    pub status: Option<&'a str>,
    /// The new condition.
    pub condition: Option<&'a ConditionChange>,
}

/// A pod, as far as it says what its condition is.
#[derive(Deserialize)]
struct PodConditions {
    metadata: PodUid,
    #[serde(default)]
    status: Conditions,
}

#[derive(Deserialize)]
struct PodUid {
    uid: String,
}

#[derive(Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    conditions: Option<Vec<ApiCondition>>,
}

#[derive(Deserialize)]
struct ApiCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Reads the condition of this very pod; `None`: it has none, or does not exist.
///
/// # Errors
/// For people.
pub async fn read_condition(client: &Client, pod: &PodIdentity) -> Result<Option<Condition>, String> {
    let failed = |error: RequestError| format!("reading the conditions of the pod {pod}: {error}");
    let request = requests(pod).get(pod.name(), &GetParams::default());
    let request = request.map_err(|error| failed(error.into()))?;
    match api_request::read(client, request, MAX_ANSWER, DEADLINE).await {
        Ok(body) => condition_in(&body, pod.uid()).map_err(failed),
        Err(RequestError::Refused { status, .. }) if status.code == 404 => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn condition_in(object: &[u8], uid: &str) -> Result<Option<Condition>, RequestError> {
    let pod: PodConditions = serde_json::from_slice(object)?;
    let conditions = pod.status.conditions.unwrap_or_default();
    let mut ours = conditions.into_iter().filter(|_| pod.metadata.uid == uid);
    let found = ours.find(|condition| condition.kind == NETWORKS_READY);
    // Of what another writer made longer than the agent ever does only this is compared.
    let bounded = |text: Option<String>| -> String {
        let text = text.unwrap_or_default();
        text.chars().take(MAX_MESSAGE + 1).collect()
    };
    Ok(found.map(|condition| Condition {
        status: ConditionStatus::parse(&condition.status),
        reason: bounded(condition.reason),
        message: bounded(condition.message),
    }))
}

/// Writes what `patch` says, if the pod is still the same; network-status only in the version of
/// the old one.
pub async fn patch(client: &Client, pod: &PodIdentity, patch: &StatusPatch<'_>) -> PatchOutcome {
    match try_patch(client, pod, &body(patch)).await {
        Ok(view) => PatchOutcome::Written(view),
        Err(RequestError::Refused { status, .. }) => match api_error::patch_refusal(&status) {
            PatchRefusal::Gone => PatchOutcome::Gone,
            PatchRefusal::Conflict => PatchOutcome::Conflict,
            PatchRefusal::Failed => PatchOutcome::Failed(format!("{} ({})", status.message, status.code)),
        },
        Err(error) => PatchOutcome::Failed(error.to_string()),
    }
}

async fn try_patch(client: &Client, pod: &PodIdentity, body: &Value) -> Result<StatusView, RequestError> {
    let patch = Patch::Strategic(body);
    let request = requests(pod).patch_subresource("status", pod.name(), &PatchParams::default(), &patch);
    let mut request = request?;
    request.headers_mut().insert(
        hyper::header::ACCEPT,
        hyper::header::HeaderValue::from_static(METADATA),
    );
    view(&api_request::read(client, request, MAX_ANSWER, DEADLINE).await?)
}

fn requests(pod: &PodIdentity) -> Request {
    Request::new(format!("/api/v1/namespaces/{}/pods", pod.namespace()))
}

fn body(patch: &StatusPatch<'_>) -> Value {
    let mut body = json!({"metadata": {"uid": patch.old.uid}});
    if let Some(status) = patch.status {
        body["metadata"]["resourceVersion"] = json!(patch.old.version);
        body["metadata"]["annotations"] = json!({NETWORK_STATUS: status});
    }
    if let Some(change) = patch.condition {
        body["status"] = json!({"conditions": [condition_of(change)]});
    }
    body
}

/// Keys that the element leaves out keep their values: above all the time of the last transition.
fn condition_of(change: &ConditionChange) -> Value {
    let Condition {
        status,
        reason,
        message,
    } = &change.condition;
    let mut element = json!({
        "type": NETWORKS_READY,
        "status": status.as_str(),
        "reason": reason,
        "message": message,
    });
    let changed_at = change.changed_at.and_then(|epoch| i64::try_from(epoch).ok());
    if let Some(time) = changed_at.and_then(|epoch| Timestamp::from_second(epoch).ok()) {
        element["lastTransitionTime"] = json!(Time(time));
    }
    element
}

/// An object as a status view. What is not in a pod's metadata is left out.
fn view(object: &[u8]) -> Result<StatusView, RequestError> {
    let object: PartialObjectMeta<k8s_openapi::api::core::v1::Pod> = serde_json::from_slice(object)?;
    let metadata: ObjectMeta = object.metadata;
    let annotations = metadata.annotations.as_ref();
    let status = annotations.and_then(|annotations| annotations.get(NETWORK_STATUS));
    Ok(StatusView {
        status: status.map(|status| status.as_str().into()),
        annotation_bytes: annotation_bytes(&metadata),
        uid: metadata.uid.unwrap_or_default(),
        version: metadata.resource_version.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view_of(uid: &str) -> StatusView {
        StatusView {
            uid: uid.to_owned(),
            version: "7".to_owned(),
            status: None,
            annotation_bytes: 0,
        }
    }

    fn change(changed_at: Option<u64>) -> ConditionChange {
        ConditionChange {
            condition: Condition {
                status: ConditionStatus::False,
                reason: "AttachFailed".to_owned(),
                message: "m".to_owned(),
            },
            changed_at,
        }
    }

    #[test]
    fn names_the_version_only_with_network_status() {
        let (old, change) = (view_of("u1"), change(None));
        let alone = StatusPatch {
            old: &old,
            status: None,
            condition: Some(&change),
        };
        assert_eq!(
            body(&alone),
            json!({
                "metadata": {"uid": "u1"},
                "status": {"conditions": [
                    {"type": NETWORKS_READY, "status": "False", "reason": "AttachFailed", "message": "m"},
                ]},
            })
        );
        let both = StatusPatch {
            status: Some("[]"),
            ..alone
        };
        let metadata = json!({"uid": "u1", "resourceVersion": "7", "annotations": {NETWORK_STATUS: "[]"}});
        assert_eq!(body(&both)["metadata"], metadata);
    }

    #[test]
    fn writes_the_transition_time_of_a_changed_status() {
        let element = condition_of(&change(Some(1_000_000)));
        assert_eq!(element["lastTransitionTime"], "1970-01-12T13:46:40Z");
    }

    #[test]
    fn reads_the_condition_of_the_same_pod_only() {
        let object = json!({
            "metadata": {"uid": "u1", "name": "p"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": null},
                {"type": NETWORKS_READY, "status": "True", "reason": "Attached", "message": "m"},
            ]},
        });
        let object = object.to_string();
        let read = |uid| condition_in(object.as_bytes(), uid).unwrap();
        let status = |uid| read(uid).map(|condition| condition.status);
        assert_eq!(status("u1"), Some(ConditionStatus::True));
        assert_eq!(status("u2"), None);
        let none = json!({"metadata": {"uid": "u1"}, "status": {"conditions": null}}).to_string();
        assert_eq!(condition_in(none.as_bytes(), "u1").unwrap(), None);
    }
}
