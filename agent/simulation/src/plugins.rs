//! The manners of the plugins: macvlan makes its link and then asks IPAM; its DEL asks IPAM first
//! and then removes the link. host-local keeps a lease by list name, sandbox and interface, and
//! gives out none twice. tuning checks its `mtu`. A list runs forwards at ADD and backwards at DEL,
//! and stops at the first plugin that refuses.

use agent_core::delegate::{Call, FailedPlugin, Refusal};
use shared::cni::plugin_index;

use crate::{
    Lease, Node,
    variant::{Plugin, has_bad_range, ipam_kind, kind, parsed},
};

/// The plugins that make a link, or move one.
const MAKES_A_LINK: [&str; 2] = ["macvlan", "host-device"];

/// A plugin's refusal.
pub(crate) struct Refused {
    /// The kind of failure.
    pub cause: Refusal,
    /// The plugin that failed.
    pub plugin: FailedPlugin,
}

/// A refusal before it is known which plugin of the list it comes from.
type Failure = (Refusal, String);

/// The lease that a call is about.
pub(crate) fn lease(name: &str, call: &Call) -> Lease {
    (name.to_owned(), call.sandbox.clone(), call.interface.clone())
}

fn missing(plugin: &str) -> Failure {
    let cause = Refusal::PluginMissing {
        plugin: plugin.to_owned(),
    };
    (
        cause,
        format!("failed to find plugin {plugin:?} in path [/opt/cni/bin]"),
    )
}

fn other(words: &str) -> Failure {
    (Refusal::Other, words.to_owned())
}

impl Node {
    /// Runs the list of an ADD.
    pub(crate) fn run_add(&mut self, call: &Call) -> Result<(), Refused> {
        let Some(list) = parsed(&call.config) else {
            return Err(refused(0, &Plugin::new(), other("the list cannot be read")));
        };
        for (place, plugin) in list.plugins.iter().enumerate() {
            let done = self
                .can_run(plugin, list.cni_version.as_deref())
                .and_then(|()| self.add_plugin(call, &list.name, plugin));
            done.map_err(|failure| refused(place, plugin, failure))?;
        }
        Ok(())
    }

    /// Runs the list of a DEL, backwards.
    pub(crate) fn run_del(&mut self, call: &Call) -> Result<(), Refused> {
        let Some(list) = parsed(&call.config) else {
            return Err(refused(0, &Plugin::new(), other("the list cannot be read")));
        };
        for (place, plugin) in list.plugins.iter().enumerate().rev() {
            let done = self
                .can_run(plugin, list.cni_version.as_deref())
                .and_then(|()| self.del_plugin(call, &list.name, plugin));
            done.map_err(|failure| refused(place, plugin, failure))?;
        }
        Ok(())
    }

    fn is_installed(&self, kind: &str) -> bool {
        ["macvlan", "host-device", "host-local", "tuning"].contains(&kind)
            && !self.missing_plugins.contains(kind)
    }

    fn can_run(&self, plugin: &Plugin, version: Option<&str>) -> Result<(), Failure> {
        if !self.is_installed(kind(plugin)) {
            return Err(missing(kind(plugin)));
        }
        if version == Some("0.9.9") {
            let words = "incompatible CNI versions".to_owned();
            return Err((Refusal::IncompatibleVersion, words));
        }
        if plugin.get("mtu").is_some() {
            let words = "json: cannot unmarshal string into Go struct field .mtu of type int".to_owned();
            return Err((Refusal::InvalidConfig, words));
        }
        Ok(())
    }

    fn add_plugin(&mut self, call: &Call, name: &str, plugin: &Plugin) -> Result<(), Failure> {
        if !MAKES_A_LINK.contains(&kind(plugin)) {
            return Ok(());
        }
        if kind(plugin) == "host-device" {
            self.move_device(call, &call.config)
                .map_err(|words| other(&words))?;
        }
        self.make_link(call, name);
        let Some(ipam) = ipam_kind(plugin) else {
            return Ok(());
        };
        self.can_ask_ipam(ipam, plugin)?;
        if !self.leases.insert(lease(name, call)) {
            let words = "duplicate allocation is not allowed".to_owned();
            return Err((Refusal::LeaseHeld, words));
        }
        self.changes += 1;
        Ok(())
    }

    fn del_plugin(&mut self, call: &Call, name: &str, plugin: &Plugin) -> Result<(), Failure> {
        match kind(plugin) {
            "macvlan" | "host-device" => {
                if let Some(ipam) = ipam_kind(plugin) {
                    self.can_ask_ipam(ipam, plugin)?;
                    self.free(&lease(name, call));
                }
                self.remove_link(call);
                Ok(())
            }
            "host-local" => {
                self.can_ask_ipam("host-local", plugin)?;
                self.free(&lease(name, call));
                Ok(())
            }
            _ if plugin.get("stubborn").is_some() => Err(other("cannot restore what it changed")),
            _ => Ok(()),
        }
    }

    fn can_ask_ipam(&self, ipam: &str, plugin: &Plugin) -> Result<(), Failure> {
        if !self.is_installed(ipam) {
            return Err(missing(ipam));
        }
        if has_bad_range(plugin) {
            return Err(other("invalid range set 0"));
        }
        Ok(())
    }

    /// A link appears in the sandbox.
    pub(crate) fn make_link(&mut self, call: &Call, name: &str) {
        self.changes += 1;
        self.results += 1;
        self.links
            .insert((call.sandbox.clone(), call.interface.clone()), name.to_owned());
    }

    /// An address is given back. "Not allocated" is success.
    pub(crate) fn free(&mut self, lease: &Lease) {
        if self.leases.remove(lease) {
            self.changes += 1;
            self.results += 1;
        }
    }
}

fn refused(place: usize, plugin: &Plugin, (cause, words): Failure) -> Refused {
    let name = plugin.get("name").and_then(serde_json::Value::as_str);
    // Multus' own networks are run as they are: their plugins have no names of ours.
    let index = name.map_or(Some(place), plugin_index);
    Refused {
        cause,
        plugin: FailedPlugin {
            kind: kind(plugin).to_owned(),
            index,
            cause: words,
        },
    }
}

/// Whether a DEL of this configuration is refused whatever is tried, on this node.
pub(crate) fn refuses_del(node: &Node, config: &str) -> bool {
    let Some(list) = parsed(config) else { return true };
    list.plugins.iter().any(|plugin| {
        let cannot_run = node.can_run(plugin, list.cni_version.as_deref()).is_err();
        let ipam = ipam_kind(plugin).is_some_and(|ipam| node.can_ask_ipam(ipam, plugin).is_err());
        cannot_run || ipam || plugin.get("stubborn").is_some()
    })
}

/// Whether an ADD of this configuration is refused, on this node.
pub(crate) fn refuses_add(node: &Node, config: &str) -> bool {
    let Some(list) = parsed(config) else { return true };
    list.plugins.iter().any(|plugin| {
        let cannot_run = node.can_run(plugin, list.cni_version.as_deref()).is_err();
        let ipam = ipam_kind(plugin).is_some_and(|ipam| node.can_ask_ipam(ipam, plugin).is_err());
        cannot_run || ipam
    })
}
