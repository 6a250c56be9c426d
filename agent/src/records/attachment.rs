//! What is recorded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::names::{InterfaceName, NetworkName};

use crate::identity::PodIdentity;

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
    /// When the phase began, seconds since the epoch. For people: nothing follows from it, because clocks are moved.
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
    /// Entries of network-status that an earlier attachment under this interface name left: (network, interfaces).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpublish: Vec<(NetworkName, Vec<InterfaceName>)>,
    /// Fields of other versions of the agent: kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Who plugged an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// Counts from 1. On the first attempt an interface that exists already is a stranger's.
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
    /// Unplugged, but an ADD of an agent that died may still run: what it attaches later is unplugged again.
    Tombstone,
}

/// One sandbox that the agent has looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRecord {
    /// Its pod.
    pub pod: PodIdentity,
    /// The path of its network namespace as the node sees it.
    pub netns: String,
    /// What multus had attached at first sight has been adopted or is listed as foreign.
    pub adopted: bool,
    /// Interfaces that matched no element at first sight: never touched.
    #[serde(default)]
    pub foreign: Vec<InterfaceName>,
    /// Fields of other versions of the agent: kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}
