//! Addresses: what the IPAM plugin gives and gets back, and what the annotation asks for.

use rstest::rstest;
use serde_json::json;
use tests::{NO_NETWORKS, Plugin, Result, bridge, in_namespace, macvlan};

#[rstest]
#[case::ipv4(bridge().host_local(), 24)]
#[case::ipv6(macvlan().host_local6(), 64)]
#[tokio::test]
async fn takes_a_lease_when_plugging_and_frees_it_when_unplugging(
    #[case] plugin: Plugin,
    #[case] prefix: u8,
) -> Result<()> {
    in_namespace("lease", async |ns| {
        let blue = ns.create_nad("blue", plugin).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        assert!(pod.leases(&blue).await?.is_empty());

        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let leases = pod.leases(&blue).await?;
        assert_eq!(leases.len(), 1, "{leases:?}");
        assert_eq!(leases[0].interface, "net1");
        assert_eq!(
            pod.interface("net1").await?.addresses,
            [format!("{}/{prefix}", leases[0].address)]
        );

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn gives_the_addresses_and_the_hardware_address_that_were_asked_for() -> Result<()> {
    in_namespace("static", async |ns| {
        let blue = ns.create_nad("blue", macvlan().static_addresses()).await?;
        let address = format!("{}/24", blue.address(7));
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        let element = json!({
            "name": "blue", "interface": "net1", "ips": [address, "fd00:77::7/64"], "mac": "02:00:5e:00:53:07",
        });
        pod.annotate(&json!([element]).to_string()).await?;

        pod.has_exactly(&["net1"]).await?;
        let net1 = pod.interface("net1").await?;
        assert_eq!(net1.mac, "02:00:5e:00:53:07");
        assert_eq!(net1.addresses, [address.as_str(), "fd00:77::7/64"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn frees_the_lease_of_a_plugged_interface_when_the_pod_is_deleted() -> Result<()> {
    in_namespace("release", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@hot").await?;
        pod.has_exactly(&["cold", "hot"]).await?;
        assert_eq!(pod.leases(&blue).await?.len(), 2);
        let sandbox = pod.sandbox().await?.id.clone();

        pod.delete().await?;

        ns.has_no_leases(&blue).await?;
        let node = &ns.cluster.node;
        tests::eventually(tests::PLUG, "the node remembers nothing of the pod", async || {
            let (records, results) = (
                node.state_of(&sandbox).await?,
                node.cached_results(&sandbox).await?,
            );
            let forgotten = records.is_empty() && results.iter().all(|name| name.ends_with("-eth0"));
            forgotten
                .then_some(())
                .ok_or_else(|| tests::Error::Unexpected(format!("{records:?}, {results:?}")))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn says_why_an_address_could_not_be_had_and_leaves_nothing_behind() -> Result<()> {
    in_namespace("taken", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let wanting =
            |interface: &str| json!({"name": "blue", "interface": interface, "ips": [blue.address(20)]});
        pod.annotate(&json!([wanting("net1")]).to_string()).await?;
        pod.has_exactly(&["net1"]).await?;

        pod.annotate(&json!([wanting("net1"), wanting("net2")]).to_string())
            .await?;
        pod.has_event("FailedAddingInterface", &blue.address(20)).await?;
        pod.has_exactly(&["net1"]).await?;

        // Freed, it is had by the one that waits.
        pod.annotate(&json!([wanting("net2")]).to_string()).await?;
        pod.has_exactly(&["net2"]).await?;
        assert_eq!(pod.leases(&blue).await?.len(), 1);
        Ok(())
    })
    .await
}
