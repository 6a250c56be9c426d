//! Configurations that a plugin refuses: every plugin of the testbed with one wrong value of each
//! kind that it checks, alone and in a chain with a plugin that is in order, before it and behind
//! it.

use serde_json::{Value, json};

use crate::{error::Result, node::Node, recorder::RECORDER};

/// A key of the whole configuration, not of the plugin.
const VERSION: &str = "/cniVersion";
/// In place of a wrong value: the right one, the name of a link that does not exist yet.
const ABSENT: &str = "";

/// One wrong value.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    /// The plugin that refuses it.
    pub plugin: &'static str,
    /// What is wrong, in a word.
    pub what: &'static str,
    /// Where: a JSON pointer into the plugin's own configuration.
    key: &'static str,
    /// The wrong value, as JSON.
    value: &'static str,
}

const fn wrong(plugin: &'static str, what: &'static str, key: &'static str, value: &'static str) -> Wrong {
    Wrong {
        plugin,
        what,
        key,
        value,
    }
}

/// The whole table. What the node's kernel or its plugins do not support is left out by
/// [`Node::refused`].
const TABLE: &[Wrong] = &[
    wrong("macvlan", "type", "/type", r#""macvaln""#),
    wrong("macvlan", "mtu", "/mtu", r#""1400""#),
    wrong("macvlan", "mode", "/mode", r#""brigde""#),
    wrong("macvlan", "absent-master", "/master", ABSENT),
    wrong("macvlan", "ipam-type", "/ipam/type", r#""host-locla""#),
    wrong(
        "macvlan",
        "range",
        "/ipam/ranges/0/0/rangeStart",
        r#""192.0.2.7""#,
    ),
    wrong("macvlan", "version", VERSION, r#""0.5.0""#),
    wrong("bridge", "type", "/type", r#""brigde""#),
    wrong("bridge", "mtu", "/mtu", r#""1400""#),
    wrong("bridge", "vlan", "/vlan", "4095"),
    wrong("bridge", "ipam-type", "/ipam/type", r#""host-locla""#),
    wrong("bridge", "range", "/ipam/ranges/0/0/rangeStart", r#""192.0.2.7""#),
    wrong("bridge", "version", VERSION, r#""0.5.0""#),
    wrong("vlan", "mtu", "/mtu", r#""1400""#),
    wrong("vlan", "vlan", "/vlanId", "4095"),
    wrong("vlan", "absent-master", "/master", ABSENT),
    wrong("ipvlan", "mtu", "/mtu", r#""1400""#),
    wrong("ipvlan", "mode", "/mode", r#""l4""#),
    wrong("ipvlan", "absent-master", "/master", ABSENT),
    wrong("host-device", "type", "/type", r#""host-devcie""#),
    wrong("host-device", "device", "/device", "7"),
    wrong("host-device", "absent-device", "/device", ABSENT),
    wrong("host-device", "ipam-type", "/ipam/type", r#""host-locla""#),
    wrong(
        "host-device",
        "range",
        "/ipam/ranges/0/0/rangeStart",
        r#""192.0.2.7""#,
    ),
    wrong("host-device", "version", VERSION, r#""0.5.0""#),
    wrong("tuning", "type", "/type", r#""tunnig""#),
    wrong("tuning", "mtu", "/mtu", r#""1400""#),
    wrong("portmap", "type", "/type", r#""protmap""#),
    wrong("portmap", "snat", "/snat", r#""yes""#),
    wrong("static", "address", "/ipam/addresses/0/address", r#""192.0.2.9""#),
];

/// Where the wrong plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// By itself: a single configuration, or behind the plugin that it needs before it.
    Alone,
    /// Before a plugin that is in order.
    Before,
    /// Behind a plugin that is in order.
    Behind,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Alone, Self::Before, Self::Behind];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Before => "before",
            Self::Behind => "behind",
        }
    }
}

/// What a network has for itself.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name inside the configuration.
    pub config_name: &'a str,
    /// The first three numbers of its addresses.
    pub subnet: &'a str,
    /// A bridge, which the bridge plugin makes.
    pub bridge: &'a str,
    /// A link of the node: the device that is moved, or the master that does not exist yet.
    pub link: &'a str,
}

impl Wrong {
    /// Whether nothing has to be corrected: it becomes right when the link exists.
    pub fn needs_link_only(self) -> bool {
        self.value == ABSENT
    }

    /// Whether the link is moved into the pod.
    pub fn moves_link(self) -> bool {
        self.plugin == "host-device"
    }

    /// The configuration with the wrong value, and with the right one.
    pub fn configs(self, shape: Shape, place: Place<'_>) -> (String, String) {
        let mut plugins = self.plugins(place);
        let is_single = shape == Shape::Alone && plugins.len() == 1;
        let mut at = plugins.len() - 1;
        let recorder = json!({"type": RECORDER});
        match shape {
            Shape::Alone => {}
            Shape::Before => plugins.push(recorder),
            Shape::Behind => {
                plugins.insert(at, recorder);
                at += 1;
            }
        }
        let right = whole(plugins, is_single, place.config_name);
        let mut refused = right.clone();
        if !self.needs_link_only() {
            let plugin = match (is_single || self.key == VERSION, &mut refused) {
                (true, whole) => whole,
                (false, whole) => &mut whole["plugins"][at],
            };
            set(
                plugin,
                self.key,
                serde_json::from_str(self.value).unwrap_or_default(),
            );
        }
        (refused.to_string(), right.to_string())
    }

    /// The plugins with the right values; the last one is it.
    fn plugins(self, place: Place<'_>) -> Vec<Value> {
        let subnet = place.subnet;
        let ipam = json!({"type": "host-local", "ranges": [[{
            "subnet": format!("{subnet}.0/24"),
            "rangeStart": format!("{subnet}.10"),
            "rangeEnd": format!("{subnet}.250"),
        }]]});
        // Not of the subnet, whose addresses are leased.
        let fixed = format!("198{}.9/24", subnet.strip_prefix("10").unwrap_or(subnet));
        let fixed = json!({"type": "static", "addresses": [{"address": fixed}]});
        let master = if self.needs_link_only() {
            place.link
        } else {
            "eth1"
        };
        let over =
            |plugin: &str, ipam: &Value| json!({"type": plugin, "master": master, "mtu": 1400, "ipam": ipam});
        let with = |mut plugin: Value, key: &str, value: Value| {
            plugin[key] = value;
            plugin
        };
        let macvlan = |ipam| with(over("macvlan", ipam), "mode", json!("bridge"));
        match self.plugin {
            "macvlan" => vec![macvlan(&ipam)],
            "static" => vec![macvlan(&fixed)],
            "ipvlan" => vec![with(over("ipvlan", &ipam), "mode", json!("l2"))],
            "vlan" => vec![with(over("vlan", &ipam), "vlanId", json!(7))],
            "bridge" => vec![json!({"type": "bridge", "bridge": place.bridge, "mtu": 1400, "ipam": ipam})],
            "host-device" => vec![json!({"type": "host-device", "device": place.link, "ipam": ipam})],
            "tuning" => vec![macvlan(&ipam), json!({"type": "tuning", "mtu": 1300})],
            _ => vec![macvlan(&ipam), json!({"type": "portmap", "snat": true})],
        }
    }
}

fn whole(mut plugins: Vec<Value>, is_single: bool, name: &str) -> Value {
    let mut config = if is_single {
        plugins.remove(0)
    } else {
        json!({"plugins": plugins})
    };
    config["name"] = json!(name);
    config["cniVersion"] = json!("1.0.0");
    config
}

/// Sets a value that may not be there yet.
fn set(plugin: &mut Value, pointer: &str, value: Value) {
    match plugin.pointer_mut(pointer) {
        Some(old) => *old = value,
        None => plugin[pointer.trim_start_matches('/')] = value,
    }
}

impl Node {
    /// The rows of the table whose right configuration this node could run.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn refused(&self) -> Result<Vec<Wrong>> {
        let mut rows = TABLE.to_vec();
        for (plugin, kind) in [("vlan", "vlan id 7"), ("ipvlan", "ipvlan")] {
            let script = "[ -x /opt/cni/bin/$1 ] && unshare --net sh -c '
                ip link add lower type bridge && ip link add link lower name upper type $1' sh \"$2\" >/dev/null 2>&1 && echo yes || echo no";
            let answer = self.run(&["sh", "-c", script, "sh", plugin, kind]).await?;
            if answer.trim() == "no" {
                rows.retain(|row| row.plugin != plugin);
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shared::cni::NetworkConfig;

    use super::*;

    const PLACE: Place<'static> = Place {
        config_name: "n",
        subnet: "10.100.0",
        bridge: "b",
        link: "l",
    };

    #[test]
    fn a_wrong_value_is_the_only_difference() {
        for row in TABLE {
            for shape in Shape::ALL {
                let (wrong, right) = row.configs(shape, PLACE);
                assert_eq!(wrong == right, row.needs_link_only(), "{row:?} {shape:?}");
                let plugins = |text: &str| NetworkConfig::parse(text, "n").map(|config| config.plugins.len());
                // The programs let both through: the plugin is who refuses.
                assert_eq!(plugins(&wrong), plugins(&right), "{row:?} {shape:?}");
                let recorded = right.contains(RECORDER);
                assert_eq!(recorded, shape != Shape::Alone, "{row:?} {shape:?}");
            }
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: BTreeSet<_> = TABLE.iter().map(|row| (row.plugin, row.what)).collect();
        assert_eq!(names.len(), TABLE.len());
    }
}
