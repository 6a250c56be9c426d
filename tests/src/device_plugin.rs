//! Devices without hardware: a device plugin that registers with the real kubelet, and links of
//! a PCI bus that the real host-device plugin moves into pods.

use serde_json::{Value, json};

use crate::{
    daemon::Daemon,
    error::{Error, Result},
    namespace::{Namespace, object},
    network::Nad,
    node::parse,
    pci_bus::PciBus,
    pod::Pod,
    wait::{LONG, eventually},
};

/// See the module and `src/bin/device-plugin.rs`.
pub struct DevicePlugin {
    /// The resource of its devices.
    pub resource: String,
    /// Where the devices are.
    pub bus: PciBus,
    _daemon: Daemon,
}

impl DevicePlugin {
    /// Starts one with so many devices, and waits until the node offers them.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`] when the kubelet does not take them.
    pub async fn start(ns: &Namespace, count: u8) -> Result<Self> {
        let bus = PciBus::mount(ns, count).await?;
        let resource = format!("tests.invalid/{}", ns.run);
        let ids = bus.devices.iter().map(|(id, _)| id.clone());
        let arguments: Vec<String> = [resource.clone()].into_iter().chain(ids).collect();
        let daemon = Daemon::start(&ns.cluster.node, ("device-plugin", 1), &[], &arguments).await?;
        let plugin = Self {
            resource,
            bus,
            _daemon: daemon,
        };
        plugin.wait_offered(ns).await?;
        Ok(plugin)
    }

    async fn wait_offered(&self, ns: &Namespace) -> Result<()> {
        let api: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(ns.cluster.client.clone());
        eventually(LONG, format!("the node offers {}", self.resource), async || {
            let node = api.get(&ns.cluster.node.name).await;
            let node = node.map_err(|error| Error::Unexpected(error.to_string()))?;
            let offered = node.status.and_then(|status| status.allocatable);
            let offered = offered.and_then(|all| all.get(&self.resource).map(|count| count.0.clone()));
            (offered == Some(self.bus.devices.len().to_string()))
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{offered:?} are offered")))
        })
        .await
    }

    /// A network on these devices.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_nad(&self, ns: &Namespace, name: &str) -> Result<Nad> {
        let nad = Nad::new(&ns.name, name);
        let config = json!({
            "cniVersion": "1.0.0", "name": nad.config_name, "type": "host-device", "ipam": {},
        });
        ns.create_marked_nad(name, &self.resource, &config.to_string())
            .await?;
        Ok(nad)
    }

    /// Starts a pod that is given so many of the devices.
    ///
    /// # Errors
    /// [`Error::Api`] when it is refused, [`Error::Deadline`] when it does not start.
    pub async fn running_pod(
        &self,
        ns: &Namespace,
        name: &str,
        networks: &str,
        devices: usize,
    ) -> Result<Pod> {
        let limits = json!({self.resource.clone(): devices.to_string()});
        let pod = ns.create_pod_as(name, networks, |spec| {
            spec["containers"][0]["resources"] = json!({"limits": limits});
        });
        let pod = pod.await?;
        pod.is_ready().await?;
        Ok(pod)
    }
}

impl Pod {
    /// Which device each of its interfaces has, as network-status shows it.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Unexpected`].
    pub async fn devices(&self) -> Result<std::collections::BTreeMap<String, String>> {
        let entries: Vec<Value> = parse(&self.network_status_text().await?)?;
        let device = |entry: &Value| {
            let id = entry.pointer("/device-info/pci/pci-address")?.as_str()?;
            Some((entry["interface"].as_str()?.to_owned(), id.to_owned()))
        };
        Ok(entries.iter().filter_map(device).collect())
    }

    /// Its network-status but for the cluster network, with every address and device made equal:
    /// for comparing two pods.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Unexpected`].
    pub async fn status_shape(&self) -> Result<Vec<Value>> {
        let mut entries: Vec<Value> = parse(&self.network_status_text().await?)?;
        entries.retain(|entry| entry["default"] != true);
        for entry in &mut entries {
            entry["mac"] = json!("");
            if let Some(id) = entry.pointer_mut("/device-info/pci/pci-address") {
                *id = json!("");
            }
        }
        object(Value::Array(entries))
    }
}
