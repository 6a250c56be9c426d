//! Attachments that another controller hot-plugged before this agent came: the predecessor, or an
//! agent that listed nothing in multus' delegate file. There is no record of them; libcni's cache
//! knows them.
//!
//! The rule: multus has a delegate file for the sandbox that does not list the interface. The
//! present annotation names that interface and a network. libcni's entry of the interface ran a
//! configuration of the name and with the plugins that this network has now. Anything else is
//! treated as foreign.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::{
    cni::NetworkConfig,
    names::{InterfaceName, NetworkName},
    selection::Selection,
};

use super::{FirstSight, of_entry};
use crate::{cni_state::Entry, record::AttachmentRecord};

/// The key of CNI_ARGS for the pod's uid.
const UID: &str = "K8S_POD_UID";

/// The networks whose present configuration [`judge`] needs. Empty at almost every first sight.
pub fn networks(sight: &FirstSight<'_>) -> BTreeSet<NetworkName> {
    candidates(sight)
        .into_iter()
        .map(|(_, selection)| selection.network.clone())
        .collect()
}

/// The attachments to adopt; `configs`: the configuration of each network that exists.
pub fn judge(sight: &FirstSight<'_>, configs: &BTreeMap<NetworkName, String>) -> Vec<AttachmentRecord> {
    let mut adopted: Vec<AttachmentRecord> = Vec::new();
    let mut order = sight.state.delegates.as_ref().map_or(0, Vec::len) as u64;
    for (entry, selection) in candidates(sight) {
        let Some(config) = configs.get(&selection.network) else {
            continue;
        };
        let twice = adopted.iter().any(|record| record.interface == entry.interface);
        if !twice && ran(entry, config, &selection.network) {
            adopted.push(AttachmentRecord {
                order,
                ..of_entry(sight, entry, &selection.network, None)
            });
            order += 1;
        }
    }
    adopted
}

/// Entries that no delegate explains, each with the element that names its interface.
fn candidates<'a>(sight: &FirstSight<'a>) -> Vec<(&'a Entry, &'a Selection)> {
    let Some(list) = sight.annotation.list() else {
        return Vec::new();
    };
    // Without the delegate file it is not known what was attached at the start.
    let Some(delegates) = sight
        .state
        .delegates
        .as_ref()
        .filter(|delegates| !delegates.is_empty())
    else {
        return Vec::new();
    };
    let listed = |interface: &InterfaceName| {
        delegates
            .iter()
            .any(|delegate| delegate.interface.as_ref() == Some(interface))
    };
    let of_this_pod = |entry: &Entry| {
        entry
            .cni_args
            .iter()
            .all(|(key, value)| key != UID || value.is_empty() || value == sight.uid)
    };
    let unlisted = sight
        .state
        .entries
        .iter()
        .filter(|entry| !listed(&entry.interface) && of_this_pod(entry));
    unlisted
        .filter_map(|entry| {
            let named = |element: &&Selection| element.interface.as_ref() == Some(&entry.interface);
            Some((entry, list.elements.iter().find(named)?))
        })
        .collect()
}

/// Whether what ran is what `network` has as its configuration now, as far as names and plugins go.
fn ran(entry: &Entry, config: &str, network: &NetworkName) -> bool {
    let read = |text: &str| NetworkConfig::parse(text, network.name()).ok();
    let types = |config: &NetworkConfig| -> Vec<Option<Value>> {
        config
            .plugins
            .iter()
            .map(|plugin| plugin.get("type").cloned())
            .collect()
    };
    let Some((now, then)) = read(config).zip(read(&String::from_utf8_lossy(&entry.config))) else {
        return false;
    };
    entry.config_name == now.name && types(&now) == types(&then)
}
