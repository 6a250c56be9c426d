//! Drift: what goes without an edit is reported where the node shows it, and two edits bring it
//! back.

use std::time::{Duration, Instant};

use tests::{Error, NO_NETWORKS, Nad, Namespace, PLUG, Pod, Result, eventually, in_namespace, macvlan};

/// A loss is reported within this time.
const REPORTED: Duration = Duration::from_secs(10);

/// The documented way back; nothing is left over from before.
async fn comes_back(ns: &Namespace, pod: &Pod, blue: &Nad) -> Result<()> {
    pod.annotate("[]").await?;
    pod.has_exactly(&[]).await?;
    ns.has_no_leases(blue).await?;
    pod.annotate("blue@net1").await?;
    pod.has_exactly(&["net1"]).await?;
    let leases = pod.leases(blue).await?;
    assert_eq!(leases.len(), 1, "{leases:?}");
    Ok(())
}

/// Case 12: the kernel deletes a macvlan together with its parent, which nothing outside the pod
/// shows.
#[tokio::test]
async fn an_interface_comes_back_after_its_parent_was_recreated() -> Result<()> {
    in_namespace("drift", async |ns| {
        let parent = ns.link(0);
        ns.add_links(&[&parent]).await?;
        let blue = ns
            .create_nad("blue", macvlan().with("master", &parent).host_local())
            .await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let before = pod.interface("net1").await?;

        ns.cluster.node.run(&["ip", "link", "delete", &parent]).await?;
        eventually(PLUG, "the kernel has deleted net1", async || {
            let left = pod.interfaces().await?;
            left.iter()
                .all(|one| one.name != "net1")
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{left:?}")))
        })
        .await?;
        ns.add_links(&[&parent]).await?;

        comes_back(ns, &pod, &blue).await?;
        assert!(pod.interface("net1").await?.index > before.index);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_result_that_was_deleted_is_reported() -> Result<()> {
    in_namespace("drift", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;

        let result = format!("{}-{}-net1", blue.config_name, pod.sandbox().await?.id);
        let path = format!("/var/lib/cni/multus/results/{result}");
        ns.cluster.node.run(&["rm", &path]).await?;
        let begun = Instant::now();
        let said = format!(
            "libcni's result of interface net1 on network {}",
            blue.full_name()
        );
        let event = pod.has_event("FailedAddingInterface", &said).await?;
        let took = begun.elapsed();
        println!("a result was deleted: reported after {took:?}");
        assert!(event.warning && took < REPORTED, "{took:?}: {event:?}");

        let drifted = "dynamic_networks_agent_attachments_drifted{kind=\"result\"}";
        assert!(ns.cluster.agent_metric(drifted).await? >= 1.0);
        let explain = async || ns.cluster.explain(&format!("{}/p", ns.name)).await;
        assert!(
            explain()
                .await?
                .contains("drift: libcni's result of interface net1")
        );
        comes_back(ns, &pod, &blue).await?;
        let explained = explain().await?;
        assert!(!explained.contains("drift: "), "{explained}");
        Ok(())
    })
    .await
}
