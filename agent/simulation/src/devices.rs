//! Devices that pods own: the kubelet gives them, host-device moves them into a sandbox and back.

use agent_core::{
    cni_state::Entry,
    delegate::Call,
    device::PodDevices,
    identity::SandboxId,
    record::{AttachmentRecord, Phase},
};
use serde_json::{Map, Value, json};
use shared::{names::NetworkName, selection::SelectionList};

use crate::{Mutant, Node, RESOURCE, variant::parsed};

/// The device that a call gives to a host-device.
pub(crate) fn device_of(config: &str) -> Option<String> {
    let list = parsed(config)?;
    list.given_devices().first().map(|id| (*id).to_owned())
}

impl Node {
    /// What the kubelet, multus and libcni say about the pod's devices.
    pub(crate) fn pod_devices(
        &self,
        sandbox: &SandboxId,
        resource: &str,
        mutant: Option<Mutant>,
    ) -> PodDevices {
        let mut allocated = self.devices.clone();
        if mutant == Some(Mutant::TakesOthersDevices) {
            allocated.insert("0".to_owned());
        }
        allocated.retain(|_| resource == RESOURCE);
        let mut state = self.cni_state(sandbox);
        if mutant == Some(Mutant::KeepsReleasedDevices) {
            state
                .entries
                .extend(self.ever_moved.iter().map(|id| entry(sandbox, id)));
        }
        PodDevices {
            allocated: allocated.into_iter().map(|id| (id, None)).collect(),
            state,
        }
    }

    /// The device that multus gives to the element at a place of the annotation.
    pub(crate) fn given_at_start(&self, list: &SelectionList, place: usize) -> Option<String> {
        let on_devices = |network| self.is_on_devices(network);
        let before = list.elements.iter().take(place);
        let before = before.filter(|element| on_devices(&element.network)).count();
        let element = list
            .elements
            .get(place)
            .filter(|element| on_devices(&element.network));
        element.and_then(|_| self.devices.iter().nth(before).cloned())
    }

    /// Whether a network is on devices of the pod.
    pub(crate) fn is_on_devices(&self, network: &NetworkName) -> bool {
        let definition = self.networks.get(network);
        definition.is_some_and(|definition| definition.resource_name.is_some())
    }

    /// Whether a network is on devices, and every one that it may have is in use: `id`, or any.
    pub(crate) fn lacks_device(&self, network: &NetworkName, id: Option<&str>) -> bool {
        let used = |id: &str| self.moved.contains_key(id) || !self.devices.contains(id);
        let all = || self.devices.iter().all(|id| used(id));
        self.is_on_devices(network) && id.map_or_else(all, used)
    }

    /// The rules of giving a device.
    pub(crate) fn check_device(&mut self, call: &Call) {
        let Some(id) = device_of(&call.config) else { return };
        if !self.devices.contains(&id) {
            self.break_rule(format!(
                "ADD of {} with device {id} of another pod",
                call.interface
            ));
        }
        let Some(holder) = self.moved.get(&id).filter(|holder| **holder != call.key()) else {
            return;
        };
        // An ADD without an answer may have taken it in the meantime: the plugin refuses then.
        let record = self.record(&holder.0, &holder.1);
        let certain =
            |record: &AttachmentRecord| !matches!(record.phase, Phase::Plugging { .. } | Phase::Tombstone);
        if holder.0 == call.sandbox && record.is_some_and(certain) {
            let holder = holder.1.clone();
            self.break_rule(format!("ADD of {} with device {id} of {holder}", call.interface));
        }
    }

    /// host-device moves the device into the sandbox.
    pub(crate) fn move_device(&mut self, call: &Call, config: &str) -> Result<(), String> {
        let Some(id) = device_of(config) else {
            return Err("specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"".to_owned());
        };
        if self.moved.contains_key(&id) {
            return Err(format!("failed to find network device for {id}"));
        }
        self.ever_moved.insert(id.clone());
        self.moved.insert(id, call.key());
        Ok(())
    }

    /// Devices are where the records say.
    pub(crate) fn devices_against_records(&self) -> Option<String> {
        let pod = self.own_pod().filter(|pod| !pod.terminating);
        let sandbox = pod.and_then(|_| self.ready()).filter(|id| self.is_adopted(id));
        for (id, (of, interface)) in &self.moved {
            if !self.exists(of) {
                return Some(format!("device {id} did not come home from the ended {of}"));
            }
            let record = self.record(of, interface);
            let device = record.and_then(|record| record.device.as_ref());
            let known = device.is_some_and(|device| device.id == *id);
            let owed = record.is_some_and(|record| !record.owed.is_empty());
            if sandbox == Some(of) && !known && !owed {
                return Some(format!(
                    "device {id} is in {interface}, whose record names {device:?}"
                ));
            }
        }
        None
    }
}

/// An entry of libcni's cache that says that a device is in use.
fn entry(sandbox: &SandboxId, id: &str) -> Entry {
    let plugin = json!({"type": "host-device", "pciBusID": id});
    Entry {
        sandbox: sandbox.clone(),
        interface: crate::interface("old0"),
        config_name: "old".to_owned(),
        netns: String::new(),
        cni_args: Vec::new(),
        config: json!({"cniVersion": "1.0.0", "name": "old", "plugins": [plugin]})
            .to_string()
            .into_bytes(),
        capability_args: Map::new(),
        result: Value::Null,
    }
}

/// A configuration as multus completes it at pod start.
pub(crate) fn with_device(config: &str, id: &str) -> String {
    let mut list: Value = serde_json::from_str(config).unwrap();
    for plugin in list["plugins"].as_array_mut().unwrap() {
        plugin["deviceID"] = json!(id);
        plugin["pciBusID"] = json!(id);
    }
    list.to_string()
}
