//! What the files say about the cluster: namespaces, networks and the webhook's configuration.

use super::*;

fn a_namespace(mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: {{ dynamic-networks.k8s.cni.cncf.io/interface-names: '{mode}' }}\n"
    )
}

fn a_config_map(name: &str, key: &str, text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: networks }}\ndata:\n  {key}: '{text}'\n"
    )
}

#[test]
fn the_label_of_a_namespace_decides() {
    let pod = a_pod("a");
    let (outcome, out) = lint_text(&format!("{pod}---\n{}", a_namespace("reject")));
    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("[rule interface-name-missing]"), "{out}");
    assert!(!out.contains("Namespace"), "{out}");

    let (outcome, out) = lint_text(&format!("{pod}---\n{}", a_namespace("perhaps")));
    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains("Namespace default: ok\n  warning: label ") && out.contains("\"perhaps\""),
        "{out}"
    );
}

#[rstest]
#[case::a_pod_of_the_namespace("enforcement: warn", "default", Outcome::Admitted)]
#[case::a_pod_of_another_namespace("enforcement: warn", "other", Outcome::Refused)]
#[case::an_unreadable_label("enforcement: perhaps", "default", Outcome::Refused)]
fn enforcement_of_the_namespace_makes_refusals_warnings(
    #[case] label: &str,
    #[case] namespace: &str,
    #[case] outcome: Outcome,
) {
    let pod = a_pod("a@eth0").replace("name: p", &format!("name: p\n  namespace: {namespace}"));
    let labelled = a_namespace("fill").replace("interface-names: 'fill'", label);
    let text = format!("{pod}---\n{labelled}");
    let (found, out) = lint_text(&text);

    assert_eq!(found, outcome, "{out}");
    let level = if outcome == Outcome::Admitted {
        "warning"
    } else {
        "error"
    };
    assert!(out.contains(&format!("  {level}: element 0 ")), "{out}");
    let is_unreadable = out.contains("is \"perhaps\" and must be enforce or warn; the configuration holds");
    assert_eq!(is_unreadable, label.contains("perhaps"), "{out}");
    let reports = judge(&sources(&[("f", &text)]), &[], &settings(None));
    assert_eq!(worst(&reports, true), Outcome::Refused);
}

#[test]
fn enforcement_of_the_config_map_makes_refusals_warnings() {
    let settings = a_config_map(
        "dynamic-networks-settings",
        "settings.json",
        r#"{"enforcement":"warn"}"#,
    );
    let broken = NETWORK.replace(r#","type":"macvlan""#, "");
    let text = format!("{}---\n{settings}---\n{broken}", a_pod("a@net1"));
    let (outcome, out) = lint_text(&text);

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains("p: ok, but breaks rules: enforcement is warn\n"),
        "{out}"
    );
    assert!(
        out.contains("NetworkAttachmentDefinition default/a: cannot run\n  warning at "),
        "{out}"
    );
    assert_eq!(out.matches("  warning").count(), 2, "{out}");
}

#[test]
fn the_config_maps_of_the_webhook_decide() {
    let manifest = a_config_map(
        "dynamic-networks-controller-config",
        "dynamic-networks-config.json",
        r#"{"interfaceNames":"off","interfaceOffset":1}"#,
    );
    let user = a_config_map(
        "dynamic-networks-settings",
        "settings.json",
        r#"{"interfaceNames":"reject"}"#,
    );
    let text = format!("{}---\n{manifest}---\n{user}", a_pod("a"));
    let (outcome, out) = lint_text(&text);
    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("write default/a@net2"), "{out}");

    let given = settings(Some(Config::default()));
    assert_eq!(lint_files(&[("f", &text)], &given).0, Outcome::Admitted);

    let (outcome, out) = lint_text(&user.replace("reject", "perhaps"));
    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(
        out.contains("ConfigMap networks/dynamic-networks-settings: unreadable"),
        "{out}"
    );
}

#[rstest]
#[case::a_similar_name("macvlan", "; did you mean default/macvlan1?\n")]
#[case::another_network_of_the_namespace(
    "office",
    "(default/office): no such NetworkAttachmentDefinition in these files\n"
)]
#[case::the_same_name_elsewhere("prod/macvlan1", "; did you mean default/macvlan1?\n")]
fn a_network_that_the_files_should_have_is_warned_of(#[case] networks: &str, #[case] expected: &str) {
    let network = NETWORK.replace("metadata: { name: a }", "metadata: { name: macvlan1 }");
    let (outcome, out) = lint_text(&format!("{network}---\n{}", a_pod(networks)));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains("  warning: element 0 (") && out.contains(expected),
        "{out}"
    );
}

#[test]
fn a_network_of_another_namespace_may_be_in_the_cluster() {
    let (_, out) = lint_text(&format!("{NETWORK}---\n{}", a_pod("prod/other@net1")));

    assert!(!out.contains("warning"), "{out}");
}

#[rstest]
#[case("kube-system", "")]
#[case("networks", "")]
#[case("default", ", kubernetes.io/config.mirror: x")]
fn pods_that_the_webhook_never_sees_are_not_judged(#[case] namespace: &str, #[case] mirror: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: {namespace}\n  annotations: {{ k8s.v1.cni.cncf.io/networks: a@eth0{mirror} }}\n"
    );
    let (outcome, out) = lint_text(&text);

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(out.contains("not judged: the webhook leaves "), "{out}");
}
