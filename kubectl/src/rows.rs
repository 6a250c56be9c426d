//! What is printed of a pod: each network that its annotation asks for or that network-status
//! shows.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Serialize;
use shared::{
    annotations::NETWORK_STATUS,
    selection::{Selection, SelectionList},
    status::{self, StatusEntry},
};

use crate::readiness::{Readiness, annotation, readiness};

/// How a network of a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The pod's cluster network.
    Default,
    /// Asked for, and shown by network-status.
    Attached,
    /// Asked for, not there yet.
    Pending,
    /// Asked for; the agent says why it is not there.
    Failed,
    /// Not asked for: about to be removed, or not plugged for an element of the annotation.
    NotListed,
    /// The annotation cannot be read.
    Unreadable,
}

/// One network of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub namespace: String,
    pub pod: String,
    pub interface: String,
    pub network: String,
    pub state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What the agent says, where something is not as it should be.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Attached => "attached",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::NotListed => "not-listed",
            Self::Unreadable => "unreadable",
        })
    }
}

/// The rows of a pod: network-status in its order, then what is missing.
pub fn rows(pod: &Pod) -> Vec<Row> {
    let namespace = pod.namespace().unwrap_or_default();
    let entries = status::read(pod.annotations().get(NETWORK_STATUS).map(String::as_str));
    let row = |interface: &str, network: &str, state: State| Row {
        namespace: namespace.clone(),
        pod: pod.name_any(),
        interface: interface.to_owned(),
        network: network.to_owned(),
        state,
        addresses: Vec::new(),
        mac: String::new(),
        node: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        message: String::new(),
    };
    let list = match SelectionList::parse(Some(annotation(pod)), &namespace) {
        Ok(list) => list,
        Err(violations) => {
            let mut unreadable = row("", "", State::Unreadable);
            unreadable.message = violations.texts().next().unwrap_or_default();
            return vec![unreadable];
        }
    };
    let mut wanted: Vec<Option<&Selection>> = list.elements.iter().map(Some).collect();
    let mut all: Vec<Row> = entries
        .iter()
        .map(|entry| {
            // An element that names the interface goes before one that names none.
            let taken = wanted
                .iter_mut()
                .filter(|element| element.is_some_and(|element| is_of(entry, element)))
                .min_by_key(|element| element.is_some_and(|element| element.interface.is_none()));
            let state = match taken.and_then(Option::take) {
                _ if entry.default => State::Default,
                Some(_) => State::Attached,
                None => State::NotListed,
            };
            Row {
                addresses: entry.ips.clone(),
                mac: entry.mac.clone(),
                ..row(&entry.interface, &entry.name, state)
            }
        })
        .collect();
    let (state, message) = match readiness(pod) {
        Readiness::Failed(message) => (State::Failed, message),
        Readiness::Waiting(message) => (State::Pending, message),
        // Network-status and condition are written together, and multus' own entries come first.
        Readiness::Ready => (State::Pending, String::new()),
    };
    all.extend(wanted.into_iter().flatten().map(|element| {
        let interface = element.interface.as_ref().map_or("", |name| name.as_str());
        Row {
            message: message.clone(),
            ..row(interface, element.network.as_str(), state)
        }
    }));
    all
}

fn is_of(entry: &StatusEntry, element: &Selection) -> bool {
    let named = element.interface.as_ref().map(|name| name.as_str());
    entry.name == element.network.as_str() && named.is_none_or(|name| name == entry.interface)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::annotations::NETWORKS;

    use super::*;

    fn pod(networks: &str) -> Pod {
        let status = json!([
            {"name": "podnet", "interface": "eth0", "ips": ["10.1.0.2"], "default": true},
            {"name": "ns/a", "interface": "net1", "ips": ["10.2.0.2"], "mac": "02:00:00:00:00:01"},
            {"name": "ns/old", "interface": "net9"},
        ]);
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "annotations": {
                NETWORKS: networks, NETWORK_STATUS: status.to_string(),
            }},
            "spec": {"nodeName": "n", "containers": []},
        }))
        .unwrap()
    }

    fn shown(networks: &str) -> Vec<String> {
        let shown = |row: Row| format!("{} {} {}", row.interface, row.network, row.state);
        rows(&pod(networks)).into_iter().map(shown).collect()
    }

    #[test]
    fn wanted_and_shown_side_by_side() {
        assert_eq!(
            shown("a@net1,b@net2,a"),
            [
                "eth0 podnet default",
                "net1 ns/a attached",
                "net9 ns/old not-listed",
                "net2 ns/b pending",
                " ns/a pending",
            ]
        );
        assert_eq!(
            shown("a,a@net1"),
            [
                "eth0 podnet default",
                "net1 ns/a attached",
                "net9 ns/old not-listed",
                " ns/a pending",
            ]
        );
        assert_eq!(shown("[null]"), ["  unreadable"]);
    }
}
