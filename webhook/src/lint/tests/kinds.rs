//! Kinds in which pods are found.

use super::*;

#[test]
fn items_of_a_list_have_the_kind_of_the_list() {
    let pod = r#"{"metadata":{"name":"p","annotations":{"k8s.v1.cni.cncf.io/networks":"a@eth0"}}}"#;
    let (outcome, out) = lint_text(&format!(
        r#"{{"kind":"PodList","apiVersion":"v1","items":[{pod}]}}"#
    ));

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("Pod default/p: refused\n"), "{out}");
}

const PYTORCH_JOB: &str = r#"
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: { name: train, namespace: ml }
spec:
  pytorchReplicaSpecs:
    Master: { template: { spec: { containers: [ { name: c } ] } } }
    Worker:
      template:
        metadata: { annotations: { k8s.v1.cni.cncf.io/networks: a@eth0 } }
        spec: { containers: [ { name: c } ] }
"#;

const JOB_SET: &str = r#"
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: { name: train, namespace: ml }
spec:
  replicatedJobs:
    - name: workers
      template:
        metadata: { annotations: { k8s.v1.cni.cncf.io/networks: ignored@eth0 } }
        spec: { template: { metadata: { annotations: { k8s.v1.cni.cncf.io/networks: a@eth0 } } } }
"#;

#[rstest]
#[case::a_training(
    PYTORCH_JOB,
    "PyTorchJob ml/train: spec.pytorchReplicaSpecs.Worker.template: refused"
)]
#[case::a_set_of_jobs(
    JOB_SET,
    "JobSet ml/train: spec.replicatedJobs[0].template.spec.template: refused"
)]
fn pod_templates_of_custom_kinds_are_judged(#[case] text: &str, #[case] expected: &str) {
    let (outcome, out) = lint_text(text);

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains(expected), "{out}");
    assert_eq!(out.matches("refused\n").count(), 1, "{out}");
}

#[rstest]
#[case("operator.openshift.io/v1", "Network", true)]
#[case("kubevirt.io/v1", "KubeVirt", true)]
#[case("k8s.ovn.org/v1", "EgressIP", true)]
#[case("v1", "Service", false)]
#[case("networking.k8s.io/v1", "NetworkPolicy", false)]
fn an_unknown_kind_is_said_not_to_be_judged(#[case] version: &str, #[case] kind: &str, #[case] said: bool) {
    let (outcome, out) = lint_text(&format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: x }}\nspec: {{}}"
    ));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    let words = "x: not judged: no pod template or network found in this kind\n";
    assert_eq!(out.contains(words), said, "{out}");
}

const VIRTUAL_MACHINE: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: { name: vm, namespace: default }
spec:
  template:
    spec:
      domain: { devices: { interfaces: [ { name: second, bridge: {}, macAddress: "MAC" } ] } }
      networks:
        - { name: default, pod: {} }
        - { name: second, multus: { networkName: NAME } }
"#;

#[rstest]
#[case("a", "02:00:5e:00:53:01", "ok\n", Outcome::Admitted)]
#[case("default/a", "02", "[rule mac-address]", Outcome::Refused)]
#[case("a b", "02:00:5e:00:53:01", "[rule network-name]", Outcome::Refused)]
#[case("vlan", "02:00:5e:00:53:01", "did you mean default/vlan2?", Outcome::Admitted)]
#[case("broken", "02:00:5e:00:53:01", "[rule network-config]", Outcome::Refused)]
fn multus_networks_of_virtual_machines_are_judged(
    #[case] name: &str,
    #[case] mac: &str,
    #[case] expected: &str,
    #[case] outcome: Outcome,
) {
    let machine = VIRTUAL_MACHINE.replace("NAME", name).replace("MAC", mac);
    let others = NETWORK.replace("{ name: a }", "{ name: vlan2 }");
    let broken = NETWORK
        .replace("{ name: a }", "{ name: broken }")
        .replace(r#","type":"macvlan""#, "");
    let broken = if name == "broken" { broken.as_str() } else { "" };
    let (found, out) = lint_text(&format!("{NETWORK}---\n{others}---\n{broken}---\n{machine}"));

    assert_eq!(found, outcome, "{out}");
    let said = out.split("VirtualMachine default/vm: ").nth(1).unwrap();
    assert!(said.contains(expected), "{out}");
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
  annotations: { OWN }
spec:
  template:
    metadata: { annotations: { TEMPLATE } }
    spec: { containers: [] }
"#;

#[rstest]
#[case::only_there(
    "k8s.v1.cni.cncf.io/networks: a",
    "",
    "warning at 6:47: metadata.annotations of the Deployment has no effect; put k8s.v1.cni.cncf.io/networks into spec.template.metadata.annotations\n"
)]
#[case::in_both_places(
    "k8s.v1.cni.cncf.io/networks: a@net1",
    "k8s.v1.cni.cncf.io/networks: a@net2",
    "is \"a@net1\" there and \"a@net2\" in spec.template.metadata.annotations, which counts; remove the first\n"
)]
#[case::misspelt_there(
    "k8s.v1.cni.cncf.io/network: a",
    "",
    "annotation k8s.v1.cni.cncf.io/network has no effect; did you mean k8s.v1.cni.cncf.io/networks in spec.template.metadata.annotations?\n"
)]
#[case::misspelt_in_the_template(
    "",
    "k8s.v1.cni.cncf.io/Networks: a",
    "warning at 9:61: annotation k8s.v1.cni.cncf.io/Networks has no effect; did you mean k8s.v1.cni.cncf.io/networks?\n"
)]
fn an_annotation_without_effect_is_warned_of(
    #[case] own: &str,
    #[case] template: &str,
    #[case] expected: &str,
) {
    let (outcome, out) = lint_text(&DEPLOYMENT.replace("OWN", own).replace("TEMPLATE", template));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(out.contains(expected), "{out}");
    assert_eq!(out.matches("warning").count(), 1, "{out}");
}

#[test]
fn the_same_annotation_in_both_places_is_fine() {
    let annotation = "k8s.v1.cni.cncf.io/networks: a@net1";
    let (_, out) = lint_text(
        &DEPLOYMENT
            .replace("OWN", annotation)
            .replace("TEMPLATE", annotation),
    );

    assert!(!out.contains("warning"), "{out}");
}

#[test]
fn an_annotation_of_the_job_template_has_no_effect() {
    let text = r#"
apiVersion: batch/v1
kind: CronJob
metadata: { name: c }
spec:
  jobTemplate:
    metadata: { annotations: { k8s.v1.cni.cncf.io/networks: a } }
    spec: { template: { spec: { containers: [] } } }
"#;
    let (_, out) = lint_text(text);

    assert!(
        out.contains("metadata.annotations of spec.jobTemplate has no effect; put k8s.v1.cni.cncf.io/networks into spec.jobTemplate.spec.template.metadata.annotations\n"),
        "{out}"
    );
}

#[test]
fn a_misspelt_key_of_a_pod_is_warned_of() {
    let (outcome, out) = lint_text(&a_pod("a").replace("cncf.io/networks", "cnf.io/networks"));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(
        out.contains(
            "annotation k8s.v1.cni.cnf.io/networks has no effect; did you mean k8s.v1.cni.cncf.io/networks?\n"
        ),
        "{out}"
    );
}

#[rstest]
#[case::no_json(r#"{ "type": "bridge" "vlan": 20 }"#, Outcome::Refused, "cannot run\n")]
#[case::good(r#"{ "cniVersion": "1.0.0", "type": "bridge" }"#, Outcome::Admitted, "ok\n")]
fn the_raw_config_of_openshifts_operator_is_judged(
    #[case] config: &str,
    #[case] outcome: Outcome,
    #[case] expected: &str,
) {
    let text = format!(
        "apiVersion: operator.openshift.io/v1\nkind: Network\nmetadata: {{ name: cluster }}\nspec:\n  additionalNetworks:\n  - name: second\n    namespace: vms\n    type: Raw\n    rawCNIConfig: '{config}'\n  - {{ name: third, type: SimpleMacvlan }}\n"
    );
    let pod = a_pod("vms/second@net1");
    let (found, out) = lint_text(&format!("{text}---\n{pod}"));

    assert_eq!(found, outcome, "{out}");
    let title = "f.yaml:9:19: Network cluster: spec.additionalNetworks[0] (vms/second): ";
    assert!(out.contains(&format!("{title}{expected}")), "{out}");
    assert!(out.contains("(default/third): not judged: "), "{out}");
    // Pods of the files use it.
    assert_eq!(
        out.contains("[rule network-config]"),
        outcome == Outcome::Refused,
        "{out}"
    );
}

#[rstest]
#[case::outside_spec("spec: {}\nconfig: '{}'", " at 5:9: config is outside spec")]
#[case::a_map("spec: { config: { type: macvlan } }", ": spec.config must be a string")]
#[case::spec_itself("spec: { type: macvlan }", " at 4:7: spec has no config")]
#[case::no_map("spec: x", " at 4:7: spec must be a map with config")]
#[case::on_the_node("spec: {}", "")]
#[case::on_the_node_too("spec:", "")]
#[case::on_the_node_by_an_empty_config("spec: { config: '' }", "")]
fn a_config_that_multus_never_sees_is_an_error(#[case] spec: &str, #[case] error: &str) {
    let kind = "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition";
    let (outcome, out) = lint_text(&format!("{kind}\nmetadata: {{ name: a }}\n{spec}\n"));

    if error.is_empty() {
        let note = "note: no spec.config: needs a CNI file of this name on each node\n";
        assert!(out.ends_with(&format!(": ok\n  {note}")), "{out}");
        assert_eq!(outcome, Outcome::Admitted, "{out}");
    } else {
        assert_eq!(outcome, Outcome::Refused, "{out}");
        assert!(
            out.contains("cannot run\n") && out.contains(&format!("  error{error}")),
            "{out}"
        );
    }
}
