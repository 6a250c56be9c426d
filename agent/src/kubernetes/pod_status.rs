//! What the agent reads of one pod and writes to it: the network-status annotation, by a strategic
//! merge patch of pods/status.
//!
//! The patch names the uid, so that it never reaches another pod of the same name (the API server
//! answers 422), and the resourceVersion that the new value was made from (409 when another writer
//! was faster). Of the answer only the metadata is asked for.

use std::time::Duration;

use agent_core::{
    effect::{PatchOutcome, StatusView},
    identity::PodIdentity,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Client,
    api::{GetParams, Patch, PatchParams},
    core::{Request, metadata::PartialObjectMeta},
};
use serde_json::{Value, json};
use shared::annotations::NETWORK_STATUS;

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

/// Writes network-status, if the pod is still as in `old`.
pub async fn patch(client: &Client, pod: &PodIdentity, old: &StatusView, new: &str) -> PatchOutcome {
    match try_patch(client, pod, &body(old, new)).await {
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

fn body(old: &StatusView, new: &str) -> Value {
    json!({"metadata": {
        "uid": old.uid,
        "resourceVersion": old.version,
        "annotations": {NETWORK_STATUS: new},
    }})
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
