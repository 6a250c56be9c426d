//! The envelope: `admission.k8s.io/v1` AdmissionReview, request and answer.
//!
//! Only the fields that rules need are read; all others are skipped without being stored. An
//! unreadable pod is never admitted: a broken envelope is an HTTP error, a broken pod a refusal
//! that carries the review's uid.

mod answer;
mod devices;
pub(super) mod objects;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use shared::{annotations, readiness::NETWORKS_READY, violation::shortened};

pub use answer::{Answer, Cause, Details, Refusal};
use devices::{Containers, Limits};
use objects::Object;

/// The only supported version of the envelope.
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// How every operation but `CREATE` and `UPDATE` is labelled.
pub const OTHER_OPERATION: &str = "other";

/// Characters of a parser's message in an answer and in the log.
const MAX_CAUSE: usize = 512;

/// A review whose envelope could be read, about an object of the type `O`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
pub struct Request<'a, O = Pod> {
    /// Identifies the review; the answer repeats it.
    pub uid: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    /// The resource of the request.
    #[serde(borrow, deserialize_with = "objects::required")]
    pub resource: Resource<'a>,
    /// `status` and the like; absent or empty for the pod itself.
    #[serde(default, borrow)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// Empty when the API server has yet to generate it (`generateName`).
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The new object; none on delete.
    #[serde(default, deserialize_with = "objects::optional")]
    pub object: Option<O>,
    /// The stored object; none on create.
    #[serde(default, deserialize_with = "objects::optional")]
    pub old_object: Option<O>,
}

/// Group and plural name of a resource.
#[derive(Debug, Deserialize)]
pub struct Resource<'a> {
    /// Empty for the core group.
    #[serde(default, borrow)]
    pub group: Cow<'a, str>,
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// The fields of a pod that are read.
#[derive(Debug, Default, Deserialize)]
pub struct Pod {
    #[serde(default, deserialize_with = "objects::optional")]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "objects::optional")]
    spec: Option<Spec>,
    #[serde(default, deserialize_with = "objects::optional")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    generate_name: Option<String>,
    #[serde(default, deserialize_with = "objects::optional")]
    annotations: Option<Annotations>,
    #[serde(default, deserialize_with = "objects::optional")]
    labels: Option<Labels>,
}

// Attributes take literals only; a test holds them against `shared::annotations`.
#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "k8s.v1.cni.cncf.io/networks")]
    networks: Option<String>,
    #[serde(default, rename = "k8s.v1.cni.cncf.io/network-status")]
    network_status: Option<String>,
    #[serde(default, rename = "kubernetes.io/config.mirror")]
    mirror: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Labels {
    #[serde(default, rename = "kubevirt.io")]
    kubevirt: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    host_network: Option<bool>,
    #[serde(default)]
    node_name: Option<String>,
    #[serde(default)]
    readiness_gates: Option<Vec<ReadinessGate>>,
    #[serde(default)]
    containers: Option<Containers>,
    #[serde(default)]
    init_containers: Option<Containers>,
    /// Devices of claims can be of any resource.
    #[serde(default)]
    resource_claims: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadinessGate {
    #[serde(default)]
    condition_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: Option<String>,
}

impl Pod {
    fn annotations(&self) -> Option<&Annotations> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// The networks annotation; `None` and the empty string both mean no networks.
    pub fn networks(&self) -> Option<&str> {
        self.annotations()?
            .networks
            .as_deref()
            .filter(|value| !value.is_empty())
    }

    pub fn network_status(&self) -> Option<&str> {
        self.annotations()?.network_status.as_deref()
    }

    /// A mirror of a static pod: its annotations come from the kubelet's file and cannot be changed
    /// here.
    pub fn is_mirror(&self) -> bool {
        self.annotations()
            .is_some_and(|annotations| annotations.mirror.is_some())
    }

    /// Whether KubeVirt created it.
    pub fn is_virt_launcher(&self) -> bool {
        let label = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.labels.as_ref()?.kubevirt.as_deref());
        label == Some(annotations::KUBEVIRT_LABEL.1)
    }

    /// How many devices of each resource the kubelet gives the pod: the limits of its containers,
    /// and of its init containers that stay (the devices of others go on to containers). Empty
    /// where a claim may give more.
    pub fn devices(&self) -> BTreeMap<String, u64> {
        let Some(spec) = &self.spec else {
            return BTreeMap::new();
        };
        if spec
            .resource_claims
            .as_ref()
            .is_some_and(|claims| !claims.is_empty())
        {
            return BTreeMap::new();
        }
        let mut limits = Limits::default();
        if let Some(containers) = &spec.containers {
            limits.add(&containers.all);
        }
        if let Some(init_containers) = &spec.init_containers {
            limits.add(&init_containers.staying);
        }
        limits.into_counts()
    }

    /// `spec.hostNetwork`.
    pub fn uses_host_network(&self) -> bool {
        self.spec
            .as_ref()
            .and_then(|spec| spec.host_network)
            .unwrap_or_default()
    }

    /// Whether the pod has the networks annotation, also an empty one.
    fn has_networks_key(&self) -> bool {
        self.annotations()
            .is_some_and(|annotations| annotations.networks.is_some())
    }

    /// Whether the pod is Ready only while the agent says that its networks are.
    pub fn waits_for_networks(&self) -> bool {
        let gates = self
            .spec
            .as_ref()
            .and_then(|spec| spec.readiness_gates.as_deref());
        let mut types = gates
            .unwrap_or_default()
            .iter()
            .map(|gate| gate.condition_type.as_deref());
        types.any(|condition| condition == Some(NETWORKS_READY))
    }

    /// Scheduled and not finished.
    pub fn is_running(&self) -> bool {
        let scheduled = self
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .is_some_and(|n| !n.is_empty());
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        scheduled && !matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// A requested change of a networks annotation: the input of `fill` and `check`.
#[derive(Debug)]
pub struct Change<'a> {
    pub namespace: &'a str,
    /// The annotation that would be stored; never empty.
    pub annotation: &'a str,
    /// The pod that would be stored.
    pub pod: &'a Pod,
    /// The pod that is stored; `None` on create.
    pub old: Option<&'a Pod>,
}

impl Request<'_> {
    /// The change that this request makes to a networks annotation. `None` for other resources and
    /// operations, mirror pods, pods without networks, and updates that do not change the
    /// annotation.
    ///
    /// # Errors
    /// A pod request without the objects that its operation must have.
    pub fn change(&self) -> Result<Option<Change<'_>>, String> {
        let pods = self.resource.group.is_empty() && self.resource.resource == "pods";
        // A binding is not a pod, though its annotations are copied to one: only schedulers write
        // them.
        if !pods || self.sub_resource.as_deref() == Some("binding") {
            return Ok(None);
        }
        let old = match &*self.operation {
            "CREATE" => None,
            "UPDATE" => Some(
                self.old_object
                    .as_ref()
                    .ok_or("the review of an UPDATE has no oldObject")?,
            ),
            _ => return Ok(None),
        };
        let pod = self.object.as_ref().ok_or("the review has no object")?;
        let Some(annotation) = pod.networks() else {
            return Ok(None);
        };
        let unchanged = old.is_some_and(|old| old.networks() == Some(annotation));
        if unchanged || pod.is_mirror() {
            return Ok(None);
        }
        let namespace = self
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty());
        let namespace = namespace.ok_or("the review has no namespace")?;
        Ok(Some(Change {
            namespace,
            annotation,
            pod,
            old,
        }))
    }
}

impl Request<'_> {
    /// Whether this creates a pod that waits for its networks, but has no annotation of which the
    /// agent could say anything.
    pub fn creates_a_pod_that_waits_for_nothing(&self) -> bool {
        let is_pod = self.resource.group.is_empty() && self.resource.resource == "pods";
        let is_whole = self.sub_resource.as_deref().unwrap_or_default().is_empty();
        let waits = |pod: &Pod| pod.waits_for_networks() && !pod.has_networks_key() && !pod.is_mirror();
        is_pod && is_whole && self.operation == "CREATE" && self.object.as_ref().is_some_and(waits)
    }
}

/// What a review is about, for the log and the metrics.
#[derive(Debug)]
pub struct About {
    pub uid: String,
    /// `CREATE`, `UPDATE`, `DELETE` or [`OTHER_OPERATION`].
    pub operation: &'static str,
    pub namespace: String,
    /// The object's name for a person.
    pub name: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// An object that may be reviewed before it has a name.
pub trait Named {
    /// The prefix of the name that the API server will generate.
    fn generate_name(&self) -> Option<&str>;
}

impl Named for Pod {
    fn generate_name(&self) -> Option<&str> {
        self.metadata.as_ref()?.generate_name.as_deref()
    }
}

impl<O: Named> Request<'_, O> {
    /// See [`About`].
    pub fn about(&self) -> About {
        About {
            uid: self.uid.clone(),
            operation: self.operation_label(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.display_name().into_owned(),
            dry_run: self.dry_run.unwrap_or_default(),
        }
    }

    /// The operation, as metrics and log name it.
    pub fn operation_label(&self) -> &'static str {
        match &*self.operation {
            "CREATE" => "CREATE",
            "UPDATE" => "UPDATE",
            "DELETE" => "DELETE",
            _ => OTHER_OPERATION,
        }
    }

    /// The object's name for messages: its name, or the prefix that the API server will complete.
    pub fn display_name(&self) -> Cow<'_, str> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let prefix = self.object.as_ref().and_then(Named::generate_name);
        match (name, prefix) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some(prefix)) => Cow::Owned(format!("{prefix}<generated>")),
            (None, None) => Cow::Borrowed("<unnamed>"),
        }
    }
}

/// Why a body is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No answer can carry a uid: an HTTP error.
    #[error("{0}")]
    Review(String),
    /// The envelope is readable, the object in it is not: a refusal.
    #[error("{cause}")]
    Content { uid: String, cause: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
struct Review<'a, R> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "objects::optional")]
    request: Option<R>,
}

#[derive(Deserialize)]
struct OnlyUid {
    uid: String,
}

/// Reads a review.
///
/// # Errors
/// See [`Unreadable`].
pub fn read<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<'a, O>, Unreadable> {
    let cause = match serde_json::from_slice::<Object<Review<'a, Request<'a, O>>>>(body) {
        Ok(Object(review)) => {
            let request = envelope(&review.api_version, &review.kind, review.request)?;
            return if request.uid.is_empty() {
                Err(without_uid())
            } else {
                Ok(request)
            };
        }
        Err(error) => error.to_string(),
    };
    // A parser quotes unexpected input, however long that is.
    let cause = shortened(&cause, MAX_CAUSE);
    // Rare: read again for the uid alone, so that the answer can carry the cause.
    let Object(review): Object<Review<'_, OnlyUid>> = serde_json::from_slice(body).map_err(|error| {
        Unreadable::Review(shortened(
            &format!("the body is no AdmissionReview: {error}"),
            MAX_CAUSE,
        ))
    })?;
    let OnlyUid { uid } = envelope(&review.api_version, &review.kind, review.request)?;
    if uid.is_empty() {
        Err(without_uid())
    } else {
        Err(Unreadable::Content { uid, cause })
    }
}

fn envelope<R>(api_version: &str, kind: &str, request: Option<R>) -> Result<R, Unreadable> {
    if (api_version, kind) != (API_VERSION, KIND) {
        let [api_version, kind] = [api_version, kind].map(shared::violation::shown);
        let message = format!("this webhook answers {API_VERSION} {KIND} only, not {api_version} {kind}");
        return Err(Unreadable::Review(message));
    }
    request.ok_or_else(|| Unreadable::Review("the AdmissionReview has no request".to_owned()))
}

fn without_uid() -> Unreadable {
    Unreadable::Review("the AdmissionReview's request has no uid".to_owned())
}

#[cfg(test)]
mod tests;
