//! Another dynamic-networks controller on the node: the agent says so and holds back, and goes on
//! when it is gone.

use serde_json::json;
use tests::{Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, alone_in_namespace, eventually, macvlan};

/// A pod as rke2's chart makes it: the label, and multus' socket.
async fn other_controller(ns: &Namespace, volume: serde_json::Value) -> Result<Pod> {
    let pod = ns.create_pod_from("dnc", NO_NETWORKS, |pod| {
        pod["metadata"]["labels"]["app"] = json!("rke2-multus-dnc");
        pod["spec"]["volumes"] = json!([volume]);
    });
    pod.await
}

fn socket() -> serde_json::Value {
    json!({"name": "multus-server-socket", "hostPath": {"path": "/run/multus"}})
}

/// The agent answers `/readyz` with this status, and with `part` in its text.
async fn answers(ns: &Namespace, status: u16, part: &str) -> Result<()> {
    eventually(PLUG, format!("/readyz answers {status} {part}"), async || {
        let (answered, text) = ns.cluster.agent_page("/readyz").await?;
        (answered == status && text.contains(part))
            .then_some(())
            .ok_or(Error::Unexpected(text))
    })
    .await
}

#[tokio::test]
async fn holds_back_beside_another_controller() -> Result<()> {
    alone_in_namespace("dnc", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1").await?;
        pod.has_exactly(&["cold", "net1"]).await?;

        let other = other_controller(ns, socket()).await?;
        let named = format!(
            "sole-controller: another dynamic-networks controller runs on this node: pod {}/dnc",
            ns.name
        );
        answers(ns, 503, &named).await?;
        let up = "dynamic_networks_agent_dependency_up{dependency=\"sole-controller\"}";
        assert_eq!(ns.cluster.agent_metric(up).await?.to_bits(), 0_f64.to_bits());
        pod.annotate("blue@cold,blue@net2").await?;
        eventually(PLUG, "the agent has seen the edit", async || {
            let text = ns.cluster.explain(&format!("{}/p", ns.name)).await?;
            (text.contains("wanted: net2") && text.contains("held: another"))
                .then_some(())
                .ok_or(Error::Unexpected(text))
        })
        .await?;
        let names: Vec<_> = pod
            .interfaces()
            .await?
            .into_iter()
            .map(|seen| seen.name)
            .collect();
        assert_eq!(names, ["eth0", "cold", "net1"]);

        other.delete().await?;
        pod.has_exactly(&["cold", "net2"]).await?;
        answers(ns, 200, "").await
    })
    .await
}

/// A user who may not mount files of the node cannot stop the agent.
#[tokio::test]
async fn a_label_alone_stops_nothing() -> Result<()> {
    alone_in_namespace("dnc", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        other_controller(ns, json!({"name": "scratch", "emptyDir": {}})).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        answers(ns, 200, "").await
    })
    .await
}
