//! Pods that have networks from the start: what multus plugged is unplugged as if we had plugged
//! it, and an edit that lands while the pod starts is not lost.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::ResourceExt;
use shared::annotations::{INTERFACE_NAMES_LABEL, NETWORK_STATUS};
use tests::{NO_NETWORKS, Result, in_namespace, macvlan};

#[tokio::test]
async fn unplugs_one_by_one_what_the_pod_started_with() -> Result<()> {
    in_namespace("start", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold,blue,blue@warm,blue").await?;
        // The gate gave the unnamed ones the names that multus would have given them.
        assert_eq!(
            pod.annotation().await?.as_deref(),
            Some("blue@cold,blue@net2,blue@warm,blue@net4")
        );
        pod.has_exactly(&["cold", "net2", "warm", "net4"]).await?;
        let last = pod.interface("warm").await?;

        let steps = [
            ("blue@cold,blue@warm,blue@net4", &["cold", "warm", "net4"][..]),
            ("blue@warm,blue@net4", &["warm", "net4"]),
            ("blue@warm", &["warm"]),
        ];
        for (annotation, left) in steps {
            pod.annotate(annotation).await?;
            pod.has_exactly(left).await?;
            assert_eq!(pod.leases(&blue).await?.len(), left.len());
            assert_eq!(pod.interface("warm").await?, last);
        }
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn unplugs_elements_that_never_got_a_name_in_the_annotation() -> Result<()> {
    in_namespace("start", async |ns| {
        ns.label(INTERFACE_NAMES_LABEL, "off").await?;
        for name in ["blue", "red", "green"] {
            ns.create_nad(name, macvlan().host_local()).await?;
        }
        let pod = ns.running_pod("p", "blue,red@cold,green").await?;
        assert_eq!(pod.annotation().await?.as_deref(), Some("blue,red@cold,green"));
        pod.has_exactly(&["net1", "cold", "net3"]).await?;
        let cold = pod.interface("cold").await?;

        pod.annotate("blue,red@cold").await?;
        pod.has_exactly(&["net1", "cold"]).await?;
        pod.annotate("red@cold").await?;
        pod.has_exactly(&["cold"]).await?;
        assert_eq!(pod.interface("cold").await?, cold);
        pod.remove_annotation().await?;
        pod.has_exactly(&[]).await
    })
    .await
}

#[tokio::test]
async fn adds_to_what_the_pod_started_with() -> Result<()> {
    in_namespace("start", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue").await?;
        pod.has_exactly(&["net1"]).await?;
        let first = pod.interface("net1").await?;

        pod.annotate("blue@net1,blue@net2").await?;

        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.interface("net1").await?, first);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn does_not_lose_an_edit_in_the_moment_in_which_the_pod_becomes_running() -> Result<()> {
    edited_when("running", |pod| {
        pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
    })
    .await
}

#[tokio::test]
async fn does_not_lose_an_edit_in_the_moment_in_which_multus_has_plugged() -> Result<()> {
    edited_when("plugged", |pod| pod.annotations().contains_key(NETWORK_STATUS)).await
}

#[tokio::test]
async fn does_not_lose_an_edit_in_the_moment_in_which_the_pod_is_scheduled() -> Result<()> {
    edited_when("scheduled", |pod| {
        pod.spec.as_ref().is_some_and(|s| s.node_name.is_some())
    })
    .await
}

/// Several pods at once, each edited in its own `moment`: half of them begin with a network that
/// the edit replaces.
async fn edited_when(purpose: &str, moment: fn(&ApiPod) -> bool) -> Result<()> {
    in_namespace(purpose, async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let edited = (0..6).map(async |i| {
            let first = if i % 2 == 0 {
                NO_NETWORKS
            } else {
                Some("blue@old,blue@stays")
            };
            let pod = ns.create_pod(&format!("p{i}"), first).await?;
            pod.reaches(moment).await?;
            pod.annotate("blue@new,blue@stays").await?;
            pod.is_ready().await?;
            pod.has_exactly(&["new", "stays"]).await?;
            assert_eq!(pod.leases(&blue).await?.len(), 2);
            Ok(())
        });
        futures::future::try_join_all(edited).await.map(drop)
    })
    .await
}
