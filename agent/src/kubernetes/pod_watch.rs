//! The watch of this node's pods, and whether it can be relied on.
//!
//! It cannot while it is not open, nor when the agent's own pod is not among the pods: then it
//! watches another node.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;

use crate::kubernetes::{
    client::ApiServer,
    metadata_watch::{self, Metadata, Signal, Source, Start},
};
use agent_core::identity::PodIdentity;

/// What has happened to the pods of the node.
#[derive(Clone, Debug, PartialEq)]
pub enum PodEvent {
    /// A list of all pods begins: a pod that is not in it does not exist any more.
    Listing,
    /// A pod of the list.
    Listed(Box<ObjectMeta>),
    /// The list is complete.
    ListEnds,
    /// A pod was created or changed.
    Changed(Box<ObjectMeta>),
    /// The pod with this uid was deleted.
    Deleted(String),
    /// The watch can be relied on. Told again and again.
    Healthy,
    /// It cannot, for this reason. Told again and again.
    Unhealthy(String),
    /// The API server was heard.
    Progress,
}

/// The part of a pod's metadata that is kept. Most of the bytes of a pod are in `managedFields`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct PodMetadata {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl Metadata for PodMetadata {
    fn resource_version(&self) -> Option<&str> {
        self.resource_version.as_deref()
    }
}

impl From<PodMetadata> for Box<ObjectMeta> {
    fn from(kept: PodMetadata) -> Self {
        Self::new(ObjectMeta {
            namespace: kept.namespace,
            name: kept.name,
            uid: kept.uid,
            resource_version: kept.resource_version,
            deletion_timestamp: kept.deletion_timestamp,
            annotations: kept.annotations,
            labels: kept.labels,
            owner_references: kept.owner_references,
            ..ObjectMeta::default()
        })
    }
}

/// What happens to the pods of `node`, one of which is the agent's own. Never ends.
pub fn pod_events(
    server: &ApiServer,
    node: &str,
    own: Option<&PodIdentity>,
) -> impl Stream<Item = PodEvent> + use<> {
    let source = Source {
        client: server.watches.clone(),
        path: "/api/v1/pods".to_owned(),
        fields: format!("spec.nodeName={node}"),
        start: Start::Everything,
    };
    let mut judge = Judge::new(&server.address, node, own);
    metadata_watch::watch(source).flat_map(move |signal| futures::stream::iter(judge.events(signal)))
}

/// Decides whether the watch can be relied on.
struct Judge {
    /// What is watched, for people.
    what: String,
    node: String,
    own: Option<PodIdentity>,
    open: bool,
    /// The agent's own pod is among the pods.
    sees_own: bool,
}

impl Judge {
    fn new(address: &str, node: &str, own: Option<&PodIdentity>) -> Self {
        Self {
            what: format!("watching the pods of {node} at the API server {address}"),
            node: node.to_owned(),
            own: own.filter(|own| !own.uid().is_empty()).cloned(),
            open: false,
            sees_own: false,
        }
    }

    fn events(&mut self, signal: Signal<PodMetadata>) -> Vec<PodEvent> {
        match signal {
            Signal::Listing => {
                self.sees_own = false;
                vec![PodEvent::Listing]
            }
            Signal::Item(pod) => {
                self.sees(&pod);
                vec![PodEvent::Listed(pod.into())]
            }
            Signal::Listed => vec![PodEvent::ListEnds],
            Signal::Open => {
                self.open = true;
                vec![self.verdict()]
            }
            Signal::Changed(pod) if self.sees(&pod) => {
                vec![PodEvent::Changed(pod.into()), self.verdict()]
            }
            Signal::Changed(pod) => vec![PodEvent::Changed(pod.into())],
            // The deletion of the agent's own pod is no fault of the watch: the agent ends soon.
            Signal::Deleted(pod) => vec![PodEvent::Deleted(pod.uid.unwrap_or_default())],
            Signal::Progress => vec![PodEvent::Progress],
            Signal::Ended => Vec::new(),
            Signal::Failed(cause) => {
                self.open = false;
                vec![PodEvent::Unhealthy(format!("{}: {cause}", self.what))]
            }
        }
    }

    /// Whether `pod` is the agent's own, seen for the first time.
    fn sees(&mut self, pod: &PodMetadata) -> bool {
        let own = self.own.as_ref().map(PodIdentity::uid);
        let first = !self.sees_own && own.is_some() && pod.uid.as_deref() == own;
        self.sees_own |= first;
        first
    }

    fn verdict(&self) -> PodEvent {
        match &self.own {
            Some(own) if !self.sees_own => PodEvent::Unhealthy(format!(
                "{}: the agent's own pod {own} is not among them; is {} the node that the agent runs on (NODE_NAME)?",
                self.what, self.node
            )),
            _ if self.open => PodEvent::Healthy,
            _ => PodEvent::Progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodMetadata {
        serde_json::from_value(serde_json::json!({"namespace": "ns", "name": "p", "uid": uid})).unwrap()
    }

    fn judge(own: Option<&str>) -> Judge {
        let own = own.map(|uid| PodIdentity::new("kube-system", "agent", uid).unwrap());
        Judge::new("https://api", "n1", own.as_ref())
    }

    fn last(judge: &mut Judge, signals: impl IntoIterator<Item = Signal<PodMetadata>>) -> Option<PodEvent> {
        signals.into_iter().flat_map(|signal| judge.events(signal)).last()
    }

    #[test]
    fn relies_on_a_watch_that_shows_the_own_pod() {
        let mut judge = judge(Some("u1"));
        let signals = [
            Signal::Listing,
            Signal::Item(pod("u1")),
            Signal::Listed,
            Signal::Open,
        ];
        assert_eq!(last(&mut judge, signals), Some(PodEvent::Healthy));
    }

    #[test]
    fn distrusts_a_watch_without_the_own_pod() {
        let mut judge = judge(Some("u1"));
        let signals = [
            Signal::Listing,
            Signal::Item(pod("u2")),
            Signal::Listed,
            Signal::Open,
        ];
        let Some(PodEvent::Unhealthy(text)) = last(&mut judge, signals) else {
            panic!("it is healthy");
        };
        assert_eq!(
            text,
            "watching the pods of n1 at the API server https://api: the agent's own pod kube-system/agent \
             is not among them; is n1 the node that the agent runs on (NODE_NAME)?"
        );
        // Its binding to the node may be told later than the list.
        assert_eq!(
            last(&mut judge, [Signal::Changed(pod("u1"))]),
            Some(PodEvent::Healthy)
        );
    }

    #[test]
    fn does_not_look_for_an_own_pod_without_uid() {
        for own in [None, Some("")] {
            let mut judge = judge(own);
            let signals = [Signal::Listing, Signal::Listed, Signal::Open];
            assert_eq!(last(&mut judge, signals), Some(PodEvent::Healthy));
        }
    }

    #[test]
    fn tells_the_loss_of_the_watch_and_its_return() {
        let mut judge = judge(None);
        let signals = [
            Signal::Listing,
            Signal::Listed,
            Signal::Open,
            Signal::Failed("cut".to_owned()),
        ];
        let text = "watching the pods of n1 at the API server https://api: cut".to_owned();
        assert_eq!(last(&mut judge, signals), Some(PodEvent::Unhealthy(text)));
        assert_eq!(last(&mut judge, [Signal::Open]), Some(PodEvent::Healthy));
    }

    #[test]
    fn keeps_what_the_agent_reads_of_a_pod() {
        let kept: PodMetadata = serde_json::from_value(serde_json::json!({
            "namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "1",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {"a": "b"}, "labels": {"c": "d"},
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u2", "controller": true}],
        }))
        .unwrap();
        let metadata: Box<ObjectMeta> = kept.into();
        assert!(metadata.deletion_timestamp.is_some() && metadata.managed_fields.is_none());
        assert_eq!(
            (
                metadata.annotations.unwrap().len(),
                metadata.labels.unwrap().len(),
                metadata.owner_references.unwrap()[0].uid.as_str(),
            ),
            (1, 1, "u2")
        );
    }
}
