use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::selection::{Attributes, SelectionList};

fn parse(config: &str) -> Result<NetworkConfig, ConfigError> {
    NetworkConfig::parse(config, "nad")
}

fn asked(fields: &str) -> Attributes {
    let annotation = format!(r#"[{{"name":"nad"{fields}}}]"#);
    SelectionList::parse(Some(&annotation), "default")
        .unwrap()
        .elements[0]
        .attributes()
        .clone()
}

/// The conflist for a single macvlan with `plugin_fields`, as data.
fn sent(plugin_fields: &str, asked_fields: &str) -> Value {
    let config = parse(&format!(
        r#"{{"cniVersion":"1.0.0","type":"macvlan"{plugin_fields}}}"#
    ))
    .unwrap();
    serde_json::from_str(&config.conflist_for(&asked(asked_fields))).unwrap()
}

#[test]
fn a_single_configuration_keeps_its_version_as_a_list() {
    let config = parse(r#"{"cniVersion":"0.4.0","name":"n","type":"macvlan","master":"eth1"}"#).unwrap();
    assert_eq!(
        config.conflist_for(&asked("")),
        r#"{"cniVersion":"0.4.0","cniVersions":["0.4.0"],"name":"n","plugins":[{"master":"eth1","name":"plugin-0","type":"macvlan"}]}"#
    );
}

#[test]
fn a_sent_conflist_is_parsed_and_sent_again_unchanged() {
    let config = parse(
        r#"{"cniVersion":"1.0.0","plugins":[{"type":"a","capabilities":{"ips":true,"bandwidth":true}},{"type":"b"}]}"#,
    );
    let bandwidth =
        r#","bandwidth":{"ingressRate":1,"ingressBurst":2},"ips":["10.0.0.1/24"],"cni-args":{"k":1}"#;
    let bytes = config.unwrap().conflist_for(&asked(bandwidth));
    let again = parse(&bytes).unwrap();
    assert_eq!(again.conflist(), bytes);
    assert_eq!(again.conflist_for(&asked("")), bytes);
}

#[test]
fn each_plugin_gets_the_runtime_config_that_it_declares() {
    let sent = sent(
        r#","capabilities":{"ips":true,"mac":false,"portMappings":true,"infinibandGUID":true}"#,
        r#","ips":["10.0.0.1/24"],"mac":"02:11:22:33:44:55","portMappings":[{"hostPort":1,"containerPort":2}],
           "infiniband-guid":"c2:11:22:33:44:55:66:77""#,
    );
    let plugin = &sent["plugins"][0];
    assert_eq!(
        plugin["runtimeConfig"],
        json!({"ips": ["10.0.0.1/24"], "portMappings": [{"hostPort": 1, "containerPort": 2}],
               "infinibandGUID": "c2:11:22:33:44:55:66:77"})
    );
    assert_eq!(
        plugin["capabilities"],
        json!({"portMappings": true, "infinibandGUID": true})
    );
}

#[test]
fn keeps_the_networks_runtime_config_without_fields_to_write() {
    let own = r#","runtimeConfig":{"x":1},"capabilities":{"ips":true}"#;
    assert_eq!(sent(own, "")["plugins"][0]["runtimeConfig"], json!({"x": 1}));
    assert_eq!(
        sent(own, r#","ips":["10.0.0.1"]"#)["plugins"][0]["runtimeConfig"],
        json!({"ips": ["10.0.0.1"]})
    );
}

#[test]
fn cni_args_are_merged_over_the_networks_own() {
    let sent = sent(
        r#","args":{"cni":{"a":1,"b":2},"other":0}"#,
        r#","cni-args":{"b":3,"c":4}"#,
    );
    assert_eq!(
        sent["plugins"][0]["args"],
        json!({"cni": {"a": 1, "b": 3, "c": 4}, "other": 0})
    );
}

#[rstest]
#[case("{}", "nad")]
#[case(r#"{"name":""}"#, "nad")]
#[case(r#"{"name":"own"}"#, "own")]
fn a_missing_name_is_the_nads(#[case] config: &str, #[case] name: &str) {
    let config = config.replacen('{', r#"{"type":"x","#, 1).replace(",}", "}");
    assert_eq!(parse(&config).unwrap().name, name);
}

#[rstest]
#[case(r#""type":"x""#, None)]
#[case(r#""type":"x","cniVersion":"""#, None)]
#[case(r#""type":"x","cniVersion":"0.3.1","cniVersions":["1.0.0"]"#, Some("0.3.1"))]
#[case(
    r#""plugins":[{"type":"x"}],"cniVersion":"0.3.1","cniVersions":["0.4.0","1.1.0","1.2.0"]"#,
    Some("1.1.0")
)]
#[case(
    r#""plugins":[{"type":"x"}],"cniVersion":"1.0.0","cniVersions":["0.4.0"]"#,
    Some("1.0.0")
)]
fn the_version_is_the_one_that_libcni_takes(#[case] fields: &str, #[case] version: Option<&str>) {
    assert_eq!(
        parse(&format!("{{{fields}}}")).unwrap().cni_version.as_deref(),
        version
    );
}

#[rstest]
#[case("null", "must be a JSON object")]
#[case("[]", "must be a JSON object")]
#[case("{", "is not JSON")]
#[case("{}", "must have a \"type\"")]
#[case(r#"{"plugins":null}"#, "must have a \"type\"")]
#[case(r#"{"plugins":[]}"#, "at least one plugin")]
#[case(r#"{"plugins":{}}"#, "at least one plugin")]
#[case(
    r#"{"plugins":[{"type":"x"},null]}"#,
    "plugin 1 of the config must be a JSON object"
)]
#[case(r#"{"plugins":[{}]}"#, "the type \"\" in plugin 0")]
#[case(r#"{"type":"../x"}"#, "without '/'")]
#[case(r#"{"type":5}"#, "the type \"5\" in plugin 0")]
#[case(r#"{"type":"x","ipam":{"type":"/bin/sh"}}"#, "the type \"/bin/sh\"")]
#[case(
    r#"{"type":"x","ipam":"host-local"}"#,
    "ipam in plugin 0 of the config must be an object"
)]
#[case(r#"{"type":"x","name":null}"#, "the name \"null\"")]
#[case(r#"{"type":"x","name":"../../x"}"#, "the name \"../../x\"")]
#[case(r#"{"type":"x","name":"-x"}"#, "the name \"-x\"")]
#[case(r#"{"type":"x","cniVersion":"1.x"}"#, "the cniVersion \"1.x\"")]
#[case(r#"{"type":"x","cniVersion":1}"#, "the cniVersion \"1\"")]
#[case(r#"{"type":"x","cniVersion":"1.0.0.0"}"#, "the cniVersion")]
#[case(r#"{"plugins":[{"type":"x"}],"cniVersions":"1.0.0"}"#, "the cniVersion")]
#[case(r#"{"type":"x","capabilities":{"ips":"yes"}}"#, "capabilities in plugin 0")]
#[case(
    r#"{"type":"x","args":"x"}"#,
    "args in plugin 0 of the config must be an object"
)]
#[case(r#"{"type":"x","args":{"cni":"x"}}"#, "args in plugin 0")]
fn refuses_what_could_not_run(#[case] config: &str, #[case] message: &str) {
    let error = parse(config).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn names_leave_room_for_the_cache_file() {
    let named = |length| parse(&format!(r#"{{"type":"x","name":"{}"}}"#, "n".repeat(length)));
    assert!(named(170).is_ok());
    assert!(matches!(named(171), Err(ConfigError::Name(_))));
}

#[test]
fn a_deeply_nested_config_is_an_error() {
    assert!(matches!(parse(&"[".repeat(10_000)), Err(ConfigError::NotJson(_))));
}

#[test]
fn a_stuck_deletion_continues_without_a_plugin_or_ipam() {
    let config =
        parse(r#"{"name":"n","plugins":[{"type":"a","ipam":{"type":"host-local"}},{"type":"b"}]}"#).unwrap();
    let plugins = |config: Option<NetworkConfig>| config.map(|config| json!(config.plugins));
    assert_eq!(plugins(config.only_plugin(1)), Some(json!([{"type": "b"}])));
    assert_eq!(plugins(config.only_plugin(2)), None);
    assert_eq!(
        plugins(config.without_ipam(0)),
        Some(json!([{"type": "a"}, {"type": "b"}]))
    );
    assert_eq!(plugins(config.without_ipam(1)), None);
    let ipam = json!([{"type": "host-local", "ipam": {"type": "host-local"}}]);
    assert_eq!(plugins(config.only_ipam(0)), Some(ipam));
    assert_eq!(plugins(config.only_ipam(1)), None);
}

#[rstest]
#[case(r#"{"Type":"macvlan","CNIVersion":"1.0.0","IPAM":{"Type":"static"},"Capabilities":{"ips":true}}"#)]
#[case(r#"{"cniVersion":"1.0.0","plugins":[{"TYPE":"macvlan","Ipam":{"TYPE":"static"},"capabilities":{"ips":true}}]}"#)]
#[case(r#"{"type":"macvlan","cniversion":"1.0.0","ipam":{"type":"static"},"capabilities":{"ips":true},"args":null}"#)]
#[case(r#"{"type":"macvlan","cniVersion":"1.0.0","ipam":{"type":"static"},"capabilities":{"ips":true},"args":{"cni":null}}"#)]
fn keys_of_a_plugin_are_read_in_any_case_as_go_does(#[case] text: &str) {
    let config = NetworkConfig::parse(text, "nad").unwrap();
    assert_eq!(config.cni_version.as_deref(), Some("1.0.0"));
    assert!(config.capabilities().contains(Capability::Ips));
    let plugin = &config.plugins[0];
    assert_eq!(
        (&plugin["type"], &plugin["ipam"]["type"]),
        (&json!("macvlan"), &json!("static"))
    );
    let asked = asked(r#","cni-args":{"k":1}"#);
    let sent: Value = serde_json::from_str(&config.conflist_for(&asked)).unwrap();
    assert_eq!(sent["plugins"][0]["args"]["cni"], json!({"k": 1}));
}

#[test]
fn reads_list_keys_like_libcni() {
    let plugins = NetworkConfig::parse(r#"{"Plugins":[{"type":"macvlan"}]}"#, "nad");
    assert_eq!(plugins, Err(ConfigError::NoPlugins));
}

#[test]
fn every_plugin_is_given_the_device_as_multus_does() {
    let text = r#"{"cniVersion":"1.0.0","plugins":[
        {"type":"sriov","deviceid":"","capabilities":{"deviceID":true,"ips":true}},
        {"type":"host-device","device":"eth7","capabilities":{"deviceID":true}},
        {"type":"tuning"}]}"#;
    let config = parse(text).unwrap();
    let bytes = config.conflist_with(&asked(""), Some("0000:aa:00.1"));
    let sent: Value = serde_json::from_str(&bytes).unwrap();
    assert_eq!(
        sent["plugins"],
        json!([
            {"type": "sriov", "name": "plugin-0", "deviceID": "0000:aa:00.1", "pciBusID": "0000:aa:00.1",
             "capabilities": {"deviceID": true}, "runtimeConfig": {"deviceID": "0000:aa:00.1"}},
            {"type": "host-device", "name": "plugin-1", "device": "eth7", "capabilities": {"deviceID": true}},
            {"type": "tuning", "name": "plugin-2", "deviceID": "0000:aa:00.1", "pciBusID": "0000:aa:00.1"},
        ])
    );
    // The DEL of an attachment that is known from libcni's cache is made from what ran.
    let again = parse(&bytes).unwrap();
    assert_eq!(again.conflist_with(&asked(""), Some("0000:aa:00.1")), bytes);
}
