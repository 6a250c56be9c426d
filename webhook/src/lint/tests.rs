//! What `lint` prints, and its exit status.

use rstest::rstest;

use super::*;

mod cluster;
mod definitions;
mod fixes;
mod kinds;
mod pipelines;

const NETWORK: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: { name: a }
spec:
  config: '{"cniVersion":"1.0.0","name":"a","type":"macvlan","master":"eth1"}'
"#;

fn a_pod(networks: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    k8s.v1.cni.cncf.io/networks: {networks}\nspec: {{}}\n"
    )
}

fn settings(config: Option<Config>) -> Settings {
    Settings {
        config,
        namespace: "default".to_owned(),
        webhook_namespace: "networks".to_owned(),
        fix: false,
    }
}

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let files = files.iter().map(|(name, text)| Source {
        name: (*name).to_owned(),
        path: None,
        text: Ok((*text).to_owned()),
    });
    files.collect()
}

fn lint_files(files: &[(&str, &str)], settings: &Settings) -> (Outcome, String) {
    let reports = judge(&sources(files), &[], settings);
    printed(&reports)
}

fn printed(reports: &[Report]) -> (Outcome, String) {
    let mut out = Vec::new();
    output::text(reports, &mut out).unwrap();
    (worst(reports, false), String::from_utf8(out).unwrap())
}

fn lint_text(text: &str) -> (Outcome, String) {
    lint_files(&[("f.yaml", text)], &settings(None))
}

#[test]
fn a_good_pod_and_its_network_are_admitted() {
    let (outcome, out) = lint_text(&format!("{NETWORK}---\n{}", a_pod("a@net1")));

    assert_eq!(outcome, Outcome::Admitted);
    assert_eq!(
        out,
        "f.yaml:6:11: NetworkAttachmentDefinition default/a: ok\nf.yaml:13:34: Pod default/p: ok\n"
    );
}

#[test]
fn what_would_be_filled_in_is_shown() {
    let (outcome, out) = lint_text(&a_pod("a"));

    assert_eq!(outcome, Outcome::Admitted);
    assert_eq!(
        out,
        "f.yaml:6:34: Pod default/p: ok, with interface names filled in\n  filled in: a@net1\n"
    );
}

#[test]
fn every_violation_of_every_document_is_printed() {
    let (outcome, out) = lint_text(&format!("{}---\n{}", a_pod("a@eth0,b@lo"), a_pod("'[null]'")));

    assert_eq!(outcome, Outcome::Refused);
    assert_eq!(out.matches("refused").count(), 2, "{out}");
    assert_eq!(out.matches("  error").count(), 3, "{out}");
}

#[test]
fn a_network_that_cannot_run_is_refused_together_with_its_pods() {
    let broken = NETWORK.replace(r#","type":"macvlan""#, "");
    let (outcome, out) = lint_text(&format!("{broken}---\n{}", a_pod("a@net1")));

    assert_eq!(outcome, Outcome::Refused);
    assert!(
        out.contains("NetworkAttachmentDefinition default/a: cannot run"),
        "{out}"
    );
    assert!(out.contains("network-config"), "{out}");
}

#[test]
fn networks_that_are_not_in_the_files_are_nobodys_fault() {
    let config = Config::parse(r#"{"missingNetworks":"reject"}"#).unwrap();
    let text = format!("{NETWORK}---\n{}", a_pod("elsewhere@net1"));

    assert_eq!(
        lint_files(&[("f", &text)], &settings(Some(config))).0,
        Outcome::Admitted
    );
}

#[test]
fn templates_and_lists_are_looked_into() {
    let deployment = r#"{"kind":"Deployment","metadata":{"name":"d","namespace":"x"},"spec":{"template":
        {"metadata":{"annotations":{"k8s.v1.cni.cncf.io/networks":"a@eth0"}}}}}"#;
    let (outcome, out) = lint_text(&format!(
        r#"{{"kind":"List","items":[{deployment},{{"kind":"Service"}}]}}"#
    ));

    assert_eq!(outcome, Outcome::Refused);
    assert!(out.starts_with("f.yaml:2:67: Deployment x/d: refused\n"), "{out}");
}

#[rstest]
#[case::no_yaml("a: [")]
#[case::a_bomb(
    "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n"
)]
#[case::an_annotation_map_that_is_none("kind: Pod\nmetadata: {name: p, annotations: [a]}")]
fn what_cannot_be_read_is_said(#[case] text: &str) {
    let (outcome, out) = lint_text(text);

    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(out.contains("unreadable"), "{out}");
}

#[test]
fn files_without_pods_and_networks_are_fine() {
    assert_eq!(lint_text("kind: Service\n---\n---\n").0, Outcome::Admitted);
}

#[rstest]
#[case::a_number("7")]
#[case::values_of_helm("replicas: 3\nkind:\n  a: b")]
#[case::a_kustomization("resources: [a.yaml]")]
fn documents_without_a_kind_are_counted(#[case] document: &str) {
    let text = format!("{}---\n{document}\n---\n{}", a_pod("a@eth0"), a_pod("a@net1"));
    let (outcome, out) = lint_text(&text);

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(
        out.contains("f.yaml: documents without a kind, not judged: 1\n"),
        "{out}"
    );
    assert!(out.contains("p: refused\n") && out.contains("p: ok\n"), "{out}");
    assert_eq!(lint_text(document).0, Outcome::Admitted);
}

#[test]
fn a_broken_document_hides_no_other() {
    let text = format!(
        "%YAML 1.2\n---\n{}---\na: [\n--- # the last\n{}",
        a_pod("a@eth0"),
        a_pod("a@net1")
    );
    let (outcome, out) = lint_files(&[("f", &text), ("g", &a_pod("b@net1"))], &settings(None));

    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(out.contains("f:11:4: unreadable\n"), "{out}");
    assert!(
        out.contains("f:8:34: Pod default/p: refused\n") && out.contains("f:18:34: Pod default/p: ok\n"),
        "{out}"
    );
    assert!(out.contains("g:6:34: Pod default/p: ok\n"), "{out}");
}

#[test]
fn kubectl_apply_of_a_pod_in_json_reads_the_same() {
    let json = r#"{"kind":"Pod","metadata":{"generateName":"p-","annotations":{"k8s.v1.cni.cncf.io/networks":"[{\"name\":\"a\"}]"}}}"#;

    assert!(
        lint_text(json)
            .1
            .contains("Pod default/p-: ok, with interface names filled in")
    );
}

#[rstest]
#[case::a_list(r#"[{"name":"a"}]"#, "a list")]
#[case::a_map("{name: a}", "a map")]
#[case::a_number("7", "a number")]
#[case::a_bool("true", "a bool")]
fn an_unquoted_annotation_must_be_a_string(#[case] networks: &str, #[case] found: &str) {
    let (outcome, out) = lint_text(&a_pod(networks));

    assert_eq!(outcome, Outcome::Refused, "{out}");
    let expected = format!(
        "error: annotation k8s.v1.cni.cncf.io/networks is {found} and must be a string; put quotes around it\n"
    );
    assert!(out.contains(&expected), "{out}");
}

#[test]
fn an_annotation_without_a_value_is_an_empty_string() {
    assert_eq!(lint_text(&a_pod("")).0, Outcome::Admitted);
}

#[test]
fn nothing_in_a_file_can_command_a_terminal_or_a_runner() {
    let text = "kind: Pod\nmetadata:\n  name: \"a\\n::error::x\\e[31m##[command]\"\n  annotations: { k8s.v1.cni.cncf.io/networks: 'a@eth0' }";
    let (outcome, out) = lint_files(&[("::f", text)], &settings(None));

    assert_eq!(outcome, Outcome::Refused);
    assert!(
        out.starts_with("\\:\\:f:4:47: Pod default/a\\n::error::x\\u{1b}[31m##\\[command]: refused\n"),
        "{out}"
    );
}
