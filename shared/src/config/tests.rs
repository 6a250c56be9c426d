use rstest::rstest;

use super::*;

#[test]
fn an_empty_object_means_every_default() {
    assert_eq!(Config::parse("{}"), Ok(Config::default()));
}

#[test]
fn finds_multus_in_the_paths_of_each_distribution() {
    let expected = [
        "/run/multus/multus.sock",
        "/run/multus/socket/multus.sock",
        "/var/run/multus-cni/multus.sock",
    ];
    assert_eq!(Config::default().multus_socket_paths, expected.map(PathBuf::from));
}

#[test]
fn every_key_is_read() {
    let config = Config::parse(
        r#"{"criSocketPath":"/host/run/crio/crio.sock","multusSocketPath":"/host/run/multus/multus.sock","multusCniDir":"/a",
            "multusConfDir":"/b","stateDir":"/c","interfaceOffset":2,"systemNamespaces":["x"],"namespaceIsolation":true,
            "globalNamespaces":[],"interfaceNames":"reject","missingNetworks":"reject","enforcement":"warn"}"#,
    )
    .unwrap();
    let expected = Config {
        cri_socket_path: "/host/run/crio/crio.sock".into(),
        multus_socket_paths: vec!["/host/run/multus/multus.sock".into()],
        multus_cni_dir: "/a".into(),
        multus_conf_dir: "/b".into(),
        state_dir: "/c".into(),
        interface_offset: 2,
        system_namespaces: vec!["x".to_owned()],
        namespace_isolation: true,
        global_namespaces: Vec::new(),
        interface_names: InterfaceNames::Reject,
        missing_networks: MissingNetworks::Reject,
        enforcement: Enforcement::Warn,
    };
    assert_eq!(config, expected);
    assert_eq!((config.offset_in("x"), config.offset_in("y")), (0, 2));
}

#[test]
fn parses_every_mode_by_its_text() {
    for mode in InterfaceNames::ALL {
        assert_eq!(InterfaceNames::parse(mode.as_str()), Some(mode));
    }
    assert_eq!(InterfaceNames::parse("Fill"), None);
}

#[rstest]
#[case("", "expected at line 1")]
#[case("{\n\"interfaceOffset\": 1,\n}", "expected at line 3")]
#[case("[]", "must be a JSON object")]
#[case("null", "must be a JSON object")]
#[case(
    r#"{"interfaceofset":1}"#,
    r#""interfaceofset" (value 1) is unknown; the keys are criSocketPath, "#
)]
#[case(r#"{"stateDir":"/a","stateDir":"/a"}"#, r#""stateDir" occurs twice"#)]
#[case(
    r#"{"stateDir":""}"#,
    r#""stateDir" has the value ""; it must be an absolute path"#
)]
#[case(r#"{"stateDir":"a/b"}"#, r#"the value "a/b"; it must be an absolute path"#)]
#[case(r#"{"stateDir":"/a/../b"}"#, "must be an absolute path")]
#[case(r#"{"stateDir":"/"}"#, "must be an absolute path")]
#[case(r#"{"criSocketPath":"unix:///run/x.sock"}"#, "must be an absolute path")]
#[case(
    r#"{"criSocketPath":5}"#,
    r#""criSocketPath" has the value 5; it must be an absolute path"#
)]
#[case(r#"{"multusSocketPath":null}"#, r#""multusSocketPath" has the value null"#)]
#[case(
    r#"{"interfaceOffset":-1}"#,
    r#""interfaceOffset" has the value -1; it must be an integer from 0 to 255"#
)]
#[case(r#"{"interfaceOffset":256}"#, "an integer from 0 to 255")]
#[case(r#"{"interfaceOffset":"1"}"#, "an integer from 0 to 255")]
#[case(r#"{"interfaceOffset":1.0}"#, "an integer from 0 to 255")]
#[case(r#"{"namespaceIsolation":"true"}"#, "must be true or false, without quotes")]
#[case(
    r#"{"globalNamespaces":"default,x"}"#,
    r#"the value "default,x"; it must be a list of namespaces"#
)]
#[case(r#"{"systemNamespaces":["A"]}"#, "must be a list of namespaces")]
#[case(
    r#"{"interfaceNames":"FILL"}"#,
    r#""FILL"; it must be "fill", "reject", "warn" or "off""#
)]
#[case(r#"{"missingNetworks":false}"#, r#"it must be "warn" or "reject""#)]
fn a_bad_file_names_key_value_and_what_is_allowed(#[case] json: &str, #[case] message: &str) {
    let error = Config::parse(json).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_socket_path_fits_a_socket_address() {
    let config =
        |length: usize| Config::parse(&format!(r#"{{"criSocketPath":"/{}"}}"#, "a".repeat(length - 1)));
    assert!(config(107).is_ok());
    assert!(config(108).unwrap_err().to_string().contains("at most 107 bytes"));
}

#[test]
fn a_deeply_nested_file_is_refused() {
    assert!(Config::parse(&"[".repeat(10_000)).is_err());
}

#[test]
fn an_unknown_key_lists_every_key() {
    let error = Config::parse(r#"{"state`Dir":["x"]}"#).unwrap_err().to_string();
    assert_eq!(
        error,
        "the key \"state`Dir\" (value [\"x\"]) is unknown; the keys are criSocketPath, multusSocketPath, multusCniDir, \
         multusConfDir, stateDir, interfaceOffset, systemNamespaces, namespaceIsolation, globalNamespaces, \
         interfaceNames, missingNetworks, enforcement"
    );
}

#[test]
fn a_long_key_or_value_is_shortened() {
    let long = "x".repeat(100_000);
    for json in [
        format!(r#"{{"{long}":"{long}"}}"#),
        format!(r#"{{"stateDir":"{long}"}}"#),
    ] {
        let error = Config::parse(&json).unwrap_err().to_string();
        assert!(error.len() < 512, "{error}");
    }
}

#[test]
fn a_list_of_values_is_no_configuration() {
    let error = Config::parse(r#"["/run/x.sock"]"#).unwrap_err().to_string();
    assert_eq!(
        error,
        "the configuration must be a JSON object such as {}, not a list"
    );
}
