//! The rendered manifests, without a cluster: they take over the predecessor's objects in place,
//! the gate cannot lock out its own pods, and every variable reaches its place. (That the files are
//! what the templates give is part of `make check`.)

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};
use tests::{Error, Result, documents, read, render_manifests};

const MANIFEST: &str = "manifests/dynamic-networks-controller.yaml";
const CRIO: &str = "manifests/crio-dynamic-networks-controller.yaml";

#[test]
fn the_agent_takes_over_the_predecessors_objects_in_place() -> Result<()> {
    for manifest in [MANIFEST, CRIO] {
        let objects = documents(&read(manifest)?)?;
        let agent = find(&objects, "DaemonSet", "dynamic-networks-controller-ds")?;
        assert_eq!(agent.namespace().as_deref(), Some("kube-system"));
        let spec = &agent.data["spec"];
        assert_eq!(
            spec["selector"],
            json!({"matchLabels": {"name": "dynamic-networks-controller"}})
        );
        let labels = json!({
            "tier": "node", "app": "dynamic-networks-controller", "name": "dynamic-networks-controller",
        });
        assert_eq!(spec["template"]["metadata"]["labels"], labels);
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], "dynamic-networks-controller");
        assert_eq!(pod["containers"][0]["name"], "dynamic-networks-controller");
        assert_eq!(
            pod["containers"][0]["terminationMessagePolicy"],
            "FallbackToLogsOnError"
        );
        // A merge keeps what it does not mention, and the predecessor has both.
        assert_eq!(pod["containers"][0]["args"], json!([]));
        assert_eq!(pod["containers"][0]["securityContext"]["privileged"], false);
        let everywhere = json!([{"operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists", "effect": "NoExecute"}]);
        assert_eq!(pod["tolerations"], everywhere);
        for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
            find(&objects, kind, "dynamic-networks-controller")?;
        }
        let config = find(&objects, "ConfigMap", "dynamic-networks-controller-config")?;
        assert!(config.data["data"]["dynamic-networks-config.json"].is_string());
    }
    Ok(())
}

#[test]
fn the_agent_may_read_pods_and_networks_and_write_status_and_events() -> Result<()> {
    for manifest in [MANIFEST, CRIO] {
        let objects = documents(&read(manifest)?)?;
        let role = find(&objects, "ClusterRole", "dynamic-networks-controller")?;
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
            {
                "apiGroups": ["k8s.cni.cncf.io"],
                "resources": ["network-attachment-definitions"],
                "verbs": ["get", "list", "watch"],
            },
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        ]);
        assert_eq!(role.data["rules"], rules);
    }
    Ok(())
}

/// Without a reason a denial is 422, like a pod that has changed since it was read.
#[test]
fn every_denial_of_the_agents_policy_is_forbidden() -> Result<()> {
    for manifest in [MANIFEST, CRIO] {
        let objects = documents(&read(manifest)?)?;
        let policy = find(
            &objects,
            "ValidatingAdmissionPolicy",
            "dynamic-networks-controller",
        )?;
        let validations = policy.data["spec"]["validations"].as_array();
        assert!(validations.is_some_and(|all| !all.is_empty()));
        for validation in validations.into_iter().flatten() {
            assert_eq!(validation["reason"], "Forbidden", "{}", validation["message"]);
        }
    }
    Ok(())
}

#[test]
fn no_pod_asks_for_privileges_or_the_hosts_namespaces() -> Result<()> {
    for workload in workloads(&documents(&read(MANIFEST)?)?) {
        let pod = &workload["spec"]["template"]["spec"];
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(matches!(pod[key], Value::Null | Value::Bool(false)), "{key}");
        }
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().into_iter().flatten() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
            assert!(matches!(context["privileged"], Value::Null | Value::Bool(false)));
            assert!(container["livenessProbe"].is_object() && container["readinessProbe"].is_object());
        }
    }
    Ok(())
}

#[test]
fn the_agent_reaches_sockets_through_their_parent_and_writes_to_its_state_only() -> Result<()> {
    let objects = documents(&read(MANIFEST)?)?;
    let agent = find(&objects, "DaemonSet", "dynamic-networks-controller-ds")?;
    let pod = &agent.data["spec"]["template"]["spec"];
    let path_of = |mount: &Value| {
        let volumes = pod["volumes"].as_array().into_iter().flatten();
        let volume = volumes.into_iter().find(|v| v["name"] == mount["name"]);
        volume
            .and_then(|v| v["hostPath"]["path"].as_str())
            .map(str::to_owned)
    };
    let mounts = pod["containers"][0]["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten();
    let writable: Vec<_> = mounts
        .clone()
        .filter(|m| m["readOnly"] != true)
        .filter_map(&path_of)
        .collect();
    assert_eq!(writable, ["/var/lib/cni/multus", "/var/lib/dynamic-networks"]);
    let run = mounts
        .clone()
        .find(|m| m["mountPath"] == "/host/run")
        .and_then(&path_of);
    assert_eq!(run.as_deref(), Some("/run"));
    Ok(())
}

#[test]
fn webhook_pods_carry_none_of_the_agents_labels() -> Result<()> {
    let objects = documents(&read(MANIFEST)?)?;
    let webhook = find(&objects, "Deployment", "dynamic-networks-webhook")?;
    let labels = &webhook.data["spec"]["template"]["metadata"]["labels"];
    for predecessors in ["name", "tier", "app"] {
        assert_eq!(labels[predecessors], Value::Null);
    }
    assert_eq!(webhook.data["spec"]["replicas"], 2);
    let spread = &webhook.data["spec"]["template"]["spec"]["topologySpreadConstraints"];
    assert_eq!(spread[0]["matchLabelKeys"], json!(["pod-template-hash"]));
    let container = &webhook.data["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["name"], &container["ports"][0]["name"]),
        (&json!("webhook"), &json!("https"))
    );
    let service = find(&objects, "Service", "dynamic-networks-webhook")?;
    assert_eq!(labels, &service.data["spec"]["selector"]);
    Ok(())
}

#[tokio::test]
async fn the_gate_never_judges_its_own_pods_nor_stops_others_when_it_is_down() -> Result<()> {
    for (namespace, spared) in [
        ("kube-system", vec!["kube-system"]),
        ("elsewhere", vec!["kube-system", "elsewhere"]),
    ] {
        let objects = rendered(&[("NAMESPACE", namespace)]).await?;
        for (kind, count) in [
            ("MutatingWebhookConfiguration", 1),
            ("ValidatingWebhookConfiguration", 3),
        ] {
            let registration = find(&objects, kind, "dynamic-networks-webhook")?;
            let webhooks = registration.data["webhooks"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            assert_eq!(webhooks.len(), count);
            for webhook in webhooks {
                let selector =
                    json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": spared});
                // Networks are kept in kube-system, too.
                let expected = if webhook["clientConfig"]["service"]["path"] == "/network" {
                    Value::Null
                } else {
                    json!([selector])
                };
                assert_eq!(webhook["namespaceSelector"]["matchExpressions"], expected);
                assert_eq!(webhook["failurePolicy"], "Ignore");
                assert_eq!(webhook["sideEffects"], "None");
                assert!(webhook["timeoutSeconds"].as_u64().is_some_and(|t| t <= 5));
                assert_eq!(webhook["clientConfig"]["service"]["namespace"], namespace);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_variable_reaches_its_place() -> Result<()> {
    let variables = [
        ("IMAGE", "registry.example/team/dnc:7"),
        ("NAMESPACE", "elsewhere"),
        ("CONTAINERD_SOCKET_PATH", "/run/k3s/containerd/containerd.sock"),
        ("MULTUS_SOCKET_PATH", "/var/run/multus-cni/multus.sock"),
    ];
    let objects = rendered(&variables).await?;
    for object in &objects {
        assert!(
            matches!(object.namespace().as_deref(), None | Some("elsewhere")),
            "{}",
            object.name_any()
        );
        let subjects = object.data["subjects"].as_array().into_iter().flatten();
        assert!(
            subjects.into_iter().all(|s| s["namespace"] == "elsewhere"),
            "{}",
            object.name_any()
        );
    }
    for workload in workloads(&objects) {
        assert_eq!(
            workload["spec"]["template"]["spec"]["containers"][0]["image"],
            "registry.example/team/dnc:7"
        );
    }
    let config = find(&objects, "ConfigMap", "dynamic-networks-controller-config")?;
    let file = config.data["data"]["dynamic-networks-config.json"]
        .as_str()
        .unwrap_or_default();
    let file: Value = serde_json::from_str(file).map_err(|e| Error::Unexpected(e.to_string()))?;
    // The node's /run is the agent's /host/run.
    assert_eq!(file["criSocketPath"], "/host/run/k3s/containerd/containerd.sock");
    assert_eq!(file["multusSocketPath"], "/host/run/multus-cni/multus.sock");
    Ok(())
}

#[test]
fn the_shipped_configuration_is_a_valid_one() -> Result<()> {
    for manifest in [MANIFEST, CRIO] {
        let objects = documents(&read(manifest)?)?;
        let config = find(&objects, "ConfigMap", "dynamic-networks-controller-config")?;
        let file = config.data["data"]["dynamic-networks-config.json"]
            .as_str()
            .unwrap_or_default();
        shared::config::Config::parse(file).map_err(|e| Error::Unexpected(format!("{manifest}: {e}")))?;
    }
    Ok(())
}

/// A `kubectl apply` of the manifest leaves them alone.
#[test]
fn settings_are_mounted_where_they_exist_and_never_shipped() -> Result<()> {
    for manifest in [MANIFEST, CRIO] {
        let objects = documents(&read(manifest)?)?;
        assert!(find(&objects, "ConfigMap", "dynamic-networks-settings").is_err());
        for workload in workloads(&objects) {
            let pod = &workload["spec"]["template"]["spec"];
            let volumes = pod["volumes"].as_array().into_iter().flatten();
            let of_settings = |v: &&Value| v["configMap"]["name"] == "dynamic-networks-settings";
            let volume = volumes.clone().find(of_settings);
            let volume =
                volume.ok_or_else(|| Error::Unexpected(format!("{manifest}: no settings in {pod}")))?;
            assert_eq!(volume["configMap"]["optional"], true);
            let mounts = pod["containers"][0]["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten();
            let mounted = mounts
                .into_iter()
                .find(|mount| mount["name"] == volume["name"])
                .and_then(|mount| mount["mountPath"].as_str());
            let expected = std::path::Path::new(shared::config::SETTINGS_PATH).parent();
            assert_eq!(mounted.map(std::path::Path::new), expected);
        }
    }
    Ok(())
}

/// What the templates give for `variables`, with the defaults of the Makefile for the others.
async fn rendered(variables: &[(&str, &str)]) -> Result<Vec<DynamicObject>> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let into = directory.path().display().to_string();
    render_manifests(&into, variables).await?;
    let file = directory.path().join("dynamic-networks-controller.yaml");
    documents(&std::fs::read_to_string(file).map_err(|e| Error::Unexpected(e.to_string()))?)
}

fn find<'a>(objects: &'a [DynamicObject], kind: &str, name: &str) -> Result<&'a DynamicObject> {
    let is_it = |o: &&DynamicObject| o.types.as_ref().is_some_and(|t| t.kind == kind) && o.name_any() == name;
    objects
        .iter()
        .find(is_it)
        .ok_or_else(|| Error::Unexpected(format!("no {kind} {name}")))
}

/// The DaemonSet and the Deployment.
fn workloads(objects: &[DynamicObject]) -> Vec<&Value> {
    let found: Vec<_> = objects
        .iter()
        .map(|o| &o.data)
        .filter(|d| d["spec"]["template"].is_object())
        .collect();
    assert_eq!(found.len(), 2);
    found
}
