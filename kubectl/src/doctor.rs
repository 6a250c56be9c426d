//! `kubectl networks doctor`: whether everything that a plug needs is there, a line each, with the
//! fix where something is missing.

use hyper::Request;
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration,
    },
    apps::v1::{DaemonSet, Deployment},
    core::v1::Pod,
};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    cluster::{Cluster, list},
    error::{Error, words},
};

const AGENT: &str = "dynamic-networks-controller-ds";
const WEBHOOK: &str = "dynamic-networks-webhook";
const POLICY: &str = "dynamic-networks-controller";
const AGENT_PODS: &str = "name=dynamic-networks-controller";
const WEBHOOK_PODS: &str = "app.kubernetes.io/name=dynamic-networks-webhook";
const ADMIN_PORT: u16 = 8080;
/// The serving certificate is renewed long before.
const SOON: f64 = 4.0 * 3600.0;

/// A Unix time.
const CERTIFICATE_EXPIRY: &str = "dynamic_networks_webhook_certificate_expiry_timestamp_seconds";

/// Gauges that are 0 where all is well, and what to do otherwise.
const GAUGES: [(&str, &str); 4] = [
    (
        "dynamic_networks_agent_interface_offset_contradicted",
        "interfaceOffset contradicts what multus did: an event on the agent's pod has the details",
    ),
    (
        "dynamic_networks_agent_multus_config_differences",
        "settings differ from multus' own: /readyz of the agent names them",
    ),
    (
        "dynamic_networks_agent_settings_refused",
        "new settings are refused: correct the ConfigMap dynamic-networks-settings",
    ),
    (
        "dynamic_networks_agent_owed_releases",
        "something of a network could not be released: explain of the agent names it",
    ),
];

/// Looks at everything, and prints a line each.
pub async fn run(cluster: &Cluster) -> Result<(), Error> {
    let mut report = Report::default();
    networks_kind(cluster, &mut report).await;
    agents(cluster, &mut report).await;
    webhook(cluster, &mut report).await;
    policy(cluster, &mut report).await;
    if report.wrong == 0 {
        return Ok(());
    }
    Err(Error::Found(format!(
        "{} of {} checks failed",
        report.wrong, report.all
    )))
}

#[derive(Default)]
struct Report {
    all: usize,
    wrong: usize,
}

impl Report {
    fn say(&mut self, good: bool, what: &str, otherwise: &str) {
        self.all += 1;
        if good {
            println!("ok     {what}");
        } else {
            self.wrong += 1;
            println!("WRONG  {what}: {otherwise}");
        }
    }
}

async fn networks_kind(cluster: &Cluster, report: &mut Report) {
    let networks = cluster.networks(&cluster.namespace);
    let listed = networks.list_metadata(&ListParams::default().limit(1)).await;
    let fix = listed.as_ref().err().map_or_else(String::new, |error| {
        let error = words(error);
        format!("{error}; install multus' CustomResourceDefinition, or ask for the right to list them")
    });
    report.say(listed.is_ok(), "NetworkAttachmentDefinitions can be read", &fix);
}

async fn agents(cluster: &Cluster, report: &mut Report) {
    let namespace = &cluster.controller_namespace;
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), namespace);
    let set = match sets.get(AGENT).await {
        Ok(set) => set,
        Err(error) => {
            let fix = format!(
                "{}; install it (kubectl apply -f manifests/dynamic-networks-controller.yaml), name its namespace with --controller-namespace, or ask for the right to read it",
                words(&error)
            );
            report.say(false, "the agent is installed", &fix);
            return;
        }
    };
    let status = set.status.unwrap_or_default();
    let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
    report.say(
        ready == wanted && wanted > 0,
        &format!("the agent is ready on {ready} of {wanted} nodes"),
        "the lines below say why",
    );
    let pods = pods(cluster, report, AGENT_PODS).await;
    versions(report, "agents", &pods);
    for pod in &pods {
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default();
        match admin(cluster, pod, "readyz").await {
            Ok(text) => {
                let notices: Vec<&str> = text.lines().filter(|line| *line != "ok").collect();
                report.say(
                    notices.is_empty(),
                    &format!("agent of node {node}"),
                    &notices.join("; "),
                );
            }
            Err(error) => report.say(false, &format!("agent of node {node}"), error.trim()),
        }
        let page = metrics(cluster, report, pod).await;
        for (gauge, fix) in GAUGES {
            if value(&page, gauge).is_some_and(|value| value > 0.0) {
                report.say(false, &format!("agent of node {node}"), fix);
            }
        }
    }
}

async fn webhook(cluster: &Cluster, report: &mut Report) {
    let namespace = &cluster.controller_namespace;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let deployment = match deployments.get_opt(WEBHOOK).await {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            report.say(
                true,
                "no webhook is installed: the agent checks everything, and nothing fills names in",
                "",
            );
            return;
        }
        Err(error) => return report.say(false, "the webhook can be read", &words(&error)),
    };
    let (wanted, ready) = (
        deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
        deployment
            .status
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0),
    );
    let fix = format!("kubectl -n {namespace} describe pods -l {WEBHOOK_PODS}");
    report.say(
        ready == wanted,
        &format!("{ready} of {wanted} replicas of the webhook are ready"),
        &fix,
    );
    let client = || cluster.client.clone();
    let mutating = Api::<MutatingWebhookConfiguration>::all(client())
        .get(WEBHOOK)
        .await;
    let validating = Api::<ValidatingWebhookConfiguration>::all(client())
        .get(WEBHOOK)
        .await;
    let mutating = mutating.ok().and_then(|found| found.webhooks).unwrap_or_default();
    let validating = validating
        .ok()
        .and_then(|found| found.webhooks)
        .unwrap_or_default();
    let bundles = mutating
        .iter()
        .map(|webhook| &webhook.client_config)
        .chain(validating.iter().map(|webhook| &webhook.client_config));
    let trusted = bundles.map(|called| {
        called
            .ca_bundle
            .as_ref()
            .is_some_and(|bundle| !bundle.0.is_empty())
    });
    let trusted: Vec<bool> = trusted.collect();
    report.say(
        !mutating.is_empty() && !validating.is_empty() && trusted.iter().all(|trusted| *trusted),
        "the API server calls the webhook and trusts its certificate",
        "a registration is missing or has no caBundle: apply the manifest again, and look at the webhook's log",
    );
    let pods = pods(cluster, report, WEBHOOK_PODS).await;
    versions(report, "replicas of the webhook", &pods);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0.0, |now| now.as_secs_f64());
    for pod in &pods {
        let page = metrics(cluster, report, pod).await;
        if let Some(expiry) = value(&page, CERTIFICATE_EXPIRY) {
            let what = format!("certificate of {}", pod.name_any());
            report.say(
                expiry - now > SOON,
                &what,
                "it is not renewed: look at the webhook's log",
            );
        }
    }
}

async fn policy(cluster: &Cluster, report: &mut Report) {
    let client = || cluster.client.clone();
    let policy = Api::<ValidatingAdmissionPolicy>::all(client()).get(POLICY).await;
    let binding = Api::<ValidatingAdmissionPolicyBinding>::all(client())
        .get(POLICY)
        .await;
    report.say(
        policy.is_ok() && binding.is_ok(),
        "a policy binds each agent to the pods of its node",
        "apply the manifest again, or ask for the right to read ValidatingAdmissionPolicies",
    );
}

fn versions(report: &mut Report, whose: &str, pods: &[Pod]) {
    let images = pods.iter().flat_map(|pod| {
        pod.status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
    });
    let mut images: Vec<&str> = images.map(|container| container.image_id.as_str()).collect();
    images.sort_unstable();
    images.dedup();
    let fix = format!(
        "{}: a rollout is under way, or nodes have different images",
        images.join(", ")
    );
    report.say(images.len() <= 1, &format!("all {whose} have one version"), &fix);
}

/// The pods of a program. That they cannot be read is a line of the report, too.
async fn pods(cluster: &Cluster, report: &mut Report, selector: &str) -> Vec<Pod> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.controller_namespace);
    let listed = list(&api, ListParams::default().labels(selector)).await;
    listed.unwrap_or_else(|error| {
        report.say(false, &format!("pods {selector}"), &error.to_string());
        Vec::new()
    })
}

/// The metrics of a program; empty, and a line of the report, where they cannot be read.
async fn metrics(cluster: &Cluster, report: &mut Report, pod: &Pod) -> String {
    admin(cluster, pod, "metrics").await.unwrap_or_else(|error| {
        report.say(false, &format!("metrics of pod {}", pod.name_any()), error.trim());
        String::new()
    })
}

/// A page of the program's port, through the API server's proxy.
async fn admin(cluster: &Cluster, pod: &Pod, page: &str) -> Result<String, String> {
    let (namespace, name) = (&cluster.controller_namespace, pod.name_any());
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{ADMIN_PORT}/proxy/{page}");
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    cluster
        .client
        .request_text(request)
        .await
        .map_err(|error| words(&error))
}

/// The first sample of a metric without labels.
fn value(page: &str, metric: &str) -> Option<f64> {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is misspelt would look as if all were well.
    #[test]
    fn every_gauge_is_documented() {
        let documents = include_str!("../../docs/metrics.md");
        let gauges = GAUGES.iter().map(|(gauge, _)| *gauge).chain([CERTIFICATE_EXPIRY]);
        for gauge in gauges {
            assert!(documents.contains(&format!("| `{gauge}` | gauge | |")), "{gauge}");
        }
    }

    #[test]
    fn reads_a_sample() {
        let page = "# TYPE a gauge\na 3\nab 4\na_b{c=\"d\"} 5\n";
        assert_eq!(value(page, "a"), Some(3.0));
        assert_eq!(value(page, "ab"), Some(4.0));
        assert_eq!(value(page, "a_b"), None);
    }
}
