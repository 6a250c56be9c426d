//! `lint --cluster` about the objects of one namespace. Tests beside it make objects, too: their
//! lines are left out, and they may make the exit status worse.

use serde_json::{Value, json};
use shared::annotations::{ENFORCEMENT_LABEL, NETWORKS};
use tests::{Error, LONG, Namespace, Output, Program, Result, eventually, in_namespace, macvlan};

/// A key that means the networks annotation, and is another.
const NEAR_MISS: &str = "k8s.v1.cni.cncf.io/network";

fn lint() -> Result<Program> {
    Ok(Program::webhook()?.argument("lint").argument("--cluster"))
}

/// What the administrator is told.
async fn linted(ns: &Namespace, arguments: &[&str]) -> Result<Output> {
    let lint = lint()?.variable("KUBECONFIG", ns.cluster.kubeconfig());
    arguments.iter().fold(lint, Program::argument).run().await
}

/// The lines about objects of this namespace.
fn lines<'a>(output: &'a Output, ns: &Namespace) -> Vec<&'a str> {
    let own = format!(" {}/", ns.name);
    output.text.lines().filter(|line| line.contains(&own)).collect()
}

async fn apply(ns: &Namespace, object: &Value) -> Result<()> {
    let command = ["apply", "--namespace", &ns.name, "-f", "-"];
    let said = ns.cluster.kubectl_given(&command, &object.to_string()).await?;
    said.ok
        .then_some(())
        .ok_or_else(|| Error::Unexpected(format!("{said:?}")))
}

/// Pods that no scheduler binds: no kubelet has work with them.
fn template(restart: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"labels": {"app": "w"}, "annotations": annotations},
        "spec": {
            "restartPolicy": restart,
            "schedulerName": "none.tests.invalid",
            "containers": [{"name": "app", "image": "none"}],
        },
    })
}

fn deployment(replicas: u32, annotations: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "w"}},
            "template": template("Always", annotations),
        },
    })
}

#[tokio::test]
async fn a_template_that_would_be_refused_is_an_error() -> Result<()> {
    in_namespace("lint", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        apply(ns, &deployment(0, &json!({NETWORKS: "blue@eth0"}))).await?;

        let output = linted(ns, &[]).await?;

        let name = &ns.name;
        let line = format!("interface-reserved: Deployment {name}/web (template): element 0 (\"{name}/blue\"), field interface, ");
        let lines = lines(&output, ns);
        assert!(matches!(lines.as_slice(), [own] if own.starts_with(&line)), "{}", output.text);
        assert!(matches!(output.code, Some(1 | 2)), "{:?}", output.code);
        let last = output.text.lines().last().unwrap_or_default();
        assert!(last.starts_with("judged: pods "), "{last}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_with_enforcement_warn_has_warnings() -> Result<()> {
    in_namespace("lint", async |ns| {
        ns.label(ENFORCEMENT_LABEL, "warn").await?;
        ns.create_nad("blue", macvlan()).await?;
        apply(ns, &deployment(0, &json!({NETWORKS: "blue@eth0"}))).await?;

        let output = linted(ns, &[]).await?;

        let line = format!(
            "warning: interface-reserved: Deployment {}/web (template): element 0 ",
            ns.name
        );
        let lines = lines(&output, ns);
        assert!(
            matches!(lines.as_slice(), [own] if own.starts_with(&line)),
            "{}",
            output.text
        );
        // Warnings alone leave the exit status 0, those of other namespaces too.
        let is_harmless = |line: &str| {
            ["warning: ", "note: ", "judged: "]
                .iter()
                .any(|start| line.starts_with(start))
        };
        assert_eq!(
            output.code == Some(0),
            output.text.lines().all(is_harmless),
            "{}",
            output.text
        );
        let strict = linted(ns, &["--strict"]).await?;
        assert!(matches!(strict.code, Some(1 | 2)), "{:?}", strict.code);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_are_counted_under_their_owner() -> Result<()> {
    in_namespace("lint", async |ns| {
        let counted = are_counted(ns).await;
        // Else the controllers would replace the pods that the harness deletes.
        ns.delete().await?;
        counted
    })
    .await
}

async fn are_counted(ns: &Namespace) -> Result<()> {
    let annotations = json!({NEAR_MISS: "blue"});
    apply(ns, &deployment(2, &annotations)).await?;
    let job = json!({"template": template("Never", &annotations)});
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job}},
    });
    apply(ns, &cron_job).await?;
    let uid = [
        "get",
        "cronjob",
        "nightly",
        "--namespace",
        &ns.name,
        "--output=jsonpath={.metadata.uid}",
    ];
    let uid = ns.cluster.kubectl(&uid).await?;
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": uid.trim(), "controller": true,
    });
    let metadata = json!({"name": "nightly-1", "ownerReferences": [owner]});
    apply(
        ns,
        &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}),
    )
    .await?;

    let name = &ns.name;
    let wanted = [
        format!("warning: CronJob {name}/nightly (template, 1 pod): annotation {NEAR_MISS} has no effect"),
        format!("warning: Deployment {name}/web (template, 2 pods): annotation {NEAR_MISS} has no effect"),
    ];
    eventually(LONG, "the pods are counted", async || {
        let output = linted(ns, &[]).await?;
        let lines = lines(&output, ns);
        let is_wanted = lines.len() == wanted.len()
            && lines
                .iter()
                .zip(&wanted)
                .all(|(line, wanted)| line.starts_with(wanted));
        is_wanted.then_some(()).ok_or(Error::Unexpected(output.text))
    })
    .await
}

#[tokio::test]
async fn a_network_that_cannot_run_is_an_error() -> Result<()> {
    in_namespace("lint", async |ns| {
        ns.admits_broken_networks().await?;
        let config = r#"{"cniVersion": "1.0.0", "type": "macvlan", "mtu": "9000"}"#;
        let network = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "broken"}, "spec": {"config": config},
        });
        apply(ns, &network).await?;
        ns.label(ENFORCEMENT_LABEL, "enforce").await?;

        let output = linted(ns, &[]).await?;

        let line = format!(
            "network-config: NetworkAttachmentDefinition {}/broken: the config cannot run: mtu, value \"9000\": ",
            ns.name
        );
        let lines = lines(&output, ns);
        assert!(matches!(lines.as_slice(), [own] if own.starts_with(&line)), "{}", output.text);
        assert!(matches!(output.code, Some(1 | 2)), "{:?}", output.code);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_user_may_not_list_is_said() -> Result<()> {
    in_namespace("lint", async |ns| {
        let kubeconfig = tempfile::NamedTempFile::new().map_err(|e| Error::Unexpected(e.to_string()))?;
        std::fs::write(&kubeconfig, ns.powerless().await?).map_err(|e| Error::Unexpected(e.to_string()))?;

        let output = lint()?.variable("KUBECONFIG", kubeconfig.path()).run().await?;

        assert_eq!(output.code, Some(2), "{}", output.text);
        for unread in ["pods", "namespaces", "deployments.apps", "cronjobs.batch"] {
            let (plural, _) = unread.split_once('.').unwrap_or((unread, ""));
            let line = format!("cannot read {plural}: {unread} is forbidden: User \"system:serviceaccount:{}:powerless\" cannot list", ns.name);
            assert!(output.text.contains(&line), "{line}: {}", output.text);
        }
        assert!(output.text.contains("judged: pods 0, "), "{}", output.text);
        Ok(())
    })
    .await
}
