//! What the agent knows about a pod: its metadata, and which networks annotations it has had since it appeared.

use std::rc::Rc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use shared::annotations::{KUBEVIRT_LABEL, MIRROR_POD, NETWORK_STATUS, NETWORKS};

use crate::identity::PodIdentity;

/// So many different annotations of one pod are remembered: the first and the latest ones.
const REMEMBERED: usize = 16;

/// A pod as the watch last showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace, name, uid.
    pub identity: PodIdentity,
    /// The networks annotation; `None`: there is none.
    pub networks: Option<String>,
    /// The network-status annotation. Never believed, only edited.
    pub status: Option<String>,
    /// Bytes of all annotations, keys and values.
    pub annotation_bytes: usize,
    /// The version of the object that this is.
    pub resource_version: String,
    /// KubeVirt's launcher: elements without an interface name are its normal case.
    pub virt_launcher: bool,
    /// It has a deletion timestamp: nothing is plugged or unplugged any more.
    pub terminating: bool,
    /// The annotations seen, oldest first, the present one included.
    pub seen: Rc<[Seen]>,
}

/// A networks annotation that a pod had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When the agent saw it first: seconds since the epoch.
    pub since: u64,
    /// Its value.
    pub networks: Option<String>,
}

impl Pod {
    /// Reads the metadata of a pod; `before` is what the same pod (by uid) was until now. `None`: not a pod to look after, because it
    /// is a mirror pod, whose annotations cannot be edited, or has no legal identity.
    pub fn read(metadata: &ObjectMeta, before: Option<&Self>, now: u64) -> Option<Self> {
        let annotation = |key: &str| {
            metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(key))
                .cloned()
        };
        if annotation(MIRROR_POD).is_some() {
            return None;
        }
        let identity = PodIdentity::new(
            metadata.namespace.as_deref()?,
            metadata.name.as_deref()?,
            metadata.uid.as_deref().filter(|uid| !uid.is_empty())?,
        )
        .ok()?;
        let networks = annotation(NETWORKS);
        let (label, value) = KUBEVIRT_LABEL;
        Some(Self {
            identity,
            status: annotation(NETWORK_STATUS),
            annotation_bytes: annotation_bytes(metadata),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            virt_launcher: metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(label))
                .is_some_and(|v| v == value),
            terminating: metadata.deletion_timestamp.is_some(),
            seen: remember(before.map(|pod| &pod.seen), &networks, now),
            networks,
        })
    }

    /// Whether the annotation lists nothing and never did: most pods.
    pub fn never_had_networks(&self) -> bool {
        self.seen.iter().all(|seen| seen.networks.is_none())
    }
}

/// Bytes of all annotations of an object, keys and values: what the API server limits to 256 KiB.
pub fn annotation_bytes(metadata: &ObjectMeta) -> usize {
    metadata
        .annotations
        .iter()
        .flatten()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// The annotations seen, with the present one.
pub fn remember(before: Option<&Rc<[Seen]>>, networks: &Option<String>, now: u64) -> Rc<[Seen]> {
    let present = Seen {
        since: now,
        networks: networks.clone(),
    };
    let Some(before) = before else {
        return Rc::new([present]);
    };
    if before.last().is_some_and(|last| last.networks == *networks) {
        return Rc::clone(before);
    }
    let mut all = before.to_vec();
    if all.len() >= REMEMBERED {
        all.remove(1);
    }
    all.push(present);
    all.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn metadata(networks: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some("p".to_owned()),
            uid: Some("u1".to_owned()),
            annotations: networks.map(|value| BTreeMap::from([(NETWORKS.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        }
    }

    fn seen(values: &[Option<&str>]) -> Pod {
        let mut pod = None;
        for (now, value) in (0..).zip(values) {
            pod = Pod::read(&metadata(*value), pod.as_ref(), now);
        }
        pod.unwrap()
    }

    #[test]
    fn remembers_every_annotation_since_the_pod_appeared() {
        let pod = seen(&[None, Some("a"), Some("a"), Some("b")]);
        let history: Vec<_> = pod
            .seen
            .iter()
            .map(|seen| (seen.since, seen.networks.as_deref()))
            .collect();
        assert_eq!(history, [(0, None), (1, Some("a")), (3, Some("b"))]);
        assert!(!pod.never_had_networks());
    }

    #[test]
    fn remembers_the_first_annotation_through_any_number_of_edits() {
        let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let pod = seen(
            &values
                .iter()
                .map(|value| Some(value.as_str()))
                .collect::<Vec<_>>(),
        );
        assert_eq!(pod.seen.len(), REMEMBERED);
        assert_eq!(
            pod.seen.first().and_then(|seen| seen.networks.as_deref()),
            Some("0")
        );
        assert_eq!(
            pod.seen.last().and_then(|seen| seen.networks.as_deref()),
            Some("99")
        );
    }

    #[test]
    fn leaves_mirror_pods_to_the_kubelet() {
        let mut mirror = metadata(Some("a"));
        mirror.annotations = Some(BTreeMap::from([(MIRROR_POD.to_owned(), "hash".to_owned())]));
        assert_eq!(Pod::read(&mirror, None, 0), None);
    }
}
