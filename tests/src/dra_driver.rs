//! Devices of claims, without hardware: a DRA driver that registers with the real kubelet, and
//! links of a PCI bus that the real host-device plugin moves into pods.

use serde_json::json;

use crate::{
    daemon::{Daemon, KUBECONFIG},
    error::Result,
    namespace::Namespace,
    pci_bus::PciBus,
    pod::Pod,
    repository::go_program,
    wait::{LONG, eventually},
};

/// Where a driver has its files, and where the kubelet looks for sockets of drivers.
const PLUGINS: &str = "/var/lib/kubelet/plugins";
const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";

/// See the module and `dra-driver/main.go`.
pub struct DraDriver {
    /// By this name multus and networks know the devices.
    pub resource: String,
    /// Where the devices are.
    pub bus: PciBus,
    /// The driver, and the class of its devices.
    name: String,
    _daemon: Daemon,
}

impl DraDriver {
    /// Starts one with so many devices, and has the node offer them.
    ///
    /// # Errors
    /// [`crate::Error::Command`], [`crate::Error::Unexpected`] when kubectl refuses an object.
    pub async fn start(ns: &Namespace, count: u8) -> Result<Self> {
        let bus = PciBus::mount(ns, count).await?;
        let name = format!("dra-{}.tests.invalid", ns.run);
        let resource = format!("tests.invalid/{}", ns.run);
        let node = &ns.cluster.node;
        let variables = [
            format!("KUBECONFIG={KUBECONFIG}"),
            "PATH=/run/cluster/bin:/usr/bin:/bin".to_owned(),
        ];
        let arguments = std::slice::from_ref(&name);
        let program = go_program("dra-driver")?;
        let daemon = Daemon::start_program(node, &program, ("dra-driver", 1), &variables, arguments).await?;
        let devices = bus.devices.iter().enumerate().map(|(number, (id, _))| {
            json!({"name": format!("nic{number}"), "attributes": {
                "k8s.cni.cncf.io/deviceID": {"string": id},
                "k8s.cni.cncf.io/resourceName": {"string": resource},
            }})
        });
        let slice = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
            "spec": {
                "driver": name, "nodeName": node.name, "devices": devices.collect::<Vec<_>>(),
                "pool": {"name": node.name, "generation": 1, "resourceSliceCount": 1},
            },
        });
        let is_ours = format!("device.driver == '{name}'");
        let class = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name},
            "spec": {"selectors": [{"cel": {"expression": is_ours}}]},
        });
        let driver = Self {
            resource,
            bus,
            name,
            _daemon: daemon,
        };
        let registered = format!("{PLUGINS}/{}/registered", driver.name);
        eventually(LONG, "the kubelet knows the driver", async || {
            node.run(&["test", "-e", &registered]).await.map(drop)
        })
        .await?;
        ns.cluster.apply(&slice).await?;
        ns.cluster.apply(&class).await?;
        Ok(driver)
    }

    /// Starts a pod that has a claim for so many of the devices.
    ///
    /// # Errors
    /// [`crate::Error::Api`] when it is refused, [`crate::Error::Deadline`] when it does not start.
    pub async fn running_pod(&self, ns: &Namespace, name: &str, networks: &str, devices: u8) -> Result<Pod> {
        // A claim that a failed test left behind cannot be changed.
        let called = claim_of(ns, name);
        let claim = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": called, "namespace": ns.name},
            "spec": {"devices": {"requests": [
                {"name": "nics", "exactly": {"deviceClassName": self.name, "count": devices}},
            ]}},
        });
        ns.cluster.apply(&claim).await?;
        let pod = ns.create_pod_as(name, networks, |spec| {
            spec["resourceClaims"] = json!([{"name": "nics", "resourceClaimName": called}]);
            spec["containers"][0]["resources"] = json!({"claims": [{"name": "nics"}]});
        });
        let pod = pod.await?;
        pod.is_ready().await?;
        Ok(pod)
    }

    /// Deletes the claim of a pod that is gone.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn delete_claim(&self, ns: &Namespace, name: &str) -> Result<()> {
        let command = [
            "delete",
            "resourceclaim",
            "--namespace",
            &ns.name,
            &claim_of(ns, name),
        ];
        ns.cluster.kubectl(&command).await.map(drop)
    }

    /// Takes everything away. No pod may have a device any more.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn remove(self, ns: &Namespace) -> Result<()> {
        for kind in ["resourceslice", "deviceclass"] {
            ns.cluster
                .kubectl(&["delete", "--ignore-not-found", kind, &self.name])
                .await?;
        }
        let (files, socket) = (
            format!("{PLUGINS}/{}", self.name),
            format!("{REGISTRY}/{}-reg.sock", self.name),
        );
        ns.cluster.node.run(&["rm", "-r", &files, &socket]).await?;
        self.bus.remove().await
    }
}

/// The name of the claim of that pod.
fn claim_of(ns: &Namespace, pod: &str) -> String {
    format!("{pod}-{}", ns.run)
}
