//! Networks whose `resourceName` only marks the nodes that have them: they are plugged like any
//! other, with the webhook and without it. Only a network with a plugin that requires a device is
//! refused.

use serde_json::{Value, json};
use tests::{Namespace, Pod, Result, in_kube_system, in_namespace};

/// As CNAO and OpenShift's procedure write it on every Linux bridge.
const BRIDGE_MARKER: &str = "bridge.network.kubevirt.io/br1";
const OVS_MARKER: &str = "ovs-cni.network.kubevirt.io/br1";
/// The name that KubeVirt gives an interface.
const VM_INTERFACE: &str = "pod1a2b3c4d5e6";

#[tokio::test]
async fn plugs_marked_networks_with_the_webhook() -> Result<()> {
    in_namespace("marked", async |ns| {
        let plain = plugs_marked_networks(ns).await?;

        // Whether the pod has a device, the agent knows.
        plain.annotate("marked-b@net2,marked-sriov@net3").await?;
        let refused = "requires a device of vendor.example/vf, and the pod was given none";
        plain.has_event("InterfaceAddRejected", refused).await?;
        plain.has_exactly(&["net2"]).await
    })
    .await
}

#[tokio::test]
async fn plugs_marked_networks_without_the_webhook() -> Result<()> {
    in_kube_system(async |ns| {
        let plain = plugs_marked_networks(ns).await?;

        plain
            .annotate("marked-a@net1,marked-b@net2,marked-sriov@net3")
            .await?;
        plain
            .has_event(
                "InterfaceAddRejected",
                "requires a device of vendor.example/vf, and the pod was given none",
            )
            .await?;
        plain.has_exactly(&["net1", "net2"]).await
    })
    .await
}

/// A plain pod that starts with a marked network and gets another one of the same marker, and a
/// virtual machine's that gets four. Returns the plain one.
async fn plugs_marked_networks(ns: &Namespace) -> Result<Pod> {
    let bridge = ns.bridge("marked");
    let on_bridge = json!({"type": "bridge", "bridge": bridge, "ipam": {}});
    let chain = json!([on_bridge, {"type": "tuning"}]);
    marked(ns, "marked-a", BRIDGE_MARKER, json!([on_bridge])).await?;
    marked(ns, "marked-b", BRIDGE_MARKER, chain).await?;
    marked(ns, "marked-ovs", OVS_MARKER, json!([on_bridge])).await?;
    let device = ns.device().await?;
    let named = json!([{"type": "host-device", "device": device}]);
    marked(ns, "marked-device", "vendor.example/nic", named).await?;
    let sriov = json!([{"type": "sriov", "ipam": {}}]);
    marked(ns, "marked-sriov", "vendor.example/vf", sriov).await?;

    let virtual_machine = |pod: &mut Value| {
        pod["metadata"]["labels"]["kubevirt.io"] = json!("virt-launcher");
    };
    let (plain, vm) = futures::try_join!(
        ns.running_pod("marked-plain", "marked-a@net1"),
        ns.create_pod_from("marked-vm", tests::NO_NETWORKS, virtual_machine)
    )?;
    vm.is_ready().await?;

    plain.annotate("marked-a@net1,marked-b@net2").await?;
    let element =
        |name: &str, interface: &str| json!({"name": name, "namespace": ns.name, "interface": interface});
    let list = json!([
        element("marked-a", VM_INTERFACE),
        element("marked-b", "net2"),
        element("marked-ovs", "net3"),
        element("marked-device", "net4"),
    ]);
    vm.annotate(&list.to_string()).await?;
    plain.has_exactly(&["net1", "net2"]).await?;
    vm.has_exactly(&[VM_INTERFACE, "net2", "net3", "net4"]).await?;
    assert_eq!(vm.interface(VM_INTERFACE).await?.kind, "veth");

    vm.annotate(&json!([element("marked-b", "net2")]).to_string())
        .await?;
    vm.has_exactly(&["net2"]).await?;
    for pod in [&plain, &vm] {
        let events = pod.events().await?;
        assert!(events.iter().all(|event| !event.warning), "{events:?}");
    }
    Ok(plain)
}

async fn marked(ns: &Namespace, name: &str, resource: &str, plugins: Value) -> Result<()> {
    let config = json!({"cniVersion": "0.3.1", "name": format!("{}-{name}", ns.name), "plugins": plugins});
    ns.create_marked_nad(name, resource, &config.to_string()).await
}
