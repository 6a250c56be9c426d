//! The pod condition `NetworksReady`: what `kubectl wait` and readiness gates rely on. It is True
//! with the digest of an annotation only when the interfaces of that annotation are in the pod.

use std::time::{Duration, Instant};

use agent_core::readiness::GRACE;
use k8s_openapi::api::{
    core::v1::{Pod as ApiPod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use shared::readiness::NETWORKS_READY;
use tests::{
    Error, LONG, NO_NETWORKS, Namespace, Pod, Result, condition, eventually, in_namespace, macvlan,
    networks_ready,
};

/// So many plugs, where the environment does not ask for another number.
const PLUGS: usize = 20;
/// The variable that asks for it.
const PLUGS_VARIABLE: &str = "CONDITION_PLUGS";

#[tokio::test]
async fn kubectl_waits_for_the_networks_of_a_new_pod() -> Result<()> {
    in_namespace("condition", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.create_pod("p", "blue@net1").await?;
        let condition = format!("--for=condition={NETWORKS_READY}");
        let wait = [
            "wait",
            "--namespace",
            &ns.name,
            "pod/p",
            &condition,
            "--timeout=90s",
        ];
        ns.cluster.kubectl(&wait).await?;
        pod.interface("net1").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_without_the_annotation_has_no_condition() -> Result<()> {
    in_namespace("condition", async |ns| {
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        assert!(condition(&pod.object().await?, NETWORKS_READY).is_none());
        pod.annotate("[]").await?;
        let ready = networks_ready(&pod, "True", "[]").await?;
        assert_eq!(ready.reason.as_deref(), Some("NoNetworks"));
        assert_eq!(ready.observed_generation, None);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_failed_plug_is_false_until_it_is_corrected() -> Result<()> {
    in_namespace("condition", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "[]").await?;
        networks_ready(&pod, "True", "[]").await?;
        pod.annotate("ghost@net1").await?;
        let failed = networks_ready(&pod, "False", "ghost@net1").await?;
        assert_eq!(failed.reason.as_deref(), Some("AttachFailed"), "{failed:?}");
        assert!(failed.message.is_some_and(|text| text.contains("ghost")));
        pod.annotate("blue@net1").await?;
        networks_ready(&pod, "True", "blue@net1").await?;
        pod.interface("net1").await?;
        Ok(())
    })
    .await
}

/// A plug takes milliseconds: it changes neither the readiness gate nor the Service. The kubelet
/// writes the pod's status after the agent did, and keeps the condition. On a machine that is busy
/// with other tests a plug may take longer than the grace period: then all is tried again.
#[tokio::test]
async fn a_gated_pod_stays_in_its_service_during_plugs() -> Result<()> {
    in_namespace("condition", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = gated_pod(ns).await?;
        for attempt in 0..10 {
            pod.is_ready().await?;
            let slice = ready_slice(ns).await?;
            let before = transitions(&pod.object().await?);
            let mut slowest = Duration::ZERO;
            for round in 0..5 {
                // A name of its own in each round: the removals of one name are paced.
                for networks in [format!("blue@n{attempt}x{round}"), "[]".to_owned()] {
                    let began = Instant::now();
                    pod.annotate(&networks).await?;
                    networks_ready(&pod, "True", &networks).await?;
                    slowest = slowest.max(began.elapsed());
                }
            }
            if slowest < GRACE {
                assert_eq!(transitions(&pod.object().await?), before);
                let after = ready_slice(ns).await?;
                assert_eq!(after.resource_version(), slice.resource_version());
                return Ok(());
            }
            println!("a plug took {slowest:?}");
        }
        Err(Error::Unexpected(format!(
            "never ten edits in a row within {GRACE:?}"
        )))
    })
    .await
}

#[tokio::test]
async fn is_never_true_before_the_interface_is_there() -> Result<()> {
    let asked = std::env::var(PLUGS_VARIABLE).ok();
    let plugs = asked.and_then(|number| number.parse().ok()).unwrap_or(PLUGS);
    in_namespace("condition", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "[]").await?;
        for round in 0..plugs {
            // A name of its own in each round: the digest is new, too.
            let networks = format!("blue@n{round}");
            pod.annotate(&networks).await?;
            networks_ready(&pod, "True", &networks).await?;
            pod.interface(&format!("n{round}")).await?;
        }
        Ok(())
    })
    .await
}

/// A pod that is Ready only while its networks are, behind a Service.
async fn gated_pod(ns: &Namespace) -> Result<Pod> {
    let unexpected = |e: &dyn std::fmt::Display| Error::Unexpected(e.to_string());
    let services: Api<Service> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
    let service = json!({
        "metadata": {"name": "gated"},
        "spec": {"selector": {"gated": "yes"}, "ports": [{"port": 80}]},
    });
    let service: Service = serde_json::from_value(service).map_err(|e| unexpected(&e))?;
    services
        .create(&PostParams::default(), &service)
        .await
        .map_err(|e| unexpected(&e))?;
    ns.create_pod_from("p", "[]", |pod| {
        pod["metadata"]["labels"]["gated"] = json!("yes");
        pod["spec"]["readinessGates"] = json!([{"conditionType": NETWORKS_READY}]);
    })
    .await
}

/// The Service's slice, once its endpoint is ready.
async fn ready_slice(ns: &Namespace) -> Result<EndpointSlice> {
    let slices: Api<EndpointSlice> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
    let of_service = ListParams::default().labels("kubernetes.io/service-name=gated");
    eventually(LONG, "the endpoint is ready", async || {
        let listed = slices.list(&of_service).await;
        let listed = listed.map_err(|e| Error::Unexpected(e.to_string()))?;
        let is_ready = |slice: &EndpointSlice| {
            let mut conditions = slice
                .endpoints
                .iter()
                .filter_map(|endpoint| endpoint.conditions.as_ref());
            conditions.any(|conditions| conditions.ready == Some(true))
        };
        let ready = listed.items.into_iter().find(is_ready);
        ready.ok_or_else(|| Error::Unexpected("it is not".to_owned()))
    })
    .await
}

/// When the pod's readiness and its condition changed.
fn transitions(pod: &ApiPod) -> Vec<String> {
    let of = |kind| condition(pod, kind).map(|condition| format!("{:?}", condition.last_transition_time));
    ["Ready", NETWORKS_READY].into_iter().filter_map(of).collect()
}
