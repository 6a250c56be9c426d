//! What is filled in, what is left alone, and that doing it again changes nothing.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use shared::annotations;

use super::*;
use crate::{
    admission::review::Pod,
    testing::{cases, config, parsed, pod},
};

fn fill_in(old: Option<&Pod>, pod: &Pod, mode: InterfaceNames, settings: &Value) -> String {
    let annotation = pod.networks().unwrap_or_default();
    let change = Change {
        namespace: "default",
        annotation,
        pod,
        old,
    };
    filled(&change, mode, &config(settings)).unwrap_or_else(|| annotation.to_owned())
}

fn on_create(networks: &str) -> String {
    fill_in(None, &parsed(&pod(networks)), InterfaceNames::Fill, &json!({}))
}

fn on_update(old: &str, status: &Value, networks: &str) -> String {
    let mut stored = pod(old);
    stored["metadata"]["annotations"][annotations::NETWORK_STATUS] = status.to_string().into();
    let (old, new) = (parsed(&stored), parsed(&pod(networks)));
    fill_in(Some(&old), &new, InterfaceNames::Fill, &json!({}))
}

#[rstest]
#[case::text("a", "a@net1")]
#[case::text_with_blanks(" x/a , b ", " x/a@net1 , b@net2 ")]
#[case::the_second_only("a@ens4,b", "a@ens4,b@net2")]
#[case::around_a_clash("a@net2,b", "a@net2,b@net1")]
#[case::json(r#"[{"name":"a"}]"#, r#"[{"name":"a","interface":"net1"}]"#)]
#[case::json_with_an_unknown_key(
    r#"[{"x-y": 1, "name":"a"}]"#,
    r#"[{"x-y": 1, "name":"a", "interface": "net1"}]"#
)]
fn names_are_filled_in_on_creation(#[case] networks: &str, #[case] expected: &str) {
    let filled = on_create(networks);
    // Where in the element the name goes is not promised, but that nothing else changes is.
    let read = |text: &str| SelectionList::parse(Some(text), "default").unwrap();
    assert_eq!(read(&filled).elements, read(expected).elements, "{filled}");
    assert_eq!(read(&filled).format, read(networks).format);
}

#[rstest]
#[case::all_named_text(" a@net1, x/b@ens4 ")]
#[case::all_named_kubevirt(r#"[{"interface":"pod37a8eec1ce1","mac":"02:00:00:00:00:01","name":"n","namespace":"default","cni-args":{"logicNetworkName":"x"}}]"#)]
#[case::odd_but_named("[ {\"interface\" : \"a\\u0062\",\n\t\"name\":\"n\", \"z\":[1e3, {} ]} ]")]
#[case::none("[]")]
#[case::unreadable("[{\"name\":")]
#[case::single_object(r#"{"name":"a"}"#)]
#[case::null_element("[null]")]
#[case::reserved_name("a@eth0,b")]
fn what_needs_nothing_or_cannot_be_read_is_left_as_it_is(#[case] networks: &str) {
    assert_eq!(on_create(networks), networks);
    assert_eq!(on_update("[]", &json!([]), networks), networks);
}

#[rstest]
#[case::reject(InterfaceNames::Reject)]
#[case::warn(InterfaceNames::Warn)]
#[case::off(InterfaceNames::Off)]
fn only_the_mode_fill_fills(#[case] mode: InterfaceNames) {
    assert_eq!(fill_in(None, &parsed(&pod("a")), mode, &json!({})), "a");
}

#[test]
fn kubevirts_pods_are_left_alone() {
    let mut launcher = pod("a,b@ens4");
    launcher["metadata"]["labels"] = json!({ "kubevirt.io": "virt-launcher" });
    let launcher = parsed(&launcher);

    assert_eq!(
        fill_in(None, &launcher, InterfaceNames::Fill, &json!({})),
        "a,b@ens4"
    );
    assert_eq!(
        fill_in(
            Some(&parsed(&pod("c"))),
            &launcher,
            InterfaceNames::Fill,
            &json!({})
        ),
        "a,b@ens4"
    );
}

#[test]
fn names_start_behind_those_of_multus_default_networks() {
    let settings = json!({ "interfaceOffset": 2, "systemNamespaces": ["kube-system"] });

    assert_eq!(
        fill_in(None, &parsed(&pod("a")), InterfaceNames::Fill, &settings),
        "a@net3"
    );
}

#[rstest]
#[case::behind_the_default_networks("a@net2", "a@net2,b", "a@net2,b@net3")]
#[case::by_position("x@foo,a", "x@foo,a,b", "x@foo,a@net3,b@net4")]
fn until_a_pod_starts_names_are_filled_in_as_on_creation(
    #[case] old: &str,
    #[case] networks: &str,
    #[case] expected: &str,
) {
    let (old, new) = (parsed(&pod(old)), parsed(&pod(networks)));
    let settings = json!({ "interfaceOffset": 1, "systemNamespaces": ["kube-system"] });
    assert_eq!(
        fill_in(Some(&old), &new, InterfaceNames::Fill, &settings),
        expected
    );
}

#[test]
fn reapplying_an_unnamed_file_changes_nothing() {
    let status = json!([
        { "name": "podnet", "interface": "eth0", "default": true, "dns": {} },
        { "name": "default/a", "interface": "net1", "dns": {} },
        { "name": "default/b", "interface": "ens4", "dns": {} },
    ]);

    assert_eq!(on_update("a@net1,b@ens4", &status, "a,b@ens4"), "a@net1,b@ens4");
}

#[test]
fn a_new_element_gets_a_name_never_used_before() {
    let status = json!([{ "name": "default/x", "interface": "net2", "dns": {} }]);

    assert_eq!(
        on_update("gone@net1", &status, "kept@net3,new"),
        "kept@net3,new@net4"
    );
}

#[rstest]
#[case::no_list("garbage")]
#[case::no_names(r#"[{"name":7},null,{"interface":"net1"}]"#)]
#[case::impossible_names(
    r#"[{"name":"default/a","interface":"../../etc/passwd"},{"name":"default/a","interface":"eth0"}]"#
)]
fn a_forged_status_gives_no_impossible_name(#[case] status: &str) {
    let mut stored = pod("[]");
    stored["metadata"]["annotations"][annotations::NETWORK_STATUS] = status.into();

    let filled = fill_in(
        Some(&parsed(&stored)),
        &parsed(&pod("a")),
        InterfaceNames::Fill,
        &json!({}),
    );

    assert!(["a@net1", "a@net2"].contains(&filled.as_str()), "{filled}");
}

/// Elements of every sort, named and unnamed, sometimes clashing, sometimes impossible.
fn element() -> impl Strategy<Value = (String, Option<String>)> {
    let network = prop_oneof![Just("a"), Just("b"), Just("x/a"), Just("default/c")].prop_map(str::to_owned);
    let interface = prop_oneof![
        4 => Just(None),
        3 => (0..9_u32).prop_map(|k| Some(format!("net{k}"))),
        1 => prop_oneof![Just("ens4"), Just("eth0"), Just("uplink_p0")].prop_map(|name| Some(name.to_owned())),
    ];
    (network, interface)
}

fn annotation() -> impl Strategy<Value = String> {
    (
        proptest::collection::vec(element(), 0..8),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(elements, text, wide)| {
            if text {
                let one = |(network, interface): &(String, Option<String>)| {
                    network.clone()
                        + &interface
                            .as_ref()
                            .map(|name| format!("@{name}"))
                            .unwrap_or_default()
                };
                return elements
                    .iter()
                    .map(one)
                    .collect::<Vec<_>>()
                    .join(if wide { " , " } else { "," });
            }
            let list: Vec<Value> = elements
                .iter()
                .map(|(network, interface)| {
                    let (namespace, name) = network.split_once('/').unwrap_or(("default", network));
                    let mut element = json!({ "name": name, "namespace": namespace, "unknown": [1, null] });
                    if let Some(interface) = interface {
                        element["interface"] = interface.as_str().into();
                    }
                    element
                })
                .collect();
            if wide {
                serde_json::to_string_pretty(&list).unwrap()
            } else {
                json!(list).to_string()
            }
        })
}

fn status() -> impl Strategy<Value = Value> {
    let entry = element()
        .prop_map(|(network, interface)| json!({ "name": network, "interface": interface, "dns": {} }));
    proptest::collection::vec(entry, 0..5).prop_map(Value::from)
}

/// What another mutating webhook may do between two calls.
fn meddle(networks: &str) -> String {
    let text = SelectionList::parse(Some(networks), "default")
        .is_ok_and(|list| list.format == shared::selection::Format::Text && !list.elements.is_empty());
    if text {
        return format!("{networks}, istio-system/istio-cni");
    }
    let Ok(Value::Array(mut list)) = serde_json::from_str(networks) else {
        return networks.to_owned();
    };
    list.push(json!({ "name": "istio-cni" }));
    serde_json::to_string_pretty(&list).unwrap()
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn filling_in_twice_is_filling_in_once(
        old in proptest::option::of(annotation()),
        status in status(),
        networks in annotation(),
    ) {
        let again = |networks: &str| match &old {
            None => on_create(networks),
            Some(old) => on_update(old, &status, networks),
        };
        let once = again(&networks);
        prop_assert_eq!(&again(&once), &once);

        let Ok(first) = SelectionList::parse(Some(&once), "default") else {
            prop_assert_eq!(once, networks);
            return Ok(());
        };
        prop_assert!(first.elements.iter().all(|element| element.interface.is_some()));

        // Also with another mutator between two calls: what has a name keeps it.
        let meddled = meddle(&once);
        let second = again(&meddled);
        prop_assert_eq!(&again(&second), &second);
        if let Ok(second) = SelectionList::parse(Some(&second), "default") {
            for (before, after) in first.elements.iter().zip(&second.elements) {
                prop_assert_eq!(&before.interface, &after.interface);
            }
        }
    }

    #[test]
    fn the_patch_touches_the_one_annotation_only(networks in annotation()) {
        let before = pod(&networks);
        let object = parsed(&before);
        let change = Change { namespace: "default", annotation: &networks, pod: &object, old: None };
        let Some(patch) = fill(&change, InterfaceNames::Fill, &config(&json!({}))) else { return Ok(()) };
        let patch: Patch = serde_json::from_slice(&patch.patch).unwrap();

        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).unwrap();

        prop_assert_ne!(&after, &before);
        after["metadata"]["annotations"][annotations::NETWORKS] = networks.into();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn the_patch_carries_every_character_of_an_unknown_field(
        unknown in "(\\PC|[\"\\\\\\x00-\\x20\\x7f]){0,300}"
    ) {
        let networks = json!([{ "unknown": unknown, "name": "a" }]).to_string();
        let before = pod(&networks);
        let object = parsed(&before);
        let change = Change { namespace: "default", annotation: &networks, pod: &object, old: None };
        let filled = fill(&change, InterfaceNames::Fill, &config(&json!({}))).unwrap();
        let patch: Value = serde_json::from_slice(&filled.patch).unwrap();
        let path = "/metadata/annotations/k8s.v1.cni.cncf.io~1networks";
        let list = SelectionList::parse(Some(&networks), "default").unwrap();
        let value = list.with_interfaces(&[Some(InterfaceName::net(1))]);
        prop_assert_eq!(patch, json!([{ "op": "replace", "path": path, "value": value }]));
    }
}
