//! The agent seen from outside: events that name the cause and the next try and do not flood,
//! metrics, and `explain`.

use tests::{Cluster, Error, NO_NETWORKS, Order, PLUG, Result, bridge, eventually, in_namespace, macvlan};

#[tokio::test]
async fn an_event_names_the_cause_once_however_often_it_is_tried() -> Result<()> {
    in_namespace("told", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        ns.order(&blue, "ADD", Order::Fail("no room at the inn")).await?;
        pod.annotate("blue@net1").await?;

        eventually(PLUG, "a third try fails", async || {
            let explained = ns.cluster.explain(&format!("{}/p", ns.name)).await?;
            let failures = explained.lines().find_map(|line| {
                let (times, _) = line.trim().strip_prefix("failed ")?.split_once(" times")?;
                times.parse::<u32>().ok()
            });
            failures
                .filter(|failures| *failures >= 3)
                .map(|_| ())
                .ok_or(Error::Unexpected(explained))
        })
        .await?;
        let event = pod
            .has_event("FailedAddingInterface", "no room at the inn")
            .await?;
        assert_eq!(event.count, 1, "the same cause is written again after a minute");
        assert!(event.warning, "{event:?}");
        let said = format!("adding interface net1 to network {} failed: ", blue.full_name());
        assert!(event.message.starts_with(&said), "{event:?}");
        assert!(event.message.contains("; next try in "), "{event:?}");
        let all = pod.events().await?;
        assert_eq!(all.len(), 1, "one event for one cause: {all:?}");

        ns.no_orders().await?;
        let added = pod.has_event("AddedInterface", "net1").await?;
        let address = &pod.leases(&blue).await?[0].address;
        assert!(!added.warning && added.message.contains(address), "{added:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn explain_tells_what_a_pod_wants_and_has_as_the_documentation_says() -> Result<()> {
    in_namespace("explain", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1,missing@net2").await?;
        pod.has_exactly(&["cold", "net1"]).await?;
        pod.has_event("FailedAddingInterface", "missing").await?;

        let explained = ns.cluster.explain(&format!("{}/p", ns.name)).await?;
        let (network, sandbox) = (blue.full_name(), &pod.sandbox().await?.id);
        for line in [
            format!("pod {}/p, uid {}", ns.name, pod.uid),
            format!("wanted: cold on {network}"),
            format!("wanted: net1 on {network}"),
            format!("wanted: net2 on {}/missing", ns.name),
            format!("sandbox {sandbox}"),
            format!("observed: cold on {network}: attached"),
            format!("observed: net1 on {network}: attached"),
        ] {
            assert!(
                explained.lines().any(|l| l.trim() == line),
                "{line:?} is not in {explained}"
            );
        }
        let failed = explained.lines().find(|line| line.trim().starts_with("failed "));
        let failed = failed.unwrap_or_default();
        assert!(
            failed.contains("net2: ") && failed.contains("does not exist"),
            "{explained}"
        );
        assert!(failed.contains("; next try "), "{explained}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn explain_of_a_pod_that_the_agent_does_not_know_fails() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    for (asked, words) in [
        ("nowhere/nobody", "nothing to do for nowhere/nobody"),
        ("nobody", "is not NAMESPACE/POD"),
        ("../nobody", "nothing to do"),
    ] {
        match cluster.explain(asked).await {
            // kubectl passes the status of the command on.
            Err(Error::Command { status, stderr, .. }) => {
                assert!(
                    status.contains("exit status: 1") && stderr.contains(words),
                    "{asked}: {status}: {stderr}"
                );
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn only_the_node_itself_is_told_of_its_pods() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    let (code, body) = cluster.agent_page("/explain/kube-system/anything").await?;
    assert_eq!((code, body.as_str()), (403, "only from the agent's own node\n"));
    Ok(())
}

#[tokio::test]
async fn a_release_that_fails_is_a_leak_in_the_metrics_until_it_succeeds() -> Result<()> {
    const LEAKED: &str = r#"dynamic_networks_agent_attachments{state="unreleased"}"#;
    in_namespace("leak", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@hot").await?;
        pod.has_exactly(&["hot"]).await?;
        let hot = pod.watched(&blue, "hot").await?;
        ns.order(&blue, "DEL", Order::Fail("the pool does not answer"))
            .await?;

        pod.delete().await?;
        eventually(PLUG, "the leak shows", async || {
            let explained = ns.cluster.explain(&format!("{}/p", ns.name)).await?;
            let told = [
                "which has ended",
                "not released yet",
                "the pool does not answer",
                "next try",
            ];
            let leaked = ns.cluster.agent_metric(LEAKED).await?;
            if leaked >= 1.0 && told.iter().all(|part| explained.contains(part)) {
                return Ok(());
            }
            Err(Error::Unexpected(format!("{leaked} leaked; {explained}")))
        })
        .await?;
        // The list is taken apart: the plugin that refuses holds back nothing but itself.
        eventually(PLUG, "the address is released", async || {
            let leases = ns.cluster.node.leases(&blue.config_name).await?;
            leases
                .is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("leases: {leases:?}")))
        })
        .await?;

        ns.no_orders().await?;
        hot.is_gone().await?;
        ns.cluster.node.forgets(&pod.sandbox().await?.id).await
    })
    .await
}

#[tokio::test]
async fn counts_what_it_does() -> Result<()> {
    in_namespace("metrics", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        // Other tests run beside this one: what it counts can only be more.
        let done = async |verb: &str| {
            let series =
                format!(r#"dynamic_networks_agent_operation_seconds_count{{verb="{verb}",outcome="done"}}"#);
            ns.cluster.agent_metric(&series).await
        };
        let (adds, dels) = (done("add").await?, done("del").await?);
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await?;
        assert!(done("add").await? > adds && done("del").await? > dels);
        Ok(())
    })
    .await
}
