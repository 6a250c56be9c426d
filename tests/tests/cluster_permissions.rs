//! What the agent's account may do to a pod, for every holder of its token: the annotation
//! network-status and the condition NetworksReady, on its own node, and nothing else. The policy
//! that says so is part of the manifest.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use rstest::rstest;
use serde_json::{Value, json};
use shared::{
    annotations::{NETWORK_STATUS, NETWORKS},
    readiness::NETWORKS_READY,
};
use tests::{Error, NO_NETWORKS, Namespace, Result, in_namespace};

const ACCOUNT: &str = "dynamic-networks-controller";

#[tokio::test]
async fn the_agent_may_write_the_network_status_of_a_pod_of_its_node() -> Result<()> {
    in_namespace("permitted", async |ns| {
        ns.running_pod("p", NO_NETWORKS).await?;
        let agent = agent_of_this_node(ns).await?;
        patch(
            &agent,
            "p",
            json!({"metadata": {"annotations": {NETWORK_STATUS: "[]"}}}),
        )
        .await?;
        patch(
            &agent,
            "p",
            json!({"metadata": {"annotations": {NETWORK_STATUS: null}}}),
        )
        .await
    })
    .await
}

#[rstest]
#[case::the_networks(json!({"metadata": {"annotations": {NETWORKS: null}}}), "network-status only")]
#[case::another_annotation(json!({"metadata": {"annotations": {"a": "b"}}}), "network-status only")]
#[case::all_annotations(json!({"metadata": {"annotations": null}}), "network-status only")]
#[case::a_label(json!({"metadata": {"labels": {"a": "b"}}}), "labels or finalizers")]
#[case::a_finalizer(json!({"metadata": {"finalizers": ["a.example/b"]}}), "labels or finalizers")]
#[case::the_status(json!({"status": {"phase": "Failed"}}), "the status of a pod")]
#[tokio::test]
async fn the_agent_may_write_nothing_else(#[case] change: Value, #[case] words: &str) -> Result<()> {
    in_namespace("forbidden", async |ns| {
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        // So that there is one to lose.
        pod.annotate("[]").await?;
        let agent = agent_of_this_node(ns).await?;
        is_refused(patch(&agent, "p", change).await, words)
    })
    .await
}

#[tokio::test]
async fn the_agent_may_write_its_condition() -> Result<()> {
    in_namespace("condition", async |ns| {
        ns.running_pod("p", NO_NETWORKS).await?;
        let agent = agent_of_this_node(ns).await?;
        let time = "2026-01-01T00:00:00Z";
        for status in ["True", "False", "Unknown"] {
            let condition = json!({"type": NETWORKS_READY, "status": status, "reason": "A",
                "message": "m".repeat(1024), "lastTransitionTime": time});
            merge(&agent, json!({"status": {"conditions": [condition]}})).await?;
        }
        let removed = json!({"$patch": "delete", "type": NETWORKS_READY});
        merge(&agent, json!({"status": {"conditions": [removed]}})).await
    })
    .await
}

#[rstest]
#[case::another_condition(json!({"conditions": [{"type": "Ready", "status": "False"}]}), "NetworksReady only")]
#[case::a_new_condition(json!({"conditions": [{"type": "example.com/A", "status": "True"}]}), "NetworksReady only")]
#[case::a_bad_status(json!({"conditions": [ours(&json!({"status": "Maybe"}))]}), "with the status True")]
#[case::a_long_message(
    json!({"conditions": [ours(&json!({"message": "m".repeat(1025)}))]}),
    "at most 1024 characters"
)]
#[case::a_generation(json!({"conditions": [ours(&json!({"observedGeneration": 1}))]}), "no observedGeneration")]
#[case::the_phase_too(json!({"phase": "Failed", "conditions": [ours(&json!({}))]}), "the status of a pod")]
#[tokio::test]
async fn the_agent_may_write_no_other_condition(#[case] status: Value, #[case] words: &str) -> Result<()> {
    in_namespace("condition", async |ns| {
        ns.running_pod("p", NO_NETWORKS).await?;
        let agent = agent_of_this_node(ns).await?;
        is_refused(merge(&agent, json!({"status": status})).await, words)
    })
    .await
}

#[tokio::test]
async fn the_agent_may_write_its_condition_once() -> Result<()> {
    in_namespace("condition", async |ns| {
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let agent = agent_of_this_node(ns).await?;
        let status = pod.object().await?.status.unwrap_or_default();
        let conditions = serde_json::to_value(status.conditions);
        let mut conditions = conditions.map_err(|e| Error::Unexpected(e.to_string()))?;
        for status in ["True", "False"] {
            let twice = ours(&json!({"status": status}));
            conditions
                .as_array_mut()
                .into_iter()
                .for_each(|all| all.push(twice.clone()));
        }
        // A merge patch replaces the list as a whole.
        let change = json!({"status": {"conditions": conditions}});
        is_refused(patch(&agent, "p", change).await, "NetworksReady once")
    })
    .await
}

/// The agent's condition with these fields.
fn ours(fields: &Value) -> Value {
    let mut condition = json!({"type": NETWORKS_READY, "status": "True"});
    let fields = fields.as_object().cloned().unwrap_or_default();
    condition
        .as_object_mut()
        .into_iter()
        .for_each(|all| all.extend(fields.clone()));
    condition
}

async fn merge(pods: &Api<ApiPod>, change: Value) -> Result<()> {
    let patched = pods
        .patch_status("p", &PatchParams::default(), &Patch::Strategic(change))
        .await;
    patched.map(drop).map_err(|e| Error::Unexpected(e.to_string()))
}

#[tokio::test]
async fn the_agent_may_not_write_to_a_pod_of_another_node() -> Result<()> {
    in_namespace("elsewhere", async |ns| {
        let pods: Api<ApiPod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
        let agent = agent_of_this_node(ns).await?;
        for (name, spec) in [
            ("bound", json!({"nodeName": "another"})),
            ("waiting", json!({"schedulerName": "nobody"})),
        ] {
            let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}});
            pod["spec"].as_object_mut().into_iter().for_each(|s| s.extend(spec.as_object().cloned().into_iter().flatten()));
            let pod: ApiPod = serde_json::from_value(pod).map_err(|e| Error::Unexpected(e.to_string()))?;
            pods.create(&PostParams::default(), &pod).await.map_err(|e| Error::Unexpected(e.to_string()))?;
            let status = json!({"metadata": {"annotations": {NETWORK_STATUS: "[]"}}});
            is_refused(patch(&agent, name, status).await, "its own node only")?;
            // No kubelet would end it.
            let at_once = DeleteParams::default().grace_period(0);
            pods.delete(name, &at_once).await.map_err(|e| Error::Unexpected(e.to_string()))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_token_that_names_no_node_is_refused() -> Result<()> {
    in_namespace("unbound", async |ns| {
        ns.running_pod("p", NO_NETWORKS).await?;
        let token = ns
            .cluster
            .kubectl(&["create", "token", ACCOUNT, "--namespace=kube-system"])
            .await?;
        let anywhere = Api::namespaced(ns.cluster.client_with_token(token.trim()).await?, &ns.name);
        let status = json!({"metadata": {"annotations": {NETWORK_STATUS: "[]"}}});
        is_refused(patch(&anywhere, "p", status).await, "its own node only")
    })
    .await
}

/// The pods of `ns` as the agent of the node may handle them: with a token as the kubelet gives it
/// to the agent's pod.
async fn agent_of_this_node(ns: &Namespace) -> Result<Api<ApiPod>> {
    let pod = ns.cluster.agent_pod().await?.name_any();
    let arguments = [
        "create",
        "token",
        ACCOUNT,
        "--namespace=kube-system",
        "--bound-object-kind=Pod",
        &format!("--bound-object-name={pod}"),
    ];
    let token = ns.cluster.kubectl(&arguments).await?;
    Ok(Api::namespaced(
        ns.cluster.client_with_token(token.trim()).await?,
        &ns.name,
    ))
}

async fn patch(pods: &Api<ApiPod>, name: &str, change: Value) -> Result<()> {
    let patched = pods
        .patch_status(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
    patched.map(drop).map_err(|e| Error::Unexpected(e.to_string()))
}

fn is_refused(outcome: Result<()>, words: &str) -> Result<()> {
    match outcome {
        Ok(()) => Err(Error::Unexpected("it was permitted".to_owned())),
        // 403 and not 422, which a sender takes for an outdated pod.
        Err(refusal)
            if ["code: 403", words]
                .iter()
                .all(|part| refusal.to_string().contains(part)) =>
        {
            Ok(())
        }
        Err(other) => Err(other),
    }
}
