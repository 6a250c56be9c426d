//! The pod condition `NetworksReady` after a time without an agent.

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
