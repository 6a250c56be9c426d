//! NetworkAttachmentDefinitions in, refusals and warnings out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rstest::rstest;
use serde_json::{Value, json};
use shared::annotations::NETWORKS;

use crate::{
    http::routes::App,
    testing::{app, ask, client, failure, macvlan, review},
};

fn definition(config: &Value) -> Value {
    let text = config.as_str().map_or_else(|| config.to_string(), str::to_owned);
    json!({ "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": { "name": "a", "namespace": "default" }, "spec": { "config": text } })
}

fn broken() -> Value {
    definition(&json!("{\"cniVersion\":\"1.0.0\",\"plugins\":[]}"))
}

async fn ask_network(app: &App, operation: &str, new: Option<&Value>, old: Option<&Value>) -> Value {
    ask(app, "/network", &review(operation, new, old)).await
}

fn texts(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer["warnings"].clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_config_that_cannot_run_is_refused() {
    let answer = ask_network(&app(&json!({})), "CREATE", Some(&broken()), None).await;
    assert_eq!(answer["allowed"], false, "{answer}");
    let status = &answer["status"];
    assert_eq!(status["details"]["kind"], "NetworkAttachmentDefinition");
    assert_eq!(status["details"]["causes"][0]["field"], "spec.config");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("NetworkAttachmentDefinition default/a: spec.config: the config cannot run: ")
            && message.ends_with("[rule network-config]"),
        "{message}"
    );
    assert_eq!(answer["auditAnnotations"], json!({ "rule": "network-config" }));
}

#[tokio::test]
async fn enforcement_warn_admits_it_with_the_same_words() {
    let app = app(&json!({ "enforcement": "warn" }));
    let answer = ask_network(&app, "CREATE", Some(&broken()), None).await;
    assert_eq!(answer["allowed"], true);
    assert!(
        texts(&answer)[0].starts_with("the config cannot run: "),
        "{answer}"
    );
}

#[rstest]
#[case::the_spec_is_the_same(broken(), broken(), true)]
#[case::the_spec_breaks(definition(&macvlan(&[])), broken(), false)]
#[case::the_spec_is_repaired(broken(), definition(&macvlan(&[])), true)]
#[tokio::test]
async fn an_update_is_judged_by_what_it_changes(
    #[case] old: Value,
    #[case] mut new: Value,
    #[case] allowed: bool,
) {
    new["metadata"]["annotations"] = json!({ "k8s.ovn.org/x": "y" });
    let answer = ask_network(&app(&json!({})), "UPDATE", Some(&new), Some(&old)).await;
    assert_eq!(answer["allowed"], allowed, "{answer}");
}

#[tokio::test]
async fn a_dropped_capability_is_said() {
    let (old, new) = (
        definition(&macvlan(&["ips", "mac"])),
        definition(&macvlan(&["ips"])),
    );
    let answer = ask_network(&app(&json!({})), "UPDATE", Some(&new), Some(&old)).await;
    let said = texts(&answer);
    assert!(
        said.len() == 1 && said[0].starts_with("the capability mac is not declared"),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_empty_spec_is_said_at_create() {
    let mut empty = definition(&json!(""));
    empty["spec"] = json!({});
    let answer = ask_network(&app(&json!({})), "CREATE", Some(&empty), None).await;
    assert!(texts(&answer)[0].starts_with("spec.config is empty"), "{answer}");
}

fn using(networks: &str) -> Value {
    json!({ "metadata": { "annotations": { (NETWORKS): networks } } })
}

/// A webhook whose API server has these pods, in two pages; and how often it was asked.
fn with_pods(pods: &[Value]) -> (App, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (first, second) = pods.split_at(pods.len() / 2);
    let (first, second, count) = (first.to_vec(), second.to_vec(), Arc::clone(&asked));
    let mut app = app(&json!({}));
    app.admission.client = Some(client(move |_, path| {
        count.fetch_add(1, Ordering::Relaxed);
        assert!(path.starts_with("/api/v1/namespaces/default/pods?"), "{path}");
        assert!(path.contains("fieldSelector=status.phase"), "{path}");
        if path.contains("continue=") {
            (200, json!({ "metadata": {}, "items": second.clone() }))
        } else {
            (
                200,
                json!({ "metadata": { "continue": "a b" }, "items": first.clone() }),
            )
        }
    }));
    (app, asked)
}

#[tokio::test]
async fn deleting_a_network_in_use_is_said() {
    let (app, asked) = with_pods(&[
        using("a,a"),
        using("b"),
        using("other/a"),
        using("[{"),
        using("x,a@net7"),
    ]);
    let old = definition(&macvlan(&[]));
    for _ in 0..2 {
        let answer = ask_network(&app, "DELETE", None, Some(&old)).await;
        assert_eq!(answer["allowed"], true);
        let said = texts(&answer);
        assert!(
            said.len() == 1 && said[0].starts_with("at least 2 of the pods in namespace default use a: "),
            "{said:?}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "two pages, remembered");
}

#[tokio::test]
async fn deleting_a_network_without_pods_is_silent() {
    let (app, _) = with_pods(&[using("b"), using("c")]);
    let answer = ask_network(&app, "DELETE", None, Some(&definition(&macvlan(&[])))).await;
    assert_eq!(texts(&answer), [""; 0]);
}

#[tokio::test]
async fn an_api_server_that_fails_delays_no_deletion() {
    let mut app = app(&json!({}));
    app.admission.client = Some(client(|_, _| failure()));
    let answer = ask_network(&app, "DELETE", None, Some(&definition(&macvlan(&[])))).await;
    assert_eq!((&answer["allowed"], texts(&answer).len()), (&json!(true), 0));
}

#[tokio::test]
async fn a_page_too_large_is_not_read() {
    let mut app = app(&json!({}));
    let large = "x".repeat(17 << 20);
    app.admission.client = Some(client(move |_, _| (200, json!({ "items": [using(&large)] }))));
    let answer = ask_network(&app, "DELETE", None, Some(&definition(&macvlan(&[])))).await;
    assert_eq!((&answer["allowed"], texts(&answer).len()), (&json!(true), 0));
}

#[rstest]
#[case::mtu_as_text(json!({"cniVersion":"1.0.0","type":"macvlan","mtu":"9000"}), "mtu, value \"9000\": must be an integer")]
#[case::range_outside(
    json!({"cniVersion":"1.0.0","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/24","rangeStart":"10.2.0.9"}}),
    "ipam.rangeStart"
)]
#[tokio::test]
async fn a_value_that_the_plugin_refuses_is_refused(#[case] config: Value, #[case] words: &str) {
    let answer = ask_network(&app(&json!({})), "CREATE", Some(&definition(&config)), None).await;
    let message = answer["status"]["message"].as_str().unwrap_or_default();
    assert!(answer["allowed"] == false && message.contains(words), "{answer}");
}

#[tokio::test]
async fn a_version_in_the_wrong_place_is_a_warning() {
    let config = json!({"name":"a","plugins":[{"cniVersion":"0.4.0","type":"macvlan"},{"type":"tuning"}]});
    let answer = ask_network(&app(&json!({})), "CREATE", Some(&definition(&config)), None).await;
    assert_eq!(answer["allowed"], true);
    assert!(
        texts(&answer).iter().any(|text| text.contains("cniVersion")),
        "{answer}"
    );
}
