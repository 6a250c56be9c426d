mod addresses;

use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::{
    cni::{DeviceNeed, NetworkConfig},
    config::MissingNetworks,
    status::StatusEntry,
    violation::Rule,
};

/// Networks by name; what is not among them is missing.
#[derive(Default)]
struct Known(BTreeMap<String, Network>);

impl Networks for Known {
    fn network(&self, name: &NetworkName) -> Network {
        let existing: Vec<_> = self
            .0
            .keys()
            .map(|name| NetworkName::parse(name).unwrap())
            .collect();
        self.0
            .get(&name.to_string())
            .cloned()
            .unwrap_or_else(|| Network::Missing {
                similar: similar(name, &existing),
            })
    }

    fn resource(&self, name: &NetworkName) -> Option<String> {
        (name.name() == "device").then(|| "vendor.example/vf".to_owned())
    }

    fn facts(&self, name: &NetworkName) -> NetworkFacts {
        NetworkFacts {
            has_static_ipam: name.name() == "static",
            has_default_route: name.name() == "uplink",
        }
    }
}

impl Known {
    fn and(mut self, name: &str, network: Network) -> Self {
        self.0.insert(name.to_owned(), network);
        self
    }
}

fn running(config: &str) -> Network {
    Network::Present {
        config: Some(NetworkConfig::parse(config, "nad").map(|config| config.capabilities())),
        device: DeviceNeed::None,
    }
}

/// default/a and default/b with every capability, default/plain without any, default/device,
/// default/perhaps (a device), default/broken, default/file, default/static (its IPAM),
/// default/uplink (brings a default route), other/a.
fn known() -> Known {
    let every = r#"{"type":"x","capabilities":{"ips":true,"mac":true,"portMappings":true,"bandwidth":true,"infinibandGUID":true}}"#;
    Known::default()
        .and("default/a", running(every))
        .and("default/b", running(every))
        .and("default/static", running(every))
        .and("default/uplink", running(every))
        .and("default/plain", running(r#"{"type":"x"}"#))
        .and("default/broken", running("null"))
        .and(
            "default/file",
            Network::Present {
                config: None,
                device: DeviceNeed::None,
            },
        )
        .and(
            "default/device",
            Network::Present {
                config: None,
                device: DeviceNeed::Required,
            },
        )
        .and(
            "default/perhaps",
            Network::Present {
                config: None,
                device: DeviceNeed::Unknown,
            },
        )
        .and("other/a", running(every))
}

fn list(annotation: &str, namespace: &str) -> SelectionList {
    SelectionList::parse(Some(annotation), namespace).unwrap()
}

struct Case {
    namespace: &'static str,
    host_network: bool,
    virt_launcher: bool,
    mode: InterfaceNames,
    config: Config,
    networks: Known,
    devices: BTreeMap<String, u64>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            namespace: "default",
            host_network: false,
            virt_launcher: false,
            mode: InterfaceNames::Fill,
            config: Config::default(),
            networks: known(),
            devices: BTreeMap::new(),
        }
    }
}

impl Case {
    fn judge(&self, operation: Operation<'_>, annotation: &str) -> Findings {
        let list = list(annotation, self.namespace);
        let context = PodContext {
            namespace: self.namespace,
            host_network: self.host_network,
            virt_launcher: self.virt_launcher,
            interface_names: self.mode,
            devices: &self.devices,
            operation,
            list: &list,
        };
        validate(&context, &self.config, &self.networks)
    }

    fn create(&self, annotation: &str) -> Findings {
        self.judge(Operation::Create, annotation)
    }

    /// An edit of a pod that has started; `plugged` are the (network, interface) pairs of
    /// network-status.
    fn edit(&self, old: &str, plugged: &[(&str, &str)], new: &str) -> Findings {
        let old = list(old, self.namespace);
        self.update(Some(&old), &status(plugged), new)
    }

    /// An edit of a pod that has not started.
    fn edit_waiting(&self, old: &str, new: &str) -> Findings {
        self.update(Some(&list(old, self.namespace)), &[], new)
    }

    fn update(&self, old: Option<&SelectionList>, status: &[StatusEntry], new: &str) -> Findings {
        let history = History { old, status };
        let running = true;
        self.judge(Operation::Update { history, running }, new)
    }
}

/// The cluster network and (network, interface) pairs.
fn status(plugged: &[(&str, &str)]) -> Vec<StatusEntry> {
    let entry = |(name, interface): &(&str, &str)| StatusEntry {
        name: (*name).to_owned(),
        interface: (*interface).to_owned(),
        ..StatusEntry::default()
    };
    let cluster = StatusEntry {
        default: true,
        ..entry(&("podnet", "eth0"))
    };
    std::iter::once(cluster)
        .chain(plugged.iter().map(entry))
        .collect()
}

fn warnings(texts: &[&str]) -> Warnings {
    let mut warnings = Warnings::default();
    texts.iter().for_each(|text| warnings.push(text));
    warnings
}

fn rules(findings: &Findings) -> Vec<Rule> {
    findings
        .violations
        .iter()
        .map(|violation| violation.rule)
        .collect()
}

fn rejecting() -> Case {
    Case {
        config: Config {
            missing_networks: MissingNetworks::Reject,
            ..Config::default()
        },
        ..Case::default()
    }
}

fn isolated() -> Case {
    Case {
        namespace: "mine",
        config: Config {
            namespace_isolation: true,
            ..Config::default()
        },
        networks: known().and("mine/x", running(r#"{"type":"x"}"#)),
        ..Case::default()
    }
}

fn json(fields: &str) -> String {
    format!(r#"[{{"name":"a","interface":"net1"{fields}}}]"#)
}

#[test]
fn what_is_in_order_passes_without_a_word() {
    let everything = json(
        r#","ips":["10.0.0.1/24"],"mac":"02:11:22:33:44:55","portMappings":[{"hostPort":1,"containerPort":2}],"cni-args":{"a":1},
            "bandwidth":{"ingressRate":1,"ingressBurst":2},"infiniband-guid":"c2:11:22:33:44:55:66:77""#,
    );
    assert_eq!(Case::default().create(&everything), Findings::default());
    assert_eq!(Case::default().edit("", &[], &everything), Findings::default());
    assert_eq!(Case::default().create("a,b,file"), Findings::default());
}

#[test]
fn warns_of_an_unknown_network_and_suggests_similar_ones() {
    let findings = Case::default().create("plian@net1");
    assert_eq!(findings.violations, []);
    assert_eq!(
        *findings.warnings,
        ["element 0 (default/plian): no such NetworkAttachmentDefinition; did you mean default/plain?"]
    );
}

#[test]
fn an_unknown_network_is_refused_where_that_is_configured() {
    let findings = rejecting().create("plian@net1,zzz@net2");
    let texts: Vec<_> = findings.violations.iter().map(Violation::to_string).collect();
    assert_eq!(
        texts,
        [
            "element 0 (\"default/plian\"): this NetworkAttachmentDefinition does not exist; did you mean default/plain? \
             [rule unknown-network]",
            "element 1 (\"default/zzz\"): this NetworkAttachmentDefinition does not exist; create it first [rule unknown-network]",
        ]
    );
}

#[test]
fn networks_not_yet_listed_get_no_findings() {
    let case = Case {
        networks: Known::default().and("default/a", Network::Unknown),
        ..rejecting()
    };
    assert_eq!(case.create("a@net1"), Findings::default());
}

#[test]
fn a_vanished_network_does_not_block_other_removals() {
    let case = rejecting();
    assert_eq!(
        case.edit("gone@net1,a@net2", &[("default/gone", "net1")], "gone@net1"),
        Findings::default()
    );
    assert_eq!(
        case.edit("gone,a@net2", &[("default/gone", "net1")], "gone@net1"),
        Findings::default()
    );
    assert_eq!(case.edit("gone,a", &[], "gone"), Findings::default());
    assert_eq!(
        rules(&case.edit("gone@net1", &[], "gone@net1,gone@net2")),
        [Rule::UnknownNetwork]
    );
    assert_eq!(
        rules(&case.edit("gone@net1", &[], "gone@net2")),
        [Rule::UnknownNetwork]
    );
}

#[test]
fn matches_unnamed_elements_by_what_they_ask_for() {
    let element = |host: u8| format!(r#"{{"name":"a","ips":["192.0.2.{host}/24"]}}"#);
    let (first, second) = (element(201), element(202));
    let both = format!("[{first},{second}]");
    let plugged = [("default/a", "net1"), ("default/a", "net2")];
    let case = Case {
        mode: InterfaceNames::Off,
        ..Case::default()
    };
    for left in [
        format!("[{first}]"),
        format!("[{second}]"),
        format!("[{second},{first}]"),
    ] {
        assert_eq!(case.edit(&both, &plugged, &left), Findings::default(), "{left}");
    }
    let changed = format!("[{first},{}]", element(203));
    assert_eq!(
        rules(&case.edit(&both, &plugged, &changed)),
        [Rule::AttributeChange]
    );
}

#[test]
fn everything_is_judged_when_the_old_annotation_was_unreadable() {
    for plugged in [&[][..], &[("default/gone", "net2")]] {
        let findings = rejecting().update(None, &status(plugged), "gone@net1");
        assert_eq!(rules(&findings), [Rule::UnknownNetwork]);
    }
}

#[test]
fn a_network_whose_config_cannot_run_is_refused() {
    let findings = Case::default().create("broken@net1");
    assert_eq!(
        findings.violations[0].to_string(),
        "element 0 (\"default/broken\"): its NetworkAttachmentDefinition cannot run: the config must be a JSON object \
         [rule network-config]"
    );
    assert_eq!(
        Case::default().edit("broken@net1,a@net2", &[], "broken@net1"),
        Findings::default()
    );
}

#[rstest]
#[case(r#""portMappings":[{"hostPort":1,"containerPort":2}]"#, "portMappings")]
#[case(r#""bandwidth":{"ingressRate":1,"ingressBurst":2}"#, "bandwidth")]
#[case(r#""infiniband-guid":"c2:11:22:33:44:55:66:77""#, "infiniband-guid")]
fn what_only_a_capability_carries_needs_it(#[case] field: &str, #[case] name: &str) {
    let annotation = format!(r#"[{{"name":"plain","interface":"net1",{field}}}]"#);
    let findings = Case::default().create(&annotation);
    assert_eq!(rules(&findings), [Rule::Capability]);
    assert_eq!(findings.violations[0].field, Some(name));
    assert_eq!(
        Case::default().edit(&annotation, &[], &annotation),
        Findings::default()
    );
}

#[rstest]
#[case(
    r#""ips":["10.0.0.1"]"#,
    "element 0 (default/plain): no plugin declares the capability ips, ips may be ignored"
)]
#[case(
    r#""mac":"02:11:22:33:44:55""#,
    "element 0 (default/plain): no plugin declares the capability mac, mac may be ignored"
)]
fn what_reaches_plugins_in_other_ways_is_a_warning(#[case] field: &str, #[case] warning: &str) {
    let annotation = format!(r#"[{{"name":"plain","interface":"net1",{field}}}]"#);
    assert_eq!(
        Case::default().create(&annotation),
        Findings {
            warnings: warnings(&[warning]),
            ..Findings::default()
        }
    );
}

#[test]
fn ignores_the_capabilities_of_a_config_on_the_node() {
    let annotation = r#"[{"name":"file","interface":"net1","ips":["10.0.0.1"],"bandwidth":{"ingressRate":1,"ingressBurst":2}}]"#;
    assert_eq!(Case::default().create(annotation), Findings::default());
}

#[test]
fn a_default_route_is_multus_affair_at_pod_start() {
    let with_route = json(r#","default-route":["10.0.0.1"]"#);
    let case = Case::default();
    assert_eq!(case.create(&with_route), Findings::default());
    assert_eq!(
        rules(&case.edit("", &[], &with_route)),
        [Rule::DefaultRouteUpdate]
    );
    assert_eq!(
        rules(&case.edit(&json(""), &[], &with_route)),
        [Rule::DefaultRouteUpdate]
    );
    assert_eq!(case.edit(&with_route, &[], &with_route), Findings::default());
    assert_eq!(case.edit(&with_route, &[], &json("")), Findings::default());
    let waiting = Operation::Update {
        history: History {
            old: Some(&SelectionList::empty()),
            status: &[],
        },
        running: false,
    };
    assert_eq!(case.judge(waiting, &with_route), Findings::default());
}

const MAY_NEED: &str = "it may need a device that the pod was given at its start and no interface uses";

#[test]
fn a_device_id_is_a_warning() {
    let case = Case::default();
    let id = json(r#","deviceID":"0000:00:01.0""#);
    let warned = |text: &str| Findings {
        warnings: warnings(&[text]),
        ..Findings::default()
    };
    let unchecked = "element 0 (default/a): multus hands deviceID to the plugin unchecked; the device may be another pod's";
    assert_eq!(case.create(&id), warned(unchecked));
    let judged = "element 0 (default/a): the agent attaches it only if this device is the pod's own and no interface \
                  uses it";
    assert_eq!(case.edit("", &[], &id), warned(judged));
    assert_eq!(case.edit(&id, &[], &id), Findings::default());
    let plugged = case.edit(&json(""), &[("default/a", "net1")], &id);
    assert_eq!(rules(&plugged), [Rule::AttributeChange]);
}

/// The agent knows which devices are free; the webhook refuses only what no agent could plug.
#[test]
fn more_devices_than_the_pod_was_given_are_refused() {
    let mut case = Case::default();
    let may_need = |index: usize| format!("element {index} (default/device): {MAY_NEED}");
    assert_eq!(case.create("device@net1"), Findings::default());
    let unknown = case.edit("", &[], "device@net1");
    assert_eq!(
        (rules(&unknown), unknown.warnings.to_vec()),
        (vec![], vec![may_need(0)])
    );
    case.devices.insert("vendor.example/vf".to_owned(), 2);
    let second = case.edit("device@net1", &[], "device@net1,device@net2");
    assert_eq!(
        (rules(&second), second.warnings.to_vec()),
        (vec![], vec![may_need(1)])
    );
    let both = "device@net1,device@net2";
    let third = case.edit(both, &[], "device@net9,device@net1,device@net2");
    assert_eq!(rules(&third), [Rule::DevicePlugin]);
    assert_eq!(third.violations[0].element, Some(0));
    let text = third.violations.texts().next().unwrap();
    assert!(
        text.contains("vendor.example/vf, of which the pod was given 2"),
        "{text}"
    );
    let swapped = case.edit(both, &[], "device@net1,device@net9");
    assert_eq!(rules(&swapped), []);
    // What a list had before is never refused.
    let over = "device@net1,device@net2,device@net3";
    assert_eq!(rules(&case.edit(over, &[], &format!("{over},a@net4"))), []);
}

#[test]
fn a_device_that_may_be_needed_is_a_warning() {
    let case = Case::default();
    let findings = case.edit("", &[], "perhaps@net1");
    assert_eq!(findings.violations, []);
    assert_eq!(
        *findings.warnings,
        [format!("element 0 (default/perhaps): {MAY_NEED}")]
    );
    assert_eq!(case.create("perhaps@net1"), Findings::default());
    assert_eq!(
        case.edit("perhaps@net1", &[], "perhaps@net1,a@net2"),
        Findings::default()
    );
}

#[rstest]
#[case("mine/x@net1", true)]
#[case("x@net1", true)]
#[case("default/a@net1", true)]
#[case("other/a@net1", false)]
fn isolation_is_that_of_multus(#[case] annotation: &str, #[case] allowed: bool) {
    let case = isolated();
    assert_eq!(case.create(annotation).violations.is_empty(), allowed);
    assert_eq!(case.edit("", &[], annotation).violations.is_empty(), allowed);
    assert_eq!(
        Case {
            namespace: "mine",
            ..Case::default()
        }
        .create("other/a@net1"),
        Findings::default()
    );
}

#[test]
fn isolation_says_which_networks_may_be_used() {
    assert_eq!(
        isolated().create("other/a@net1").violations[0].to_string(),
        "element 0 (\"other/a\"), field namespace, value \"other\": namespace isolation is on: a pod in mine may use networks of \
         mine or default; use a NetworkAttachmentDefinition there [rule namespace-isolation]"
    );
    assert_eq!(
        isolated().edit("other/a@net1,x@net2", &[], "other/a@net1"),
        Findings::default()
    );
}

#[test]
fn suggests_no_network_that_isolation_forbids() {
    let case = isolated();
    for (missing, suggested) in [
        ("mine/plain@net1", "; did you mean default/plain?"),
        ("mine/hidden@net1", ""),
    ] {
        let case = Case {
            networks: known().and("other/hidden", running(r#"{"type":"x"}"#)),
            config: case.config.clone(),
            ..isolated()
        };
        let name = missing.trim_end_matches("@net1");
        assert_eq!(
            *case.create(missing).warnings,
            [format!(
                "element 0 ({name}): no such NetworkAttachmentDefinition{suggested}"
            )]
        );
    }
}

#[rstest]
#[case(r#","ips":["10.0.0.2/24"]"#)]
#[case(r#","mac":"02:11:22:33:44:66""#)]
#[case(r#","cni-args":{"a":2}"#)]
fn attributes_of_a_plugged_interface_do_not_change(#[case] changed: &str) {
    let case = Case::default();
    let old = json(r#","ips":["10.0.0.1/24"],"mac":"02:11:22:33:44:aa","cni-args":{"a":1}"#);
    let plugged = [("default/a", "net1")];
    assert_eq!(
        rules(&case.edit(&old, &plugged, &json(changed))),
        [Rule::AttributeChange]
    );
    assert_eq!(
        rules(&case.edit("a@net1", &plugged, &json(changed))),
        [Rule::AttributeChange]
    );
    assert_eq!(
        rules(&case.edit("a", &plugged, &json(changed))),
        [Rule::AttributeChange]
    );
    // One that never came up may be corrected, and a field that is left out is no opinion.
    assert_eq!(case.edit(&old, &[], &json(changed)), Findings::default());
    assert_eq!(case.edit(&old, &plugged, "a@net1"), Findings::default());
    // Another network under the same interface is another attachment.
    let other = json(changed).replace(r#""name":"a""#, r#""name":"b""#);
    assert_eq!(case.edit(&old, &plugged, &other), Findings::default());
}

#[rstest]
#[case(r#""mac":"02:11:22:33:44:aa""#, r#""mac":"02-11-22-33-44-AA""#, true)]
#[case(r#""mac":"02:11:22:33:44:aa""#, r#""mac":"0211.2233.44aa""#, true)]
#[case(
    r#""ips":["fd00::1/64","10.0.0.1"]"#,
    r#""ips":["FD00:0::1/64","10.0.0.1"]"#,
    true
)]
#[case(r#""ips":["fd00::1/64"]"#, r#""ips":["fd00::1/65"]"#, false)]
#[case(r#""ips":["10.0.0.1"]"#, r#""ips":["10.0.0.1/24"]"#, false)]
#[case(
    r#""cni-args":{"a":[1,{"b":2}]}"#,
    r#""cni-args":{"a":[1.0,{"b":2e0}]}"#,
    true
)]
#[case(r#""cni-args":{"a":1}"#, r#""cni-args":{"a":1,"b":null}"#, false)]
#[case(r#""cni-args":{"a":1}"#, r#""cni-args":{"a":"1"}"#, false)]
fn another_spelling_is_no_change(#[case] before: &str, #[case] after: &str, #[case] same: bool) {
    let (before, after) = (json(&format!(",{before}")), json(&format!(",{after}")));
    let findings = Case::default().edit(&before, &[("default/a", "net1")], &after);
    let expected: &[Rule] = if same { &[] } else { &[Rule::AttributeChange] };
    assert_eq!(rules(&findings), expected);
}

#[test]
fn port_mappings_in_another_spelling_are_no_change() {
    let mapping = |protocol: &str, host: &str| {
        json(&format!(
            r#","portMappings":[{{"hostPort":1,"containerPort":2,"protocol":"{protocol}","hostIP":"{host}"}}]"#
        ))
    };
    let findings = Case::default().edit(
        &mapping("tcp", "fd00::1"),
        &[("default/a", "net1")],
        &mapping("TCP", "FD00::1"),
    );
    assert_eq!(findings, Findings::default());
}

#[test]
fn other_changes_of_a_plugged_interface_are_warned_about() {
    let changed = json(r#","bandwidth":{"ingressRate":1,"ingressBurst":2}"#);
    let findings = Case::default().edit("a@net1", &[("default/a", "net1")], &changed);
    assert_eq!(findings.violations, []);
    assert_eq!(
        *findings.warnings,
        ["element 0 (default/a): the interface is plugged, a changed bandwidth is not applied"]
    );
}

#[test]
fn a_host_network_pod_takes_no_more_networks() {
    let case = Case {
        host_network: true,
        ..Case::default()
    };
    let findings = case.create("a@net1,b@net2");
    assert_eq!(findings.violations, []);
    assert_eq!(
        *findings.warnings,
        ["the pod uses the host's network: its networks annotation has no effect"]
    );
    assert_eq!(case.create("").warnings, Warnings::default());
    assert_eq!(rules(&case.edit("", &[], "a@net1")), [Rule::HostNetwork]);
    assert_eq!(case.edit("a@net1,b@net2", &[], "a@net1"), Findings::default());
}

#[test]
fn an_ipam_claim_beside_ips_is_a_warning() {
    let both = json(r#","ips":["10.0.0.1"],"ipam-claim-reference":"c""#);
    let warning =
        "element 0 (default/a): ips and ipam-claim-reference together: some IPAM plugins refuse that";
    assert_eq!(*Case::default().create(&both).warnings, [warning]);
    assert_eq!(Case::default().edit(&both, &[], &both), Findings::default());
}

#[test]
fn reject_shows_what_to_write_in_the_lists_format() {
    let case = Case {
        mode: InterfaceNames::Reject,
        ..Case::default()
    };
    let message = |findings: Findings| findings.violations[0].to_string();
    assert_eq!(
        message(case.create("b@net1,a")),
        "element 1 (\"default/a\"), field interface: every element must name its interface in this namespace; write \
         default/a@net2 [rule interface-name-missing]"
    );
    assert!(message(case.create(r#"[{"name":"a"}]"#)).contains(r#"write "interface":"net1""#));
    assert!(message(case.edit("b@net1", &[], "b@net1,a")).contains("write default/a@net2"));
    assert_eq!(case.edit("a,b@net2", &[], "a"), Findings::default());
}

#[test]
fn warn_says_which_elements_have_no_name() {
    let warn = Case {
        mode: InterfaceNames::Warn,
        ..Case::default()
    };
    assert_eq!(
        *warn.create("a").warnings,
        ["element 0 (default/a): no interface name; write default/a@net1"]
    );
    let unplugged = "element 0 (default/a): no interface name, so it is not plugged; write default/a@net1";
    assert_eq!(*warn.edit("", &[], "a").warnings, [unplugged]);
}

/// The mutating webhook is not asked about a list in which all seems to be named.
#[test]
fn fill_refuses_an_update_that_leaves_an_element_unnamed() {
    let case = Case::default();
    assert_eq!(case.create("a"), Findings::default());
    let refused = case.edit("b@net1", &[], "b@net1,a");
    assert_eq!(
        refused.violations[0].to_string(),
        "element 1 (\"default/a\"), field interface: the element has no interface name, and none was filled in; \
         write default/a@net2 [rule interface-name-missing]"
    );
    assert_eq!(refused.warnings, Warnings::default());
    for fooled in [
        r#"[{"name":"a","interface":"net1"},{"name":"b","cni-args":{"interface":"x"}}]"#,
        r#"[{"name":"a","interface":"net1"},{"n\u0061me":"b"}]"#,
    ] {
        assert_eq!(
            rules(&case.edit("", &[], fooled)),
            [Rule::InterfaceNameMissing],
            "{fooled}"
        );
    }
    assert_eq!(case.edit("a,b@net2", &[], "a"), Findings::default());
}

#[test]
fn off_has_no_opinion_about_names() {
    let off = Case {
        mode: InterfaceNames::Off,
        ..Case::default()
    };
    assert_eq!(off.create("a,b@net1"), Findings::default());
    assert_eq!(off.edit("", &[], "a"), Findings::default());
}

#[test]
fn kubevirt_may_leave_elements_unnamed() {
    let case = Case {
        mode: InterfaceNames::Reject,
        virt_launcher: true,
        ..Case::default()
    };
    assert_eq!(case.create("a"), Findings::default());
    assert_eq!(case.edit("", &[], "a"), Findings::default());
}

#[test]
fn a_name_that_multus_gives_to_another_is_refused() {
    assert_eq!(
        rules(&Case::default().create("a,b@net1")),
        [Rule::InterfaceDuplicate]
    );
    assert_eq!(Case::default().create("a,b@net3"), Findings::default());
}

#[test]
fn refuses_the_names_of_multus_default_networks() {
    let config = Config {
        interface_offset: 2,
        system_namespaces: vec!["sys".to_owned()],
        ..Config::default()
    };
    let case = Case {
        config: config.clone(),
        ..Case::default()
    };
    assert_eq!(rules(&case.create("a@net2,b@net3")), [Rule::InterfaceReserved]);
    assert_eq!(case.edit("", &[], "a@net2"), Findings::default());
    let system = Case {
        config,
        namespace: "sys",
        ..Case::default()
    };
    assert_eq!(system.create("default/a@net2"), Findings::default());
}

#[test]
fn all_is_said_at_once_and_in_order() {
    let case = Case {
        host_network: true,
        ..rejecting()
    };
    let findings = case.edit(
        "",
        &[],
        r#"[{"name":"zz","interface":"x","default-route":["10.0.0.1"]},{"name":"broken","interface":"y"}]"#,
    );
    let found: Vec<_> = findings
        .violations
        .iter()
        .map(|v| (v.element.unwrap(), v.rule))
        .collect();
    assert_eq!(
        found,
        [
            (0, Rule::HostNetwork),
            (0, Rule::DefaultRouteUpdate),
            (0, Rule::UnknownNetwork),
            (1, Rule::HostNetwork),
            (1, Rule::NetworkConfig),
        ]
    );
}

#[test]
fn warnings_are_short_printable_ascii() {
    let long = format!(
        "[{{\"name\":\"{}\",\"namespace\":\"{}\"}}]",
        "a".repeat(253),
        "n".repeat(63)
    );
    let case = Case {
        mode: InterfaceNames::Warn,
        ..Case::default()
    };
    for warning in case.create(&long).warnings.iter() {
        assert!(
            warning.len() <= 256 && warning.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "{warning}"
        );
    }
}

#[test]
fn the_last_of_many_warnings_counts_the_others() {
    let case = Case {
        mode: InterfaceNames::Warn,
        ..Case::default()
    };
    let ten = case.create(&["a"; 10].join(",")).warnings;
    assert!(ten.len() == 10 && ten[9].contains("no interface name"), "{ten:?}");
    let many = case.create(&["a"; 64].join(",")).warnings;
    assert_eq!((many.len(), many[9].as_str()), (10, "and 55 more warnings"));
}

#[test]
fn of_many_violations_twenty_are_listed_in_order() {
    let violations = rejecting().create(&["zz"; 64].join(",")).violations;
    assert_eq!((violations.len(), violations.unlisted()), (20, 44));
    assert_eq!(violations[19].element, Some(19));
}

#[test]
fn an_unreadable_old_annotation_may_be_repaired() {
    let plugged = status(&[("default/device", "net1"), ("other/a", "net2")]);
    let mut case = isolated();
    case.devices.insert("vendor.example/vf".to_owned(), 0);
    let repaired = r#"[{"name":"device","namespace":"default","interface":"net1","default-route":["10.0.0.1"],"mac":"02:11:22:33:44:55"},
        {"name":"a","namespace":"other"}]"#;
    assert_eq!(case.update(None, &plugged, repaired), Findings::default());
    // Another interface, and one more element, are new.
    let more = r#"[{"name":"device","namespace":"default","interface":"net5"},{"name":"a","namespace":"other","interface":"net2"},
        {"name":"a","namespace":"other","interface":"net3"}]"#;
    assert_eq!(
        rules(&case.update(None, &plugged, more)),
        [Rule::DevicePlugin, Rule::NamespaceIsolation]
    );
}

#[test]
fn names_are_judged_as_on_create_until_start() {
    let ahead = Config {
        interface_offset: 1,
        ..Config::default()
    };
    for mode in [InterfaceNames::Fill, InterfaceNames::Warn, InterfaceNames::Reject] {
        let case = Case {
            mode,
            config: ahead.clone(),
            ..Case::default()
        };
        let findings = case.edit_waiting("a@net2", "a@net2,b@net1");
        assert_eq!(rules(&findings), [Rule::InterfaceReserved], "{mode:?}");
        // What was wrong before blocks nothing.
        assert_eq!(case.edit_waiting("b@net1", "b@net1,a@net3"), Findings::default());
    }
    let warn = Case {
        mode: InterfaceNames::Warn,
        ..Case::default()
    };
    assert_eq!(
        rules(&warn.edit_waiting("a", "a,b@net1")),
        [Rule::InterfaceDuplicate]
    );
    assert_eq!(
        warn.edit_waiting("a,b@net1,a@net3", "a,b@net1"),
        Findings::default()
    );
    assert_eq!(
        rules(&warn.edit_waiting("b@foo,a,b@net1", "a,b@net1")),
        [Rule::InterfaceDuplicate]
    );
}

#[test]
fn an_element_may_lose_its_name_before_start() {
    let case = rejecting();
    assert_eq!(case.edit_waiting("a@net1,gone@net2", "gone"), Findings::default());
    assert_eq!(
        rules(&case.edit_waiting("gone@net2", "gone,gone@net3")),
        [Rule::UnknownNetwork]
    );
}

/// The order of network-status need not be that of the list.
#[test]
fn matches_an_unnamed_element_to_its_interface_by_address() {
    let element = |host: u8| format!(r#"{{"name":"a","ips":["192.0.2.{host}/24"]}}"#);
    let both = format!("[{},{}]", element(201), element(202));
    let left = format!("[{}]", element(202));
    let mut status = status(&[("default/a", "net2"), ("default/a", "net1")]);
    status[1].ips = vec!["192.0.2.202".to_owned()];
    status[2].ips = vec!["192.0.2.201".to_owned()];
    let (old, new) = (list(&both, "default"), list(&left, "default"));
    let history = History {
        old: Some(&old),
        status: &status,
    };
    assert_eq!(history.names(&new, 0)[0].as_ref().unwrap().as_str(), "net2");
    for mode in [
        InterfaceNames::Fill,
        InterfaceNames::Reject,
        InterfaceNames::Warn,
        InterfaceNames::Off,
    ] {
        let case = Case {
            mode,
            ..Case::default()
        };
        let findings = case.update(Some(&old), &status, &left);
        assert_eq!(findings, Findings::default(), "{mode:?}");
    }
}

#[test]
fn says_nothing_else_about_a_forbidden_network() {
    let forbidden = |network: Option<Network>, annotation: &str| {
        let mut case = isolated();
        case.config.missing_networks = MissingNetworks::Reject;
        case.networks = Known::default();
        if let Some(network) = network {
            case.networks = case.networks.and("other/secret", network);
        }
        [case.create(annotation), case.edit("", &[], annotation)]
    };
    let annotation = r#"[{"name":"secret","namespace":"other","interface":"net1","ips":["10.0.0.1"],
        "portMappings":[{"hostPort":1,"containerPort":2}]}]"#;
    let device = Network::Present {
        config: None,
        device: DeviceNeed::Required,
    };
    let missing = forbidden(None, annotation);
    for network in [
        running(r#"{"type":"x"}"#),
        running(r#"{"name":"x y","type":"x"}"#),
        device,
    ] {
        assert_eq!(forbidden(Some(network), annotation), missing);
    }
    assert_eq!(rules(&missing[0]), [Rule::NamespaceIsolation]);
}
