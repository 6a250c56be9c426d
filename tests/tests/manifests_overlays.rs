//! The kustomizations beside the plain manifests, without a cluster: each renders without flags, to
//! objects of the API without a misspelled field, and changes what its name says and nothing else.

#[path = "manifests_overlays/render.rs"]
mod render;
#[path = "manifests_overlays/schema.rs"]
mod schema;

use std::path::Path;

use kube::{ResourceExt, api::DynamicObject};
use render::{copy, kustomized, one_spaced};
use schema::has_known_fields;
use serde_json::{Value, json};
use shared::config::Config;
use tests::{Error, Result, documents, read, root};

const AGENT: &str = "dynamic-networks-controller";
const WEBHOOK: &str = "dynamic-networks-webhook";
const REGISTRATIONS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

#[tokio::test]
async fn every_kustomization_renders_to_objects_of_the_api() -> Result<()> {
    let all = kustomizations()?;
    assert!(all.len() >= 10, "{all:?}");
    for directory in all {
        for object in kustomized(&root().join(&directory)).await? {
            let place = format!("{directory}: {} {}", kind(&object), object.name_any());
            has_known_fields(&object).map_err(|e| Error::Unexpected(format!("{place}: {e}")))?;
            assert!(
                matches!(object.namespace().as_deref(), None | Some("kube-system")),
                "{place}"
            );
            // It is the user's: an apply of ours would overwrite it.
            assert_ne!(object.name_any(), "dynamic-networks-settings", "{place}");
            if kind(&object) == "ConfigMap" {
                configuration(&object)?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_bases_are_the_plain_manifests() -> Result<()> {
    for (kustomization, manifest) in [
        ("manifests/base", "manifests/dynamic-networks-controller.yaml"),
        (
            "manifests/overlays/crio",
            "manifests/crio-dynamic-networks-controller.yaml",
        ),
    ] {
        let plain = documents(&read(manifest)?)?;
        let rendered = kustomized(&root().join(kustomization)).await?;
        assert_eq!(plain.len(), rendered.len(), "{kustomization}");
        for object in &plain {
            let rendered = find(&rendered, kind(object), &object.name_any())?;
            assert_eq!(one_spaced(rendered)?, one_spaced(object)?, "{kustomization}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn platforms_name_their_own_sockets() -> Result<()> {
    for (overlay, cri, multus) in [
        ("crio", "/crio/crio.sock", "/multus/multus.sock"),
        ("openshift", "/crio/crio.sock", "/multus/socket/multus.sock"),
        (
            "k3s-rke2",
            "/k3s/containerd/containerd.sock",
            "/multus/multus.sock",
        ),
        ("kind", "/containerd/containerd.sock", "/multus/multus.sock"),
    ] {
        let objects = overlay_objects(overlay).await?;
        let config = configuration(find(&objects, "ConfigMap", "dynamic-networks-controller-config")?)?;
        assert_eq!(config.cri_socket_path, Path::new(&format!("/host/run{cri}")));
        assert_eq!(
            config.multus_socket_paths,
            [Path::new(&format!("/host/run{multus}"))]
        );
        // Isolation where the platform's multus isolates, and nowhere else.
        let isolated = overlay == "openshift";
        assert_eq!(config.namespace_isolation, isolated, "{overlay}");
        let global = config.global_namespaces.join(",");
        let cnos = "default,openshift-multus,openshift-sriov-network-operator,openshift-cnv";
        assert_eq!(global, if isolated { cnos } else { "default" });
    }
    Ok(())
}

#[tokio::test]
async fn openshift_lets_the_agent_mount_without_privileges() -> Result<()> {
    let objects = overlay_objects("openshift").await?;
    let constraints = find(&objects, "SecurityContextConstraints", AGENT)?;
    assert_eq!(constraints.data["allowPrivilegedContainer"], false);
    assert_eq!(
        constraints.data["users"],
        json!(["system:serviceaccount:kube-system:dynamic-networks-controller"])
    );
    Ok(())
}

#[tokio::test]
async fn one_node_needs_one_webhook_and_no_budget() -> Result<()> {
    let objects = overlay_objects("kind").await?;
    assert_eq!(find(&objects, "Deployment", WEBHOOK)?.data["spec"]["replicas"], 1);
    assert!(find(&objects, "PodDisruptionBudget", WEBHOOK).is_err());
    Ok(())
}

#[tokio::test]
async fn fails_closed_for_pods_only() -> Result<()> {
    let objects = overlay_objects("fail-closed").await?;
    assert_eq!(find(&objects, "Deployment", WEBHOOK)?.data["spec"]["replicas"], 3);
    let mut policies = Vec::new();
    for kind in REGISTRATIONS {
        for webhook in list(&find(&objects, kind, WEBHOOK)?.data["webhooks"]) {
            policies.push((
                webhook["clientConfig"]["service"]["path"].clone(),
                webhook["failurePolicy"].clone(),
            ));
        }
    }
    let expected = [
        ("/mutate", "Fail"),
        ("/validate", "Fail"),
        ("/workload", "Ignore"),
        ("/network", "Ignore"),
    ];
    assert_eq!(
        policies,
        expected.map(|(path, policy)| (json!(path), json!(policy)))
    );
    Ok(())
}

#[tokio::test]
async fn with_cert_manager_the_webhook_may_only_read() -> Result<()> {
    let objects = overlay_objects("cert-manager").await?;
    for kind in ["Role", "RoleBinding"] {
        assert!(find(&objects, kind, WEBHOOK).is_err(), "{kind}");
    }
    assert!(objects.iter().all(|object| kind(object) != "Secret"));
    let rules = list(&find(&objects, "ClusterRole", WEBHOOK)?.data["rules"]);
    assert!(!rules.is_empty());
    for rule in rules {
        assert_ne!(rule["apiGroups"], json!(["admissionregistration.k8s.io"]));
        for verb in list(&rule["verbs"]) {
            assert!(["get", "list", "watch"].map(Value::from).contains(verb), "{verb}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn cert_managers_certificate_reaches_webhook_and_api_server() -> Result<()> {
    let objects = overlay_objects("cert-manager").await?;
    let certificate = find(&objects, "Certificate", WEBHOOK)?;
    assert_eq!(
        certificate.data["spec"]["dnsNames"],
        json!(["dynamic-networks-webhook.kube-system.svc"])
    );
    let webhook = find(&objects, "Deployment", WEBHOOK)?;
    let pod = &webhook.data["spec"]["template"]["spec"];
    let volume = named(&pod["volumes"], "tls");
    assert_eq!(
        volume["secret"]["secretName"],
        certificate.data["spec"]["secretName"]
    );
    let container = &pod["containers"][0];
    assert_eq!(
        named(&container["env"], "CERTIFICATE_DIR")["value"],
        named(&container["volumeMounts"], "tls")["mountPath"]
    );
    for kind in REGISTRATIONS {
        let injected = &find(&objects, kind, WEBHOOK)?.annotations()["cert-manager.io/inject-ca-from"];
        assert_eq!(injected, "kube-system/dynamic-networks-webhook");
    }
    // The serving certificate, its authority, and that authority's own.
    for (issued, issuer) in [
        (WEBHOOK, WEBHOOK),
        ("dynamic-networks-webhook-root", "dynamic-networks-webhook-root"),
    ] {
        let issued = find(&objects, "Certificate", issued)?;
        assert_eq!(issued.data["spec"]["issuerRef"]["name"], issuer);
        find(&objects, "Issuer", issuer)?;
    }
    let authority = find(&objects, "Certificate", "dynamic-networks-webhook-root")?;
    let issuer = find(&objects, "Issuer", WEBHOOK)?;
    assert_eq!(
        issuer.data["spec"]["ca"]["secretName"],
        authority.data["spec"]["secretName"]
    );
    Ok(())
}

#[tokio::test]
async fn monitors_select_the_pods_and_ports_of_both_programs() -> Result<()> {
    let objects = overlay_objects("monitoring").await?;
    for (monitor, workload, name) in [
        (AGENT, "DaemonSet", "dynamic-networks-controller-ds"),
        (WEBHOOK, "Deployment", WEBHOOK),
    ] {
        let monitor = find(&objects, "PodMonitor", monitor)?;
        let template = &find(&objects, workload, name)?.data["spec"]["template"];
        let wanted = monitor.data["spec"]["selector"]["matchLabels"].as_object();
        for (label, value) in wanted.into_iter().flatten() {
            assert_eq!(template["metadata"]["labels"][label], *value);
        }
        let port = &monitor.data["spec"]["podMetricsEndpoints"][0]["port"];
        let ports = list(&template["spec"]["containers"][0]["ports"]);
        assert!(ports.iter().any(|of_pod| of_pod["name"] == *port));
    }
    Ok(())
}

#[tokio::test]
async fn either_program_installs_without_the_other() -> Result<()> {
    let agent = overlay_objects("agent-only").await?;
    assert!(agent.iter().all(|object| !object.name_any().starts_with(WEBHOOK)));
    find(&agent, "DaemonSet", "dynamic-networks-controller-ds")?;
    find(&agent, "ValidatingAdmissionPolicy", AGENT)?;
    find(&agent, "ConfigMap", "dynamic-networks-controller-config")?;

    // No object of a name that another controller's manifest has, too.
    let webhook = overlay_objects("webhook-only").await?;
    assert!(
        webhook
            .iter()
            .all(|object| object.name_any().starts_with(WEBHOOK))
    );
    let pod = &find(&webhook, "Deployment", WEBHOOK)?.data["spec"]["template"]["spec"];
    let mounted = named(&pod["volumes"], "config")["configMap"]["name"].as_str();
    find(&webhook, "ConfigMap", mounted.unwrap_or_default())?;
    Ok(())
}

/// The kustomization of the documentation, with its patch for nodes without multus.
#[tokio::test]
async fn components_keep_what_the_platform_sets() -> Result<()> {
    let documentation = read("docs/operations.md")?;
    let block = |first_line: &str| {
        let (_, after) = documentation.split_once(first_line)?;
        after
            .split_once("```")
            .map(|(block, _)| format!("{first_line}{block}"))
    };
    let own =
        ["# my-cluster/kustomization.yaml\n", "patches:\n"].map(|first| block(first).unwrap_or_default());
    let checkout = copy(&[]).await?;
    let directory = checkout.path().join("my-cluster");
    std::fs::create_dir(&directory).map_err(unexpected)?;
    std::fs::write(directory.join("kustomization.yaml"), own.concat()).map_err(unexpected)?;
    let objects = kustomized(&directory).await?;

    let config = configuration(find(&objects, "ConfigMap", "dynamic-networks-controller-config")?)?;
    assert_eq!(config.cri_socket_path, Path::new("/host/run/crio/crio.sock"));
    let registration = find(&objects, "MutatingWebhookConfiguration", WEBHOOK)?;
    assert_eq!(registration.data["webhooks"][0]["failurePolicy"], "Fail");
    find(&objects, "PodMonitor", WEBHOOK)?;
    let agent = find(&objects, "DaemonSet", "dynamic-networks-controller-ds")?;
    let pod = &agent.data["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"],
        "registry.example.com/networks/dynamic-networks-controller:v0.1.0"
    );
    let selector = json!({"kubernetes.io/os": "linux", "example.com/multus": "true"});
    assert_eq!(pod["nodeSelector"], selector);
    Ok(())
}

#[tokio::test]
async fn another_namespace_reaches_every_overlay() -> Result<()> {
    let checkout = copy(&[("NAMESPACE", "elsewhere")]).await?;
    for directory in kustomizations()? {
        for object in kustomized(&checkout.path().join(&directory)).await? {
            let place = format!("{directory}: {} {}", kind(&object), object.name_any());
            assert!(
                matches!(object.namespace().as_deref(), None | Some("elsewhere")),
                "{place}"
            );
            // What is left of kube-system: namespaces without the webhook, and controllers of
            // Kubernetes.
            let text = serde_json::to_string(&object).map_err(unexpected)?;
            let others = text
                .replace(r#"["kube-system","elsewhere"]"#, "")
                .replace("serviceaccount:kube-system:namespace-controller", "")
                .replace("serviceaccount:kube-system:generic-garbage-collector", "");
            assert!(!others.contains("kube-system"), "{place}: {others}");
        }
    }
    Ok(())
}

/// The base and every overlay, as paths from the top of the checkout.
fn kustomizations() -> Result<Vec<String>> {
    let mut all = vec!["manifests/base".to_owned()];
    for entry in std::fs::read_dir(root().join("manifests/overlays")).map_err(unexpected)? {
        let name = entry.map_err(unexpected)?.file_name();
        all.push(format!("manifests/overlays/{}", name.display()));
    }
    Ok(all)
}

async fn overlay_objects(name: &str) -> Result<Vec<DynamicObject>> {
    kustomized(&root().join("manifests/overlays").join(name)).await
}

fn configuration(map: &DynamicObject) -> Result<Config> {
    let file = map.data["data"]["dynamic-networks-config.json"]
        .as_str()
        .unwrap_or_default();
    Config::parse(file).map_err(|e| Error::Unexpected(format!("{}: {e}", map.name_any())))
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

fn find<'a>(objects: &'a [DynamicObject], of: &str, name: &str) -> Result<&'a DynamicObject> {
    objects
        .iter()
        .find(|object| kind(object) == of && object.name_any() == name)
        .ok_or_else(|| Error::Unexpected(format!("no {of} {name}")))
}

/// The element of that name.
fn named<'a>(elements: &'a Value, name: &str) -> &'a Value {
    list(elements)
        .iter()
        .find(|element| element["name"] == name)
        .unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
