//! The configurations that a network can have: good ones, and ones that plugins refuse.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use serde_json::{Map, Value, json};
use shared::cni::NetworkConfig;

/// A configuration of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// One macvlan plugin with host-local; network `c` has a tuning plugin behind it.
    Good,
    /// Good, under another list name.
    Changed,
    /// IPAM refuses at ADD and DEL, after the link was made, with the same words.
    BadRange,
    /// The second plugin refuses ADD and DEL.
    BadChain,
    /// The second plugin refuses DEL only.
    BadDel,
    /// There is no plugin of that type.
    Misspelt,
    /// No plugin speaks that version.
    BadVersion,
    /// Good, and 100 KiB long.
    Long,
}

/// Whether the network with that name is on devices of the pod.
pub(crate) fn takes_device(name: &str) -> bool {
    ["v", "w"].contains(&name)
}

/// A plugin's configuration.
pub(crate) type Plugin = Map<String, Value>;

impl Variant {
    /// The configuration of the network with that name.
    pub(crate) fn config(self, name: &str) -> String {
        let macvlan = json!({"type": "macvlan", "ipam": {"type": "host-local"}});
        let list = |plugins: Value| json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        if takes_device(name) {
            let device = json!({"type": "host-device", "ipam": {"type": "host-local"}});
            let config = match self {
                Self::BadRange => {
                    list(json!([{"type": "host-device", "ipam": {"type": "host-local", "ranges": "bad"}}]))
                }
                Self::BadDel => list(json!([device, {"type": "tuning", "stubborn": true}])),
                Self::Changed => {
                    json!({"cniVersion": "1.0.0", "name": format!("{name}-changed"), "plugins": [device]})
                }
                _ => list(json!([device])),
            };
            return config.to_string();
        }
        let config = match self {
            Self::Good if name == "c" => list(json!([macvlan, {"type": "tuning"}])),
            Self::Good => list(json!([macvlan])),
            Self::Changed => {
                json!({"cniVersion": "1.0.0", "name": format!("{name}-changed"), "plugins": [macvlan]})
            }
            Self::BadRange => {
                list(json!([{"type": "macvlan", "ipam": {"type": "host-local", "ranges": "bad"}}]))
            }
            Self::BadChain => list(json!([macvlan, {"type": "tuning", "mtu": "bad"}])),
            Self::BadDel => list(json!([macvlan, {"type": "tuning", "stubborn": true}])),
            Self::Misspelt => list(json!([{"type": "macvln", "ipam": {"type": "host-local"}}])),
            Self::Long => list(json!([{"type": "macvlan", "ipam": {"type": "host-local"},
                "comment": "x".repeat(100 * 1024)}])),
            Self::BadVersion => json!({"cniVersion": "0.9.9", "name": name, "plugins": [macvlan]}),
        };
        config.to_string()
    }
}

/// A configuration, parsed. Tests parse the same few texts very often.
pub(crate) fn parsed(config: &str) -> Option<Rc<NetworkConfig>> {
    thread_local! {
        static PARSED: RefCell<HashMap<String, Option<Rc<NetworkConfig>>>> = RefCell::default();
    }
    PARSED.with_borrow_mut(|known| {
        if let Some(parsed) = known.get(config) {
            return parsed.clone();
        }
        let parsed = NetworkConfig::parse(config, "").ok().map(Rc::new);
        known.insert(config.to_owned(), parsed.clone());
        parsed
    })
}

/// The name of a list; empty when it cannot be read.
pub(crate) fn list_name(config: &str) -> String {
    parsed(config).map(|list| list.name.clone()).unwrap_or_default()
}

/// The type of a plugin.
pub(crate) fn kind(plugin: &Plugin) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The type of a plugin's IPAM.
pub(crate) fn ipam_kind(plugin: &Plugin) -> Option<&str> {
    plugin.get("ipam")?.get("type")?.as_str()
}

/// The words with which IPAM refuses a bad range.
pub(crate) fn has_bad_range(plugin: &Plugin) -> bool {
    let ipam = plugin.get("ipam");
    ipam.is_some_and(|ipam| ipam.get("ranges").is_some())
}

/// Whether a plugin refuses this configuration for good, at ADD or DEL.
pub(crate) fn is_broken(config: &str) -> bool {
    parsed(config).is_none_or(|list| {
        let bad = |plugin: &Plugin| {
            let known = ["macvlan", "host-device", "host-local", "tuning"].contains(&kind(plugin));
            !known || has_bad_range(plugin) || plugin.contains_key("mtu") || plugin.contains_key("stubborn")
        };
        list.cni_version.as_deref() == Some("0.9.9") || list.plugins.iter().any(bad)
    })
}

/// Whether `part` is the list `whole` or a part of it.
pub(crate) fn is_part_of(part: &str, whole: &str) -> bool {
    if part == whole {
        return true;
    }
    let (Some(part), Some(whole)) = (parsed(part), parsed(whole)) else {
        return false;
    };
    let kinds: Vec<&str> = whole
        .plugins
        .iter()
        .flat_map(|plugin| [Some(kind(plugin)), ipam_kind(plugin)])
        .flatten()
        .collect();
    part.name == whole.name && part.plugins.iter().all(|plugin| kinds.contains(&kind(plugin)))
}

/// The types of the plugins of a list.
pub(crate) fn kinds(config: &str) -> Vec<String> {
    let list = parsed(config);
    let plugins = list.iter().flat_map(|list| &list.plugins);
    plugins.map(|plugin| kind(plugin).to_owned()).collect()
}
