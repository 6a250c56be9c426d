//! Annotations as public bug reports have them: what is said about those that multus cannot read.

use rstest::rstest;

use super::{elements, parse, rules};
use crate::violation::Rule;

fn message(annotation: &str) -> String {
    let violations = parse(annotation).unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations[0].to_string()
}

#[rstest]
#[case::hash_comment(
    "[\n  { \"name\": \"lan\", \"interface\": \"ens9\",\n    \"ips\": [ \"192.0.2.4/24\" ],\n    # \"mac\": \"02:00:5e:00:53:cc\" }\n]",
    "a key in double quotes is expected at line 4, column 5; JSON has no comments: remove the comment"
)]
#[case::comma_after_the_last_member(
    r#"[{ "name": "lan", "ips": [ "2001:db8:10:1::201" ], }]"#,
    "a key in double quotes is expected at line 1, column 52; remove the comma before it"
)]
#[case::brace_forgotten(
    r#"[ { "name": "lan", "ips": [ "192.0.2.4/24" ] ]"#,
    "',' or '}' is expected at line 1, column 46; close the object with '}' before it"
)]
#[case::typographic_quotes(
    r#"[ { "name": "blue”}, { "name": "red”} ]"#,
    "a straight quote '\"' is expected at line 1, column 18; replace the typographic quote"
)]
#[case::comma_for_a_colon(
    r#"[{"name":"lan","interface","net7"}]"#,
    "':' is expected at line 1, column 27; write a colon between a key and its value"
)]
#[case::single_quotes(
    "[{'name': 'lan', 'interface': 'net1'}]",
    "a key in double quotes is expected at line 1, column 3; replace single quotes by double quotes"
)]
#[case::comma_forgotten(
    r#"[{"name":"a"} {"name":"b"}]"#,
    "',' or ']' is expected at line 1, column 15; write a comma before it"
)]
#[case::list_not_closed(
    r#"[{"name":"a","ips":["192.0.2.4"}]"#,
    "',' or ']' is expected at line 1, column 32; close the list with ']' before it"
)]
#[case::cut_off(
    "[{\"name\":\"a\"},\n",
    "a value is expected at line 2, column 1; close every '[' and '{' that is open"
)]
#[case::two_commas(
    r#"[{"name":"a"},,{"name":"b"}]"#,
    "a value is expected at line 1, column 15; remove the comma"
)]
#[case::key_without_quotes(
    r#"[{"name":"a", interface: "net1"}]"#,
    "a key in double quotes is expected at line 1, column 15; put the key in double quotes"
)]
#[case::value_without_quotes(
    r#"[{"name":a}]"#,
    "a value is expected at line 1, column 10; put text in double quotes"
)]
#[case::string_not_closed(
    r#"[{"name":"a}]"#,
    "the end of the string is expected at line 1, column 14; close the string with '\"'"
)]
#[case::line_break_in_a_string(
    "[{\"name\":\"a\n\"}]",
    "the end of the string is expected at line 1, column 12; write line breaks and tabs in a string as \\n and \\t"
)]
#[case::two_lists(
    "[] []",
    "the end is expected at line 1, column 4; remove what follows the list"
)]
fn names_the_place_and_the_cure_of_broken_json(#[case] annotation: &str, #[case] expected: &str) {
    assert_eq!(rules(annotation), [Rule::JsonSyntax]);
    let message = message(annotation);
    assert!(
        message.contains(&format!("not valid JSON: {expected} [rule")),
        "{message}"
    );
}

#[rstest]
#[case::one_object(
    r#"{"name":"lan","mac":"02:00:5e:00:53:01"}"#,
    "the annotation is an object, not a list; put '[' before it and ']' after it"
)]
#[case::json_in_a_json_string(
    r#""[{\"name\": \"lan\"}]""#,
    "the annotation is a string that holds JSON; write the list itself"
)]
#[case::a_string("\"lan\"", "the annotation is a string, not a list; write a list")]
fn json_that_is_no_list_is_told_apart(#[case] annotation: &str, #[case] expected: &str) {
    assert_eq!(rules(annotation), [Rule::JsonList]);
    assert!(message(annotation).contains(expected), "{}", message(annotation));
}

#[test]
fn a_text_that_ends_with_a_comma_says_so() {
    assert_eq!(
        message("br-1,br-2,br-3,"),
        "element 3, value \"\": the annotation ends with a comma; remove it; write [namespace/]name[@interface], for \
         example \"default/macvlan1@net1\" [rule text-syntax]"
    );
    assert!(message("br-1,,br-3").contains("element 1, value \"\": the element is empty"));
}

#[test]
fn ips_as_a_string_show_the_list_to_write() {
    let annotation = r#"[{ "name": "lan", "ips": "192.0.2.201/23" },{ "name": "lan", "ips": "192.0.2.202/23, 2001:db8::1" }]"#;
    let messages: Vec<_> = parse(annotation)
        .unwrap_err()
        .into_iter()
        .map(|violation| violation.to_string())
        .collect();
    assert_eq!(
        messages,
        [
            "element 0 (\"ns/lan\"), field ips, value \"192.0.2.201/23\": must be a list of strings; write [\"192.0.2.201/23\"] \
             [rule field-type]",
            "element 1 (\"ns/lan\"), field ips, value \"192.0.2.202/23, 2001:db8::1\": must be a list of strings; write \
             [\"192.0.2.202/23\",\"2001:db8::1\"] [rule field-type]",
        ]
    );
}

#[rstest]
#[case(r#"[{"name":"infra/lan"}]"#, r#"write "namespace": "infra", "name": "lan""#)]
#[case(
    r#"[{"name":"infra/lan@net1"}]"#,
    r#"write "namespace": "infra", "name": "lan", "interface": "net1""#
)]
#[case(r#"[{"name":"lan@net1"}]"#, r#"write "name": "lan", "interface": "net1""#)]
#[case(r#"[{"name":"Infra/lan"}]"#, "[rule network-name]")]
fn a_name_in_the_text_form_shows_its_keys(#[case] annotation: &str, #[case] expected: &str) {
    assert_eq!(rules(annotation), [Rule::NetworkName]);
    let message = message(annotation);
    assert!(message.contains(expected), "{message}");
    assert_eq!(
        message.contains("each part has a key"),
        expected.starts_with("write")
    );
}

#[rstest]
#[case::lines_and_tabs("\n\tinfra/lan-a ,\n\t lan-b @ eth3\n", &["infra/lan-a", "ns/lan-b@eth3"])]
#[case::capital_mac_and_host_prefix(
    r#"[ { "name": "lan",  "ips": [ "192.0.2.2/32" ], "mac": "02:FE:C0:00:53:02" } ]"#,
    &["ns/lan"]
)]
#[case::old_alias(r#"[{ "name": "nad-1", "interfaceRequest":"vlan101" }]"#, &["ns/nad-1@vlan101"])]
#[case::two_families_capital_hex(
    r#"[{"name":"lan","interface":"net1","ips":["192.0.2.3/24","2001:DB8:0:0::0003/64"]}]"#,
    &["ns/lan@net1"]
)]
#[case::empty_values_of_a_template(
    r#"[{"name":"lan","namespace":"","interface":"","ips":[],"mac":"","default-route":[]}]"#,
    &["ns/lan"]
)]
#[case::typographic_quotes_in_a_value(r#"[{"name":"lan","cni-args":{"a":"say “x”, y"}}]"#, &["ns/lan"])]
fn unusual_annotations_that_multus_reads_are_read(#[case] annotation: &str, #[case] expected: &[&str]) {
    assert_eq!(elements(annotation), expected);
    assert!(
        parse(annotation)
            .unwrap()
            .elements
            .iter()
            .all(|element| element.unknown_keys().is_none())
    );
}

#[test]
fn a_key_in_capitals_shows_the_spelling_to_write() {
    let annotation = r#"[{"Name": "case10", "InterfaceRequest": "eth2"}]"#;
    let violations = parse(annotation).unwrap_err();
    let spelling: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(rules(annotation), [Rule::KeySpelling, Rule::KeySpelling]);
    assert!(spelling[0].contains("write \"name\""), "{spelling:?}");
    assert!(spelling[1].contains("write \"interfaceRequest\""), "{spelling:?}");
}
