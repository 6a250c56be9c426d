use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::names::InterfaceName;

fn network(name: &str) -> NetworkName {
    NetworkName::new("default", name).unwrap()
}

fn made(result: &Value) -> Value {
    let mut result = result.clone();
    if result.get("cniVersion").is_none() {
        result["cniVersion"] = json!("1.1.0");
    }
    json!(entries(&network("a"), &CniResult::parse(&result).unwrap()))
}

fn entry(name: &str, interface: &str) -> StatusEntry {
    StatusEntry {
        name: network(name).to_string(),
        interface: interface.to_owned(),
        ..StatusEntry::default()
    }
}

fn put(entries: &[StatusEntry]) -> StatusChange {
    StatusChange {
        put: entries.to_vec(),
        ..StatusChange::default()
    }
}

#[rstest]
#[case(
    "[]",
    Some(
        r#"[{
    "name": "default/a",
    "interface": "net1",
    "dns": {}
}]"#
    )
)]
#[case(
    r#"[{"name":"b","interface":"net2"}]"#,
    Some(r#"[{"name":"b","interface":"net2"},{"name":"default/a","interface":"net1","dns":{}}]"#)
)]
#[case(r#"[{"name":"default/a","interface":"net1","mtu":7}]"#, None)]
#[case(r#"[{"name":"another","interface":"net1"}]"#, None)]
fn restores_an_entry_only_where_its_interface_is_missing(
    #[case] annotation: &str,
    #[case] expected: Option<&str>,
) {
    let change = StatusChange {
        restore: vec![entry("a", "net1")],
        ..StatusChange::default()
    };
    assert_eq!(spliced(annotation, &change).as_deref(), expected);
}

fn remove(name: &str, interfaces: &[&str]) -> StatusChange {
    let interfaces = interfaces
        .iter()
        .map(|name| InterfaceName::parse(name).unwrap())
        .collect();
    StatusChange {
        remove: vec![(network(name), interfaces)],
        ..StatusChange::default()
    }
}

fn spliced(annotation: &str, change: &StatusChange) -> Option<String> {
    splice(Some(annotation), change).unwrap()
}

#[test]
fn one_interface_gives_one_entry_with_every_address() {
    let result = json!({
        "interfaces": [{"name": "net1", "mac": "02:11:22:33:44:55", "mtu": 1400, "sandbox": "/n"}],
        "ips": [{"address": "10.0.0.2/24", "interface": 0}, {"address": "fd00::2/64", "interface": 7}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "fd00::1"}, {"dst": "10.0.0.0/8", "gw": "10.0.0.9"}],
        "dns": {"search": ["x"]},
    });
    assert_eq!(
        made(&result),
        json!([{"name": "default/a", "interface": "net1", "ips": ["10.0.0.2", "fd00::2"], "mac": "02:11:22:33:44:55",
                "mtu": 1400, "dns": {"search": ["x"]}, "gateway": ["10.0.0.1", "fd00::1"]}])
    );
}

#[test]
fn an_interface_on_the_host_gives_an_unnamed_entry() {
    let result =
        json!({"interfaces": [{"name": "br0", "mac": "x", "mtu": 1}], "ips": [{"address": "10.0.0.2/24"}]});
    assert_eq!(
        made(&result),
        json!([{"name": "default/a", "ips": ["10.0.0.2"], "dns": {}}])
    );
}

#[test]
fn gives_one_entry_for_each_interface_in_the_sandbox() {
    let result = json!({
        "interfaces": [{"name": "veth1"}, {"name": "net1", "sandbox": "/n"}, {"name": "net2", "sandbox": "/n"}],
        "ips": [
            {"address": "10.0.0.1/24", "interface": 1},
            {"address": "10.0.0.2/24", "interface": 2},
            {"address": "10.0.0.3/24"},
            {"address": "10.0.0.4/24", "interface": 0},
            {"address": "10.0.0.5/24", "interface": -1},
        ],
        "routes": [{"dst": "0.0.0.0/1"}],
    });
    assert_eq!(
        made(&result),
        json!([
            {"name": "default/a", "interface": "net1", "ips": ["10.0.0.1"], "dns": {}, "gateway": ["<nil>"]},
            {"name": "default/a", "interface": "net2", "ips": ["10.0.0.2", "10.0.0.3"], "dns": {}, "gateway": ["<nil>"]},
        ])
    );
}

#[rstest]
#[case(json!({"ips": [{"address": "10.0.0.2/24"}]}))]
#[case(json!({"interfaces": []}))]
#[case(json!({"interfaces": [{"name": "a"}, {"name": "b"}], "ips": [{"address": "10.0.0.2/24"}]}))]
#[case(json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}))]
fn a_result_without_interfaces_in_the_pod_gives_none(#[case] result: Value) {
    assert_eq!(made(&result), json!([]));
}

#[test]
fn keys_have_the_order_in_which_go_writes_them() {
    let full = StatusEntry {
        ips: vec!["10.0.0.2".to_owned()],
        mac: "m".to_owned(),
        mtu: 1,
        default: true,
        device_info: Some(json!({})),
        gateway: vec!["10.0.0.1".to_owned()],
        ..entry("a", "net1")
    };
    assert_eq!(
        serde_json::to_string(&full).unwrap(),
        r#"{"name":"default/a","interface":"net1","ips":["10.0.0.2"],"mac":"m","mtu":1,"default":true,"dns":{},"device-info":{},"gateway":["10.0.0.1"]}"#
    );
}

#[rstest]
#[case(None, 0)]
#[case(Some(""), 0)]
#[case(Some("x"), 0)]
#[case(Some("{}"), 0)]
#[case(
    Some(r#"[null,1,{"name":1},{"name":"default/a"},{"name":"default/b","ips":null,"x":[]}]"#),
    2
)]
fn reads_what_can_be_read(#[case] annotation: Option<&str>, #[case] count: usize) {
    assert_eq!(read(annotation).len(), count);
}

#[test]
fn a_deeply_nested_status_is_neither_read_nor_edited() {
    let deep = "[".repeat(10_000);
    assert_eq!(read(Some(&deep)), []);
    assert!(splice(Some(&deep), &put(&[entry("a", "net1")])).is_err());
}

const MULTUS: &str = "[{\n    \"name\": \"podnet\",\n    \"interface\": \"eth0\",\n    \"default\": true,\n    \"dns\": {}\n},{\n    \"name\": \"default/a\",\n    \"interface\": \"net1\",\n    \"dns\": {}\n}]";

#[test]
fn an_entry_is_appended_in_the_style_of_multus() {
    let appended = spliced(MULTUS, &put(&[entry("b", "net2")])).unwrap();
    let expected = MULTUS.replace(
        "\n}]",
        "\n},{\n    \"name\": \"default/b\",\n    \"interface\": \"net2\",\n    \"dns\": {}\n}]",
    );
    assert_eq!(appended, expected);
    assert_eq!(spliced(&appended, &remove("b", &["net2"])).unwrap(), MULTUS);
}

#[rstest]
#[case(None)]
#[case(Some(""))]
#[case(Some("[]"))]
#[case(Some(" [ ] "))]
fn a_first_entry_is_written_as_multus_would(#[case] annotation: Option<&str>) {
    let written = splice(annotation, &put(&[entry("a", "net1")])).unwrap().unwrap();
    assert_eq!(
        written,
        "[{\n    \"name\": \"default/a\",\n    \"interface\": \"net1\",\n    \"dns\": {}\n}]"
    );
}

#[test]
fn compact_text_stays_compact() {
    let compact = r#"[{"name":"x","z":1}]"#;
    let appended = spliced(compact, &put(&[entry("a", "net1")])).unwrap();
    assert_eq!(
        appended,
        r#"[{"name":"x","z":1},{"name":"default/a","interface":"net1","dns":{}}]"#
    );
}

#[test]
fn a_pretty_list_stays_pretty() {
    let pretty = "[\n  {\n    \"name\": \"x\"\n  }\n]\n";
    let appended = spliced(pretty, &put(&[entry("a", "net1")])).unwrap();
    assert_eq!(
        appended,
        "[\n  {\n    \"name\": \"x\"\n  },\n  {\n    \"name\": \"default/a\",\n    \"interface\": \"net1\",\n    \"dns\": {}\n  }\n]\n"
    );
}

#[test]
fn an_entry_that_is_there_is_replaced_in_place() {
    let before = r#"[{"name":"default/a","interface":"net1"},{"name":"x"}]"#;
    let changed = StatusEntry {
        mac: "m".to_owned(),
        ..entry("a", "net1")
    };
    let after = spliced(before, &put(&[changed])).unwrap();
    assert_eq!(
        after,
        r#"[{"name":"default/a","interface":"net1","mac":"m","dns":{}},{"name":"x"}]"#
    );
}

#[rstest]
#[case(put(&[entry("a", "net1")]))]
#[case(remove("a", &["net2"]))]
#[case(remove("b", &["net1"]))]
#[case(remove("a", &[]))]
#[case(StatusChange::default())]
fn nothing_to_do_is_no_new_text(#[case] change: StatusChange) {
    assert_eq!(spliced(MULTUS, &change), None);
    assert_eq!(
        spliced(r#"[{"interface":"net1","name":"default/a"}]"#, &change),
        None
    );
}

#[test]
fn the_last_entry_leaves_an_empty_list() {
    assert_eq!(
        spliced(
            r#"[ {"name":"default/a","interface":"net1"} ]"#,
            &remove("a", &["net1"])
        )
        .unwrap(),
        "[]"
    );
}

#[test]
fn an_entry_without_interface_is_removed_by_its_network() {
    let before = r#"[{"name":"default/a"},{"name":"default/a","interface":"net1"}]"#;
    assert_eq!(
        spliced(before, &remove("a", &[])).unwrap(),
        r#"[{"name":"default/a","interface":"net1"}]"#
    );
}

#[test]
fn the_cluster_networks_entry_is_out_of_reach() {
    let default = r#"[{"name":"default/a","interface":"net1","default":true}]"#;
    assert_eq!(spliced(default, &remove("a", &["net1"])), None);
    let appended = spliced(default, &put(&[entry("a", "net1")])).unwrap();
    assert!(appended.starts_with(&default[..default.len() - 1]), "{appended}");
}

#[test]
fn what_is_left_over_of_the_same_attachment_goes() {
    let twice =
        r#"[{"name":"default/a","interface":"net1","mac":"x"},{"name":"default/a","interface":"net1"}]"#;
    let after = spliced(twice, &put(&[entry("a", "net1")])).unwrap();
    assert_eq!(read(Some(&after)), [entry("a", "net1")]);
}

#[test]
fn html_characters_are_escaped_as_go_does() {
    let nil = StatusEntry {
        gateway: vec!["<nil>".to_owned()],
        ..entry("a", "net1")
    };
    let written = spliced("[]", &put(&[nil])).unwrap();
    assert!(written.contains(r#""\u003cnil\u003e""#), "{written}");
}

#[rstest]
#[case("x")]
#[case("{}")]
#[case("null")]
#[case("[1,]")]
fn damage_is_reported_and_not_repaired(#[case] annotation: &str) {
    assert!(splice(Some(annotation), &put(&[entry("a", "net1")])).is_err());
}

/// Entries of other writers, with what they may contain, laid out in one of three ways.
fn foreign() -> impl Strategy<Value = String> {
    (any::<String>(), 0u8..3).prop_map(|(text, style)| {
        let value =
            json!({"name": format!("other/{text}"), "interface": text, "unknown": [text, {"x": null}]});
        match style {
            0 => value.to_string(),
            1 => serde_json::to_string_pretty(&value).unwrap(),
            _ => value.to_string().replacen('{', "{ ", 1),
        }
    })
}

proptest! {
    #[test]
    fn foreign_entries_keep_their_bytes_and_their_order(
        items in prop::collection::vec(foreign(), 0..5),
        ours in prop::collection::vec(0usize..5, 0..3),
        separator in ", ?\n?",
    ) {
        let mut all = items.clone();
        for (k, position) in ours.iter().enumerate() {
            let own = format!(r#"{{"name":"default/a","interface":"net{k}"}}"#);
            all.insert((*position).min(all.len()), own);
        }
        let before = format!("[{}]", all.join(&separator));
        let names: Vec<String> = (0..ours.len()).map(|k| format!("net{k}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let removed = spliced(&before, &remove("a", &names)).unwrap_or_else(|| before.clone());
        let added = spliced(&before, &put(&[entry("b", "net9")])).unwrap();
        for after in [&removed, &added] {
            let mut rest = after.as_str();
            for item in &items {
                let at = rest.find(item.as_str());
                prop_assert!(at.is_some(), "{} lost {}", after, item);
                rest = &rest[at.unwrap() + item.len()..];
            }
        }
        prop_assert_eq!(read(Some(&removed)).len(), items.len());
        prop_assert_eq!(read(Some(&added)).len(), all.len() + 1);
        prop_assert!(spliced(&added, &put(&[entry("b", "net9")])).is_none());
    }

    #[test]
    fn any_text_is_handled_without_a_panic(annotation in any::<String>()) {
        let _ = splice(Some(&annotation), &put(&[entry("a", "net1")]));
        let _ = read(Some(&annotation));
    }
}
