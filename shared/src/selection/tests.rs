mod misspelt;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{violation::Rule, work};

fn parse(annotation: &str) -> Result<SelectionList, Violations> {
    SelectionList::parse(Some(annotation), "ns")
}

fn rules(annotation: &str) -> Vec<Rule> {
    parse(annotation)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|violation| violation.rule)
        .collect()
}

fn net(name: &str) -> Option<InterfaceName> {
    Some(InterfaceName::parse(name).unwrap())
}

/// The elements as `namespace/name@interface`.
fn elements(annotation: &str) -> Vec<String> {
    let list = parse(annotation).unwrap();
    let shown = |element: &Selection| {
        let interface = element
            .interface
            .as_ref()
            .map(|name| format!("@{name}"))
            .unwrap_or_default();
        format!("{}{interface}", element.network)
    };
    list.elements.iter().map(shown).collect()
}

/// One JSON element with a name and `fields`.
fn with(fields: &str) -> String {
    format!(r#"[{{"name":"a",{fields}}}]"#)
}

#[rstest]
#[case(None)]
#[case(Some(""))]
#[case(Some("[]"))]
#[case(Some(" [ ] "))]
fn no_networks_is_written_in_many_ways(#[case] annotation: Option<&str>) {
    assert_eq!(SelectionList::parse(annotation, "ns").unwrap().elements, []);
}

#[rstest]
#[case("a", &["ns/a"])]
#[case("null", &["ns/null"])]
#[case("a,other/b@x", &["ns/a", "other/b@x"])]
#[case(" a , other / b @ x ", &["ns/a", "other/b@x"])]
#[case("\u{a0}a\u{2003}", &["ns/a"])]
#[case("a@", &["ns/a"])]
#[case("/a", &["ns/a"])]
#[case("a@uplink_p0", &["ns/a@uplink_p0"])]
fn reads_text_as_multus_does(#[case] annotation: &str, #[case] expected: &[&str]) {
    assert_eq!(elements(annotation), expected);
}

#[rstest]
#[case(r#"[{"name":"a"}]"#, &["ns/a"])]
#[case(r#"[{"name":"a.b-c","namespace":"x","interface":"i"}]"#, &["x/a.b-c@i"])]
#[case(r#"[{"name":"a","namespace":"","interface":""}]"#, &["ns/a"])]
#[case(r#"[{"name":"a","namespace":null,"interface":null,"ips":null,"mac":null,"cni-args":null}]"#, &["ns/a"])]
#[case(r#"[{"name":"a","interfaceRequest":"i"}]"#, &["ns/a@i"])]
#[case(r#"[{"name":"a","interface":"","interfaceRequest":"i"}]"#, &["ns/a@i"])]
#[case(r#"[{"name":"a","interface":"j","interfaceRequest":"i"}]"#, &["ns/a@j"])]
#[case(r#"[{"n\u0061me":"\u0061"}]"#, &["ns/a"])]
#[case(r#"[{"name":"a","unknown":{"deep":[1,2,{"x":null}]}}]"#, &["ns/a"])]
fn reads_json_as_multus_does(#[case] annotation: &str, #[case] expected: &[&str]) {
    assert_eq!(elements(annotation), expected);
}

#[test]
fn reads_every_field() {
    let list = parse(
        r#"[{"name":"a","ips":["10.0.0.1/24","fd00::1"],"mac":"02:11:22:33:44:55","cni-args":{"k":[1,null]},
            "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"10.0.0.9","x":1}],
            "bandwidth":{"ingressRate":1,"ingressBurst":2},"infiniband-guid":"c2:11:22:33:44:55:66:77",
            "default-route":["10.0.0.1","fd00::2"],"ipam-claim-reference":"claim","deviceID":"0000:00:01.0"}]"#,
    )
    .unwrap();
    let element = &list.elements[0];
    let asked = element.attributes();
    assert_eq!(asked.ips, ["10.0.0.1/24", "fd00::1"]);
    assert_eq!(asked.mac.as_deref(), Some("02:11:22:33:44:55"));
    assert_eq!(
        Value::Object(asked.cni_args.clone().unwrap()).to_string(),
        r#"{"k":[1,null]}"#
    );
    assert_eq!(
        serde_json::to_string(&asked.port_mappings).unwrap(),
        r#"[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"10.0.0.9"}]"#
    );
    assert_eq!(
        serde_json::to_string(&asked.bandwidth).unwrap(),
        r#"{"ingressRate":1,"ingressBurst":2,"egressRate":0,"egressBurst":0}"#
    );
    assert_eq!(asked.infiniband_guid.as_deref(), Some("c2:11:22:33:44:55:66:77"));
    assert_eq!(asked.default_route.as_ref().map(Vec::len), Some(2));
    assert_eq!(asked.ipam_claim_reference.as_deref(), Some("claim"));
    assert_eq!(asked.device_id.as_deref(), Some("0000:00:01.0"));
}

#[rstest]
#[case("[", Rule::JsonSyntax)]
#[case("a,\"b\"", Rule::JsonSyntax)]
#[case("[]x", Rule::JsonSyntax)]
#[case("\u{feff}[]", Rule::JsonSyntax)]
#[case(r#"{"name":"a"}"#, Rule::JsonList)]
#[case(r#""a""#, Rule::JsonList)]
#[case("[null]", Rule::ElementType)]
#[case(r#"["a"]"#, Rule::ElementType)]
#[case(r#"[{"name":"a","name":"b"}]"#, Rule::DuplicateKey)]
#[case(r#"[{"name":"a","cni-args":{"x":{"y":1,"y":2}}}]"#, Rule::DuplicateKey)]
#[case(r#"[{"name":"a","ip\u0073":[],"ips":[]}]"#, Rule::DuplicateKey)]
#[case(r#"[{"name":"a","Interface":"x"}]"#, Rule::KeySpelling)]
#[case("[{\"name\":\"a\",\"name\u{17f}pace\":1}]", Rule::KeySpelling)]
#[case("[{\"name\":\"a\",\"ip\u{17f}\":[]}]", Rule::KeySpelling)]
#[case(r#"[{"name":"a","ip\u017f":[]}]"#, Rule::KeySpelling)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostport":1,"hostPort":1,"containerPort":1}]}]"#,
    Rule::KeySpelling
)]
#[case(r#"[{"name":"a","cni-args":{"x":9007199254740993}}]"#, Rule::NumberRange)]
#[case(r#"[{"name":"a","x":1e400}]"#, Rule::NumberRange)]
#[case(r#"[{"name":1}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","interface":["x"]}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","ips":"10.0.0.1"}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","ips":[1]}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","mac":1}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","cni-args":[]}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","default-route":"10.0.0.1"}]"#, Rule::FieldType)]
#[case(r#"[{"name":"a","portMappings":{}}]"#, Rule::FieldType)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":80.0,"containerPort":80}]}]"#,
    Rule::FieldType
)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":"80","containerPort":80}]}]"#,
    Rule::FieldType
)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"protocol":6}]}]"#,
    Rule::FieldType
)]
#[case(r#"[{"name":"a","bandwidth":[]}]"#, Rule::FieldType)]
#[case(
    r#"[{"name":"a","bandwidth":{"ingressRate":1e3,"ingressBurst":1}}]"#,
    Rule::FieldType
)]
#[case(r#"[{"name":"a","deviceID":1}]"#, Rule::FieldType)]
#[case(r#"[{}]"#, Rule::NetworkName)]
#[case(r#"[{"name":"A"}]"#, Rule::NetworkName)]
#[case(r#"[{"name":"a","namespace":"x.y"}]"#, Rule::NetworkName)]
#[case(r#"[{"name":"a","namespace":"../x"}]"#, Rule::NetworkName)]
#[case("a.b", Rule::NetworkName)]
#[case("A", Rule::NetworkName)]
#[case("x_y/a", Rule::NetworkName)]
#[case("a@b/c", Rule::NetworkName)]
#[case("a,", Rule::TextSyntax)]
#[case(" ", Rule::TextSyntax)]
#[case("a,,b", Rule::TextSyntax)]
#[case("a/b/c", Rule::TextSyntax)]
#[case("a@b@c", Rule::TextSyntax)]
#[case("@x", Rule::TextSyntax)]
#[case("a@x:y", Rule::InterfaceName)]
#[case("a@sixteen_bytes_xx", Rule::InterfaceName)]
#[case(r#"[{"name":"a","interface":"a/b"}]"#, Rule::InterfaceName)]
#[case(r#"[{"name":"a","interface":"a\u0000"}]"#, Rule::InterfaceName)]
#[case(r#"[{"name":"a","interfaceRequest":".."}]"#, Rule::InterfaceName)]
#[case("a@eth0", Rule::InterfaceReserved)]
#[case(r#"[{"name":"a","interface":"lo"}]"#, Rule::InterfaceReserved)]
#[case("a@x,b@x", Rule::InterfaceDuplicate)]
#[case(r#"[{"name":"a","ips":["10.0.0.300"]}]"#, Rule::IpAddress)]
#[case(r#"[{"name":"a","ips":[null]}]"#, Rule::IpAddress)]
#[case(r#"[{"name":"a","ips":[""]}]"#, Rule::IpAddress)]
#[case(r#"[{"name":"a","mac":"02:11"}]"#, Rule::MacAddress)]
#[case(
    r#"[{"name":"a","infiniband-guid":"02:11:22:33:44:55"}]"#,
    Rule::InfinibandGuid
)]
#[case(r#"[{"name":"a","default-route":["10.0.0.1/24"]}]"#, Rule::DefaultRoute)]
#[case(r#"[{"name":"a","default-route":[""]}]"#, Rule::DefaultRoute)]
#[case(r#"[{"name":"a","default-route":[null]}]"#, Rule::DefaultRoute)]
#[case(
    r#"[{"name":"a","default-route":["10.0.0.1","::ffff:10.0.0.2"]}]"#,
    Rule::DefaultRoute
)]
#[case(
    r#"[{"name":"a","default-route":["10.0.0.1"]},{"name":"b","default-route":["10.0.0.2","fd00::1"]}]"#,
    Rule::DefaultRoute
)]
#[case(r#"[{"name":"a","portMappings":[null]}]"#, Rule::PortMapping)]
#[case(r#"[{"name":"a","portMappings":[{"hostPort":80}]}]"#, Rule::PortMapping)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":65536,"containerPort":80}]}]"#,
    Rule::PortMapping
)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"protocol":"icmp"}]}]"#,
    Rule::PortMapping
)]
#[case(
    r#"[{"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"hostIP":"here"}]}]"#,
    Rule::PortMapping
)]
#[case(
    r#"[{"name":"a","bandwidth":{"ingressRate":-1,"ingressBurst":1}}]"#,
    Rule::Bandwidth
)]
#[case(r#"[{"name":"a","bandwidth":{"egressRate":1}}]"#, Rule::Bandwidth)]
fn refuses_by_one_rule(#[case] annotation: &str, #[case] rule: Rule) {
    assert_eq!(rules(annotation), [rule], "{:?}", parse(annotation));
}

#[test]
fn says_everything_at_once_and_in_order() {
    let annotation =
        r#"[{"name":"A","interface":"eth0","ips":["x","y"]},null,{"name":"b","mac":"z","Mac":"z"}]"#;
    let found: Vec<_> = parse(annotation)
        .unwrap_err()
        .into_iter()
        .map(|v| (v.element.unwrap(), v.rule))
        .collect();
    assert_eq!(
        found,
        [
            (0, Rule::NetworkName),
            (0, Rule::IpAddress),
            (0, Rule::IpAddress),
            (0, Rule::InterfaceReserved),
            (1, Rule::ElementType),
            (2, Rule::KeySpelling),
            (2, Rule::MacAddress),
        ]
    );
}

#[test]
fn a_message_names_place_mistake_and_fix() {
    let violations =
        parse(r#"[{"name":"a"},{"name":"foo","namespace":"default","interface":"a/b"}]"#).unwrap_err();
    assert_eq!(
        violations[0].to_string(),
        "element 1 (\"default/foo\"), field interface, value \"a/b\": must not contain '/', ':', '%', whitespace or \
         control characters [rule interface-name]"
    );
}

#[test]
fn limits_are_checked_before_anything_is_parsed() {
    assert_eq!(rules(&"x".repeat(MAX_BYTES + 1)), [Rule::AnnotationSize]);
    assert_eq!(
        rules(&vec!["A"; MAX_ELEMENTS + 1].join(",")),
        [Rule::ElementCount]
    );
    assert_eq!(
        rules(&format!("[{}]", vec!["1"; MAX_ELEMENTS + 1].join(","))),
        [Rule::ElementCount]
    );
    assert_eq!(rules(&"[".repeat(10_000)), [Rule::JsonDepth]);
    let deep = |levels: usize| with(&format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    assert_eq!(rules(&deep(MAX_DEPTH - 2)), []);
    assert_eq!(rules(&deep(MAX_DEPTH - 1)), [Rule::JsonDepth]);
    assert_eq!(elements(&vec!["a"; MAX_ELEMENTS].join(",")).len(), MAX_ELEMENTS);
}

#[rstest]
#[case("a,b@x", "a@net1,b@x")]
#[case(" a , b@x ", " a@net1 , b@x ")]
#[case("ns/a@ ,b@x", "ns/a@net1 ,b@x")]
#[case(
    r#"[{"name":"a"},{"name":"b","interface":"x"}]"#,
    r#"[{"name":"a","interface":"net1"},{"name":"b","interface":"x"}]"#
)]
#[case(r#"[{"name":"a","interface":""}]"#, r#"[{"name":"a","interface":"net1"}]"#)]
#[case(
    r#"[{"interface": null, "name":"a"}]"#,
    r#"[{"interface": "net1", "name":"a"}]"#
)]
#[case(
    r#"[{"name":"a","interfaceRequest":""}]"#,
    r#"[{"name":"a","interfaceRequest":"","interface":"net1"}]"#
)]
#[case(r#"[{"name": "a"}]"#, r#"[{"name": "a", "interface": "net1"}]"#)]
#[case(
    r#"[ { "name": "a", "x": {"y":1} } ]"#,
    r#"[ { "name": "a", "x": {"y":1}, "interface": "net1" } ]"#
)]
#[case(
    "[\n  {\n    \"name\": \"a\"\n  }\n]",
    "[\n  {\n    \"name\": \"a\",\n    \"interface\": \"net1\"\n  }\n]"
)]
fn fills_in_a_name_and_changes_nothing_else(#[case] annotation: &str, #[case] expected: &str) {
    assert_eq!(
        parse(annotation)
            .unwrap()
            .with_interfaces(&[net("net1"), net("net2")]),
        expected
    );
}

#[test]
fn writes_only_names_that_the_format_can_hold() {
    let quoted = net("a\"b");
    let json = parse(r#"[{"name":"a"}]"#).unwrap();
    assert_eq!(
        json.with_interfaces(std::slice::from_ref(&quoted)),
        r#"[{"name":"a","interface":"a\"b"}]"#
    );
    assert_eq!(parse("a").unwrap().with_interfaces(&[quoted]), "a");
}

/// Elements that are legal, some with spellings that only a parser likes; the flag says whether it
/// has a name.
fn json_element() -> impl Strategy<Value = (String, bool)> {
    let fields = prop::collection::vec(
        prop_oneof![
            Just(r#""namespace":"x""#.to_owned()),
            Just(r#""ips" : ["10.0.0.1/24"]"#.to_owned()),
            Just(r#""m\u0061c":"02:11:22:33:44:55""#.to_owned()),
            Just("\n \"cni-args\": {\"a\":{\"b\":[]}}".to_owned()),
            any::<String>().prop_map(|text| format!("\"unknown\":{}", Value::from(text))),
        ],
        0..4,
    );
    let interface = prop_oneof![
        Just(None),
        Just(Some(String::new())),
        (0u32..1_000_000).prop_map(|number| Some(format!("i{number}"))),
    ];
    (fields, interface, any::<bool>()).prop_map(|(mut fields, interface, first)| {
        fields.sort();
        fields.dedup_by(|a, b| a.get(..5) == b.get(..5));
        let named = interface.as_ref().is_some_and(|name| !name.is_empty());
        fields.extend(interface.map(|name| format!("\"interface\":\"{name}\"")));
        let name = "\"name\":\"a\"".to_owned();
        if first {
            fields.insert(0, name)
        } else {
            fields.push(name)
        }
        (format!("{{{}}}", fields.join(",")), named)
    })
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(annotation in any::<String>()) {
        let _ = parse(&annotation);
    }

    #[test]
    fn any_json_like_text_is_read_without_a_panic(annotation in r#"\[\{"(name|ips|Mac)":[\[\]{}",:0-9eE.\\unulo -]{0,40}\}\]"#) {
        let _ = parse(&annotation);
    }

    #[test]
    fn filled_names_are_read_back_and_nothing_else_changes(
        items in prop::collection::vec(json_element(), 1..6),
    ) {
        let source = format!("[{}]", items.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" , "));
        let Ok(before) = parse(&source) else { return Ok(()) }; // two elements drew the same name
        let names: Vec<_> = (0u32..).take(items.len()).map(|k| Some(InterfaceName::net(k))).collect();
        let filled = before.with_interfaces(&names);
        let after = parse(&filled).unwrap();
        for (index, (_, named)) in items.iter().enumerate() {
            let expected = if *named { &before.elements[index].interface } else { &names[index] };
            prop_assert_eq!(&after.elements[index].interface, expected);
            let mut same = after.elements[index].clone();
            same.interface.clone_from(&before.elements[index].interface);
            prop_assert_eq!(&same, &before.elements[index]);
        }
        prop_assert_eq!(after.with_interfaces(&names), filled);
        prop_assert!(before.takes_any(&names) != items.iter().all(|(_, named)| *named));
        prop_assert!(!after.takes_any(&names));
    }

    #[test]
    fn a_list_with_every_name_comes_back_byte_identical(
        count in 1usize..6,
        space in "[ \t\n]{0,3}",
    ) {
        let element = |k: usize| format!("{space}{{{space}\"interface\"{space}:{space}\"i{k}\",\"x\":\"\\u00e9\",\"name\":\"a\"}}");
        let source = format!("[{}]", (0..count).map(element).collect::<Vec<_>>().join(","));
        let list = parse(&source).unwrap();
        prop_assert_eq!(list.with_interfaces(&vec![net("net1"); count]), list.source());
        prop_assert_eq!(list.source(), source);
    }
}

/// Annotations of about `size` bytes that repeat one piece; most of the pieces break a rule each
/// time.
fn repeated(size: usize) -> Vec<String> {
    let shapes = [
        (r#"[{"name":"a","portMappings":["#, "{}", "]}]"),
        (r#"[{"name":"a","ips":["#, r#""x""#, "]}]"),
        (r#"[{"name":"a","ips":["#, "null", "]}]"),
        (r#"[{"name":"a","default-route":["#, "1", "]}]"),
        (r#"[{"name":"a","#, r#""x":1"#, "}]"),
        (r#"[{"name":"a","#, r#""NAME":1"#, "}]"),
        (r#"[{"name":"a","#, r#""ſ":1"#, "}]"),
        (r#"[{"name":"a","cni-args":{"#, r#""x":1"#, "}}]"),
        (r#"[{"name":"a","cni-args":{"x":["#, "9007199254740993", "]}}]"),
        (r#"[{"name":"a","bandwidth":{"#, r#""ingressrate":1"#, "}}]"),
        (r#"[{"name":"a","x":[["#, "[]", "]]}]"),
        ("[", "null", "]"),
        ("[", r#"{"name":"A","interface":"lo"}"#, "]"),
        ("", "a@lo", ""),
        ("", "", ""),
    ];
    let of = |(begin, piece, end): &(&str, &str, &str)| {
        let count = (size - begin.len() - end.len()) / (piece.len() + 1);
        format!("{begin}{}{end}", vec![*piece; count].join(","))
    };
    let long_name = format!(
        r#"[{{"name":"{}",{}}}]"#,
        "A".repeat(size / 2),
        vec![r#""x":1"#; size / 12].join(",")
    );
    shapes.iter().map(of).chain([long_name]).collect()
}

#[test]
fn parsing_takes_steps_in_proportion_to_the_size() {
    let steps = |annotation: &str| {
        work::take();
        let _ = SelectionList::parse(Some(annotation), "default");
        work::take()
    };
    let (small, large) = (repeated(8 * 1024), repeated(64 * 1024));
    for (small, large) in small.iter().zip(&large) {
        let (few, many) = (steps(small), steps(large));
        assert!(many <= 9 * few + 1000, "{few} and {many} steps for {:.60}", large);
        assert!(many <= 16 * large.len(), "{many} steps for {:.60}", large);
    }
}

#[test]
fn lists_twenty_violations_and_counts_the_others() {
    for annotation in repeated(64 * 1024) {
        let Err(violations) = SelectionList::parse(Some(&annotation), "default") else {
            continue;
        };
        assert!((1..=20).contains(&violations.len()), "{annotation:.60}");
        let few = violations.len() < 20;
        assert!(!few || violations.unlisted() == 0, "{annotation:.60}");
    }
}

#[rstest]
#[case("ips", r#""10.0.0.1""#, MAX_IPS, Rule::ElementCount)]
#[case(
    "portMappings",
    r#"{"hostPort":1,"containerPort":1}"#,
    MAX_PORT_MAPPINGS,
    Rule::ElementCount
)]
#[case("default-route", r#""10.0.0.1""#, MAX_DEFAULT_ROUTES, Rule::DefaultRoute)]
fn lists_of_an_element_are_bounded(
    #[case] key: &str,
    #[case] item: &str,
    #[case] limit: usize,
    #[case] rule: Rule,
) {
    let annotation = |count| {
        let items = vec![item; count].join(",");
        format!(r#"[{{"name":"a","{key}":[{items}]}}]"#)
    };
    let violations = |count| SelectionList::parse(Some(&annotation(count)), "default").err();
    let over = violations(limit + 1).unwrap();
    assert_eq!((over.len(), over[0].rule, over[0].field), (1, rule, Some(key)));
    assert!(
        over[0].message.contains(&format!("at most {limit} are allowed")),
        "{}",
        over[0]
    );
    // Two gateways of one family are refused for another reason.
    if key != "default-route" {
        assert_eq!(violations(limit), None);
    }
}
