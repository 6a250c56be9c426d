//! Reads the metadata of a pod object into the core's view of a pod.

use agent_core::{
    identity::PodIdentity,
    pod::{Annotation, Pod},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use shared::annotations::{KUBEVIRT_LABEL, MIRROR_POD, NETWORK_STATUS, NETWORKS};

/// Reads the metadata of a pod; `before` is the last state of the same pod. `None`: not a pod to
/// act on, because it is a mirror pod, whose annotations cannot be edited, or has no legal
/// identity.
pub fn read(metadata: &ObjectMeta, before: Option<&Pod>) -> Option<Pod> {
    let annotations = metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
    if annotation(MIRROR_POD).is_some() {
        return None;
    }
    let namespace = metadata.namespace.as_deref()?;
    let uid = metadata.uid.as_deref().filter(|uid| !uid.is_empty())?;
    let identity = PodIdentity::new(namespace, metadata.name.as_deref()?, uid).ok()?;
    let (label, value) = KUBEVIRT_LABEL;
    let labelled = metadata.labels.as_ref().and_then(|labels| labels.get(label));
    Some(Pod {
        networks: Annotation::parse(annotation(NETWORKS), namespace, before.map(|pod| &pod.networks)),
        identity,
        status: annotation(NETWORK_STATUS).map(Into::into),
        annotation_bytes: annotation_bytes(metadata),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        virt_launcher: labelled.is_some_and(|label| label == value),
        terminating: metadata.deletion_timestamp.is_some(),
    })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn metadata(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotation = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some("p".to_owned()),
            uid: Some("u1".to_owned()),
            annotations: Some(annotations.iter().map(annotation).collect::<BTreeMap<_, _>>()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn leaves_mirror_pods_to_the_kubelet() {
        let mirror = metadata(&[(NETWORKS, "a"), (MIRROR_POD, "hash")]);
        assert_eq!(read(&mirror, None), None);
    }

    #[test]
    fn counts_the_bytes_of_all_annotations() {
        let pod = read(&metadata(&[(NETWORKS, "a@net1"), ("x", "yz")]), None);
        assert_eq!(pod.map(|pod| pod.annotation_bytes), Some(NETWORKS.len() + 6 + 3));
    }

    #[test]
    fn a_pod_without_a_legal_identity_is_no_pod() {
        let nameless = ObjectMeta {
            name: None,
            ..metadata(&[])
        };
        assert_eq!(read(&nameless, None), None);
    }
}
