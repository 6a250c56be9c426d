//! The agent away, and back: what was edited meanwhile is caught up, what was right is not touched. And the agent
//! without the gate: what nobody refused is judged on the node.

use tests::{NO_NETWORKS, Namespace, Pod, Result, alone_in_namespace, bridge, macvlan};

#[tokio::test]
async fn carries_out_an_edit_that_was_made_while_the_agent_was_down() -> Result<()> {
    alone_in_namespace("down", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.create_nad("red", bridge().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1,red@net2").await?;
        pod.has_exactly(&["cold", "net1", "net2"]).await?;
        let kept = pod.interface("net2").await?;

        ns.cluster.stop_agent().await?;
        pod.annotate("red@net2,red@net3").await?;
        ns.cluster.start_agent().await?;

        pod.has_exactly(&["net2", "net3"]).await?;
        assert_eq!(pod.interface("net2").await?, kept);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn handles_a_pod_that_started_and_was_edited_while_the_agent_was_down() -> Result<()> {
    alone_in_namespace("down", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.cluster.stop_agent().await?;
        let pod = ns.running_pod("p", "blue@net1").await?;
        pod.annotate("blue@net1,blue@net2").await?;
        ns.cluster.start_agent().await?;

        pod.has_exactly(&["net1", "net2"]).await?;
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&["net2"]).await
    })
    .await
}

#[tokio::test]
async fn frees_the_lease_of_a_pod_that_was_deleted_while_the_agent_was_down() -> Result<()> {
    alone_in_namespace("down", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.sandbox().await?;

        ns.cluster.stop_agent().await?;
        pod.delete().await?;
        assert_eq!(pod.leases(&blue).await?.len(), 1, "who else would free it?");
        ns.cluster.start_agent().await?;

        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn plugs_nothing_again_when_the_agent_restarts() -> Result<()> {
    alone_in_namespace("restart", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1,blue@net2").await?;
        pod.has_exactly(&["cold", "net1", "net2"]).await?;
        let before = pod.interfaces().await?;

        ns.cluster.restart_agent().await?;

        // The new agent has looked at this pod when it has carried out an edit of it.
        pod.annotate("blue@cold,blue@net1,blue@net2,blue@net3").await?;
        pod.has_exactly(&["cold", "net1", "net2", "net3"]).await?;
        assert_eq!(pod.interfaces().await?[..before.len()], before);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unplugs_nothing_for_an_annotation_that_cannot_be_read() -> Result<()> {
    alone_in_namespace("garbage", async |ns| {
        let pod = plugged_without_a_gate(ns).await?;
        let net1 = pod.interface("net1").await?;

        for garbage in [
            "[{",
            "[null]",
            "\u{1}\u{7f}\u{fffd}[\"",
            "blue@a/b@c",
            "blue@net1,blue@net1",
        ] {
            pod.annotate(garbage).await?;
        }
        let event = pod.has_event("FailedAddingInterface", "cannot be read").await?;
        assert!(event.warning, "{event:?}");

        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.interface("net1").await?, net1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn says_what_to_write_when_no_gate_gave_a_name_and_goes_on_with_the_others() -> Result<()> {
    alone_in_namespace("unnamed", async |ns| {
        let pod = plugged_without_a_gate(ns).await?;

        pod.annotate("blue@net1,blue,blue@net3").await?;

        pod.has_exactly(&["net1", "net3"]).await?;
        pod.has_event("FailedAddingInterface", "blue@").await?;
        Ok(())
    })
    .await
}

/// A pod with `net1` plugged by the agent; from then on no webhook runs.
async fn plugged_without_a_gate(ns: &Namespace) -> Result<Pod> {
    ns.create_nad("blue", macvlan().host_local()).await?;
    let pod = ns.running_pod("p", NO_NETWORKS).await?;
    pod.annotate("blue@net1").await?;
    pod.has_exactly(&["net1"]).await?;
    ns.cluster.stop_webhook().await?;
    Ok(pod)
}
