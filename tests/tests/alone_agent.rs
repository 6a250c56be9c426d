//! The agent away, and back: what was edited meanwhile is caught up, what was right is not touched.
//! And the agent without the gate: what nobody refused is judged on the node.

use serde_json::json;
use tests::{
    AgentOptions, Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, alone_in_namespace, bridge, eventually,
    macvlan,
};

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
async fn releases_soon_after_its_start_what_has_ended_while_it_was_down() -> Result<()> {
    alone_in_namespace("down", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let names = ["deleted", "forced", "followed"];
        let pods = futures::future::try_join_all(names.map(|name| ns.running_pod(name, NO_NETWORKS))).await?;
        let plugged = pods.iter().map(async |pod| {
            pod.annotate("blue@net1").await?;
            pod.has_exactly(&["net1"]).await?;
            pod.watched(&blue, "net1").await
        });
        let held = futures::future::try_join_all(plugged).await?;

        ns.cluster.stop_agent().await?;
        futures::try_join!(pods[0].delete(), pods[1].begin_deletion(0), pods[2].delete())?;
        let heir = ns.running_pod("followed", "blue@net1").await?;
        eventually(PLUG, "multus frees what it lists", async || {
            let leases = ns.cluster.node.leases(&blue.config_name).await?;
            (leases.len() == 1)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("leases: {leases:?}")))
        })
        .await?;
        ns.cluster.start_agent().await?;

        for (watched, name) in held.iter().zip(names) {
            let took = ns.cluster.released_at_start(watched).await?;
            println!("{name} while the agent was down: released {took:?} after its start");
        }
        heir.has_exactly(&["net1"]).await?;
        assert_eq!(ns.cluster.node.leases(&blue.config_name).await?.len(), 1);
        heir.annotate("[]").await?;
        heir.has_exactly(&[]).await
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
            "blue@net1,red@net1",
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

/// With another directory for the node's `/run`, every network namespace would seem to be gone.
#[tokio::test]
async fn says_that_the_nodes_run_is_mounted_elsewhere_and_plugs_nothing() -> Result<()> {
    alone_in_namespace("mount", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let own = ns.instead_of_the_agent().await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = ns
            .agent(
                &own,
                AgentOptions::default().with_host_run("/run/tests/elsewhere"),
            )
            .await?;

        pod.annotate("blue@net1").await?;

        pod.has_event("FailedAddingInterface", "HOST_RUN").await?;
        pod.has_exactly(&[]).await?;
        assert!(ns.cluster.node.leases(&blue.config_name).await?.is_empty());
        agent.stop().await?;

        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        pod.has_exactly(&["net1"]).await?;
        agent.stop().await
    })
    .await
}

#[tokio::test]
async fn enforces_the_isolation_of_namespaces_by_itself() -> Result<()> {
    alone_in_namespace("isolated", async |ns| {
        let pod = plugged_without_a_gate(ns).await?;
        ns.cluster
            .configure(|config| config["namespaceIsolation"] = json!(true))
            .await?;
        ns.cluster.restart_agent().await?;

        // Of another namespace, of this one, and of one that is everybody's: that there is no such
        // network comes later.
        pod.annotate("kube-system/blue@net2,blue@net3,default/blue@net4")
            .await?;

        let outcome = async {
            pod.has_exactly(&["net3"]).await?;
            pod.has_event("InterfaceAddRejected", "net2").await?;
            pod.has_event("FailedAddingInterface", "default/blue").await
        };
        let outcome = outcome.await;
        ns.cluster
            .configure(|config| {
                drop(
                    config
                        .as_object_mut()
                        .map(|keys| keys.remove("namespaceIsolation")),
                )
            })
            .await?;
        ns.cluster.restart_agent().await?;
        let _ = outcome?;
        pod.has_event("FailedAddingInterface", "kube-system/blue")
            .await
            .map(drop)
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
