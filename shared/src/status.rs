//! The network-status annotation: reads entries that any client may have written, and writes our
//! entries without changing other bytes.

mod splice;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::splice::{StatusChange, StatusError, splice};
use crate::{
    cni::{CniResult, Dns, ResultInterface, ResultIp, ResultRoute, without_nulls},
    go_net::go_string,
    names::NetworkName,
    spanned_json::{self, Node, Tree},
};

/// Deeper than any program nests the annotation.
const MAX_DEPTH: usize = 64;
/// Go's text for a nil address.
const GO_NIL: &str = "<nil>";

/// One entry as the network-attachment-definition-client (v1.7) writes it: same keys, same order,
/// same omissions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusEntry {
    /// `<nad namespace>/<nad name>`; the cluster network's entry has its config's name.
    pub name: String,
    /// The interface's name in the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Addresses without prefix length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// 0: unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// The cluster network's entry; never one of ours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Always written, also when empty.
    pub dns: Dns,
    /// Written by multus for device-plugin networks.
    #[serde(rename = "device-info", skip_serializing_if = "Option::is_none")]
    pub device_info: Option<Value>,
    /// Gateways of default routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The entries for one attachment's result, as CreateNetworkStatuses makes them (never `default:
/// true`): one result interface gives one entry, several give one for each that is inside the
/// sandbox, none gives none.
pub fn entries(network: &NetworkName, result: &CniResult) -> Vec<StatusEntry> {
    let gateway: Vec<String> = result
        .routes
        .iter()
        .filter(|route| is_default(route))
        .map(gateway_text)
        .collect();
    let entry = |interface: &ResultInterface| StatusEntry {
        name: network.to_string(),
        interface: interface.name.clone(),
        mac: interface.mac.clone(),
        mtu: interface.mtu,
        dns: result.dns.clone(),
        gateway: gateway.clone(),
        ..StatusEntry::default()
    };
    if let [interface] = result.interfaces.as_slice() {
        let nameless = ResultInterface::default();
        let shown = if interface.sandbox.is_empty() {
            &nameless
        } else {
            interface
        };
        let ips = result.ips.iter().map(address_text).collect();
        return vec![StatusEntry { ips, ..entry(shown) }];
    }
    let inside = |(_, interface): &(usize, &ResultInterface)| !interface.sandbox.is_empty();
    let (indexes, mut entries): (Vec<usize>, Vec<StatusEntry>) = result
        .interfaces
        .iter()
        .enumerate()
        .filter(inside)
        .map(|(index, interface)| (index, entry(interface)))
        .unzip();
    for ip in &result.ips {
        let position = match ip.interface {
            Some(wanted) => indexes
                .iter()
                .position(|index| i64::try_from(*index) == Ok(wanted)),
            None => entries.len().checked_sub(1),
        };
        if let Some(entry) = position.and_then(|position| entries.get_mut(position)) {
            entry.ips.push(address_text(ip));
        }
    }
    entries
}

/// 0.0.0.0/1 counts as well: the Go client compares the address alone.
fn is_default(route: &ResultRoute) -> bool {
    route
        .destination
        .is_none_or(|address| address.to_canonical().is_unspecified())
}

/// A missing gateway becomes Go's text for nil, as multus writes it.
fn gateway_text(route: &ResultRoute) -> String {
    route.gateway.map_or_else(|| GO_NIL.to_owned(), go_string)
}

fn address_text(ip: &ResultIp) -> String {
    ip.address
        .map_or_else(|| GO_NIL.to_owned(), |(address, _)| go_string(address))
}

/// Reads an annotation value leniently: entries that do not parse are skipped, and a value that is
/// no list has none.
pub fn read(annotation: Option<&str>) -> Vec<StatusEntry> {
    let source = annotation.unwrap_or_default();
    let Ok(Node {
        tree: Tree::List(items),
        ..
    }) = spanned_json::parse(source, MAX_DEPTH)
    else {
        return Vec::new();
    };
    items.iter().filter_map(read_entry).collect()
}

pub(super) fn read_entry(item: &Node<'_>) -> Option<StatusEntry> {
    match item.tree {
        Tree::Object(_) => serde_json::from_value(without_nulls(&item.to_value())).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
