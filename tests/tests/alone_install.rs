//! Installing and removing by kubectl, and a cluster in which the networks' own kind is missing.

use tests::{Error, LONG, NO_NETWORKS, Result, alone_in_namespace, eventually, macvlan, named_in};

#[tokio::test]
async fn uninstalling_leaves_nothing_in_the_api_and_installing_again_works() -> Result<()> {
    alone_in_namespace("install", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let net1 = pod.interface("net1").await?;

        ns.cluster.uninstall().await?;
        eventually(LONG, "nothing of ours is left in the API", async || {
            let left = named_in(&ns.cluster.client, "dynamic-networks").await?;
            left.is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(left.join(", ")))
        })
        .await?;
        // Pods are as they were, and without a gate everything is admitted.
        assert_eq!(pod.interface("net1").await?, net1);
        pod.annotate("blue@net1,blue@lo").await?;
        pod.annotate("blue@net2").await?;

        ns.cluster.install().await?;
        ns.cluster.installed().await?;
        pod.has_exactly(&["net2"]).await?;
        pod.refusal_of("blue@lo").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn installing_twice_changes_nothing() -> Result<()> {
    alone_in_namespace("twice", async |ns| {
        // Whatever was installed before, this manifest is now.
        ns.cluster.install().await?;
        ns.cluster.installed().await?;
        let before = ns.cluster.installed_versions().await?;
        assert!(before.len() > 10, "{before:?}");
        ns.cluster.install().await?;
        assert_eq!(ns.cluster.installed_versions().await?, before);
        ns.cluster.installed().await
    })
    .await
}

#[tokio::test]
async fn lives_through_the_absence_of_the_networks_own_kind() -> Result<()> {
    alone_in_namespace("kind", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let net1 = pod.interface("net1").await?;

        ns.cluster.delete_networks_kind().await?;
        ns.cluster.restart_agent().await?;
        ns.cluster.stop_webhook().await?;
        ns.cluster.start_webhook().await?;
        pod.refusal_of("blue@lo").await?;
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_event("FailedAddingInterface", "blue").await?;
        assert_eq!(pod.interface("net1").await?, net1);
        // What is plugged can be unplugged without its definition.
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&[]).await?;

        ns.cluster.restore_networks_kind().await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        pod.has_exactly(&["net2"]).await?;
        let restarts = ns
            .cluster
            .agent_pod()
            .await?
            .status
            .and_then(|s| s.container_statuses)
            .unwrap_or_default();
        assert!(restarts.iter().all(|c| c.restart_count == 0), "{restarts:?}");
        Ok(())
    })
    .await
}
