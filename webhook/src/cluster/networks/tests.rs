//! What is kept of networks, and what is said about those that are not there.

use rstest::rstest;
use serde_json::{Value, json};
use shared::{
    cni::{Capability, DeviceNeed},
    validate::Networks as _,
};

use super::*;
use crate::testing::{macvlan, network};

fn name(text: &str) -> NetworkName {
    NetworkName::parse(text).unwrap()
}

fn knowing(definitions: &[NetworkAttachmentDefinition]) -> Networks {
    let networks = Networks::default();
    networks.replace(definitions);
    networks
}

#[test]
fn what_any_plugin_declares_is_kept() {
    let mut config = macvlan(&["ips"]);
    config["plugins"][0]["capabilities"]["mac"] = false.into();
    config["plugins"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "portmap", "capabilities": { "portMappings": true } }));

    let Network::Present {
        config: Some(Ok(declared)),
        device,
    } = knowing(&[network("x", "n", &config)]).network(&name("x/n"))
    else {
        panic!("it is there");
    };

    let expected = [Capability::Ips, Capability::PortMappings];
    assert_eq!(
        (declared, device),
        (expected.into_iter().collect(), DeviceNeed::None)
    );
}

#[rstest]
#[case::no_spec(json!({ "metadata": { "namespace": "x", "name": "n" } }))]
#[case::null_spec(json!({ "metadata": { "namespace": "x", "name": "n" }, "spec": null }))]
#[case::empty_config(json!({ "metadata": { "namespace": "x", "name": "n" }, "spec": { "config": "" } }))]
fn a_network_without_a_config_has_it_on_the_node(#[case] object: Value) {
    let definition: NetworkAttachmentDefinition = serde_json::from_value(object).unwrap();

    let found = knowing(&[definition]).network(&name("x/n"));

    assert_eq!(
        found,
        Network::Present {
            config: None,
            device: DeviceNeed::None
        }
    );
}

#[test]
fn keeps_why_a_config_cannot_run() {
    let found = knowing(&[network("x", "n", &json!({ "plugins": [] }))]).network(&name("x/n"));

    assert!(
        matches!(
            found,
            Network::Present {
                config: Some(Err(_)),
                ..
            }
        ),
        "{found:?}"
    );
}

#[rstest]
#[case::marker("bridge.network.kubevirt.io/br1", json!({ "type": "bridge" }), DeviceNeed::None)]
#[case::vendor("vendor.example/vf", json!({ "type": "sriov" }), DeviceNeed::Required)]
#[case::named("vendor.example/vf", json!({ "type": "sriov", "deviceID": "0000:03:02.1" }), DeviceNeed::None)]
#[case::broken("vendor.example/vf", json!({ "type": "" }), DeviceNeed::None)]
fn a_resource_is_a_device_where_a_plugin_requires_one(
    #[case] resource: &str,
    #[case] config: Value,
    #[case] expected: DeviceNeed,
) {
    let mut definition = network("x", "n", &config);
    let resource = (shared::annotations::RESOURCE_NAME.to_owned(), resource.to_owned());
    definition.metadata.annotations = Some([resource].into());

    let found = knowing(&[definition]).network(&name("x/n"));

    assert!(
        matches!(found, Network::Present { device, .. } if device == expected),
        "{found:?}"
    );
}

#[test]
fn nothing_is_missing_before_there_is_a_list() {
    assert_eq!(Networks::default().network(&name("x/n")), Network::Unknown);
}

#[test]
fn a_missing_network_comes_with_similar_ones() {
    let networks = knowing(&["n1", "other"].map(|name| network("x", name, &macvlan(&[]))));

    let found = networks.network(&name("x/n2"));

    assert_eq!(
        found,
        Network::Missing {
            similar: vec![name("x/n1")]
        }
    );
}

#[test]
fn an_odd_object_does_not_hide_the_others() {
    let odd: NetworkAttachmentDefinition = serde_json::from_value(json!({ "spec": ["?"] })).unwrap();

    let networks = knowing(&[odd, network("x", "n", &macvlan(&[]))]);

    assert!(matches!(networks.network(&name("x/n")), Network::Present { .. }));
}

/// The budget of a network in the cache is 1 KiB; what is kept does not grow with its config.
#[test]
fn what_is_kept_is_small() {
    let mut config = macvlan(&["ips", "mac"]);
    config["plugins"][0]["ipam"]["addresses"] = json!(vec!["198.18.0.1/24"; 100]);
    let (name, summary) = network("x", "n", &config).summary().unwrap();

    let size = size_of_val(&name) + name.as_str().len() + size_of_val(&summary);

    assert!(size < 128, "{size}: {summary:?}");
}

#[test]
fn of_the_metadata_only_what_is_used_is_read() {
    let definition: NetworkAttachmentDefinition = serde_json::from_value(json!({
        "metadata": {
            "namespace": "x", "name": "n", "resourceVersion": "7", "managedFields": [{ "manager": "kubectl" }],
            "annotations": { "applied": "a long text", (shared::annotations::RESOURCE_NAME): "vendor/vf" },
        },
    }))
    .unwrap();

    let read = serde_json::to_value(&definition.metadata).unwrap();

    let annotations = json!({ (shared::annotations::RESOURCE_NAME): "vendor/vf" });
    assert_eq!(
        read,
        json!({ "namespace": "x", "name": "n", "resourceVersion": "7", "annotations": annotations })
    );
}

#[test]
fn ovn_kubernetes_reads_addresses_from_the_annotation_itself() {
    let config =
        json!({ "cniVersion": "1.0.0", "name": "n", "type": "ovn-k8s-cni-overlay", "topology": "layer2" });

    let Network::Present {
        config: Some(Ok(declared)),
        ..
    } = knowing(&[network("x", "n", &config)]).network(&name("x/n"))
    else {
        panic!("it is there");
    };

    assert_eq!(declared, [Capability::Ips, Capability::Mac].into_iter().collect());
}

/// An object takes up to 1.5 MiB, several times in memory while it is read; the program has 128
/// MiB.
#[tokio::test]
async fn a_page_of_the_largest_networks_fits_into_memory() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let heard = std::sync::Arc::clone(&asked);
    let client = crate::testing::client(move |_, path| {
        heard.lock().unwrap().push_str(path);
        crate::testing::not_found()
    });
    tokio::spawn(async move { Networks::default().follow(client, &Metrics::default()).await });
    crate::testing::until("a list is asked for", || asked.lock().unwrap().contains("limit=")).await;

    let query = asked.lock().unwrap().clone();
    let limit = query.split("limit=").nth(1).unwrap().split('&').next().unwrap();
    assert!(limit.parse::<usize>().unwrap() * 3 / 2 * 2 <= 64, "{query}");
}
