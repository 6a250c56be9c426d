//! Which networks cannot run without a device of the node.
//!
//! The annotation `resourceName` does not decide: most clusters write it as a scheduling marker
//! ("this node has that bridge") that no device belongs to. What the network's plugins require
//! decides.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{NetworkConfig, config::Plugin};

/// Plugins that fail without a device, each with the keys of its config of which one names it.
const REQUIRED_BY: [(&str, &[&str]); 5] = [
    ("sriov", &["deviceID"]),
    ("ib-sriov", &["deviceID"]),
    ("accelerated-bridge", &["deviceID"]),
    ("macvtap", &["deviceID"]),
    HOST_DEVICE,
];

const HOST_DEVICE: (&str, &[&str]) = ("host-device", &["device", "hwaddr", "kernelpath", "pciBusID"]);

/// Plugins that can use a device and run without one.
const OPTIONAL_FOR: [&str; 2] = ["ovs", "rdma"];

/// The keys of a plugin's config under which it is given a device.
pub(super) const GIVEN_AS: [&str; 2] = ["deviceID", "pciBusID"];

/// What the plugins of a network do with a device that their config does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceUse {
    /// None uses one.
    None,
    /// One can use it and runs without it.
    Optional,
    /// One fails without it.
    Required,
}

/// Whether a network needs a device that something has to give to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNeed {
    /// It does not: no plugin requires a device, or the config names it.
    None,
    /// It may: its config is a file on the node, or a plugin requires a device and no resource is
    /// named.
    Unknown,
    /// It does: a plugin requires a device of the resource that the NetworkAttachmentDefinition
    /// names.
    Required,
}

impl DeviceNeed {
    /// Of a network with the annotation `resource_name` and this config (`None`: a file on the
    /// node).
    pub fn of(resource_name: Option<&str>, config: Option<&NetworkConfig>) -> Self {
        let names_resource = resource_name.is_some_and(|resource| !resource.is_empty());
        match (names_resource, config.map(NetworkConfig::requires_device)) {
            (true, Some(true)) => Self::Required,
            (true, None) | (false, Some(true)) => Self::Unknown,
            (_, Some(false)) | (false, None) => Self::None,
        }
    }
}

impl NetworkConfig {
    /// Whether one of its plugins fails unless it is given a device.
    pub fn requires_device(&self) -> bool {
        self.plugins.iter().any(requires_device)
    }

    /// What its plugins do with a device.
    pub fn device_use(&self) -> DeviceUse {
        let can_use = |plugin: &Plugin| {
            let plugin_type = plugin.get("type").and_then(Value::as_str);
            let optional = plugin_type.is_some_and(|plugin_type| OPTIONAL_FOR.contains(&plugin_type));
            optional && !has(plugin, "deviceID")
        };
        if self.requires_device() {
            DeviceUse::Required
        } else if self.plugins.iter().any(can_use) {
            DeviceUse::Optional
        } else {
            DeviceUse::None
        }
    }

    /// The devices that its plugins are given in their config: what they hold while they are
    /// attached.
    pub fn given_devices(&self) -> BTreeSet<&str> {
        let users = self.plugins.iter().filter(|plugin| is_user(plugin));
        let given = |plugin| {
            let values = GIVEN_AS.iter().filter_map(move |key| value(plugin, key));
            values.filter_map(Value::as_str)
        };
        users.flat_map(given).collect()
    }
}

/// Whether it is a plugin that takes a device.
fn is_user(plugin: &Plugin) -> bool {
    let Some(plugin_type) = plugin.get("type").and_then(Value::as_str) else {
        return false;
    };
    OPTIONAL_FOR.contains(&plugin_type) || REQUIRED_BY.iter().any(|(name, _)| *name == plugin_type)
}

/// Whether a host-device names its device, and another one than `id`: it must not be given a
/// second one.
pub(super) fn names_another(plugin: &Plugin, id: &str) -> bool {
    let named = |key: &&str| value(plugin, key).is_some_and(|named| named.as_str() != Some(id));
    plugin.get("type").and_then(Value::as_str) == Some(HOST_DEVICE.0) && HOST_DEVICE.1.iter().any(named)
}

fn requires_device(plugin: &Plugin) -> bool {
    let plugin_type = plugin.get("type").and_then(Value::as_str);
    let mut required_by = REQUIRED_BY.iter();
    required_by.any(|(name, keys)| plugin_type == Some(name) && !keys.iter().any(|key| has(plugin, key)))
}

/// As Go reads a plugin's config: the case of keys does not matter, null and the empty string are
/// the same as no such key.
fn has(plugin: &Plugin, key: &str) -> bool {
    value(plugin, key).is_some()
}

fn value<'p>(plugin: &'p Plugin, key: &str) -> Option<&'p Value> {
    let is_given = |value: &Value| !value.is_null() && value.as_str() != Some("");
    let mut found = plugin
        .iter()
        .filter(|(name, value)| name.eq_ignore_ascii_case(key) && is_given(value));
    found.next().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn config(plugin_type: &str, fields: &str) -> NetworkConfig {
        let text = format!(r#"{{"cniVersion":"1.0.0","type":"{plugin_type}"{fields}}}"#);
        NetworkConfig::parse(&text, "nad").unwrap()
    }

    #[rstest]
    fn requires_the_device_that_the_config_does_not_name(
        #[values("sriov", "ib-sriov", "accelerated-bridge", "macvtap", "host-device")] plugin: &str,
    ) {
        let keys = REQUIRED_BY.iter().find(|(name, _)| *name == plugin).unwrap().1;
        for fields in ["", r#","vlan":7,"ipam":{}"#] {
            assert!(config(plugin, fields).requires_device(), "{fields}");
        }
        for key in keys {
            let named = |value: &str| config(plugin, &format!(r#","{key}":{value}"#)).requires_device();
            assert!(!named(r#""0000:03:02.1""#), "{key}");
            assert!(named(r#""""#) && named("null"), "{key}");
        }
        let folded = format!(r#","{}":"x""#, keys[0].to_uppercase());
        assert!(!config(plugin, &folded).requires_device());
    }

    #[rstest]
    fn no_other_plugin_requires_a_device(
        #[values(
            "bridge",
            "cnv-bridge",
            "macvlan",
            "ipvlan",
            "vlan",
            "ptp",
            "tap",
            "tuning",
            "ovs",
            "rdma",
            "ovn-k8s-cni-overlay",
            "kube-ovn",
            "sriov-like"
        )]
        plugin: &str,
    ) {
        assert!(!config(plugin, "").requires_device());
    }

    #[rstest]
    #[case("host-device", "deviceID")]
    #[case("sriov", "pciBusID")]
    #[case("macvtap", "device")]
    fn a_key_that_the_plugin_does_not_read_names_nothing(#[case] plugin: &str, #[case] key: &str) {
        assert!(config(plugin, &format!(r#","{key}":"x""#)).requires_device());
    }

    #[test]
    fn one_plugin_of_a_chain_is_enough() {
        let chain = |plugins: Value| {
            let text = json!({"cniVersion": "1.0.0", "plugins": plugins}).to_string();
            NetworkConfig::parse(&text, "nad").unwrap().requires_device()
        };
        assert!(chain(json!([{"type": "sriov"}, {"type": "tuning"}])));
        assert!(chain(json!([{"type": "bridge"}, {"type": "ib-sriov"}])));
        assert!(!chain(json!([{"type": "bridge"}, {"type": "tuning"}])));
        // The device of one plugin is not another one's.
        let named = json!([{"type": "tuning", "deviceID": "x"}, {"type": "sriov"}]);
        assert!(chain(named));
    }

    #[rstest]
    #[case("ovs", "", DeviceUse::Optional)]
    #[case("rdma", "", DeviceUse::Optional)]
    #[case("ovs", r#","deviceID":"x""#, DeviceUse::None)]
    #[case("host-device", "", DeviceUse::Required)]
    #[case("host-device", r#","device":"eth7""#, DeviceUse::None)]
    #[case("macvlan", "", DeviceUse::None)]
    fn says_what_a_plugin_does_with_a_device(
        #[case] plugin: &str,
        #[case] fields: &str,
        #[case] expected: DeviceUse,
    ) {
        assert_eq!(config(plugin, fields).device_use(), expected);
    }

    #[rstest]
    #[case("sriov", r#","deviceID":"a","pciBusID":"a""#, &["a"])]
    #[case("host-device", r#","pciBusID":"a""#, &["a"])]
    #[case("host-device", r#","device":"eth7""#, &[])]
    #[case("tuning", r#","deviceID":"a""#, &[])]
    #[case("host-local", r#","deviceID":"a""#, &[])]
    fn only_a_plugin_that_takes_devices_holds_one(
        #[case] plugin: &str,
        #[case] fields: &str,
        #[case] held: &[&str],
    ) {
        let config = config(plugin, fields);
        assert_eq!(config.given_devices().into_iter().collect::<Vec<_>>(), held);
    }

    #[rstest]
    #[case::marker(Some("bridge.network.kubevirt.io/br1"), "bridge", DeviceNeed::None)]
    #[case::another_marker(Some("ovs-cni.network.kubevirt.io/br1"), "ovs", DeviceNeed::None)]
    #[case::real(Some("macvtap.network.kubevirt.io/eth1"), "macvtap", DeviceNeed::Required)]
    #[case::vendor(Some("vendor.example/vf"), "sriov", DeviceNeed::Required)]
    #[case::empty(Some(""), "sriov", DeviceNeed::Unknown)]
    #[case::no_resource(None, "sriov", DeviceNeed::Unknown)]
    #[case::neither(None, "bridge", DeviceNeed::None)]
    fn neither_the_annotation_nor_its_prefix_decides(
        #[case] resource_name: Option<&str>,
        #[case] plugin: &str,
        #[case] expected: DeviceNeed,
    ) {
        assert_eq!(DeviceNeed::of(resource_name, Some(&config(plugin, ""))), expected);
    }

    #[test]
    fn a_config_on_the_node_leaves_it_open() {
        assert_eq!(
            DeviceNeed::of(Some("vendor.example/vf"), None),
            DeviceNeed::Unknown
        );
        assert_eq!(DeviceNeed::of(None, None), DeviceNeed::None);
    }
}
