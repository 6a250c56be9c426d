//! Edits of a running pod's networks annotation reach the kernel inside the pod: what is added is
//! plugged, what is removed is unplugged, what stays is left alone.

use serde_json::json;
use tests::{Error, NO_NETWORKS, Pod, Result, bridge, in_namespace, macvlan};

#[tokio::test]
async fn plugs_the_first_network_of_a_pod_that_started_with_none() -> Result<()> {
    in_namespace("edit", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.has_exactly(&[]).await?;

        pod.annotate("blue@net1").await?;

        pod.has_exactly(&["net1"]).await?;
        assert_eq!(pod.network_status().await?[0].name, blue.full_name());
        assert_eq!(pod.interface("net1").await?.kind, "macvlan");
        pod.has_records_of(&["net1"]).await?;
        pod.has_event("AddedInterface", "net1").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unplugs_what_is_removed_and_leaves_its_neighbours_alone() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.create_nad("red", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1,red@net2,blue@net3").await?;
        pod.has_exactly(&["net1", "net2", "net3"]).await?;
        let before = (pod.interface("net1").await?, pod.interface("net3").await?);

        pod.annotate("blue@net1,blue@net3").await?;

        pod.has_exactly(&["net1", "net3"]).await?;
        assert_eq!(
            (pod.interface("net1").await?, pod.interface("net3").await?),
            before
        );
        pod.has_event("RemovedInterface", "net2").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn adds_and_removes_in_one_edit() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.create_nad("red", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1,red@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        let red = pod.interface("net2").await?;

        pod.annotate("red@net2,blue@net3").await?;

        pod.has_exactly(&["net2", "net3"]).await?;
        assert_eq!(pod.interface("net2").await?, red);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn puts_another_network_under_a_name_that_is_in_use() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let red = ns.create_nad("red", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;

        pod.annotate("red@net1").await?;

        tests::eventually(tests::PLUG, "net1 is on the other network", async || {
            let status = pod.network_status().await?;
            let there = status.iter().any(|e| e.name == red.full_name());
            there
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{status:?}")))
        })
        .await?;
        pod.has_exactly(&["net1"]).await?;
        assert_eq!(pod.interface("net1").await?.kind, "veth");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plugs_several_networks_in_the_order_of_the_annotation() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate("blue@net3,blue@net1,blue@net4,blue@net2").await?;

        pod.has_exactly(&["net1", "net2", "net3", "net4"]).await?;
        assert_eq!(by_age(&pod).await?, ["net3", "net1", "net4", "net2"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plugs_a_network_on_top_of_another_one_of_the_same_edit() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("lower", macvlan()).await?;
        ns.create_nad("upper", macvlan().over("base").host_local())
            .await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate("lower@base,upper@top").await?;
        pod.has_exactly(&["base", "top"]).await?;
        // Not by retrying: the lower one was there in time.
        assert!(
            pod.events().await?.iter().all(|e| !e.warning),
            "{:?}",
            pod.events().await?
        );

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await
    })
    .await
}

#[tokio::test]
async fn reads_text_and_json_alike() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate(&format!(" {}/blue@net1 , blue@net2", ns.name))
            .await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        let plugged = (pod.interface("net1").await?, pod.interface("net2").await?);

        let list = json!([
            {"name": "blue", "interface": "net1"},
            {"name": "blue", "namespace": ns.name, "interface": "net2"},
            {"name": "blue", "interfaceRequest": "net3"},
        ]);
        pod.annotate(&list.to_string()).await?;

        pod.has_exactly(&["net1", "net2", "net3"]).await?;
        assert_eq!(
            (pod.interface("net1").await?, pod.interface("net2").await?),
            plugged
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unplugs_everything_for_an_empty_list_an_empty_text_and_a_deleted_key() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let two = async || {
            pod.annotate("blue@net1,blue@net2").await?;
            pod.has_exactly(&["net1", "net2"]).await
        };

        two().await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;

        two().await?;
        pod.annotate("").await?;
        pod.has_exactly(&[]).await?;

        two().await?;
        pod.remove_annotation().await?;
        pod.has_exactly(&[]).await?;
        pod.has_records_of(&[]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plugs_a_network_that_is_made_after_the_edit() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate("later@net1,blue@net2").await?;
        pod.has_event("FailedAddingInterface", "later").await?;
        pod.has_exactly(&["net2"]).await?;

        ns.create_nad("later", macvlan().host_local()).await?;
        pod.has_exactly(&["net1", "net2"]).await
    })
    .await
}

#[tokio::test]
async fn many_pods_are_edited_at_once() -> Result<()> {
    in_namespace("edit", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let names: Vec<_> = (0..8).map(|i| format!("p{i}")).collect();
        let started = names.iter().map(|name| ns.running_pod(name, NO_NETWORKS));
        let pods = futures::future::try_join_all(started).await?;

        futures::future::try_join_all(pods.iter().map(|pod| pod.annotate("blue@net1,blue@net2"))).await?;
        futures::future::try_join_all(pods.iter().map(|pod| pod.has_exactly(&["net1", "net2"]))).await?;

        futures::future::try_join_all(pods.iter().map(|pod| pod.annotate("blue@net2"))).await?;
        futures::future::try_join_all(pods.iter().map(|pod| pod.has_exactly(&["net2"])))
            .await
            .map(drop)
    })
    .await
}

/// Names of the interfaces beside `eth0`, oldest first.
async fn by_age(pod: &Pod) -> Result<Vec<String>> {
    let names = pod.interfaces().await?.into_iter().map(|i| i.name);
    Ok(names.filter(|name| name != "eth0").collect())
}
