//! Edits that come fast, come in between, or contradict what is there: the last one counts, and on
//! the way nothing is done twice or to others.

use std::time::{Duration, Instant};

use tests::{Error, NO_NETWORKS, Nad, Order, PLUG, Pod, Result, bridge, eventually, in_namespace, macvlan};

#[tokio::test]
async fn swaps_networks_under_one_name_back_and_forth_and_leaves_nothing_of_the_others() -> Result<()> {
    in_namespace("swap", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let red = ns.create_nad("red", bridge().host_local().recorded()).await?;
        let pod = ns.running_pod("p", "blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;

        for (network, other, kind) in [
            (&red, &blue, "veth"),
            (&blue, &red, "macvlan"),
            (&red, &blue, "veth"),
        ] {
            pod.annotate(&format!("{}@net1", network.name)).await?;
            is_on(&pod, network).await?;
            pod.has_exactly(&["net1"]).await?;
            assert_eq!(pod.interface("net1").await?.kind, kind);
            assert_eq!(
                (pod.leases(network).await?.len(), pod.leases(other).await?.len()),
                (1, 0)
            );
        }
        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&blue, &red]).await
    })
    .await
}

#[tokio::test]
async fn an_element_that_is_removed_and_written_again_at_once_is_there_in_the_end() -> Result<()> {
    in_namespace("again", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        let untouched = pod.interface("net2").await?;

        pod.annotate("blue@net2").await?;
        pod.annotate("blue@net1,blue@net2").await?;

        ns.cluster.agent_knows(&ns.name, &pod).await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.interface("net2").await?, untouched);
        ns.is_at_rest(&[(&pod, &["net1", "net2"])], &[], &[&blue]).await
    })
    .await
}

#[tokio::test]
async fn a_hundred_flips_in_ten_seconds_cost_few_operations_and_end_in_the_last_state() -> Result<()> {
    const FLIPS: u32 = 100;
    in_namespace("flips", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let begin = Instant::now();
        for flip in 0..FLIPS {
            pod.annotate(if flip % 2 == 0 { "blue@net1" } else { "[]" })
                .await?;
            let next = begin + Duration::from_millis(100) * (flip + 1);
            tokio::time::sleep_until(next.into()).await;
        }
        pod.annotate("blue@net1").await?;
        let (last, flipped) = (Instant::now(), begin.elapsed());
        ns.cluster.agent_knows(&ns.name, &pod).await?;
        pod.has_exactly(&["net1"]).await?;

        let calls = pod.recorded("net1").await?.len();
        println!(
            "{FLIPS} flips in {flipped:?}: {calls} operations, in the last state {:?} after the last",
            last.elapsed()
        );
        assert!(calls < 50, "{calls} operations");
        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&blue]).await
    })
    .await
}

#[tokio::test]
async fn an_edit_during_an_operation_is_carried_out_after_it() -> Result<()> {
    in_namespace("during", async |ns| {
        let slow = ns.create_nad("slow", macvlan().host_local().recorded()).await?;
        let blue = ns.create_nad("blue", bridge().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        ns.order(&slow, "ADD", Order::Hang).await?;
        pod.annotate("slow@net1,blue@net2").await?;
        is_called(&pod, "net1").await?;

        // The operation on net1 is one of an edit before the last.
        pod.annotate("blue@net1,blue@net3").await?;
        ns.cluster.agent_knows(&ns.name, &pod).await?;
        ns.no_orders().await?;

        pod.recovers_to(&["net1", "net3"]).await?;
        is_on(&pod, &blue).await?;
        assert!(
            pod.recorded("net2").await?.is_empty(),
            "net2 was no longer wanted when its turn came"
        );
        // The calls of one sandbox never overlap: the checker looks at them, too.
        ns.is_at_rest(&[(&pod, &["net1", "net3"])], &[], &[&slow, &blue])
            .await
    })
    .await
}

#[tokio::test]
async fn leaves_a_strangers_interface_alone_and_plugs_when_it_is_gone() -> Result<()> {
    in_namespace("stranger", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let namespace = format!("--net={}", pod.sandbox().await?.namespace_path);
        let links = async |command: &[&str]| {
            let link = ["nsenter", &namespace, "ip", "link"];
            ns.cluster.node.run(&[&link, command].concat()).await
        };
        links(&["add", "net1", "type", "bridge"]).await?;
        let stranger = pod.interface("net1").await?;

        pod.annotate("blue@net1,blue@net2").await?;
        let told = pod
            .has_event("FailedAddingInterface", "not managed by the agent")
            .await?;
        assert!(told.warning && told.message.contains("net1"), "{told:?}");
        assert_eq!(pod.interface("net1").await?, stranger);
        assert_eq!(pod.interface("net2").await?.kind, "macvlan");
        // It is tried again and again, and has an intent on the disk each time.
        pod.has_records_of(&["net2"]).await?;
        assert!(
            pod.recorded("net1").await?.is_empty(),
            "no plugin was called for it"
        );

        links(&["delete", "net1"]).await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        ns.is_at_rest(&[(&pod, &["net1", "net2"])], &[], &[&blue]).await
    })
    .await
}

/// Waits until `net1` is one of `network`.
async fn is_on(pod: &Pod, network: &Nad) -> Result<()> {
    eventually(PLUG, format!("net1 is on {}", network.name), async || {
        let status = pod.network_status().await?;
        let there = status
            .iter()
            .any(|e| e.interface == "net1" && e.name == network.full_name());
        there
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{status:?}")))
    })
    .await
}

/// Waits until the recorder was called for an interface.
async fn is_called(pod: &Pod, interface: &str) -> Result<()> {
    eventually(
        PLUG,
        format!("a plugin is called for {interface}"),
        async || match pod.recorded(interface).await?.len() {
            0 => Err(Error::Unexpected("no call".to_owned())),
            _ => Ok(()),
        },
    )
    .await
}
