//! What befalls a node: its daemons end, its API server is gone, its disk is full, its records are
//! damaged. While it lasts nothing wrong is done, and afterwards everything is as the annotation
//! says.

use std::time::Duration;

use tests::{
    AgentOptions, Error, LONG, NO_NETWORKS, Order, PLUG, Pod, Result, SmallDisk, alone_in_namespace,
    eventually, macvlan,
};

const RECORDS: &str = "/var/lib/dynamic-networks";
/// A disk of sixteen blocks.
const SMALL_DISK: &str = "/run/tests-state";

#[tokio::test]
async fn comes_to_rest_after_multus_and_the_runtime_were_restarted_and_killed() -> Result<()> {
    alone_in_namespace("churn", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let started = ["p0", "p1", "p2", "p3"].map(|name| ns.running_pod(name, NO_NETWORKS));
        let pods = futures::future::try_join_all(started).await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        let faults = async {
            for (verb, component) in [("restart", "multus"), ("kill", "multus"), ("kill", "containerd")] {
                ns.cluster.component(verb, component).await?;
                ns.cluster.component("wait", component).await?;
            }
            Ok(())
        };
        tokio::select! {
            done = faults => done?,
            failed = futures::future::try_join_all(pods.iter().map(edit_for_ever)) => drop(failed?),
        }
        for pod in &pods {
            pod.annotate("blue@net1,blue@net3").await?;
        }
        let wanted = &["net1", "net3"][..];
        let all: Vec<_> = pods.iter().map(|pod| (pod, wanted)).collect();
        ns.is_at_rest(&all, &[], &[&blue]).await?;
        agent.stop().await
    })
    .await
}

/// An edit every so often, whether or not the last one has been carried out.
async fn edit_for_ever(pod: &Pod) -> Result<()> {
    let mut pace = tokio::time::interval(Duration::from_millis(300));
    for list in ["blue@net1,blue@net2", "blue@net2", "blue@net3", "[]"]
        .iter()
        .cycle()
    {
        pace.tick().await;
        pod.annotate(list).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_ends_while_there_is_no_api_server_is_told_when_it_is_back() -> Result<()> {
    alone_in_namespace("api", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.sandbox().await?;
        ns.order(&blue, "ADD", Order::Hang).await?;
        pod.annotate("blue@net1").await?;
        eventually(PLUG, "the ADD runs", async || called(&pod, "net1").await).await?;
        ns.cluster.component("stop", "kube-apiserver").await?;
        ns.no_orders().await?;
        eventually(PLUG, "net1 is recorded", async || {
            let states = ns.cluster.node.record_states(&pod.sandbox().await?.id).await?;
            let plugged = states.get("net1").is_some_and(|state| state == "plugged");
            plugged
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{states:?}")))
        })
        .await?;
        ns.cluster.component("start", "kube-apiserver").await?;

        eventually(LONG, "the edits go on", async || {
            pod.annotate("blue@net1,blue@net2").await
        })
        .await?;
        ns.is_at_rest(&[(&pod, &["net1", "net2"])], &[], &[&blue]).await?;
        assert_eq!(pod.recorded("net1").await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_added_without_a_record_and_removing_needs_no_disk() -> Result<()> {
    alone_in_namespace("disk", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let node = &ns.cluster.node;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let disk = SmallDisk::mount(node, SMALL_DISK, 64).await?;
        let mut agent = ns
            .agent(&own, AgentOptions::default().with("stateDir", SMALL_DISK))
            .await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;

        disk.fill().await?;
        pod.annotate("blue@net1,blue@net2").await?;
        agent.is_not_ready("records: no space left to write").await?;
        pod.has_event(
            "FailedAddingInterface",
            "nothing is added without a record: no space left",
        )
        .await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        never_called(&pod, "net2").await?;

        // The record that is gone made room. Without it, nothing is left to write that could tell.
        disk.fill().await?;
        agent.is_not_ready("records: no space left to write").await?;
        disk.free().await?;
        agent.is_ready().await?;
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&["net2"]).await?;

        disk.seal().await?;
        pod.annotate("blue@net3").await?;
        agent
            .is_not_ready("cannot be written: Read-only file system")
            .await?;
        pod.has_exactly(&[]).await?;
        never_called(&pod, "net3").await?;

        disk.unseal().await?;
        agent.is_ready().await?;
        pod.has_exactly(&["net3"]).await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await?;
        agent.stop().await?;
        disk.unmount().await
    })
    .await
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_written_anew_from_the_evidence() -> Result<()> {
    alone_in_namespace("damaged", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let node = &ns.cluster.node;
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        pod.annotate("blue@net0,blue@net1,blue@net2").await?;
        pod.has_exactly(&["net0", "net1", "net2"]).await?;
        let before = pod.interfaces().await?;
        agent.kill().await?;

        // By the time of the next agent, nobody asks for net1 any more.
        pod.annotate("blue@net0,blue@net2").await?;
        let sandbox = format!("{RECORDS}/{}", pod.sandbox().await?.id);
        for damaged in ["net0", "net1"] {
            node.write(&format!("{sandbox}/{damaged}"), "{\"version\": 1, \"network\"")
                .await?;
        }
        node.write(&format!("{sandbox}/not-an-interface-name"), "hello")
            .await?;
        node.write(&format!("{RECORDS}/README"), "hello").await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;

        let aside = agent
            .metric("dynamic_networks_agent_records_set_aside_total")
            .await?;
        assert!((aside - 4.0).abs() < f64::EPSILON, "{aside}");
        assert_eq!(node.list(&format!("{RECORDS}/.set-aside")).await?.len(), 4);
        pod.annotate("blue@net0,blue@net2,blue@net3").await?;
        // Multus' delegate file says that net1 was hot-plugged: it goes, as the annotation says.
        pod.has_exactly(&["net0", "net2", "net3"]).await?;
        let mut kept = before;
        kept.retain(|interface| interface.name != "net1");
        assert_eq!(pod.interfaces().await?[..kept.len()], kept);
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        pod.begin_deletion(None).await?;
        ns.has_no_leases(&blue).await?;
        agent.stop().await?;
        node.run(&["rm", "-r", &format!("{RECORDS}/.set-aside")])
            .await
            .map(drop)
    })
    .await
}

#[tokio::test]
async fn a_second_agent_waits_until_the_first_is_gone() -> Result<()> {
    alone_in_namespace("second", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut first = ns.agent(&own, AgentOptions::default()).await?;
        let mut second = ns
            .agent_that_starts(&own, AgentOptions::default().second())
            .await?;
        second
            .is_not_ready("records: another agent on this node holds")
            .await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        second
            .is_not_ready("records: another agent on this node holds")
            .await?;

        first.kill().await?;
        second.is_ready().await?;
        pod.annotate("blue@net1,blue@net2").await?;
        ns.is_at_rest(&[(&pod, &["net1", "net2"])], &[], &[&blue]).await?;
        for interface in ["net1", "net2"] {
            assert_eq!(pod.recorded(interface).await?.len(), 1);
        }
        second.stop().await
    })
    .await
}

async fn called(pod: &Pod, interface: &str) -> Result<()> {
    let calls = pod.recorded(interface).await?;
    (!calls.is_empty())
        .then_some(())
        .ok_or_else(|| Error::Unexpected("no call".to_owned()))
}

async fn never_called(pod: &Pod, interface: &str) -> Result<()> {
    let calls = pod.recorded(interface).await?;
    assert!(calls.is_empty(), "{calls:?}");
    Ok(())
}
