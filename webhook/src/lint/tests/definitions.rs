//! What is said about the configs of networks, and where.

use super::*;

/// A definition whose config is `config` in the notation that it has in the file.
fn a_network(config: &str) -> String {
    format!(
        "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {{ name: a }}\nspec:\n  config: {config}\n"
    )
}

#[rstest]
#[case::in_single_quotes(r#"'{"type":"macvlan","mtu":"x","ipam":{"type":"dhcp"}}'"#, "5:36")]
#[case::in_double_quotes(r#""{\"type\":\"macvlan\",\"mtu\":\"x\"}""#, "5:42")]
#[case::in_a_block("|\n    { \"type\": \"macvlan\",\n      \"mtu\": \"x\" }", "7:14")]
#[case::in_a_folded_block(">-\n    { \"type\": \"macvlan\",\n      \"mtu\": \"x\" }", "7:14")]
#[case::at_the_end_of_the_text(r#"'{"type":"macvlan"'"#, "5:29")]
fn a_problem_is_at_its_place_in_the_file(#[case] config: &str, #[case] place: &str) {
    let (outcome, out) = lint_text(&a_network(config));

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("default/a: cannot run\n"), "{out}");
    assert!(
        out.contains(&format!("  error at {place}: the config cannot run: ")),
        "{out}"
    );
    assert!(
        out.ends_with("[rule network-config]\n") && !out.contains("(line"),
        "{out}"
    );
}

#[test]
fn every_problem_of_a_config_is_said() {
    let config = r#"'{"plugins":[{"type":"macvlan","mtu":"x","ipam":{"type":"dhcp"}},{"type":"bridge","vlan":5000}]}'"#;
    let (_, out) = lint_text(&a_network(config));

    assert_eq!(out.matches("  error at 5:").count(), 2, "{out}");
}

#[test]
fn what_runs_but_not_as_meant_is_a_warning() {
    let config = r#"'{"plugins":[{"cniVersion":"1.0.0","type":"macvlan"}]}'"#;
    let text = a_network(config);
    let (outcome, out) = lint_text(&text);

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains("default/a: ok\n  warning at 5:38: plugins[0].cniVersion, value "),
        "{out}"
    );
    let reports = judge(&sources(&[("f", &text)]), &[], &settings(None));
    assert_eq!(worst(&reports, true), Outcome::Refused);
}

#[test]
fn enforcement_makes_a_config_that_cannot_run_a_warning() {
    let config = Config::parse(r#"{"enforcement":"warn"}"#).unwrap();
    let text = a_network(r#"'{"type":"macvlan","mtu":"x","ipam":{"type":"dhcp"}}'"#);
    let (outcome, out) = lint_files(&[("f", &text)], &settings(Some(config)));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains("cannot run\n  warning at 5:36: the config cannot run: "),
        "{out}"
    );
}

#[test]
fn a_problem_of_a_raw_config_is_at_its_place() {
    let text = "apiVersion: operator.openshift.io/v1\nkind: Network\nmetadata: { name: cluster }\nspec:\n  additionalNetworks:\n  - name: second\n    type: Raw\n    rawCNIConfig: |-\n      { \"name\": \"second\"\n        \"type\": \"bridge\" }\n";
    let (outcome, out) = lint_text(text);

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("  error at 10:9: the config cannot run: "), "{out}");
}

#[test]
fn static_ipam_needs_a_prefix() {
    let network = a_network(r#"'{"type":"macvlan","capabilities":{"ips":true},"ipam":{"type":"static"}}'"#);
    let pod = |ip: &str| {
        a_pod(&format!(
            r#"'[{{"name":"a","interface":"net1","ips":["{ip}"]}}]'"#
        ))
    };
    let (outcome, out) = lint_text(&format!("{network}---\n{}", pod("192.0.2.1")));
    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("[rule ip-prefix]"), "{out}");

    let (outcome, out) = lint_text(&format!("{network}---\n{}", pod("192.0.2.1/24")));
    assert_eq!(outcome, Outcome::Admitted, "{out}");
}

#[test]
fn a_second_default_route_is_a_warning() {
    let network =
        a_network(r#"'{"type":"macvlan","ipam":{"type":"static","routes":[{"dst":"0.0.0.0/0"}]}}'"#);
    let new = format!("{network}---\n{}", a_pod("a@net1"));
    let running = a_pod("''").replace(
        "spec: {}",
        "spec: { nodeName: worker }\nstatus: { phase: Running }",
    );
    let stored = sources(&[("old", &running)]);
    let reports = judge(&sources(&[("f", &new)]), &stored, &settings(None));
    let (outcome, out) = printed(&reports);

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(out.contains("it brings a default route, beside the one"), "{out}");
}
