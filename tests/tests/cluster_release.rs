//! The end of a sandbox, however it comes: until then the pod keeps its network, and soon
//! afterwards nothing of what was plugged into it is left on the node. Each test prints how long
//! that took.

use rstest::rstest;
use serde_json::{Value, json};
use tests::{NO_NETWORKS, Namespace, Pod, Result, bridge, in_namespace};

/// How a pod comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Deleted,
    DeletedByForce,
    Evicted,
    Completed,
}

#[rstest]
#[case::deleted(End::Deleted)]
#[case::deleted_by_force(End::DeletedByForce)]
#[case::evicted(End::Evicted)]
#[case::completed(End::Completed)]
#[tokio::test]
async fn releases_what_was_plugged_soon_after_the_end_of(#[case] end: End) -> Result<()> {
    in_namespace("end", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let pod = ns
            .create_pod_as("p", "blue@cold", |spec| completing(spec, end))
            .await?;
        pod.is_ready().await?;
        pod.annotate("blue@cold,blue@hot").await?;
        pod.has_exactly(&["cold", "hot"]).await?;
        let hot = pod.watched(&blue, "hot").await?;

        let release = hot.released();
        let begin = async {
            match end {
                End::Deleted => pod.begin_deletion(None).await,
                End::DeletedByForce => pod.begin_deletion(0).await,
                End::Evicted => pod.evict().await,
                End::Completed => complete(ns, &pod).await,
            }
        };
        let (took, ()) = futures::try_join!(release, begin)?;
        println!("{end:?}: released {took:?} after the end of the sandbox");

        ns.has_no_leases(&blue).await?;
        ns.cluster.node.forgets(&pod.sandbox().await?.id).await?;
        if matches!(end, End::Completed) {
            // A status that nobody reads any more, but still an object: it is not gone by itself.
            assert_eq!(
                pod.object().await?.status.and_then(|s| s.phase).as_deref(),
                Some("Succeeded")
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_terminating_pod_keeps_its_network_until_its_slow_app_has_ended() -> Result<()> {
    in_namespace("slow", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let (peer, slow) = futures::try_join!(
            ns.create_pod_as("peer", "blue@net1", listening),
            ns.create_pod_as("slow", NO_NETWORKS, ignoring_term),
        )?;
        futures::try_join!(peer.is_ready(), slow.is_ready())?;
        peer.has_exactly(&["net1"]).await?;
        let address = bare(&peer.interface("net1").await?.addresses);
        slow.annotate("blue@hot").await?;
        slow.has_exactly(&["hot"]).await?;
        // What the hook needs to know, in a place where it looks.
        let write = [
            "exec",
            "slow",
            "--namespace",
            &ns.name,
            "--",
            "sh",
            "-c",
            &format!("echo {address} >/tmp/peer"),
        ];
        ns.cluster.kubectl(&write).await?;
        let hot = slow.watched(&blue, "hot").await?;

        let (took, ()) = futures::try_join!(hot.released(), slow.begin_deletion(None))?;
        println!("an app that ignores TERM: released {took:?} after the end of the sandbox");

        // The hook ran for two seconds after the deletion, and the app for two more.
        let heard = ns
            .cluster
            .kubectl(&["logs", "peer", "--namespace", &ns.name])
            .await?;
        assert!(heard.contains("last words of the hook"), "{heard}");
        assert!(heard.contains("last words of the app"), "{heard}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn releases_the_pods_of_a_namespace_that_is_deleted() -> Result<()> {
    in_namespace("whole", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let names = ["p0", "p1", "p2"];
        let pods = futures::future::try_join_all(names.map(|name| ns.running_pod(name, NO_NETWORKS))).await?;
        let plugged = pods.iter().map(async |pod| {
            pod.annotate("blue@hot").await?;
            pod.has_exactly(&["hot"]).await?;
            pod.watched(&blue, "hot").await
        });
        let watched = futures::future::try_join_all(plugged).await?;

        let releases = futures::future::try_join_all(watched.iter().map(tests::Watched::released));
        let (took, ()) = futures::try_join!(releases, ns.delete())?;
        println!("namespace deleted: released {took:?} after the ends of the sandboxes");
        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn releases_a_pod_that_another_one_of_its_name_has_followed() -> Result<()> {
    in_namespace("heir", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let old = ns.running_pod("p", NO_NETWORKS).await?;
        old.annotate("blue@hot").await?;
        old.has_exactly(&["hot"]).await?;
        let hot = old.watched(&blue, "hot").await?;

        let succession = async {
            old.begin_deletion(0).await?;
            old.is_gone().await?;
            // The old sandbox still lives when this one begins.
            let heir = ns.running_pod("p", NO_NETWORKS).await?;
            heir.annotate("blue@hot").await?;
            heir.has_exactly(&["hot"]).await?;
            Ok(heir)
        };
        let (took, heir) = futures::try_join!(hot.released(), succession)?;
        println!("same name, new uid: released {took:?} after the end of the sandbox");

        ns.cluster.node.forgets(&old.sandbox().await?.id).await?;
        heir.has_exactly(&["hot"]).await?;
        assert_eq!(heir.leases(&blue).await?.len(), 1);
        assert_eq!(ns.cluster.node.leases(&blue.config_name).await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_sandbox_that_is_killed_is_released_and_the_next_one_adopted() -> Result<()> {
    in_namespace("killed", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        // The containers outlive the sandbox by the grace period, with their network.
        let stubborn = |spec: &mut Value| {
            spec["terminationGracePeriodSeconds"] = json!(2);
            spec["containers"][0]["command"] = json!(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
        };
        let pod = ns.create_pod_as("p", "blue@cold", stubborn).await?;
        pod.is_ready().await?;
        pod.annotate("blue@cold,blue@hot").await?;
        pod.has_exactly(&["cold", "hot"]).await?;
        let hot = pod.watched(&blue, "hot").await?;

        let killed = ns.cluster.node.kill_sandbox(&pod.uid);
        let (took, ()) = futures::try_join!(hot.released(), killed)?;
        println!("pause process killed: released {took:?} after the end of the sandbox");
        ns.cluster.node.forgets(&pod.sandbox().await?.id).await?;

        // Multus has plugged both into the new one. Both are removed as the annotation's: both were
        // adopted.
        let again = pod.in_its_next_sandbox().await?;
        again.has_exactly(&["cold", "hot"]).await?;
        assert_eq!(ns.cluster.node.leases(&blue.config_name).await?.len(), 2);
        again.annotate("blue@cold").await?;
        again.has_exactly(&["cold"]).await?;
        again.annotate("[]").await?;
        again.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn frees_the_lease_of_a_plugin_that_does_nothing_without_a_namespace() -> Result<()> {
    in_namespace("device", async |ns| {
        // A device that only this test has; it dies with the namespace that it is in.
        let device = ns.device().await?;
        let green = ns
            .create_nad("green", tests::host_device(&device).host_local())
            .await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("green@hot").await?;
        pod.has_exactly(&["hot"]).await?;
        let hot = pod.watched(&green, "hot").await?;

        let (took, ()) = futures::try_join!(hot.released(), pod.begin_deletion(None))?;
        println!("host-device: released {took:?} after the end of the sandbox");
        ns.has_no_leases(&green).await
    })
    .await
}

/// An app that ends by itself when it is told so by a file.
fn completing(spec: &mut Value, end: End) {
    if matches!(end, End::Completed) {
        spec["restartPolicy"] = json!("Never");
        spec["containers"][0]["command"] = json!(["sh", "-c", "until [ -e /tmp/done ]; do sleep 0.1; done"]);
    }
}

async fn complete(ns: &Namespace, pod: &Pod) -> Result<()> {
    let touch = [
        "exec",
        &pod.name,
        "--namespace",
        &ns.name,
        "--",
        "touch",
        "/tmp/done",
    ];
    ns.cluster.kubectl(&touch).await.map(drop)
}

/// Prints what it is told over the network.
fn listening(spec: &mut Value) {
    spec["containers"][0]["command"] = json!([
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do nc -l -p 7000 & wait $!; done"
    ]);
}

/// An app that only SIGKILL ends, four seconds after the deletion. Before its end both the hook and
/// the app say something over the network, to whom `/tmp/peer` names.
fn ignoring_term(spec: &mut Value) {
    let say =
        |words: &str| format!("until echo '{words}' | nc -w 1 \"$(cat /tmp/peer)\" 7000; do sleep 0.1; done");
    let app = format!(
        "trap '' TERM; until [ -e /tmp/hook ]; do sleep 0.1; done; sleep 1; {}; sleep 3600",
        say("last words of the app")
    );
    let hook = format!("sleep 2; {}; touch /tmp/hook", say("last words of the hook"));
    spec["terminationGracePeriodSeconds"] = json!(4);
    spec["containers"][0]["command"] = json!(["sh", "-c", app]);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sh", "-c", hook]}}});
}

/// The first address without its prefix.
fn bare(addresses: &[String]) -> String {
    let address = addresses.first().and_then(|address| address.split('/').next());
    address.unwrap_or_default().to_owned()
}
