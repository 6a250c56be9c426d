//! The conflist that is sent to multus for a network, complete with all arguments of its plugins.
//!
//! As a list of its own, a config runs at its own CNI version: multus' daemon lays its own
//! `cniVersion` over what it is sent, but libcni takes the highest of `cniVersions` instead.

use serde_json::{Value, json};

use super::{
    Capability,
    capability::declares,
    config::{NetworkConfig, Plugin},
    device::{GIVEN_AS, names_another},
};
use crate::selection::Attributes;

/// The CNI default of a config without a version.
const OLDEST_VERSION: &str = "0.1.0";

impl NetworkConfig {
    /// The conflist that is sent for an element that asks for `asked`, ADD and DEL alike: its own
    /// cniVersions, `ips` and `mac` taken out of capabilities (libcni would replace the whole
    /// runtimeConfig by those two), the full runtimeConfig and `args.cni` written into each plugin,
    /// and a name for each plugin, which libcni replaces by the list's when it runs it but shows in
    /// its error texts. Deterministic bytes; [`NetworkConfig::parse`] reads them back.
    pub fn conflist_for(&self, asked: &Attributes) -> String {
        self.conflist_with(asked, None)
    }

    /// The same, with a device of the node: given to each plugin in its config, as multus does at
    /// pod start, and as a capability where a plugin declares it. A host-device that names another
    /// device is given none.
    pub fn conflist_with(&self, asked: &Attributes, device: Option<&str>) -> String {
        let mut config = self.clone();
        for (index, plugin) in config.plugins.iter_mut().enumerate() {
            let device = device.filter(|id| !names_another(plugin, id));
            write_runtime_config(plugin, asked, device);
            write_args(plugin, asked);
            if let Some(id) = device {
                write_device(plugin, id);
            }
            plugin.insert("name".to_owned(), Value::String(plugin_name(index)));
        }
        config.conflist()
    }

    /// The conflist unchanged: for a config that came out of [`NetworkConfig::conflist_for`]
    /// before.
    pub fn conflist(&self) -> String {
        let version = self.cni_version.as_deref().unwrap_or(OLDEST_VERSION);
        json!({
            "name": self.name,
            "cniVersion": version,
            "cniVersions": [version],
            "plugins": self.plugins,
        })
        .to_string()
    }

    /// Plugin `index` as a list of its own under the same name; `None` when there is none.
    #[must_use]
    pub fn only_plugin(&self, index: usize) -> Option<Self> {
        Some(Self {
            plugins: vec![self.plugins.get(index)?.clone()],
            ..self.clone()
        })
    }

    /// The chain with the `ipam` of plugin `index` left out; `None` when that plugin has none.
    #[must_use]
    pub fn without_ipam(&self, index: usize) -> Option<Self> {
        let mut config = self.clone();
        config.plugins.get_mut(index)?.remove("ipam")?;
        Some(config)
    }

    /// Only the IPAM plugin of plugin `index` (`type` = `ipam.type`): a DEL of it frees the lease
    /// and nothing else; `None` when that plugin has none.
    #[must_use]
    pub fn only_ipam(&self, index: usize) -> Option<Self> {
        let mut plugin = self.plugins.get(index)?.clone();
        let ipam = plugin
            .get("ipam")?
            .get("type")?
            .as_str()
            .filter(|ipam| !ipam.is_empty())?
            .to_owned();
        plugin.insert("type".to_owned(), Value::String(ipam));
        Some(Self {
            plugins: vec![plugin],
            ..self.clone()
        })
    }
}

/// The prefix of the names that [`NetworkConfig::conflist_for`] gives to plugins.
const PLUGIN_NAME: &str = "plugin-";

fn plugin_name(index: usize) -> String {
    format!("{PLUGIN_NAME}{index}")
}

/// The 0-based position of the plugin that [`NetworkConfig::conflist_for`] gave `name`.
pub fn plugin_index(name: &str) -> Option<usize> {
    name.strip_prefix(PLUGIN_NAME)?.parse().ok()
}

/// The capability through which a plugin is given its device.
const DEVICE_CAPABILITY: &str = "deviceID";

fn write_runtime_config(plugin: &mut Plugin, asked: &Attributes, device: Option<&str>) {
    let offered = [
        (Capability::Ips, (!asked.ips.is_empty()).then(|| json!(asked.ips))),
        (Capability::Mac, asked.mac.as_ref().map(|mac| json!(mac))),
        (
            Capability::PortMappings,
            (!asked.port_mappings.is_empty()).then(|| json!(asked.port_mappings)),
        ),
        (
            Capability::Bandwidth,
            asked.bandwidth.as_ref().map(|bandwidth| json!(bandwidth)),
        ),
        (
            Capability::InfinibandGuid,
            asked.infiniband_guid.as_ref().map(|guid| json!(guid)),
        ),
    ];
    let mut declared: Plugin = offered
        .into_iter()
        .filter(|(capability, _)| capability.is_declared_by(plugin))
        .filter_map(|(capability, value)| Some((capability.name().to_owned(), value?)))
        .collect();
    if let Some(id) = device.filter(|_| declares(plugin, DEVICE_CAPABILITY)) {
        declared.insert(DEVICE_CAPABILITY.to_owned(), json!(id));
    }
    if !declared.is_empty() {
        plugin.insert("runtimeConfig".to_owned(), Value::Object(declared));
    }
    if let Some(Value::Object(capabilities)) = plugin.get_mut("capabilities") {
        capabilities.remove("ips");
        capabilities.remove("mac");
    }
}

/// Go reads keys in any case and believes the last one, so no other spelling may stay beside ours.
fn write_device(plugin: &mut Plugin, id: &str) {
    plugin.retain(|name, _| !GIVEN_AS.iter().any(|key| name.eq_ignore_ascii_case(key)));
    for key in GIVEN_AS {
        plugin.insert(key.to_owned(), json!(id));
    }
}

/// Merges cni-args over the existing ones key by key, as multus does at pod start.
fn write_args(plugin: &mut Plugin, asked: &Attributes) {
    let Some(cni_args) = &asked.cni_args else {
        return;
    };
    let args = plugin.entry("args").or_insert_with(|| json!({}));
    let Value::Object(args) = args else { return };
    if let Value::Object(cni) = args.entry("cni").or_insert_with(|| json!({})) {
        cni.extend(cni_args.clone());
    }
}
