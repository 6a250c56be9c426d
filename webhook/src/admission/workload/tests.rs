//! Workloads in, warnings out.

use rstest::rstest;
use serde_json::{Value, json};
use shared::annotations::NETWORKS;

use crate::testing::{app, ask, create, know, macvlan, update};

fn deployment(networks: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "template": {
        "metadata": { "annotations": { (NETWORKS): networks } }, "spec": { "containers": [] } } } })
}

fn cron_job(networks: &str) -> Value {
    json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "web" },
        "spec": { "jobTemplate": { "spec": { "template": deployment(networks)["spec"]["template"] } } } })
}

async fn warnings_with(settings: Value, review: &Value) -> Vec<String> {
    let app = app(&settings);
    know(&app, &[("a", macvlan(&[]))]);
    let answer = ask(&app, "/workload", review).await;
    assert_eq!(answer["allowed"], true, "{answer}");
    serde_json::from_value(answer["warnings"].clone()).unwrap_or_default()
}

async fn warnings(review: &Value) -> Vec<String> {
    warnings_with(json!({}), review).await
}

#[rstest]
#[case::deployment(deployment("a@eth0"), "spec.template: its pods will be refused: element 0")]
#[case::cron_job(
    cron_job("a@eth0"),
    "spec.jobTemplate.spec.template: its pods will be refused: element 0"
)]
#[case::unknown_network(deployment("b@net1"), "spec.template: element 0 (default/b): ")]
#[tokio::test]
async fn says_when_applied_what_pods_will_meet(#[case] workload: Value, #[case] wanted: &str) {
    let said = warnings(&create(&workload)).await;
    assert!(said.len() == 1 && said[0].starts_with(wanted), "{said:?}");
}

#[tokio::test]
async fn the_audit_log_names_the_rule() {
    let app = app(&json!({}));
    let answer = ask(&app, "/workload", &create(&deployment("a@eth0"))).await;
    assert_eq!(
        answer["auditAnnotations"],
        json!({ "rule": "interface-reserved" })
    );
}

#[rstest]
#[case::runnable(create(&deployment("a,a")))]
#[case::without_networks(create(&deployment("")))]
#[case::without_a_template(create(&json!({ "metadata": { "name": "web" } })))]
#[case::unchanged(update(&deployment("a@eth0"), &deployment("a@eth0")))]
#[case::deleted(crate::testing::review("DELETE", None, Some(&deployment("a@eth0"))))]
#[tokio::test]
async fn says_nothing_where_nothing_is_wrong_or_new(#[case] review: Value) {
    assert_eq!(warnings(&review).await, [""; 0]);
}

#[tokio::test]
async fn a_changed_template_is_judged_again() {
    let review = update(&deployment("a@eth0"), &deployment("a@eth0,a"));
    assert_eq!(warnings(&review).await.len(), 1);
}

#[rstest]
#[case::odd_spec(json!({ "metadata": { "name": "web" }, "spec": ["template"] }))]
#[case::odd_template(json!({ "metadata": { "name": "web" }, "spec": { "template": 1 } }))]
#[tokio::test]
async fn a_workload_that_cannot_be_read_is_admitted(#[case] workload: Value) {
    assert_eq!(warnings(&create(&workload)).await, [""; 0]);
}

#[tokio::test]
async fn an_unnamed_element_is_said_where_names_are_demanded() {
    let said = warnings_with(json!({ "interfaceNames": "reject" }), &create(&deployment("a"))).await;
    assert!(said.len() == 1 && said[0].contains("a@net1"), "{said:?}");
}

#[tokio::test]
async fn an_annotation_of_the_workload_itself_is_said_once() {
    let mut misplaced = deployment("");
    misplaced["metadata"]["annotations"] = json!({ (NETWORKS): "a@net1" });
    assert_eq!(
        warnings(&create(&misplaced)).await,
        ["metadata.annotations of the Deployment has no effect; \
          put k8s.v1.cni.cncf.io/networks into spec.template.metadata.annotations"]
    );
    assert_eq!(warnings(&update(&misplaced, &misplaced)).await, [""; 0]);
}

#[tokio::test]
async fn a_key_that_is_nearly_right_is_said_once() {
    let mut near = cron_job("");
    near["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] =
        json!({ "k8s.v1.cni.cncf.io/network": "a", "example.com/networks": "a" });
    assert_eq!(
        warnings(&create(&near)).await,
        [
            "spec.jobTemplate.spec.template: annotation k8s.v1.cni.cncf.io/network has no effect; \
          did you mean k8s.v1.cni.cncf.io/networks?"
        ]
    );
    assert_eq!(warnings(&update(&near, &near)).await, [""; 0]);
}
