//! First sight of a sandbox: which of the attachments that multus made at pod start are this annotation's, and which are foreign.
//! Pure.
//!
//! The witness is multus' own file of what it attached, never network-status. An annotation counts when the pod may have started with it:
//! the first one that was seen, and those that were seen until shortly after the sandbox was made.

pub mod taken_over;

use std::collections::BTreeSet;

use serde_json::Value;
use shared::{
    cni::NetworkConfig,
    names::{InterfaceName, NetworkName},
    selection::{Attributes, Selection, SelectionList},
};

use crate::{
    cni_cache::{Delegate, Entry},
    pod::Seen,
    records::{AttachmentRecord, Origin, Phase},
};

/// An edit seen this much after the sandbox was made cannot have been what multus read.
const START_SECONDS: u64 = 30;

/// What the first sight found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adoption {
    /// Attachments of this annotation.
    pub records: Vec<AttachmentRecord>,
    /// Interfaces that are somebody else's, for good.
    pub foreign: Vec<InterfaceName>,
}

/// What is known at first sight.
#[derive(Clone, Debug)]
pub struct FirstSight<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's uid.
    pub uid: &'a str,
    /// Its annotations, oldest first.
    pub seen: &'a [Seen],
    /// When the sandbox was made, seconds since the epoch.
    pub created: u64,
    /// What multus attached, the default network first.
    pub delegates: &'a [Delegate],
    /// libcni's results.
    pub entries: &'a [Entry],
    /// Seconds since the epoch.
    pub now: u64,
}

/// Judges what is there.
pub fn judge(sight: &FirstSight<'_>) -> Adoption {
    let mut adoption = Adoption::default();
    let lists = annotations_at_start(sight);
    let mut claimed: BTreeSet<InterfaceName> = BTreeSet::new();
    let candidates: Vec<(&Delegate, &InterfaceName)> = sight
        .delegates
        .iter()
        .filter(|delegate| !delegate.default)
        .filter_map(|delegate| Some((delegate, delegate.interface.as_ref()?)))
        .collect();
    let matches: Vec<(InterfaceName, Selection)> = lists
        .iter()
        .rev()
        .flat_map(|list| matches_of(list, &candidates, &mut claimed))
        .collect();
    for (order, (delegate, interface)) in (0..).zip(&candidates) {
        let matched = matches.iter().find(|(name, _)| name == *interface);
        match matched {
            Some((_, selection)) => {
                let entry = sight.entries.iter().find(|entry| entry.interface == **interface);
                let ran = (entry.map_or(&delegate.config, |entry| &entry.config), entry);
                adoption.records.push(record(
                    sight,
                    Origin::ColdPlugged,
                    ran,
                    interface,
                    selection,
                    order,
                ));
            }
            None => adoption.foreign.push((*interface).clone()),
        }
    }
    adoption
}

fn annotations_at_start(sight: &FirstSight<'_>) -> Vec<SelectionList> {
    let in_time = |seen: &Seen| seen.since <= sight.created.saturating_add(START_SECONDS);
    let counted = sight
        .seen
        .iter()
        .enumerate()
        .filter(|(position, seen)| *position == 0 || in_time(seen));
    counted
        .filter_map(|(_, seen)| SelectionList::parse(seen.networks.as_deref(), sight.namespace).ok())
        .collect()
}

/// The elements of one annotation that have an attachment: named ones by network and name, then the k-th unnamed one of a network with its
/// k-th attachment that is still free.
fn matches_of(
    list: &SelectionList,
    candidates: &[(&Delegate, &InterfaceName)],
    claimed: &mut BTreeSet<InterfaceName>,
) -> Vec<(InterfaceName, Selection)> {
    let mut matches = Vec::new();
    let (named, unnamed): (Vec<_>, Vec<_>) = list
        .elements
        .iter()
        .partition(|element| element.interface.is_some());
    for element in named.into_iter().chain(unnamed) {
        let found = candidates.iter().find(|(delegate, interface)| {
            delegate.network.as_ref() == Some(&element.network)
                && element
                    .interface
                    .as_ref()
                    .is_none_or(|wanted| wanted == *interface)
                && !claimed.contains(*interface)
        });
        if let Some((_, interface)) = found {
            claimed.insert((*interface).clone());
            matches.push(((*interface).clone(), element.clone()));
        }
    }
    matches
}

/// The record of an attachment that is there. `ran`: the configuration that it was made with, and libcni's entry of it.
fn record(
    sight: &FirstSight<'_>,
    origin: Origin,
    (config, entry): (&Vec<u8>, Option<&Entry>),
    interface: &InterfaceName,
    selection: &Selection,
    order: u64,
) -> AttachmentRecord {
    let asked = selection.attributes();
    let mut ran = asked.clone();
    if let Some(entry) = entry {
        let ips = entry.capability_args.get("ips").and_then(Value::as_array);
        let ips = ips.map(|ips| ips.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        ran.ips = ips.unwrap_or(ran.ips);
        ran.mac = entry
            .capability_args
            .get("mac")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .or(ran.mac);
    }
    AttachmentRecord {
        network: selection.network.clone(),
        interface: interface.clone(),
        origin,
        phase: Phase::Plugged {
            result: entry.map_or_else(
                || Value::Object(serde_json::Map::new()),
                |entry| entry.result.clone(),
            ),
        },
        since: sight.now,
        order,
        config: unplug_config(&String::from_utf8_lossy(config), &selection.network, &ran),
        ips: asked.ips.clone(),
        mac: asked.mac.clone(),
        cni_args: asked.cni_args.clone(),
        unpublish: Vec::new(),
        unknown: serde_json::Map::new(),
    }
}

/// The configuration for the DEL. One that our rules do not take ran all the same, so it goes out as it was.
fn unplug_config(config: &str, network: &NetworkName, ran: &Attributes) -> String {
    NetworkConfig::parse(config, network.name())
        .map_or_else(|_| config.to_owned(), |config| config.conflist_for(ran))
}
