//! Which configurations a DEL sends, one after the other, until nothing of an attachment is left.
//!
//! Flow: the whole list goes out first, as ADD sent it. libcni runs it backwards and stops at the
//! first plugin that refuses, so one bad plugin would keep the others' links and leases. Where that
//! may not be waited for, the list is taken apart: each plugin as a list of its own under the same
//! name, last to first; a plugin that refuses is tried without its `ipam` (macvlan, vlan and
//! host-device ask IPAM before they touch the link), then its IPAM alone.
//!
//! Guarantees: every part that may hold something either answered a DEL with success or is in
//! [`Teardown::owed`]. A part that refuses DEL with the very words that it refused ADD with never
//! got past its configuration and holds nothing.

use std::collections::VecDeque;

use serde_json::{Value, json};
use shared::cni::NetworkConfig;

use crate::delegate::{FailedPlugin, Refusal};

/// Plugins that release their addresses also without a namespace (CNI plugins 1.9). Others may
/// return early.
const FREES_WITHOUT_NAMESPACE: [&str; 7] = ["bridge", "dummy", "ipvlan", "macvlan", "ptp", "tap", "vlan"];

/// The parts of one list that are still to be released.
#[derive(Clone, Debug, PartialEq)]
pub struct Teardown {
    /// `None`: our rules cannot read the configuration, so it goes out whole or not at all.
    list: Option<NetworkConfig>,
    whole: String,
    /// The ADD failed: a plugin that cannot read its configuration at DEL could not read it at ADD
    /// either.
    failed_add: bool,
    /// ADD's failure: the plugin, and its words.
    refused_add: Option<FailedPlugin>,
    /// A plugin whose binary is missing never ran.
    missing_never_ran: bool,
    /// The namespace is gone, and every link with it: only what is kept on the node is left.
    without_namespace: bool,
    /// The CNI result of the attachment: libcni has none any more after its first successful DEL of
    /// this list.
    previous: Option<Value>,
    queue: VecDeque<Part>,
    left: Vec<Part>,
    apart: bool,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// One plugin, IPAM included.
    Plugin(usize),
    /// One plugin without its `ipam`.
    WithoutIpam(usize),
    /// The IPAM of one plugin.
    Ipam(usize),
}

/// What follows from a refused DEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole list was refused, and can be taken apart with [`Teardown::take_apart`].
    Refused,
    /// Go on with the next part, if there is one.
    GoOn,
}

impl Teardown {
    /// Releases a list as ADD sent it.
    pub fn whole(config: &str, previous: Option<Value>) -> Self {
        Self {
            list: NetworkConfig::parse(config, "").ok(),
            whole: config.to_owned(),
            failed_add: false,
            refused_add: None,
            missing_never_ran: false,
            without_namespace: false,
            previous,
            queue: [Part::Whole].into(),
            left: Vec::new(),
            apart: false,
        }
    }

    /// Undoes an ADD that the plugin `failed` refused; `None`: the plugin is not known.
    pub fn undo(config: &str, failed: Option<FailedPlugin>, cause: &Refusal) -> Self {
        let mut teardown = Self::whole(config, None).of_failed_add(true);
        // A missing binary blocks the DEL of the whole list in any case, and that plugin never ran.
        let missing = matches!((cause, &failed),
            (Refusal::PluginMissing { plugin }, Some(failed)) if failed.kind == *plugin);
        let position = failed.as_ref().and_then(|failed| failed.index);
        teardown.refused_add = failed;
        if let Some(position) = position.filter(|_| missing) {
            teardown.start_apart((0..position).rev());
        }
        teardown
    }

    /// Whether the ADD failed.
    #[must_use]
    pub fn of_failed_add(self, failed_add: bool) -> Self {
        Self { failed_add, ..self }
    }

    /// Whether it is not known how far the ADD came: its answer was lost.
    pub fn is_of_lost_add(&self) -> bool {
        self.failed_add && self.refused_add.is_none()
    }

    /// The binary of a plugin has been missing for so long that the ADD cannot have found it.
    pub fn give_up_missing(&mut self) {
        self.missing_never_ran = true;
    }

    /// The namespace is gone. Plugins that return before they ask IPAM get one more DEL of their
    /// IPAM alone.
    #[must_use]
    pub fn after_the_namespace(mut self) -> Self {
        self.without_namespace = true;
        let plugins = self.list.iter().flat_map(|list| list.plugins.iter().enumerate());
        let early = plugins.filter(|(_, plugin)| {
            let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
            !FREES_WITHOUT_NAMESPACE.contains(&kind)
        });
        let early: Vec<usize> = early.map(|(index, _)| index).collect();
        let with_ipam = early.into_iter().filter(|index| self.has_ipam(*index));
        let more: Vec<Part> = with_ipam.map(Part::Ipam).collect();
        self.queue.extend(more);
        self
    }

    /// The configuration to send next; `None`: every part was tried.
    pub fn next_config(&self) -> Option<String> {
        self.config_of(*self.queue.front()?)
    }

    /// Whether the list is being taken apart.
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// The part that [`Self::next_config`] named is released.
    pub fn succeeded(&mut self) {
        self.queue.pop_front();
    }

    /// The part that [`Self::next_config`] named was refused.
    pub fn refused(&mut self, cause: &Refusal, plugin: Option<&FailedPlugin>) -> Verdict {
        let Some(part) = self.queue.front().copied() else {
            return Verdict::GoOn;
        };
        let gone =
            *cause == Refusal::InterfaceGone || (self.without_namespace && *cause == Refusal::NamespaceGone);
        match part {
            Part::Whole => {
                let only = self.list.as_ref().is_none_or(|list| list.plugins.len() == 1);
                let first = plugin.is_none_or(|plugin| plugin.index == Some(0));
                if gone && (only || first) {
                    self.queue.pop_front();
                    return Verdict::GoOn;
                }
                return Verdict::Refused;
            }
            Part::Plugin(_) if gone => {}
            Part::Plugin(index) if self.has_ipam(index) => {
                self.queue.pop_front();
                self.queue.push_front(Part::Ipam(index));
                self.queue.push_front(Part::WithoutIpam(index));
                return Verdict::GoOn;
            }
            Part::WithoutIpam(_) if self.never_ran(part, cause, plugin) => {
                // The plugin did not get past its configuration at ADD, so its IPAM was never
                // asked.
                self.queue.pop_front();
            }
            Part::Plugin(_) | Part::WithoutIpam(_) | Part::Ipam(_) => {
                if !gone && !self.never_ran(part, cause, plugin) {
                    self.left.push(part);
                }
            }
        }
        self.queue.pop_front();
        Verdict::GoOn
    }

    /// Takes the list apart after it was refused as a whole: libcni stopped at `stopped`, what is
    /// behind it is done. `false`: it cannot be taken apart.
    pub fn take_apart(&mut self, stopped: Option<&FailedPlugin>) -> bool {
        let Some(list) = &self.list else { return false };
        let last = list.plugins.len() - 1;
        let stopped = stopped.and_then(|plugin| plugin.index).unwrap_or(last).min(last);
        // At ADD, nothing ran behind the plugin that failed.
        let failed = self.refused_add.as_ref().and_then(|failed| failed.index);
        self.start_apart((0..=failed.unwrap_or(last).min(stopped)).rev());
        true
    }

    fn start_apart(&mut self, plugins: impl Iterator<Item = usize>) {
        self.apart = true;
        let more = self
            .queue
            .iter()
            .copied()
            .filter(|part| matches!(part, Part::Ipam(_)));
        self.queue = plugins
            .map(Part::Plugin)
            .chain(more.collect::<Vec<_>>())
            .collect();
    }

    /// What is not released: the parts that refused, and those that were not tried yet. Each is a
    /// list of one plugin.
    pub fn owed(&self) -> Vec<String> {
        let parts = self.left.iter().chain(&self.queue);
        parts.filter_map(|part| self.config_of(*part)).collect()
    }

    /// Whether the plugin has an IPAM of its own, and is not itself what is left of one.
    fn has_ipam(&self, index: usize) -> bool {
        let list = self.list.as_ref();
        let ipam = list.and_then(|list| list.only_ipam(index));
        ipam.is_some_and(|ipam| list.and_then(|list| list.only_plugin(index)) != Some(ipam))
    }

    /// A part of a failed ADD that cannot read its configuration, or refuses DEL with the words
    /// that it refused ADD with.
    fn never_ran(&self, part: Part, cause: &Refusal, plugin: Option<&FailedPlugin>) -> bool {
        if self.failed_add && matches!(cause, Refusal::InvalidConfig | Refusal::IncompatibleVersion) {
            return true;
        }
        let (Part::Plugin(index) | Part::WithoutIpam(index) | Part::Ipam(index)) = part else {
            return false;
        };
        if self.missing_never_ran && matches!(cause, Refusal::PluginMissing { .. }) {
            return true;
        }
        let at_add = self
            .refused_add
            .as_ref()
            .filter(|failed| failed.index == Some(index));
        at_add
            .zip(plugin)
            .is_some_and(|(at_add, at_del)| at_add.cause.eq_ignore_ascii_case(&at_del.cause))
    }

    /// The result as a plugin of `version` reads it; versions before 0.4.0 know none at DEL.
    fn previous_at(&self, version: Option<&str>) -> Option<Value> {
        let version = version.filter(|version| *version == "0.4.0" || !version.starts_with("0."))?;
        let mut previous = self.previous.clone().filter(Value::is_object)?;
        previous["cniVersion"] = json!(version);
        if version == "0.4.0" {
            let ips = previous.get_mut("ips").and_then(Value::as_array_mut);
            for ip in ips.into_iter().flatten().filter_map(Value::as_object_mut) {
                let v6 = ip
                    .get("address")
                    .and_then(Value::as_str)
                    .is_some_and(|a| a.contains(':'));
                ip.insert("version".to_owned(), json!(if v6 { "6" } else { "4" }));
            }
        }
        Some(previous)
    }

    fn config_of(&self, part: Part) -> Option<String> {
        let list = self.list.as_ref();
        let mut config = match part {
            Part::Whole => return Some(self.whole.clone()),
            Part::Plugin(index) => list?.only_plugin(index)?,
            Part::WithoutIpam(index) => list?.only_plugin(index)?.without_ipam(0)?,
            Part::Ipam(index) => list?.only_ipam(index)?,
        };
        if let Some(previous) = self.previous_at(config.cni_version.as_deref()) {
            for plugin in &mut config.plugins {
                plugin.insert("prevResult".to_owned(), previous.clone());
            }
        }
        Some(config.conflist())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = r#"{"name":"n","cniVersion":"1.0.0","plugins":[
        {"type":"macvlan","name":"plugin-0","ipam":{"type":"host-local"}},{"type":"tuning","name":"plugin-1"}]}"#;

    fn failed(kind: &str, index: usize, cause: &str) -> FailedPlugin {
        FailedPlugin {
            kind: kind.to_owned(),
            index: Some(index),
            cause: cause.to_owned(),
        }
    }

    /// The types, and those of their IPAM, that the next configuration runs.
    fn runs(teardown: &Teardown) -> Option<Vec<String>> {
        let list = NetworkConfig::parse(&teardown.next_config()?, "").unwrap();
        let kind = |value: Option<&Value>| {
            let kind = value.and_then(|value| value.get("type")).and_then(Value::as_str);
            kind.unwrap_or_default().to_owned()
        };
        let of = |plugin: &serde_json::Map<String, Value>| {
            format!("{}/{}", kind(Some(&json!(plugin))), kind(plugin.get("ipam")))
        };
        Some(list.plugins.iter().map(of).collect())
    }

    fn refuse(teardown: &mut Teardown, kind: &str, cause: &str) -> Verdict {
        let index = if kind == "tuning" { 1 } else { 0 };
        teardown.refused(&Refusal::Other, Some(&failed(kind, index, cause)))
    }

    #[test]
    fn sends_the_bytes_of_the_add_first() {
        let mut teardown = Teardown::whole(CHAIN, None);
        assert_eq!(teardown.next_config().as_deref(), Some(CHAIN));
        teardown.succeeded();
        assert_eq!((teardown.next_config(), teardown.owed()), (None, vec![]));
    }

    #[test]
    fn a_plugin_that_refused_add_holds_nothing() {
        let mut teardown = Teardown::undo(CHAIN, Some(failed("tuning", 1, "bad mtu")), &Refusal::Other);
        assert_eq!(refuse(&mut teardown, "tuning", "bad mtu"), Verdict::Refused);
        assert!(teardown.take_apart(Some(&failed("tuning", 1, "bad mtu"))));
        assert_eq!(runs(&teardown), Some(vec!["tuning/".to_owned()]));
        refuse(&mut teardown, "tuning", "bad mtu");
        assert_eq!(runs(&teardown), Some(vec!["macvlan/host-local".to_owned()]));
        teardown.succeeded();
        assert_eq!((teardown.next_config(), teardown.owed()), (None, vec![]));
    }

    #[test]
    fn a_range_that_ipam_refuses_leaves_no_link() {
        let range = "invalid range set 0";
        let mut teardown = Teardown::undo(CHAIN, Some(failed("macvlan", 0, range)), &Refusal::Other);
        assert_eq!(refuse(&mut teardown, "macvlan", range), Verdict::Refused);
        assert!(teardown.take_apart(Some(&failed("macvlan", 0, range))));
        assert_eq!(runs(&teardown), Some(vec!["macvlan/host-local".to_owned()]));
        refuse(&mut teardown, "macvlan", range);
        assert_eq!(runs(&teardown), Some(vec!["macvlan/".to_owned()]));
        teardown.succeeded();
        assert_eq!(runs(&teardown), Some(vec!["host-local/host-local".to_owned()]));
        refuse(&mut teardown, "host-local", range);
        assert_eq!((teardown.next_config(), teardown.owed()), (None, vec![]));
    }

    #[test]
    fn a_missing_binary_is_left_out_at_once() {
        let missing = Refusal::PluginMissing {
            plugin: "tuning".to_owned(),
        };
        let words = "failed to find plugin \"tuning\" in path [/opt/cni/bin]";
        let teardown = Teardown::undo(CHAIN, Some(failed("tuning", 1, words)), &missing);
        assert_eq!(runs(&teardown), Some(vec!["macvlan/host-local".to_owned()]));
    }

    #[test]
    fn what_refuses_for_another_cause_is_owed() {
        let mut teardown = Teardown::whole(CHAIN, Some(json!({"cniVersion": "1.0.0"})));
        assert_eq!(
            refuse(&mut teardown, "macvlan", "store is away"),
            Verdict::Refused
        );
        assert!(teardown.take_apart(Some(&failed("macvlan", 0, "store is away"))));
        assert!(teardown.next_config().unwrap().contains("prevResult"));
        refuse(&mut teardown, "macvlan", "store is away");
        teardown.succeeded();
        refuse(&mut teardown, "host-local", "store is away");
        let owed = teardown.owed();
        assert_eq!(teardown.next_config(), None);
        assert!(
            owed.len() == 1 && owed[0].contains(r#""type":"host-local""#),
            "{owed:?}"
        );
    }

    #[test]
    fn what_was_not_tried_yet_is_owed() {
        let mut teardown = Teardown::whole(CHAIN, None);
        teardown.refused(&Refusal::Other, None);
        assert!(teardown.take_apart(None));
        assert_eq!(teardown.owed().len(), 2);
    }

    #[test]
    fn an_owed_ipam_is_not_taken_apart_further() {
        let mut teardown = Teardown::whole(CHAIN, None);
        teardown.refused(&Refusal::Other, None);
        teardown.take_apart(Some(&failed("macvlan", 0, "store is away")));
        refuse(&mut teardown, "macvlan", "store is away");
        teardown.succeeded();
        let owed = teardown.owed();
        let mut again = Teardown::whole(&owed[0], None);
        again.take_apart(None);
        refuse(&mut again, "host-local", "store is away");
        assert_eq!((again.next_config(), again.owed()), (None, owed));
    }

    #[test]
    fn an_interface_that_is_gone_is_released() {
        let mut teardown = Teardown::whole(r#"{"name":"n","plugins":[{"type":"host-device"}]}"#, None);
        assert_eq!(teardown.refused(&Refusal::InterfaceGone, None), Verdict::GoOn);
        assert_eq!((teardown.next_config(), teardown.owed()), (None, vec![]));
    }

    #[test]
    fn a_device_that_is_gone_does_not_hide_the_rest_of_its_chain() {
        let mut teardown = Teardown::whole(
            r#"{"name":"n","plugins":[{"type":"bridge"},{"type":"host-device"}]}"#,
            None,
        );
        let gone = failed("host-device", 1, "no such device");
        assert_eq!(
            teardown.refused(&Refusal::InterfaceGone, Some(&gone)),
            Verdict::Refused
        );
    }
}
