//! Two nodes, in a cluster of IPv6 addresses: each pod is served by its own node's agent, and an
//! agent's token is worth nothing for the pods of the other node. These tests need a cluster with
//! two nodes: see `hack/pair.sh`.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use shared::annotations::NETWORK_STATUS;
use tests::{Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, eventually, in_namespace, macvlan};

#[tokio::test]
async fn each_pod_is_served_by_its_own_nodes_agent() -> Result<()> {
    in_namespace("served", async |first| {
        let second = first.on_node(2)?;
        let blue = first.create_nad("blue", macvlan().host_local6()).await?;
        let one = first.running_pod("one", NO_NETWORKS).await?;
        let two = second.running_pod("two", NO_NETWORKS).await?;
        for pod in [&one, &two] {
            pod.annotate("blue@net1").await?;
        }
        for (ns, pod, other) in [(first, &one, &two), (&second, &two, &one)] {
            pod.has_exactly(&["net1"]).await?;
            pod.has_records_of(&["net1"]).await?;
            let node = &ns.cluster.node;
            assert!(node.state_of(&other.sandbox().await?.id).await?.is_empty());
            let log = ns.cluster.agent_log().await?;
            assert!(log.contains(&format!("{}/{}", ns.name, pod.name)), "{log}");
            assert!(!log.contains(&format!("{}/{}", ns.name, other.name)), "{log}");
        }

        for (ns, pod) in [(first, &one), (&second, &two)] {
            pod.annotate("[]").await?;
            pod.has_exactly(&[]).await?;
            ns.has_no_leases(&blue).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stolen_token_is_refused_for_the_other_node() -> Result<()> {
    in_namespace("stolen", async |first| {
        let second = first.on_node(2)?;
        first.running_pod("one", NO_NETWORKS).await?;
        second.running_pod("two", NO_NETWORKS).await?;
        let token = second.cluster.agent_token().await?;
        let client = first.cluster.client_with_token(&token).await?;
        let pods: Api<ApiPod> = Api::namespaced(client, &first.name);
        let status = Patch::Merge(json!({"metadata": {"annotations": {NETWORK_STATUS: "[]"}}}));
        let patch = async |name| pods.patch_status(name, &PatchParams::default(), &status).await;

        // The token is good: it serves its own node.
        patch("two").await.map_err(|e| Error::Unexpected(e.to_string()))?;
        let Err(kube::Error::Api(refusal)) = patch("one").await else {
            return Err(Error::Unexpected("it was permitted".to_owned()));
        };
        assert_eq!(refusal.code, 403, "{refusal:?}");
        assert!(refusal.message.contains("its own node only"), "{refusal:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plugged_interfaces_reach_each_other_across_the_nodes() -> Result<()> {
    in_namespace("across", async |first| {
        let second = first.on_node(2)?;
        let blue = first.create_nad("blue", macvlan().static_addresses()).await?;
        let one = first.running_pod("one", NO_NETWORKS).await?;
        let two = second.running_pod("two", NO_NETWORKS).await?;
        for (pod, host) in [(&one, 1), (&two, 2)] {
            let addresses = [
                format!("{}/24", blue.address(host)),
                format!("{}/64", blue.address6(host)),
            ];
            let element = json!([{"name": "blue", "interface": "net1", "ips": addresses}]);
            pod.annotate(&element.to_string()).await?;
        }
        for pod in [&one, &two] {
            pod.has_exactly(&["net1"]).await?;
        }
        for address in [blue.address(2), blue.address6(2)] {
            reaches(first, &one, &address).await?;
        }
        Ok(())
    })
    .await
}

/// Waits until `address` answers to a ping from inside the pod.
async fn reaches(ns: &Namespace, pod: &Pod, address: &str) -> Result<()> {
    let command = [
        "exec",
        &pod.name,
        "--namespace",
        &ns.name,
        "--",
        "ping",
        "-c",
        "1",
        "-W",
        "1",
        address,
    ];
    let description = format!("{address} answers to pod {}", pod.name);
    eventually(PLUG, description, async || {
        ns.cluster.kubectl(&command).await.map(drop)
    })
    .await
}
