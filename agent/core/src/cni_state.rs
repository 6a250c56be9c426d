//! What multus and libcni keep about a sandbox on the node's disk.

use serde_json::{Map, Value};
use shared::names::{InterfaceName, NetworkName};

use crate::identity::SandboxId;

/// One entry of multus' delegate file of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Delegate {
    /// The NAD; `None`: the entry is not from one (a static delegate, a default network from a
    /// file), or unreadable.
    pub network: Option<NetworkName>,
    /// The interface that it got: the requested one, else `net<k>` with k the position in the list,
    /// and `eth0` for the first. `None`: an impossible name was requested.
    pub interface: Option<InterfaceName>,
    /// The CNI configuration as multus holds it, `cni-args` included.
    pub config: Vec<u8>,
    /// The cluster network: the first entry.
    pub default: bool,
    /// The position in the file: multus' `net<k>`.
    pub position: u32,
    /// The entry has `ifnameRequest`: an element of the annotation, or this agent, named the
    /// interface.
    pub requested: bool,
    /// The device that the attachment uses.
    pub device_id: Option<String>,
    /// The resource that the device was given out for.
    pub resource_name: Option<String>,
    /// An agent appended the entry.
    pub hot_plugged: bool,
    /// Why the entry cannot be relied on: nothing follows from what it does not say.
    pub unreadable: Option<String>,
}

/// One attachment in libcni's result cache: written when an ADD succeeds, removed when a DEL of the
/// same list does.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// CNI's container id.
    pub sandbox: SandboxId,
    /// The interface.
    pub interface: InterfaceName,
    /// The `name` in the CNI configuration. Several NADs may share one.
    pub config_name: String,
    /// The network namespace's path at ADD.
    pub netns: String,
    /// CNI_ARGS, in order.
    pub cni_args: Vec<(String, String)>,
    /// The configuration that ran, without the `runtimeConfig` that libcni put in.
    pub config: Vec<u8>,
    /// The capability arguments (`ips`, `mac`, …) of the ADD.
    pub capability_args: Map<String, Value>,
    /// The CNI result; `null` when the file has none.
    pub result: Value,
}

/// What the node's disk says about one sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CniState {
    /// The delegate file, in order. `None`: multus keeps no file for this sandbox.
    pub delegates: Option<Vec<Delegate>>,
    /// libcni's results of this sandbox.
    pub entries: Vec<Entry>,
}

/// The `name` of a CNI configuration.
pub fn config_name(config: &str) -> String {
    let name = |value: Value| value.get("name")?.as_str().map(str::to_owned);
    serde_json::from_str(config)
        .ok()
        .and_then(name)
        .unwrap_or_default()
}
