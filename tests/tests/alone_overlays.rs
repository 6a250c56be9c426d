//! Kustomizations applied for real: one program and then both, and certificates that another
//! program makes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use certs::{Authority, service_names};
use kube::{ResourceExt, api::DynamicObject};
use serde_json::json;
use tests::{Cluster, Error, NO_NETWORKS, Result, alone_in_namespace, documents, macvlan, root};
use time::OffsetDateTime;

const WEBHOOK: &str = "dynamic-networks-webhook";

#[tokio::test]
async fn the_agent_runs_alone_and_the_webhook_joins() -> Result<()> {
    alone_in_namespace("overlays", async |ns| {
        let cluster = &ns.cluster;
        ns.create_nad("blue", macvlan().host_local()).await?;
        cluster.uninstall().await?;
        apply(cluster, "agent-only").await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        rolled_out(cluster, "daemonset/dynamic-networks-controller-ds").await?;
        pod.has_exactly(&["net1"]).await?;
        let net1 = pod.interface("net1").await?;

        apply(cluster, "kind").await?;
        cluster.installed().await?;
        pod.refusal_of("blue@net1,blue@eth0").await?;
        assert_eq!(pod.interface("net1").await?, net1);
        // The overlay has no disruption budget.
        cluster.install().await.map(drop)
    })
    .await
}

/// cert-manager is played: a Secret with the pair, and the authority in the registrations.
#[tokio::test]
async fn serves_a_given_certificate_without_rights_on_registrations() -> Result<()> {
    alone_in_namespace("given", async |ns| {
        let outcome = with_a_given_certificate(&ns.cluster).await;
        let checked = match outcome {
            Ok(()) => {
                let pod = ns.running_pod("p", NO_NETWORKS).await?;
                pod.refusal_of("blue@lo").await.map(drop)
            }
            Err(error) => Err(error),
        };
        // What is left of it would be used by the webhook that is installed after the test.
        let delete = ["delete", "--ignore-not-found", "--kustomize"];
        let manifest = root().join("manifests/base").display().to_string();
        ns.cluster.kubectl(&[&delete[..], &[&manifest]].concat()).await?;
        let secret = [
            "delete",
            "secret",
            "dynamic-networks-webhook-tls",
            "--ignore-not-found",
        ];
        let secret = [&secret[..], &["--namespace", "kube-system"]].concat();
        ns.cluster.kubectl(&secret).await?;
        checked
    })
    .await
}

async fn with_a_given_certificate(cluster: &Cluster) -> Result<()> {
    cluster.uninstall().await?;
    let now = OffsetDateTime::now_utc();
    let authority = Authority::generate(now).map_err(unexpected)?;
    let (certificate, key) = authority
        .sign_pem(&service_names(WEBHOOK, "kube-system"), now)
        .map_err(unexpected)?;
    let rendered = cluster.kubectl(&["kustomize", &overlay("cert-manager")]).await?;
    let mut objects = documents(&rendered)?;
    objects.retain(|object| !api_version(object).starts_with("cert-manager.io/"));
    for object in &mut objects {
        trust(object, authority.certificate_pem());
    }
    let pair = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "dynamic-networks-webhook-tls", "namespace": "kube-system"},
        "stringData": {"tls.crt": certificate, "tls.key": key},
    });
    let items: Vec<_> = objects.iter().map(|object| json!(object)).chain([pair]).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let said = cluster
        .kubectl_given(&["apply", "--filename", "-"], &list)
        .await?;
    said.ok.then_some(()).ok_or(Error::Unexpected(said.err))?;
    cluster.installed().await?;

    for (verb, resource) in [
        ("patch", "mutatingwebhookconfigurations/dynamic-networks-webhook"),
        (
            "patch",
            "validatingwebhookconfigurations/dynamic-networks-webhook",
        ),
        ("get", "secrets/dynamic-networks-webhook-tls"),
    ] {
        let account = "--as=system:serviceaccount:kube-system:dynamic-networks-webhook";
        let question = [
            "auth",
            "can-i",
            verb,
            resource,
            account,
            "--namespace",
            "kube-system",
        ];
        let said = cluster.kubectl_given(&question, "").await?;
        (said.out.trim() == "no")
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("may {verb} {resource}: {said:?}")))?;
    }
    Ok(())
}

/// Puts the authority into a registration, as cert-manager does where its annotation is.
fn trust(object: &mut DynamicObject, authority: &str) {
    if !object
        .annotations()
        .contains_key("cert-manager.io/inject-ca-from")
    {
        return;
    }
    let bundle = json!(BASE64_STANDARD.encode(authority));
    let webhooks = object.data["webhooks"].as_array_mut();
    for webhook in webhooks.into_iter().flatten() {
        webhook["clientConfig"]["caBundle"] = bundle.clone();
    }
}

async fn apply(cluster: &Cluster, name: &str) -> Result<()> {
    cluster
        .kubectl(&["apply", "--kustomize", &overlay(name)])
        .await
        .map(drop)
}

async fn rolled_out(cluster: &Cluster, workload: &str) -> Result<()> {
    let status = [
        "rollout",
        "status",
        "--namespace",
        "kube-system",
        "--timeout=90s",
        workload,
    ];
    cluster.kubectl(&status).await.map(drop)
}

fn overlay(name: &str) -> String {
    root().join("manifests/overlays").join(name).display().to_string()
}

fn api_version(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.api_version)
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
