//! What kubectl prints when workloads and networks are applied, and when a network in use is
//! deleted.

use serde_json::{Value, json};
use shared::annotations::NETWORKS;
use tests::{Error, LONG, Namespace, Result, Said, eventually, in_namespace, macvlan};

const BROKEN: &str = r#"{"cniVersion": "1.0.0", "name": "broken", "plugins": []}"#;

async fn apply(ns: &Namespace, object: &Value) -> Result<Said> {
    let command = ["apply", "--namespace", &ns.name, "-f", "-"];
    ns.cluster.kubectl_given(&command, &object.to_string()).await
}

fn network(name: &str, config: &str) -> Value {
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name}, "spec": {"config": config},
    })
}

fn workload(group: &str, kind: &str, annotations: &Value) -> Value {
    let pod = json!({
        "metadata": {"labels": {"app": "w"}, "annotations": annotations},
        "spec": {
            "restartPolicy": if group == "apps/v1" { "Always" } else { "Never" },
            "containers": [{"name": "app", "image": "none"}],
        },
    });
    let selector = json!({"matchLabels": {"app": "w"}});
    let spec = match kind {
        "CronJob" => json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pod}}}),
        "Job" => json!({"suspend": true, "template": pod}),
        "StatefulSet" => json!({"replicas": 0, "serviceName": "w", "selector": selector, "template": pod}),
        "DaemonSet" => {
            let mut pod = pod;
            pod["spec"]["nodeSelector"] = json!({"tests.invalid": "never"});
            json!({"selector": selector, "template": pod})
        }
        _ => json!({"replicas": 0, "selector": selector, "template": pod}),
    };
    let name = kind.to_lowercase();
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

const KINDS: [(&str, &str, &str); 6] = [
    ("apps/v1", "Deployment", "spec.template"),
    ("apps/v1", "StatefulSet", "spec.template"),
    ("apps/v1", "DaemonSet", "spec.template"),
    ("apps/v1", "ReplicaSet", "spec.template"),
    ("batch/v1", "Job", "spec.template"),
    ("batch/v1", "CronJob", "spec.jobTemplate.spec.template"),
];

#[tokio::test]
async fn kubectl_says_what_a_workloads_pods_will_meet() -> Result<()> {
    in_namespace("workloads", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        for (group, kind, path) in KINDS {
            let said = apply(ns, &workload(group, kind, &json!({NETWORKS: "blue@eth0"}))).await?;
            let warning = format!("Warning: {path}: its pods will be refused: element 0");
            assert!(said.ok && said.err.contains(&warning), "{kind}: {said:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn kubectl_says_nothing_about_a_workload_that_runs() -> Result<()> {
    in_namespace("workloads", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        for (group, kind, _) in KINDS {
            let said = apply(ns, &workload(group, kind, &json!({NETWORKS: "blue,blue@hot0"}))).await?;
            assert!(said.ok && said.err.is_empty(), "{kind}: {said:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn kubectl_says_where_an_annotation_has_no_effect() -> Result<()> {
    in_namespace("workloads", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let near = json!({"k8s.v1.cni.cncf.io/network": "blue"});
        let mut deployment = workload("apps/v1", "Deployment", &near);
        deployment["metadata"]["annotations"] = json!({NETWORKS: "blue"});

        let said = apply(ns, &deployment).await?;

        for words in [
            "did you mean k8s.v1.cni.cncf.io/networks?",
            "metadata.annotations of the Deployment has no effect",
        ] {
            assert!(said.ok && said.err.contains(words), "{words}: {said:?}");
        }
        // Nothing new is said when nothing is new.
        let command = [
            "scale",
            "--namespace",
            &ns.name,
            "deployment/deployment",
            "--replicas=0",
        ];
        let said = ns.cluster.kubectl_given(&command, "").await?;
        assert!(said.ok && said.err.is_empty(), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_network_that_cannot_run_is_refused() -> Result<()> {
    in_namespace("networks", async |ns| {
        let said = apply(ns, &network("broken", BROKEN)).await?;
        let words = "The NetworkAttachmentDefinition \"broken\" is invalid: spec.config: ";
        assert!(!said.ok && said.err.contains(words), "{said:?}");

        let blue = ns.create_nad("blue", macvlan()).await?;
        assert!(ns.change_nad(&blue, BROKEN).await.is_err());
        let said = apply(ns, &network("on-node", "")).await?;
        assert!(
            said.ok && said.err.contains("Warning: spec.config is empty"),
            "{said:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_may_keep_networks_that_cannot_run() -> Result<()> {
    in_namespace("networks", async |ns| {
        ns.admits_broken_networks().await?;

        let said = apply(ns, &network("broken", BROKEN)).await?;
        assert!(
            said.ok && said.err.contains("Warning: the config cannot run: "),
            "{said:?}"
        );

        // Whatever the config is, other changes of the object pass.
        ns.label(shared::annotations::ENFORCEMENT_LABEL, "enforce")
            .await?;
        eventually(LONG, "the label is known", async || {
            let said = apply(ns, &network("other", BROKEN)).await?;
            (!said.ok)
                .then_some(())
                .ok_or(Error::Unexpected("admitted".to_owned()))
        })
        .await?;
        let command = [
            "annotate",
            "--namespace",
            &ns.name,
            "net-attach-def/broken",
            "a=b",
        ];
        let said = ns.cluster.kubectl_given(&command, "").await?;
        assert!(said.ok && said.err.is_empty(), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn deleting_a_network_in_use_is_said() -> Result<()> {
    in_namespace("networks", async |ns| {
        for name in ["blue", "red"] {
            ns.create_nad(name, macvlan()).await?;
        }
        ns.running_pod("p", "blue").await?;
        for (name, words) in [("blue", "at least 1 of the pods in namespace"), ("red", "")] {
            let command = ["delete", "--namespace", &ns.name, "net-attach-def", name];
            let said = ns.cluster.kubectl_given(&command, "").await?;
            let met = if words.is_empty() {
                said.err.is_empty()
            } else {
                said.err.contains(words)
            };
            assert!(said.ok && met, "{said:?}");
        }
        Ok(())
    })
    .await
}
