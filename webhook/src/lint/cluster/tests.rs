use std::cell::Cell;

use rstest::rstest;
use serde_json::json;
use shared::annotations::{ENFORCEMENT_LABEL, NETWORKS};

use super::{super::Outcome, api::ApiServer, *};
use crate::testing;

/// A cluster of some objects, in pages of two.
#[derive(Default)]
struct Fake {
    objects: Vec<(&'static str, Value)>,
    config_maps: Vec<(&'static str, Value)>,
    missing: Vec<&'static str>,
    /// How many second pages expire.
    expiring: Cell<usize>,
}

impl Source for Fake {
    async fn page(&self, kind: Kind, after: Option<&str>) -> Result<Page, Unread> {
        if self.missing.contains(&kind.plural) {
            return Err(Unread::Failed(format!("{} is forbidden", kind.plural)));
        }
        let left = self.expiring.get();
        if after.is_some() && left > 0 {
            self.expiring.set(left - 1);
            return Err(Unread::Expired);
        }
        let start: usize = after.map_or(0, |after| after.parse().unwrap());
        let all = self.objects.iter().filter(|(plural, _)| *plural == kind.plural);
        let all: Vec<Value> = all.map(|(_, object)| object.clone()).collect();
        let next = (all.len() > start + 2).then(|| (start + 2).to_string());
        Ok(Page {
            items: all.into_iter().skip(start).take(2).collect(),
            next,
        })
    }

    async fn config_map(&self, _: &str, name: &str) -> Result<Option<Value>, Unread> {
        let found = self.config_maps.iter().find(|(own, _)| *own == name);
        Ok(found.map(|(_, object)| object.clone()))
    }
}

fn settings() -> Settings {
    Settings {
        config: None,
        namespace: "default".to_owned(),
        webhook_namespace: "kube-system".to_owned(),
        fix: false,
    }
}

async fn printed(source: &impl Source) -> (Outcome, String) {
    let groups = judged(source, &settings()).await;
    let mut out = Vec::new();
    groups.text(&mut out).unwrap();
    (groups.outcome(false), String::from_utf8(out).unwrap())
}

fn metadata(name: &str, networks: &str, owner: &str) -> Value {
    let mut metadata = json!({ "namespace": "shop", "name": name });
    if !networks.is_empty() {
        metadata["annotations"] = json!({ NETWORKS: networks });
    }
    if let Some((kind, name)) = owner.split_once('/') {
        metadata["ownerReferences"] = json!([
            { "kind": "Other", "name": "x" },
            { "kind": kind, "name": name, "controller": true },
        ]);
    }
    metadata
}

fn a_pod(name: &str, networks: &str, owner: &str) -> (&'static str, Value) {
    let pod = json!({
        "metadata": metadata(name, networks, owner),
        "spec": { "nodeName": "worker", "containers": [] },
        "status": { "phase": "Running" },
    });
    ("pods", pod)
}

fn a_deployment(networks: &str) -> (&'static str, Value) {
    let template = json!({ "metadata": metadata("", networks, ""), "spec": {} });
    let deployment = json!({ "metadata": metadata("web", "", ""), "spec": { "template": template } });
    ("deployments", deployment)
}

fn a_replica_set() -> (&'static str, Value) {
    let metadata = metadata("web-1", "", "Deployment/web");
    (
        "replicasets",
        json!({ "metadata": metadata, "spec": { "template": {} } }),
    )
}

fn a_network(name: &str, config: &str) -> (&'static str, Value) {
    let metadata = json!({ "namespace": "shop", "name": name });
    let network = json!({ "metadata": metadata, "spec": { "config": config } });
    ("network-attachment-definitions", network)
}

const GOOD: &str = r#"{"cniVersion":"1.0.0","type":"macvlan"}"#;

#[tokio::test]
async fn pods_are_counted_under_their_outermost_owner() {
    let web = ["web-1-a", "web-1-b", "web-1-c"].map(|name| a_pod(name, "lan@eth0", "ReplicaSet/web-1"));
    let mut objects = vec![a_network("lan", GOOD), a_deployment("lan@eth0"), a_replica_set()];
    objects.extend(web);
    objects.push(a_pod("alone", "lan@lo", ""));
    objects.push(a_pod("good", "lan@net1", "StatefulSet/db"));
    let (outcome, out) = printed(&Fake {
        objects,
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Refused);
    assert_eq!(
        out,
        "interface-reserved: Deployment shop/web (template, 3 pods): element 0 (\"shop/lan\"), field interface, value \"eth0\": belongs to the pod's default network; choose another name\n\
         interface-reserved: Pod shop/alone: element 0 (\"shop/lan\"), field interface, value \"lo\": belongs to the loopback interface; choose another name\n\
         judged: pods 5, workload templates 1, NetworkAttachmentDefinitions 1\n"
    );
}

#[tokio::test]
async fn facts_of_a_network_on_any_page_are_known() {
    let mut objects: Vec<_> = ["a", "b", "c", "d"].map(|name| a_network(name, GOOD)).into();
    let fixed = r#"{"type":"macvlan","capabilities":{"ips":true},"ipam":{"type":"static"}}"#;
    objects.push(a_network("fixed", fixed));
    objects.push(a_pod(
        "p",
        r#"[{"name":"fixed","interface":"net1","ips":["192.0.2.1"]}]"#,
        "",
    ));
    let (_, out) = printed(&Fake {
        objects,
        ..Fake::default()
    })
    .await;

    assert!(out.contains("ip-prefix: Pod shop/p: element 0 "), "{out}");
}

#[tokio::test]
async fn networks_of_all_pages_are_known() {
    let mut objects: Vec<_> = ["a", "b", "c", "d", "lan0"]
        .map(|name| a_network(name, GOOD))
        .into();
    objects.push(a_network("broken", "{"));
    objects.push(a_pod("p", "a@net1,lan@net2,broken@net3", ""));
    let (outcome, out) = printed(&Fake {
        objects,
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("network-config: Pod shop/p: element 2 "), "{out}");
    assert!(
        out.contains("warning: Pod shop/p: element 1 (shop/lan): no such NetworkAttachmentDefinition; did you mean shop/lan0?\n"),
        "{out}"
    );
    assert!(
        out.contains("network-config: NetworkAttachmentDefinition shop/broken: the config cannot run: the config is not JSON"),
        "{out}"
    );
    assert!(!out.contains("element 0"), "{out}");
}

#[rstest]
#[case::of_the_config_map(true)]
#[case::of_the_namespace(false)]
#[tokio::test]
async fn enforcement_warn_makes_refusals_warnings(#[case] by_config: bool) {
    let mut fake = Fake {
        objects: vec![a_network("lan", GOOD), a_pod("p", "lan@eth0", "")],
        ..Fake::default()
    };
    if by_config {
        let data = json!({ "data": { "settings.json": r#"{"enforcement":"warn"}"# } });
        fake.config_maps.push(("dynamic-networks-settings", data));
    } else {
        let metadata = json!({ "name": "shop", "labels": { ENFORCEMENT_LABEL: "warn" } });
        fake.objects.push(("namespaces", json!({ "metadata": metadata })));
    }
    let groups = judged(&fake, &settings()).await;
    let (_, out) = printed(&fake).await;

    assert!(
        out.starts_with("warning: interface-reserved: Pod shop/p: element 0 "),
        "{out}"
    );
    assert_eq!(groups.outcome(false), Outcome::Admitted);
    assert_eq!(groups.outcome(true), Outcome::Refused);
}

#[tokio::test]
async fn what_cannot_be_listed_hides_nothing_else() {
    let (outcome, out) = printed(&Fake {
        objects: vec![a_pod("p", "lan@eth0", "")],
        missing: vec!["network-attachment-definitions", "jobs"],
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(out.contains("cannot read jobs: jobs is forbidden\n"), "{out}");
    assert!(out.contains("interface-reserved: Pod shop/p: "), "{out}");
    // Not known is not missing.
    assert!(!out.contains("no such NetworkAttachmentDefinition"), "{out}");
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_said() {
    let data = json!({ "data": { "settings.json": r#"{"interfaceNames":"perhaps"}"# } });
    let (outcome, out) = printed(&Fake {
        config_maps: vec![("dynamic-networks-settings", data)],
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(
        out.contains("cannot read ConfigMap dynamic-networks-settings: "),
        "{out}"
    );
}

#[rstest]
#[case::once(1, Outcome::Refused)]
#[case::always(1000, Outcome::Unreadable)]
#[tokio::test]
async fn a_list_that_expires_is_begun_again(#[case] expiring: usize, #[case] outcome: Outcome) {
    let pods = ["a", "b", "c"].map(|name| a_pod(name, "lan@eth0", "StatefulSet/db"));
    let (found, out) = printed(&Fake {
        objects: pods.into(),
        expiring: Cell::new(expiring),
        ..Fake::default()
    })
    .await;

    assert_eq!(found, outcome, "{out}");
    // None is counted twice.
    assert_eq!(
        out.contains("StatefulSet shop/db (3 pods)"),
        outcome == Outcome::Refused,
        "{out}"
    );
}

#[tokio::test]
async fn an_annotation_of_the_workload_is_warned_of() {
    let mut deployment = a_deployment("");
    deployment.1["metadata"]["annotations"] = json!({
        NETWORKS: "lan",
        "k8s.v1.cni.cncf.io/network": "lan",
    });
    let (outcome, out) = printed(&Fake {
        objects: vec![deployment],
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    let title = "warning: Deployment shop/web (template): ";
    assert!(
        out.contains(&format!(
            "{title}metadata.annotations of the Deployment has no effect; put "
        )),
        "{out}"
    );
    assert!(
        out.contains(&format!(
            "{title}annotation k8s.v1.cni.cncf.io/network has no effect; "
        )),
        "{out}"
    );
}

#[tokio::test]
async fn an_annotation_of_the_job_template_is_warned_of() {
    let job = json!({ "metadata": metadata("", "lan", ""), "spec": { "template": {} } });
    let nightly = json!({ "metadata": metadata("nightly", "", ""), "spec": { "jobTemplate": job } });
    let (_, out) = printed(&Fake {
        objects: vec![("cronjobs", nightly)],
        ..Fake::default()
    })
    .await;

    assert!(
        out.starts_with("warning: CronJob shop/nightly (template): metadata.annotations of spec.jobTemplate has no effect; put "),
        "{out}"
    );
}

#[tokio::test]
async fn pods_that_have_ended_are_not_judged() {
    let mut ended = a_pod("p", "lan@eth0", "");
    ended.1["status"]["phase"] = "Succeeded".into();
    let mut ending = a_pod("q", "lan@eth0", "");
    ending.1["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let (outcome, out) = printed(&Fake {
        objects: vec![ended, ending],
        ..Fake::default()
    })
    .await;

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert!(out.starts_with("judged: pods 0,"), "{out}");
}

#[test]
fn groups_are_bounded() {
    let mut groups = Groups::default();
    for index in 0..11_000 {
        let owner = Owner {
            kind: "Pod".to_owned(),
            namespace: "shop".to_owned(),
            name: index.to_string(),
        };
        groups.add_pod(&owner, vec![Finding::error("x")]);
    }
    assert_eq!(groups.reports("c").len(), 10_001);
    let mut out = Vec::new();
    groups.text(&mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("and 1000 more of level error\n")
    );
}

#[tokio::test]
async fn the_api_server_is_asked_in_pages() {
    let client = testing::client(|method, path| {
        assert_eq!(method, "GET");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let list = |kind: &str, items: Value, next: &str| {
            (
                200,
                json!({ "kind": kind, "apiVersion": "v1", "metadata": { "continue": next }, "items": items }),
            )
        };
        let pod = |name| {
            let mut pod = a_pod(name, "lan@eth0", "Job/j").1;
            pod["metadata"]["managedFields"] = json!([]);
            pod
        };
        match path {
            "/api/v1/pods" if query.contains("continue=more") => list("PodList", json!([pod("b")]), ""),
            "/api/v1/pods" => {
                assert!(query.contains("limit=500"), "{query}");
                list("PodList", json!([pod("a")]), "more")
            }
            "/apis/batch/v1/jobs" => {
                let job = json!({ "metadata": metadata("j", "", "CronJob/nightly") });
                list("JobList", json!([job]), "")
            }
            "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions" => testing::not_found(),
            path if path.contains("/configmaps/") => testing::not_found(),
            _ => list("List", json!([]), ""),
        }
    });
    let (outcome, out) = printed(&ApiServer::of(client)).await;

    assert_eq!(outcome, Outcome::Unreadable, "{out}");
    assert!(
        out.starts_with("interface-reserved: CronJob shop/nightly (2 pods): element 0 "),
        "{out}"
    );
    assert!(
        out.contains("cannot read network-attachment-definitions: the cluster has no such kind\n"),
        "{out}"
    );
}
