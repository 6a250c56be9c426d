//! What the pod condition `NetworksReady` says of the annotation that a pod has now.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use shared::{
    annotations::NETWORKS,
    readiness::{NETWORKS_READY, NetworksDigest},
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All is as the annotation says.
    Ready,
    /// The agent has not got to it, or is at work.
    Waiting(String),
    /// The agent has tried, and says why not.
    Failed(String),
}

/// The pod's annotation; nothing where it has none.
pub fn annotation(pod: &Pod) -> &str {
    pod.annotations().get(NETWORKS).map_or("", String::as_str)
}

/// Reads the condition. One that speaks of an earlier annotation says nothing of this one.
pub fn readiness(pod: &Pod) -> Readiness {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let Some(condition) = conditions
        .into_iter()
        .find(|condition| condition.type_ == NETWORKS_READY)
    else {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        return Readiness::Waiting(match node {
            Some(node) => format!("no agent of node {node} has said anything: kubectl networks doctor"),
            None => "the pod has no node yet".to_owned(),
        });
    };
    let digest = NetworksDigest::of(annotation(pod)).to_string();
    let message = condition.message.as_deref().unwrap_or_default();
    let Some(text) = message.strip_suffix(&digest) else {
        return Readiness::Waiting("the agent has not told about this edit yet".to_owned());
    };
    let text = text.trim_end_matches("; ").to_owned();
    match (condition.status.as_str(), condition.reason.as_deref()) {
        ("True", _) => Readiness::Ready,
        ("False", reason) if reason != Some("InProgress") => Readiness::Failed(text),
        _ => Readiness::Waiting(text),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NOW: &str = "networks=sha256:38f3ccd70758";

    #[rstest]
    #[case(json!([]), Readiness::Waiting("no agent of node n has said anything: kubectl networks doctor".to_owned()))]
    #[case(json!([{"type": NETWORKS_READY, "status": "True", "message": format!("the network is attached; {NOW}")}]), Readiness::Ready)]
    #[case(json!([{"type": NETWORKS_READY, "status": "True", "message": "x; networks=sha256:000000000000"}]),
        Readiness::Waiting("the agent has not told about this edit yet".to_owned()))]
    #[case(json!([{"type": NETWORKS_READY, "status": "False", "reason": "InProgress", "message": format!("adding; {NOW}")}]),
        Readiness::Waiting("adding".to_owned()))]
    #[case(json!([{"type": NETWORKS_READY, "status": "False", "reason": "AddFailed", "message": format!("no master; {NOW}")}]),
        Readiness::Failed("no master".to_owned()))]
    fn reads_the_condition_of_this_annotation(
        #[case] conditions: serde_json::Value,
        #[case] expected: Readiness,
    ) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {NETWORKS: "a@net1"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"conditions": conditions},
        }))
        .unwrap();
        assert_eq!(readiness(&pod), expected);
    }
}
