//! What a controller before this one has hot-plugged. Multus' file does not list it, and there is no record; libcni's cache tells of it.
//!
//! The rule: the sandbox is seen for the first time and multus has a file for it that does not list the interface; the present annotation
//! names that interface and a network; and libcni's entry of the interface ran a configuration of the name and with the plugins that
//! this network has now. What fits less well stays whose it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::{
    cni::NetworkConfig,
    names::{InterfaceName, NetworkName},
    selection::{Selection, SelectionList},
};

use super::{FirstSight, record};
use crate::{
    cni_cache::Entry,
    records::{AttachmentRecord, Origin},
};

/// The key of CNI_ARGS for the pod's uid.
const UID: &str = "K8S_POD_UID";

/// The networks whose present configuration [`judge`] needs. Empty on almost every first sight.
pub fn networks(sight: &FirstSight<'_>) -> BTreeSet<NetworkName> {
    candidates(sight)
        .into_iter()
        .map(|(_, selection)| selection.network)
        .collect()
}

/// The attachments to adopt; `configs`: the configuration of each network that exists.
pub fn judge(sight: &FirstSight<'_>, configs: &BTreeMap<NetworkName, String>) -> Vec<AttachmentRecord> {
    let mut adopted: Vec<AttachmentRecord> = Vec::new();
    let mut order = sight.delegates.len() as u64;
    for (entry, selection) in candidates(sight) {
        let Some(config) = configs.get(&selection.network) else {
            continue;
        };
        let twice = adopted.iter().any(|record| record.interface == entry.interface);
        if !twice && ran(entry, config, &selection.network) {
            adopted.push(record(
                sight,
                Origin::HotPlugged,
                (&entry.config, Some(entry)),
                &entry.interface,
                &selection,
                order,
            ));
            order += 1;
        }
    }
    adopted
}

/// Entries that no delegate explains, each with the element that names its interface.
fn candidates<'a>(sight: &FirstSight<'a>) -> Vec<(&'a Entry, Selection)> {
    let present = sight.seen.last().and_then(|seen| seen.networks.as_deref());
    let Ok(list) = SelectionList::parse(present, sight.namespace) else {
        return Vec::new();
    };
    // Without multus' file nobody knows what was attached at the start.
    let explained = |interface: &InterfaceName| {
        sight.delegates.is_empty()
            || sight
                .delegates
                .iter()
                .any(|delegate| delegate.interface.as_ref() == Some(interface))
    };
    let of_this_pod = |entry: &Entry| {
        entry
            .cni_args
            .iter()
            .all(|(key, value)| key != UID || value.is_empty() || value == sight.uid)
    };
    let unexplained = sight
        .entries
        .iter()
        .filter(|entry| !explained(&entry.interface) && of_this_pod(entry));
    unexplained
        .filter_map(|entry| {
            let named = |element: &&Selection| element.interface.as_ref() == Some(&entry.interface);
            Some((entry, list.elements.iter().find(named)?.clone()))
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Map, json};

    use super::*;
    use crate::{cni_cache::Delegate, identity::SandboxId, pod::Seen, records::Phase};

    const MACVLAN: &str =
        r#"{"cniVersion":"1.0.0","name":"lan","type":"macvlan","ipam":{"type":"host-local"}}"#;

    fn entry(interface: &str, uid: &str) -> Entry {
        Entry {
            sandbox: SandboxId::parse("s1").unwrap(),
            interface: InterfaceName::parse(interface).unwrap(),
            config_name: "lan".to_owned(),
            netns: "/run/netns/s1".to_owned(),
            cni_args: vec![(UID.to_owned(), uid.to_owned())],
            config: MACVLAN.as_bytes().to_vec(),
            capability_args: Map::new(),
            result: json!({"cniVersion": "1.0.0", "interfaces": [{"name": interface}]}),
        }
    }

    fn delegate(network: Option<&str>, interface: &str) -> Delegate {
        Delegate {
            network: network.map(|name| NetworkName::new("default", name).unwrap()),
            interface: InterfaceName::parse(interface).ok(),
            config: MACVLAN.as_bytes().to_vec(),
            default: network.is_none(),
            ..Delegate::default()
        }
    }

    fn adopted(
        annotation: &str,
        delegates: &[Delegate],
        entries: &[Entry],
        config: Option<&str>,
    ) -> Vec<String> {
        let seen = [Seen {
            since: 0,
            networks: Some(annotation.to_owned()),
        }];
        let sight = FirstSight {
            namespace: "default",
            uid: "u1",
            seen: &seen,
            created: 0,
            delegates,
            entries,
            now: 1_000,
        };
        let configs = networks(&sight)
            .into_iter()
            .zip(config.map(str::to_owned))
            .collect();
        let records = judge(&sight, &configs);
        records
            .iter()
            .map(|record| format!("{}@{}", record.network, record.interface))
            .collect()
    }

    #[test]
    fn what_the_annotation_names_and_libcni_has_run_is_adopted() {
        let found = adopted(
            "a@net1,a@net2",
            &[delegate(None, "eth0"), delegate(Some("a"), "net1")],
            &[entry("eth0", "u1"), entry("net1", "u1"), entry("net2", "u1")],
            Some(MACVLAN),
        );
        assert_eq!(found, ["default/a@net2"]);
    }

    #[rstest]
    #[case::no_element_names_the_interface("a@net3", "u1", Some(MACVLAN))]
    #[case::the_element_has_no_name("a", "u1", Some(MACVLAN))]
    #[case::the_annotation_cannot_be_read("[null]", "u1", Some(MACVLAN))]
    #[case::it_ran_for_another_pod("a@net2", "u2", Some(MACVLAN))]
    #[case::the_network_is_gone("a@net2", "u1", None)]
    #[case::the_network_has_another_name("a@net2", "u1", Some(r#"{"name":"wan","type":"macvlan"}"#))]
    #[case::the_network_has_other_plugins("a@net2", "u1", Some(r#"{"name":"lan","type":"bridge"}"#))]
    #[case::the_network_cannot_be_read("a@net2", "u1", Some("null"))]
    fn what_fits_less_well_is_left_alone(
        #[case] annotation: &str,
        #[case] uid: &str,
        #[case] config: Option<&str>,
    ) {
        let found = adopted(
            annotation,
            &[delegate(None, "eth0")],
            &[entry("net2", uid)],
            config,
        );
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn nothing_is_adopted_where_multus_has_no_file() {
        assert_eq!(
            adopted("a@net2", &[], &[entry("net2", "u1")], Some(MACVLAN)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn its_record_releases_it_at_the_end() {
        let seen = [Seen {
            since: 0,
            networks: Some("a@net2".to_owned()),
        }];
        let (delegates, entries) = ([delegate(None, "eth0")], [entry("net2", "u1")]);
        let sight = FirstSight {
            namespace: "default",
            uid: "u1",
            seen: &seen,
            created: 0,
            delegates: &delegates,
            entries: &entries,
            now: 1_000,
        };
        let configs = BTreeMap::from([(NetworkName::new("default", "a").unwrap(), MACVLAN.to_owned())]);
        let records = judge(&sight, &configs);
        assert_eq!(records[0].origin, Origin::HotPlugged);
        assert!(
            matches!(&records[0].phase, Phase::Plugged { result } if result["interfaces"][0]["name"] == "net2")
        );
        assert!(
            records[0].config.contains(r#""name":"lan""#),
            "{}",
            records[0].config
        );
    }
}
