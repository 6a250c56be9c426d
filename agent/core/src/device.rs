//! Devices of the node that a pod owns, and which of them an attachment is given.
//!
//! The kubelet gives devices to a pod when the pod is created, and multus attaches only those that
//! the annotation asked for then. What is left can be plugged later; a new device cannot be had.
//! A device is in use while an attachment, an ADD that may still run, or an owed release has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    cni::{DeviceUse, NetworkConfig},
    names::InterfaceName,
};

use crate::cni_state::CniState;

/// So many devices are named in a refusal.
const NAMED: usize = 8;

/// A device that an attachment uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The resource that it was given out for; empty: not known.
    pub resource: String,
    /// The device plugin's id of it: mostly a PCI address.
    pub id: String,
    /// What network-status shows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
}

/// What the node says about the devices of one resource that a pod owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodDevices {
    /// What the kubelet gave the pod: ids, and what network-status shows of each.
    pub allocated: BTreeMap<String, Option<Value>>,
    /// What multus and libcni keep of the sandbox.
    pub state: CniState,
}

/// What an ADD needs of the pod's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWish {
    /// The resource of the network.
    pub resource: String,
    /// The device that the element names.
    pub id: Option<String>,
    /// A plugin fails without a device.
    pub required: bool,
}

/// A device that is in use, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceHolder {
    /// The interface.
    pub interface: InterfaceName,
    /// The resource; empty: not known.
    pub resource: String,
    /// The device.
    pub id: String,
    /// Whether it is certainly in use. Otherwise a call without an answer may still take it, or
    /// the next ADD of the interface releases it first: it is given only when no other is left.
    pub certain: bool,
}

/// The devices that the records of a sandbox name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedDevices {
    /// Those in use.
    pub holders: Vec<DeviceHolder>,
    /// The interfaces whose record names a device: for them, what multus and libcni keep says
    /// nothing more.
    pub known: BTreeSet<InterfaceName>,
}

impl DeviceWish {
    /// What a network with this config and resource needs for an element that names the device
    /// `id`. `None`: no device, so that the kubelet is not asked.
    ///
    /// # Errors
    /// Why the element cannot be plugged.
    pub fn of(
        config: &NetworkConfig,
        resource: Option<&str>,
        id: Option<&str>,
    ) -> Result<Option<Self>, String> {
        let resource = resource.filter(|resource| !resource.is_empty());
        let uses = config.device_use();
        match (resource, id) {
            (None, Some(id)) => Err(format!(
                "deviceID {id:?} cannot be checked, because the network names no resource: leave deviceID out, or \
                 give the NetworkAttachmentDefinition the annotation k8s.v1.cni.cncf.io/resourceName"
            )),
            (None, None) => Ok(None),
            (Some(_), None) if uses == DeviceUse::None => Ok(None),
            (Some(resource), id) => Ok(Some(Self {
                resource: resource.to_owned(),
                id: id.map(str::to_owned),
                required: uses == DeviceUse::Required,
            })),
        }
    }

    /// Whether the element is not plugged without a device.
    pub fn is_strict(&self) -> bool {
        self.required || self.id.is_some()
    }

    /// The device to give. `None`: none is free, and the plugins run without. `before`: what the
    /// interface had, which it keeps.
    ///
    /// # Errors
    /// Why the element cannot be plugged.
    pub fn choose(
        &self,
        devices: &PodDevices,
        recorded: &RecordedDevices,
        before: Option<&Device>,
    ) -> Result<Option<Device>, String> {
        let mut holders = recorded.holders.clone();
        holders.extend(held_beside_records(&devices.state, &recorded.known));
        holders.retain(|holder| holder.resource.is_empty() || holder.resource == self.resource);
        let free = |id: &&String| {
            let mut holders = holders.iter();
            !holders.any(|holder| holder.id == **id && holder.certain)
        };
        let device = |id: &String| Device {
            resource: self.resource.clone(),
            id: id.clone(),
            info: devices.allocated.get(id).cloned().flatten(),
        };
        if let Some(id) = &self.id {
            return match (devices.allocated.contains_key(id), free(&id)) {
                (false, _) => Err(self.is_foreign(id, devices)),
                (true, false) => Err(self.is_in_use(id, &holders)),
                (true, true) => Ok(Some(device(id))),
            };
        }
        let kept = before.filter(|device| device.resource == self.resource);
        let rank = |id: &&String| {
            let doubtful = holders.iter().any(|holder| holder.id == **id);
            (doubtful, kept.is_none_or(|kept| kept.id != **id))
        };
        // The first of those that rank the same is the smallest.
        match devices.allocated.keys().filter(free).min_by_key(rank) {
            Some(id) => Ok(Some(device(id))),
            None if !self.required => Ok(None),
            None => Err(self.has_none(devices, &holders)),
        }
    }

    fn is_foreign(&self, id: &str, devices: &PodDevices) -> String {
        let resource = &self.resource;
        let own: Vec<&str> = devices.allocated.keys().take(NAMED).map(String::as_str).collect();
        if own.is_empty() {
            return format!(
                "deviceID {id:?} is not a device of this pod, which was given none of {resource}"
            );
        }
        format!(
            "deviceID {id:?} is not a device of this pod: name one of its devices of {resource} ({}), or leave \
             deviceID out",
            own.join(", ")
        )
    }

    fn is_in_use(&self, id: &str, holders: &[DeviceHolder]) -> String {
        let holder = holders.iter().find(|holder| holder.id == id);
        let by = holder.map(|holder| holder.interface.to_string());
        format!(
            "deviceID {id:?} is in use by interface {}: remove that interface first, or leave deviceID out",
            by.unwrap_or_default()
        )
    }

    fn has_none(&self, devices: &PodDevices, holders: &[DeviceHolder]) -> String {
        let resource = &self.resource;
        if devices.allocated.is_empty() {
            return format!(
                "its plugin requires a device of {resource}, and the pod was given none. Devices are given only when \
                 a pod is created: add {resource} to resources.limits of a container and re-create the pod"
            );
        }
        let used = holders
            .iter()
            .filter(|holder| holder.certain && devices.allocated.contains_key(&holder.id));
        let used: Vec<String> = used
            .take(NAMED)
            .map(|holder| format!("{} by {}", holder.id, holder.interface))
            .collect();
        format!(
            "its plugin requires a device of {resource}, and all {} that the pod was given are in use ({}): remove one \
             of these interfaces, or re-create the pod with a higher limit of {resource}",
            devices.allocated.len(),
            used.join(", ")
        )
    }
}

/// What attachments hold of which no record names the device: those of multus' own networks, and
/// those that another program plugged. `known`: interfaces whose record names theirs.
fn held_beside_records<'a>(
    state: &'a CniState,
    known: &'a BTreeSet<InterfaceName>,
) -> impl Iterator<Item = DeviceHolder> + 'a {
    let entries = state
        .entries
        .iter()
        .filter(|entry| !known.contains(&entry.interface));
    entries.flat_map(|entry| {
        let config = NetworkConfig::parse(&String::from_utf8_lossy(&entry.config), &entry.config_name).ok();
        let mut held: BTreeSet<(String, String)> = config
            .iter()
            .flat_map(NetworkConfig::given_devices)
            .map(|id| (id.to_owned(), String::new()))
            .collect();
        for delegate in state.delegates.iter().flatten() {
            let is_it = delegate.interface.as_ref() == Some(&entry.interface)
                && crate::cni_state::config_name(&String::from_utf8_lossy(&delegate.config))
                    == entry.config_name;
            if let Some(id) = delegate.device_id.clone().filter(|_| is_it) {
                held.insert((id, delegate.resource_name.clone().unwrap_or_default()));
            }
        }
        held.into_iter().map(|(id, resource)| DeviceHolder {
            interface: entry.interface.clone(),
            resource,
            id,
            certain: true,
        })
    })
}

#[cfg(test)]
mod tests;
