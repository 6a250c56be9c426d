//! One that hangs, one that always fails, one that is broken: each holds up itself and nobody else,
//! and it can be seen what it waits for.

use std::time::Instant;

use tests::{
    Error, LONG, NO_NETWORKS, Namespace, Order, PLUG, Pod, Result, bridge, eventually, in_namespace, macvlan,
};

#[tokio::test]
async fn plugins_of_two_kinds_that_hang_in_many_pods_hold_up_no_other_network_and_no_pod_start() -> Result<()>
{
    // More than there is room for at once.
    const HANGING: usize = 10;
    in_namespace("hang", async |ns| {
        let nads = [
            ns.create_nad("stuck", macvlan().host_local().recorded()).await?,
            ns.create_nad("jammed", bridge().host_local().recorded()).await?,
        ];
        ns.create_nad("blue", bridge().host_local()).await?;
        let other = ns.running_pod("other", NO_NETWORKS).await?;
        let hanging = start(ns, HANGING).await?;
        let (of_one, of_other) = hanging.split_at(HANGING / 2);
        for (nad, pods) in nads.iter().zip([of_one, of_other]) {
            ns.order(nad, "ADD", Order::Hang).await?;
            let list = format!("{}@net1", nad.name);
            futures::future::try_join_all(pods.iter().map(|pod| pod.annotate(&list))).await?;
            one_hangs(pods).await?;
        }

        let begin = Instant::now();
        other.annotate("blue@net1").await?;
        other.has_exactly(&["net1"]).await?;
        println!(
            "beside {HANGING} pods whose plugin hangs: plugged in {:?}",
            begin.elapsed()
        );
        let begin = Instant::now();
        ns.running_pod("late", "blue@net1")
            .await?
            .has_exactly(&["net1"])
            .await?;
        println!(
            "beside {HANGING} pods whose plugin hangs: a pod started in {:?}",
            begin.elapsed()
        );
        assert!(!is_plugged(&hanging).await?, "they still hang");
        explains(
            ns,
            &hanging[0],
            &[
                "wanted: net1 on",
                "in progress: plug net1 on",
                "calling multus for ",
            ],
        )
        .await?;

        ns.no_orders().await?;
        futures::future::try_join_all(hanging.iter().map(|pod| pod.recovers_to(&["net1"]))).await?;
        let pods: Vec<_> = hanging.iter().map(|pod| (pod, &["net1"][..])).collect();
        let [stuck, jammed] = &nads;
        ns.is_at_rest(&pods, &[], &[stuck, jammed]).await
    })
    .await
}

#[tokio::test]
async fn an_error_without_end_holds_up_neither_siblings_nor_other_pods() -> Result<()> {
    in_namespace("endless", async |ns| {
        let bad = ns.create_nad("bad", macvlan().host_local().recorded()).await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pods = start(ns, 2).await?;
        ns.order(&bad, "ADD", Order::Fail("the pool is on fire")).await?;

        pods[0].annotate("bad@net1,blue@net2").await?;
        pods[1].annotate("blue@net1").await?;
        pods[0].has_exactly(&["net2"]).await?;
        pods[1].has_exactly(&["net1"]).await?;
        pods[0]
            .has_event("FailedAddingInterface", "the pool is on fire")
            .await?;
        explains(
            ns,
            &pods[0],
            &["failed ", "net1: ", "the pool is on fire", "next try"],
        )
        .await?;
        explains(ns, &pods[0], &["observed: net2 on", "attached"]).await?;

        // Nor is a later edit held up by it.
        pods[0].annotate("bad@net1,blue@net3").await?;
        pods[0].has_exactly(&["net3"]).await?;
        ns.no_orders().await?;
        pods[0].recovers_to(&["net1", "net3"]).await?;
        ns.is_at_rest(
            &[(&pods[0], &["net1", "net3"]), (&pods[1], &["net1"])],
            &[],
            &[&bad, &blue],
        )
        .await
    })
    .await
}

#[tokio::test]
async fn an_unplugging_that_fails_holds_up_neither_siblings_nor_other_pods() -> Result<()> {
    in_namespace("stays", async |ns| {
        let bad = ns.create_nad("bad", macvlan().host_local().recorded()).await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pods = start(ns, 2).await?;
        pods[0].annotate("bad@net1,blue@net2").await?;
        pods[0].has_exactly(&["net1", "net2"]).await?;
        ns.order(&bad, "DEL", Order::Fail("the switch does not answer"))
            .await?;

        pods[0].annotate("blue@net3").await?;
        pods[1].annotate("blue@net1").await?;
        pods[0]
            .has_event("FailedRemovingInterface", "the switch does not answer")
            .await?;
        pods[0].has_event("AddedInterface", "net3").await?;
        pods[0].has_event("RemovedInterface", "net2").await?;
        pods[1].has_exactly(&["net1"]).await?;

        ns.no_orders().await?;
        pods[0].recovers_to(&["net3"]).await?;
        ns.is_at_rest(
            &[(&pods[0], &["net3"]), (&pods[1], &["net1"])],
            &[],
            &[&bad, &blue],
        )
        .await
    })
    .await
}

#[tokio::test]
async fn a_pod_that_cannot_be_served_at_all_holds_up_no_other() -> Result<()> {
    in_namespace("broken", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pods = start(ns, 2).await?;
        // Nothing can be plugged where the way into the namespace is gone.
        let path = &pods[0].sandbox().await?.namespace_path;
        let hidden = format!("{path}-hidden");
        ns.cluster
            .node
            .run(&[
                "sh",
                "-c",
                "touch \"$2\" && mount --bind \"$1\" \"$2\" && umount -l \"$1\" && rm \"$1\"",
                "sh",
                path,
                &hidden,
            ])
            .await?;

        pods[0].annotate("blue@net1").await?;
        pods[1].annotate("blue@net1").await?;
        pods[1].has_exactly(&["net1"]).await?;
        pods[0].has_event("FailedAddingInterface", path).await?;

        // Containerd removes a plain file there when it is asked for the sandbox at that moment.
        let show = "for try in 1 2 3 4 5; do touch \"$1\" && mount --bind \"$2\" \"$1\" && break; done &&
             umount -l \"$2\" && rm \"$2\"";
        ns.cluster
            .node
            .run(&["sh", "-c", show, "sh", path, &hidden])
            .await?;
        pods[0].has_exactly(&["net1"]).await
    })
    .await
}

async fn start(ns: &Namespace, count: usize) -> Result<Vec<Pod>> {
    let names: Vec<_> = (0..count).map(|i| format!("p{i}")).collect();
    futures::future::try_join_all(names.iter().map(|name| ns.running_pod(name, NO_NETWORKS))).await
}

/// Waits until the recorder has been called for `net1` of some of `pods`, and has not answered.
async fn one_hangs(pods: &[Pod]) -> Result<()> {
    eventually(PLUG, "a plugin hangs", async || {
        for pod in pods {
            if pod
                .recorded("net1")
                .await?
                .iter()
                .any(|recorded| recorded.call.ended.is_none())
            {
                return Ok(());
            }
        }
        Err(Error::Unexpected("none was called".to_owned()))
    })
    .await
}

/// Whether any of `pods` has got its interface in the eyes of the agent.
async fn is_plugged(pods: &[Pod]) -> Result<bool> {
    for pod in pods {
        if !pod.network_status().await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits until `explain` has all of these on one line or another.
async fn explains(ns: &Namespace, pod: &Pod, parts: &[&str]) -> Result<()> {
    eventually(LONG, format!("explain tells {parts:?}"), async || {
        let explained = ns.cluster.explain(&format!("{}/{}", ns.name, pod.name)).await?;
        let told = parts.iter().all(|part| explained.contains(part));
        told.then_some(())
            .ok_or_else(|| Error::Unexpected(explained.clone()))
    })
    .await
}
