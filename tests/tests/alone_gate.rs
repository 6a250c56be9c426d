//! The gate under a stream of requests: replaced, killed, taken away, with another CA. And not
//! called when it has nothing to say.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tests::{Asked, Cluster, Error, LONG, Result, alone_in_namespace, eventually, is_unanswered, macvlan};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// In the CA's Secret: since when all registrations carry the next CA.
const TRUSTED_SINCE: &str = "next-ca.trusted-since";

#[tokio::test]
async fn a_crash_of_one_replica_is_over_in_moments() -> Result<()> {
    alone_in_namespace("crash", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        ns.is_filled(true).await?;
        let asked = ns.asks_while(ns.cluster.crash_one_webhook()).await?;
        println!("kill -9 of one replica: {asked:?}");
        // What went to the dead one passed unfilled, which is what failing open means; the other
        // one still answered.
        assert!(asked.unfilled < asked.calls, "{asked:?}");
        all_filled(&ns.asks_while(async { ns.is_filled(true).await }).await?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_new_ca_fails_no_call() -> Result<()> {
    alone_in_namespace("rotation", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        ns.cluster.run_webhooks(3).await?;
        ns.is_filled(true).await?;
        // A CA in its last days: due for replacement, still valid.
        let old =
            certs::Authority::generate(OffsetDateTime::now_utc() - certs::CA_LIFETIME + Duration::days(3))
                .map_err(unexpected)?;
        ns.cluster
            .put_ca(&json!({"ca.crt": old.certificate_pem(), "ca.key": old.key_pem()}))
            .await?;
        // Put there by force it is trusted from one moment to the next; what follows by itself has
        // no such moment.
        ns.is_filled(true).await?;
        let asked = ns
            .asks_while(async {
                eventually(LONG, "all registrations carry the next CA", async || {
                    ca_value(&ns.cluster, TRUSTED_SINCE).await.map(drop)
                })
                .await?;
                // The rest of the minute of grace adds nothing: the one API server has heard of it.
                let earlier = OffsetDateTime::now_utc() - Duration::seconds(50);
                let earlier = earlier.format(&Rfc3339).map_err(unexpected)?;
                ns.cluster.put_ca(&json!({TRUSTED_SINCE: earlier})).await?;
                eventually(LONG, "another CA signs", async || {
                    if ca_value(&ns.cluster, "ca.crt").await? == old.certificate_pem() {
                        Err(Error::Unexpected("the old one signs".to_owned()))
                    } else {
                        Ok(())
                    }
                })
                .await?;
                ns.cluster.installed().await
            })
            .await?;
        println!("rotation of the CA: {asked:?}");
        all_filled(&asked);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_without_networks_never_call_it() -> Result<()> {
    const PODS: usize = 150;
    const AT_ONCE: usize = 8;
    alone_in_namespace("vain", async |ns| {
        let api: Api<ApiPod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
        let before = ns.cluster.reviews().await?;
        let lives = futures::stream::iter(0..PODS).map(|index| life(&api, index));
        lives.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let all = ListParams::default();
        api.delete_collection(&DeleteParams::default().grace_period(0), &all)
            .await
            .map_err(unexpected)?;
        assert_eq!(
            ns.cluster.reviews().await? - before,
            0,
            "calls for pods without networks"
        );
        // The count would have shown one.
        ns.create_nad("blue", macvlan()).await?;
        ns.is_filled(true).await?;
        assert!(ns.cluster.reviews().await? > before);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_stands_still_without_it() -> Result<()> {
    alone_in_namespace("down", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        ns.cluster.stop_webhook().await?;
        let plain = ns.running_pod("plain", tests::NO_NETWORKS).await?;
        plain.has_exactly(&[]).await?;
        // It fails open: multus names the network, and the agent plugs what has a name.
        let pod = ns.running_pod("networks", "blue").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        // kube-system is never asked about: the agent itself can be replaced, and so can the gate.
        ns.cluster.restart_agent().await?;
        ns.cluster.start_webhook().await?;
        ns.is_filled(true).await
    })
    .await
}

#[tokio::test]
async fn failing_closed_a_rollout_fails_no_call_and_an_outage_costs_edits_and_pods_with_networks_only()
-> Result<()> {
    alone_in_namespace("closed", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", "blue@net1").await?;
        fail_closed(&ns.cluster).await?;
        ns.is_filled(true).await?;

        // Here a call that fails shows, be it the one that fills in or the one that judges.
        let asked = ns.asks_while(ns.cluster.roll_webhook()).await?;
        println!("rollout, failing closed: {asked:?}");
        all_filled(&asked);

        let asked = ns.asks_while(ns.cluster.crash_one_webhook()).await?;
        println!("kill -9 of one replica of three, failing closed: {asked:?}");
        assert_eq!(asked.unfilled, 0, "something passed unchecked: {asked:?}");
        assert!(asked.refused < asked.calls, "{asked:?}");

        ns.cluster.stop_webhook().await?;
        for networks in ["blue@net1,blue@net2", "[]"] {
            let refusal = pod.refusal_of(networks).await?;
            assert!(is_unanswered(&refusal), "{refusal}");
        }
        match ns.would_store("blue").await {
            Err(error) if error.refusal().is_some_and(is_unanswered) => {}
            other => return Err(Error::Unexpected(format!("a new pod with networks: {other:?}"))),
        }
        // Whatever does not touch the annotation works, and so does everything in kube-system.
        pod.set("example.com/note", json!("edited")).await?;
        ns.running_pod("plain", tests::NO_NETWORKS)
            .await?
            .delete()
            .await?;
        assert_eq!(ns.cluster.would_store("kube-system", "blue").await?, "blue");
        pod.has_exactly(&["net1"]).await?;

        ns.cluster.start_webhook().await?;
        ns.is_filled(true).await?;
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&["net2"]).await
    })
    .await
}

#[tokio::test]
async fn a_cold_start_of_the_whole_cluster_needs_no_hand() -> Result<()> {
    alone_in_namespace("cold", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        fail_closed(&ns.cluster).await?;
        let plain = ns.running_pod("plain", tests::NO_NETWORKS).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1").await?;
        pod.has_exactly(&["cold", "net1"]).await?;

        plain.has_exactly(&[]).await?;

        ns.cluster.cold_start().await?;

        ns.is_filled(true).await?;
        plain.in_its_next_sandbox().await?.has_exactly(&[]).await?;
        let pod = pod.in_its_next_sandbox().await?;
        pod.has_exactly(&["cold", "net1"]).await?;
        pod.refusal_of("blue@lo").await?;
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await
    })
    .await
}

/// A pod without networks is made and changes twice. It is gated from scheduling: its whole life is
/// API traffic.
async fn life(api: &Api<ApiPod>, index: usize) -> Result<()> {
    let annotations = if index.is_multiple_of(2) {
        json!(null)
    } else {
        json!({"a": "b"})
    };
    let pod: ApiPod = serde_json::from_value(json!({
        "metadata": {"name": format!("plain-{index}"), "annotations": annotations},
        "spec": {"schedulingGates": [{"name": "tests.invalid/never"}], "containers": [{"name": "app", "image": "none"}]},
    }))
    .map_err(unexpected)?;
    let (name, ours) = (pod.name_any(), PatchParams::default());
    api.create(&PostParams::default(), &pod)
        .await
        .map_err(unexpected)?;
    let churn = json!({"status": {"message": format!("churn {index}")}});
    api.patch_status(&name, &ours, &Patch::Merge(churn))
        .await
        .map_err(unexpected)?;
    let label = json!({"metadata": {"labels": {"churn": "yes"}}});
    let labelled = api.patch(&name, &ours, &Patch::Merge(label)).await;
    labelled.map(drop).map_err(unexpected)
}

/// As the documentation tells it. It is undone at the end of the test.
async fn fail_closed(cluster: &Cluster) -> Result<()> {
    cluster
        .documented(
            "docs/operations.md",
            "kubectl apply -k manifests/overlays/fail-closed",
        )
        .await?;
    cluster.installed().await
}

/// What the CA's Secret has under a key.
async fn ca_value(cluster: &Cluster, key: &str) -> Result<String> {
    let mut data = cluster.ca_secret().await?.data.unwrap_or_default();
    let value = data
        .remove(key)
        .ok_or_else(|| Error::Unexpected(format!("no {key} in the CA's Secret")))?;
    String::from_utf8(value.0).map_err(unexpected)
}

fn all_filled(asked: &Asked) {
    assert!(asked.calls > 20, "too few calls to tell: {asked:?}");
    assert_eq!((asked.unfilled, asked.refused), (0, 0), "{asked:?}");
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
