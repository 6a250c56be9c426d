//! Networks on devices: the real kubelet gives them to pods, the real host-device moves them, and
//! what multus does for a pod that starts with the same networks is what the agent has to do.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{DevicePlugin, Namespace, Pod, Result, Termination, alone_in_kube_system};

/// In kube-system, where the webhook is not asked: the agent has to refuse by itself.
#[tokio::test]
async fn plugs_the_devices_that_a_pod_owns() -> Result<()> {
    alone_in_kube_system(async |ns| {
        let plugin = DevicePlugin::start(ns, 12).await?;
        plugin.create_nad(ns, "dev").await?;
        let twin = plugin.running_pod(ns, "dev-twin", "dev@net1,dev@net2", 2).await?;
        let pod = plugin.running_pod(ns, "dev-pod", "dev@net1", 2).await?;

        pod.annotate("dev@net1,dev@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.status_shape().await?, twin.status_shape().await?);
        let (own, others) = (pod.devices().await?, twin.devices().await?);
        let all: BTreeSet<_> = own.values().chain(others.values()).collect();
        assert_eq!(all.len(), 4, "{own:?} {others:?}");
        let listed = pod.delegates().await?;
        let entry = listed.iter().find(|entry| entry.interface == "net2");
        let entry: serde_json::Value = entry
            .and_then(|e| serde_json::from_str(&e.raw).ok())
            .unwrap_or_default();
        assert_eq!(
            (&entry["deviceID"], &entry["resourceName"]),
            (&json!(own["net2"]), &json!(plugin.resource))
        );

        refuses_what_is_not_free(&pod, &own["net1"], &others["net1"]).await?;
        plugin.wait_home(&own["net2"]).await?;
        come_home_after_other_ends(ns, &plugin).await?;
        comes_home(ns, plugin, pod, twin).await
    })
    .await
}

/// The pod has one device left at the end, on `net1`.
async fn refuses_what_is_not_free(pod: &Pod, own: &str, foreign: &str) -> Result<()> {
    pod.annotate("dev@net1,dev@net2,dev@net3").await?;
    pod.has_event("InterfaceAddRejected", "all 2 that the pod was given are in use")
        .await?;
    pod.has_exactly(&["net1", "net2"]).await?;
    // The third gets what the second gives back.
    pod.annotate("dev@net1,dev@net3").await?;
    pod.has_exactly(&["net1", "net3"]).await?;
    let named = |id: &str| {
        json!([
            {"name": "dev", "namespace": "kube-system", "interface": "net1"},
            {"name": "dev", "namespace": "kube-system", "interface": "net4", "deviceID": id},
        ])
    };
    pod.annotate(&named(foreign).to_string()).await?;
    pod.has_event("InterfaceAddRejected", "is not a device of this pod")
        .await?;
    pod.has_exactly(&["net1"]).await?;
    pod.annotate(&named(own).to_string()).await?;
    pod.has_event("InterfaceAddRejected", "is in use by interface net1")
        .await?;
    pod.annotate("dev@net1").await?;
    pod.has_exactly(&["net1"]).await
}

/// After evictions and deletions by force, with the agent and without it. Each pod has devices of its own: the kubelet
/// frees those of a pod some time after they are home.
async fn come_home_after_other_ends(ns: &Namespace, plugin: &DevicePlugin) -> Result<()> {
    for away in [false, true] {
        let mut ending = Vec::new();
        for end in [Termination::Evicted, Termination::Forced] {
            let name = format!("dev-{end:?}-{away}").to_lowercase();
            let pod = plugin.running_pod(ns, &name, "dev@net1", 2).await?;
            pod.annotate("dev@net1,dev@hot").await?;
            pod.has_exactly(&["net1", "hot"]).await?;
            ending.push((end, pod));
        }
        if away {
            ns.cluster.stop_agent().await?;
        }
        for (end, pod) in &ending {
            let devices = pod.devices().await?;
            pod.terminate(*end).await?;
            for id in devices.values() {
                plugin.wait_home(id).await?;
            }
        }
        if away {
            ns.cluster.start_agent().await?;
        }
    }
    Ok(())
}

/// After the end of a pod with the agent, and of one without it.
async fn comes_home(ns: &Namespace, plugin: DevicePlugin, pod: Pod, twin: Pod) -> Result<()> {
    for pod in [&pod, &twin] {
        pod.annotate("dev@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("dev@net1,dev@hot").await?;
        pod.has_exactly(&["net1", "hot"]).await?;
    }
    pod.delete().await?;
    ns.cluster.stop_agent().await?;
    twin.delete().await?;
    for (id, _) in &plugin.devices {
        plugin.wait_home(id).await?;
    }
    ns.cluster.start_agent().await?;
    // A pod of the same name begins with all of its devices.
    let networks = "dev@net1,dev@net2,dev@net3";
    let next = plugin.running_pod(ns, "dev-pod", networks, 4).await?;
    next.annotate(&format!("{networks},dev@hot")).await?;
    next.has_exactly(&["net1", "net2", "net3", "hot"]).await?;
    let devices: BTreeSet<_> = next.devices().await?.into_values().collect();
    assert_eq!(devices.len(), 4, "{devices:?}");
    next.delete().await?;
    for (id, _) in &plugin.devices {
        plugin.wait_home(id).await?;
    }
    plugin.remove().await
}
