//! Networks on devices: the real kubelet gives them to pods, the real host-device moves them, and
//! what multus does for a pod that starts with the same networks is what the agent has to do.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{DevicePlugin, DraDriver, Namespace, Pod, Result, Termination, alone_in_kube_system};

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
        plugin.bus.wait_home(&own["net2"]).await?;
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

/// After evictions and deletions by force, with the agent and without it. Each pod has devices of
/// its own: the kubelet frees those of a pod some time after they are home.
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
                plugin.bus.wait_home(id).await?;
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
    for (id, _) in &plugin.bus.devices {
        plugin.bus.wait_home(id).await?;
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
    for (id, _) in &plugin.bus.devices {
        plugin.bus.wait_home(id).await?;
    }
    plugin.bus.remove().await
}

/// Multus is away while the pod ends, so that the agent releases by itself, when the network
/// namespace is gone.
#[tokio::test]
async fn releases_the_devices_that_multus_did_not() -> Result<()> {
    alone_in_kube_system(async |ns| {
        let plugin = DevicePlugin::start(ns, 2).await?;
        plugin.create_nad(ns, "dev").await?;
        let pod = plugin.running_pod(ns, "dev-pod", "[]", 2).await?;
        pod.annotate("dev@hot0,dev@hot1").await?;
        pod.has_exactly(&["hot0", "hot1"]).await?;
        ns.cluster.component("stop", "multus").await?;
        pod.terminate(Termination::Deleted).await?;
        pod.is_gone().await?;
        pod.network_is_gone().await?;
        ns.cluster.component("start", "multus").await?;
        ns.cluster.node.forgets(&pod.sandbox().await?.id).await?;
        plugin.bus.restore().await?;

        // A pod of the same name is given both.
        let next = plugin.running_pod(ns, "dev-pod", "dev@cold", 2).await?;
        next.annotate("dev@cold,dev@hot").await?;
        next.has_exactly(&["cold", "hot"]).await?;
        let devices: BTreeSet<_> = next.devices().await?.into_values().collect();
        assert_eq!(devices.len(), 2, "{devices:?}");
        next.delete().await?;
        for (id, _) in &plugin.bus.devices {
            plugin.bus.wait_home(id).await?;
        }
        plugin.bus.remove().await
    })
    .await
}

/// Multus 4.3.0 does not know claims: networks on their devices can only be plugged later.
#[tokio::test]
async fn plugs_the_devices_of_a_claim() -> Result<()> {
    alone_in_kube_system(async |ns| {
        let driver = DraDriver::start(ns, 3).await?;
        let config = json!({"cniVersion": "1.0.0", "name": "dra", "type": "host-device", "ipam": {}});
        ns.create_marked_nad("dra", &driver.resource, &config.to_string())
            .await?;
        let pod = driver.running_pod(ns, "dra-pod", "[]", 2).await?;
        pod.annotate("dra@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("dra@net1,dra@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        let own = device_ids(&pod).await?;
        assert_eq!(own.len(), 2, "{own:?}");
        pod.annotate("dra@net1,dra@net2,dra@net3").await?;
        pod.has_event("InterfaceAddRejected", "all 2 that the pod was given are in use")
            .await?;
        // The third gets what the first gives back; what nobody claimed stays on the node.
        pod.annotate("dra@net2,dra@net3").await?;
        pod.has_exactly(&["net2", "net3"]).await?;
        assert_eq!(device_ids(&pod).await?, own);
        for (id, _) in driver.bus.devices.iter().filter(|(id, _)| !own.contains(id)) {
            driver.bus.wait_home(id).await?;
        }

        let without = ns.running_pod("dra-without", "[]").await?;
        without.annotate("dra@net1").await?;
        without
            .has_event("InterfaceAddRejected", &driver.resource)
            .await?;
        without.has_exactly(&[]).await?;

        pod.delete().await?;
        driver.delete_claim(ns, "dra-pod").await?;
        for (id, _) in &driver.bus.devices {
            driver.bus.wait_home(id).await?;
        }
        driver.remove(ns).await
    })
    .await
}

/// The devices that the pod's delegate file names.
async fn device_ids(pod: &Pod) -> Result<BTreeSet<String>> {
    let listed = pod.delegates().await?.into_iter();
    let entries = listed.filter_map(|entry| serde_json::from_str::<serde_json::Value>(&entry.raw).ok());
    Ok(entries
        .filter_map(|entry| Some(entry["deviceID"].as_str()?.to_owned()))
        .collect())
}
