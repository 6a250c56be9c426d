//! The pod condition `NetworksReady` after a time without an agent, and in a new sandbox.

use serde_json::json;
use tests::{Result, alone_in_namespace, macvlan, networks_ready};

/// While no agent runs, nothing changes the condition: it has the digest of the old annotation.
#[tokio::test]
async fn a_stale_condition_is_corrected_when_the_agent_returns() -> Result<()> {
    alone_in_namespace("stale", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let [plugged, failing] = ["plugged", "failing"].map(|name| ns.running_pod(name, "blue@net1"));
        let (plugged, failing) = futures::try_join!(plugged, failing)?;
        for pod in [&plugged, &failing] {
            networks_ready(pod, "True", "blue@net1").await?;
        }
        ns.cluster.stop_agent().await?;
        plugged.annotate("blue@net1,blue@net2").await?;
        failing.annotate("blue@net1,ghost@net2").await?;
        networks_ready(&failing, "True", "blue@net1").await?;
        ns.cluster.start_agent().await?;

        networks_ready(&plugged, "True", "blue@net1,blue@net2").await?;
        plugged.interface("net2").await?;
        let failed = networks_ready(&failing, "False", "blue@net1,ghost@net2").await?;
        assert!(failed.message.is_some_and(|text| text.contains("ghost")));
        failing.annotate("blue@net1").await?;
        networks_ready(&failing, "True", "blue@net1").await.map(drop)
    })
    .await
}

/// The kubelet keeps the condition over a new sandbox: the one of the old sandbox says True of the
/// same annotation.
#[tokio::test]
async fn a_stale_condition_is_corrected_in_a_new_sandbox() -> Result<()> {
    alone_in_namespace("sandbox", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@net1,blue@net2").await?;
        networks_ready(&pod, "True", "blue@net1,blue@net2").await?;
        ns.cluster.stop_agent().await?;
        let node = &ns.cluster.node;
        node.kill_sandbox(&pod.uid).await?;
        let again = pod.in_its_next_sandbox().await?;
        again.interface("net2").await?;
        // Multus has plugged both. Of one the new sandbox is robbed, and its network cannot be
        // plugged any more.
        let (sandbox, config) = (again.sandbox().await?, &blue.config_name);
        let result = format!("/var/lib/cni/multus/results/{config}-{}-net2", sandbox.id);
        let rob = r#"nsenter --net="$1" ip link delete net2 && rm "$2""#;
        node.run(&["sh", "-c", rob, "sh", &sandbox.namespace_path, &result])
            .await?;
        let config =
            json!({"cniVersion": "1.0.0", "name": config, "type": "macvlan", "master": "none0", "ipam": {}});
        let good = ns.nad_config("blue").await?;
        ns.change_nad(&blue, &config.to_string()).await?;
        networks_ready(&again, "True", "blue@net1,blue@net2").await?;
        ns.cluster.start_agent().await?;
        networks_ready(&again, "False", "blue@net1,blue@net2").await?;

        ns.change_nad(&blue, &good).await?;
        networks_ready(&again, "True", "blue@net1,blue@net2").await?;
        again.has_exactly(&["net1", "net2"]).await
    })
    .await
}
