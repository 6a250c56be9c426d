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
#[case("k8s.ovn.org/v1", "EgressIP", true)]
#[case("v1", "Service", false)]
#[case("networking.k8s.io/v1", "NetworkPolicy", false)]
fn an_unknown_kind_is_said_not_to_be_judged(#[case] version: &str, #[case] kind: &str, #[case] said: bool) {
    let (outcome, out) = lint_text(&format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: x }}\nspec: {{}}"
    ));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    let words = "x: not judged: no pod template found in this kind\n";
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

#[test]
fn an_annotation_of_the_workload_itself_has_no_effect() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  annotations: { k8s.v1.cni.cncf.io/networks: a }\nspec: { template: { spec: { containers: [] } } }";
    let (_, out) = lint_text(text);

    assert!(
        out.contains("warning: metadata.annotations of the Deployment has no effect; put k8s.v1.cni.cncf.io/networks into spec.template.metadata.annotations\n"),
        "{out}"
    );
}

#[rstest]
#[case::outside_spec("spec: {}\nconfig: '{}'", "config is outside spec")]
#[case::a_map("spec: { config: { type: macvlan } }", "spec.config must be a string")]
#[case::spec_itself("spec: { type: macvlan }", "spec has no config")]
#[case::on_the_node("spec: {}", "")]
#[case::on_the_node_too("spec: { config: '' }", "")]
fn a_config_that_multus_never_sees_is_an_error(#[case] spec: &str, #[case] error: &str) {
    let kind = "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition";
    let (outcome, out) = lint_text(&format!("{kind}\nmetadata: {{ name: a }}\n{spec}\n"));

    if error.is_empty() {
        assert!(out.ends_with(": ok\n"), "{out}");
    } else {
        assert_eq!(outcome, Outcome::Refused, "{out}");
        assert!(
            out.contains("cannot run\n") && out.contains(&format!("  error: {error}")),
            "{out}"
        );
    }
}
