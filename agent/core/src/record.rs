//! What the agent records on the node's disk about sandboxes and attachments.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::{
    names::{InterfaceName, NetworkName},
    selection::Selection,
};

use crate::{cni_state::config_name, device::Device, identity::PodIdentity};

/// One attachment of one sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentRecord {
    /// The NAD.
    pub network: NetworkName,
    /// The interface in the sandbox.
    pub interface: InterfaceName,
    /// Who plugged it.
    pub origin: Origin,
    /// How far it is.
    pub phase: Phase,
    /// When the phase began, seconds since the epoch. For people: nothing follows from it, because
    /// clocks are moved.
    pub since: u64,
    /// Position in the sandbox's order of plugging; removals go backwards through it.
    #[serde(default)]
    pub order: u64,
    /// The CNI configuration: the bytes that ADD sent and DEL has to send.
    pub config: String,
    /// The requested addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// The requested hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The element's `cni-args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_args: Option<Map<String, Value>>,
    /// Requests that travel as capabilities only (`portMappings`, `bandwidth`, `infiniband-guid`).
    /// `None`: not known, because multus or an older agent plugged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_requests: Option<Map<String, Value>>,
    /// The device of the node that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Entries of network-status that an earlier attachment under this interface name left:
    /// (network, interfaces).
    #[serde(rename = "unpublish", default, skip_serializing_if = "Vec::is_empty")]
    pub stale_status: Vec<(NetworkName, Vec<InterfaceName>)>,
    /// What earlier attachments under this interface name still hold because a plugin refused its
    /// DEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<OwedRelease>,
    /// Fields of other versions of the agent: kept byte for byte.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A DEL that is still owed: one plugin of a list, or its IPAM alone. Sent only while no attachment
/// of the sandbox has this interface name, because plugins find links by name and leases by
/// (network, sandbox, interface).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwedRelease {
    /// The NAD that the attachment was on.
    pub network: NetworkName,
    /// A conflist of one plugin, under the list name of the ADD.
    pub config: String,
    /// The ADD failed: a plugin that cannot read this configuration holds nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed_add: bool,
    /// It is not known how far the ADD came: its answer was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_add: bool,
    /// The device that stays with the pod until the plugin is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

/// Who plugged an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Multus, when the sandbox started; adopted by the agent.
    ColdPlugged,
    /// The agent.
    HotPlugged,
}

/// How far an attachment is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Phase {
    /// An ADD is about to be sent, or was sent and its answer is not known.
    Plugging {
        /// Counts from 1. On the first attempt an interface that exists already is not the agent's.
        attempt: u32,
    },
    /// ADD answered.
    Plugged {
        /// The CNI result.
        result: Value,
    },
    /// A DEL is about to be sent, or failed, or its answer is not known.
    Unplugging {
        /// Counts from 1.
        attempt: u32,
        /// The CNI result, for network-status; absent when the ADD never answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    /// Unplugged, but a lost ADD may still run: what it attaches later is unplugged again.
    Tombstone,
    /// No attachment; only owed releases.
    Owed,
}

/// One sandbox that the agent has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRecord {
    /// Its pod.
    pub pod: PodIdentity,
    /// The path of its network namespace on the node.
    pub netns: String,
    /// What multus had attached at first sight has been adopted or is listed as foreign.
    pub adopted: bool,
    /// Interfaces that multus attached for other reasons than the annotation.
    #[serde(default)]
    pub foreign: Vec<InterfaceName>,
    /// Fields of other versions of the agent: kept byte for byte.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The records of one sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxRecords {
    /// The sandbox itself; `None`: it was never written, or was set aside as damaged.
    pub sandbox: Option<SandboxRecord>,
    /// By interface name in the sandbox.
    pub attachments: BTreeMap<InterfaceName, AttachmentRecord>,
    /// Interfaces whose record was set aside: libcni's cache may still know them.
    pub damaged: BTreeSet<InterfaceName>,
    /// Interfaces whose record a newer agent wrote: left alone.
    pub newer: BTreeSet<InterfaceName>,
}

impl AttachmentRecord {
    /// The record of an intent to plug what `selection` asks for.
    pub fn intent(selection: &Selection, interface: InterfaceName, config: String, since: u64) -> Self {
        let asked = selection.attributes();
        Self {
            network: selection.network.clone(),
            interface,
            origin: Origin::HotPlugged,
            phase: Phase::Plugging { attempt: 1 },
            since,
            order: 0,
            config,
            ips: asked.ips.clone(),
            mac: asked.mac.clone(),
            cni_args: asked.cni_args.clone(),
            capability_requests: Some(capability_requests(selection)),
            device: None,
            stale_status: Vec::new(),
            owed: Vec::new(),
            unknown: Map::new(),
        }
    }

    /// The `name` of its CNI configuration: half of the key of libcni's cache.
    pub fn config_name(&self) -> String {
        config_name(&self.config)
    }

    /// The CNI result, as far as one is known.
    pub fn result(&self) -> Option<&Value> {
        match &self.phase {
            Phase::Plugged { result } => Some(result),
            Phase::Unplugging { result, .. } => result.as_ref(),
            Phase::Plugging { .. } | Phase::Tombstone | Phase::Owed => None,
        }
    }
}

impl SandboxRecord {
    /// A sandbox that is not adopted yet.
    pub fn new(pod: PodIdentity, netns: String) -> Self {
        Self {
            pod,
            netns,
            adopted: false,
            foreign: Vec::new(),
            unknown: Map::new(),
        }
    }
}

/// The requests of an element that reach plugins as capabilities only.
pub fn capability_requests(selection: &Selection) -> Map<String, Value> {
    let asked = selection.attributes();
    let mut requests = Map::new();
    let mut insert = |key: &str, value: serde_json::Result<Value>| {
        requests.extend(value.ok().map(|value| (key.to_owned(), value)));
    };
    if !asked.port_mappings.is_empty() {
        insert("portMappings", serde_json::to_value(&asked.port_mappings));
    }
    if let Some(bandwidth) = &asked.bandwidth {
        insert("bandwidth", serde_json::to_value(bandwidth));
    }
    if let Some(guid) = &asked.infiniband_guid {
        insert("infiniband-guid", Ok(Value::String(guid.to_lowercase())));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"network":"default/a","interface":"net1","origin":"hotPlugged","phase":{"state":"tombstone"},
        "since":7,"config":"{}","owed":[{"network":"default/a","config":"{}"}]}"#;

    #[test]
    fn records_of_older_agents_name_no_device() {
        let record: AttachmentRecord = serde_json::from_str(OLD).unwrap();
        assert_eq!((&record.device, &record.owed[0].device), (&None, &None));
        assert!(!serde_json::to_string(&record).unwrap().contains("device"));
    }

    #[test]
    fn a_device_survives_the_disk() {
        let mut record: AttachmentRecord = serde_json::from_str(OLD).unwrap();
        record.device = Some(Device {
            resource: "vendor.example/vf".to_owned(),
            id: "0000:aa:00.1".to_owned(),
            info: Some(serde_json::json!({"type": "pci"})),
        });
        record.owed[0].device.clone_from(&record.device);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AttachmentRecord>(&text).unwrap(), record);
    }
}
