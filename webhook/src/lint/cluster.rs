//! `lint --cluster`: what admission would say about everything that a cluster has, as if it were
//! created now.
//!
//! Flow: configuration, namespaces and networks first, then workload templates, then pods; each in
//! pages, of which only what is said is kept. Nothing is written to the cluster.
//!
//! Errors: what cannot be listed is reported, and the rest is judged all the same.

mod api;
mod groups;
mod objects;

use serde::Deserialize;
use serde_json::Value;
use shared::config::Config;

pub(super) use api::connect;
pub(super) use groups::Groups;
use objects::{Owner, Owners};

use super::{
    Settings,
    documents::Settings as ConfigMaps,
    judge,
    known::{Known, merged},
    report::Finding,
};
use crate::{
    admission::placement,
    cluster::networks::{NetworkAttachmentDefinition, Networks},
};

/// A list that has expired while it was read is begun again, this many times in all.
const ATTEMPTS: usize = 3;
/// Owners of owners: a CronJob's Job's pod, and one more.
const MAX_OWNERS: usize = 4;

/// A kind of objects that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
    /// The path of the pod template; empty for what has none.
    template: &'static [&'static str],
}

const NAMESPACES: Kind = Kind {
    group: "",
    name: "Namespace",
    plural: "namespaces",
    template: &[],
};
const NETWORK_DEFINITIONS: Kind = Kind {
    group: "k8s.cni.cncf.io",
    name: "NetworkAttachmentDefinition",
    plural: "network-attachment-definitions",
    template: &[],
};
const PODS: Kind = Kind {
    group: "",
    name: "Pod",
    plural: "pods",
    template: &[],
};
const WORKLOADS: [Kind; 6] = [
    workload("apps", "Deployment", "deployments"),
    workload("apps", "StatefulSet", "statefulsets"),
    workload("apps", "DaemonSet", "daemonsets"),
    workload("apps", "ReplicaSet", "replicasets"),
    workload("batch", "Job", "jobs"),
    Kind {
        template: &["spec", "jobTemplate", "spec", "template"],
        ..workload("batch", "CronJob", "cronjobs")
    },
];

const fn workload(group: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        name,
        plural,
        template: &["spec", "template"],
    }
}

/// Some objects of a kind, and where the next ones are.
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    pub(super) next: Option<String>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the list expired while it was read; try again")]
    Expired,
    #[error("the cluster has no such kind")]
    NoSuchKind,
    #[error("{0}")]
    Failed(String),
}

/// Where objects come from.
pub(super) trait Source {
    async fn page(&self, kind: Kind, after: Option<&str>) -> Result<Page, Unread>;
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Value>, Unread>;
}

/// Everything that there is to say about the cluster of `source`.
pub(super) async fn judged(source: &impl Source, settings: &Settings) -> Groups {
    let mut groups = Groups::default();
    let config = match &settings.config {
        Some(config) => config.clone(),
        None => read_config(source, settings, &mut groups).await,
    };
    let labels = listed(source, NAMESPACES, |found: &mut Vec<_>, page| {
        found.extend(page.iter().filter_map(objects::labels));
    });
    let labels = labels.await.unwrap_or_else(|error| {
        groups.unread(NAMESPACES.plural, &error);
        Vec::new()
    });
    let mut known = Known::of_cluster(config, labels, settings);
    add_networks(source, &mut known, &mut groups).await;
    let known = known;

    let mut owners = Owners::new();
    for kind in WORKLOADS {
        let found = listed(source, kind, |found: &mut (Owners, Groups), page| {
            page.iter()
                .for_each(|object| add_workload(object, kind, &known, found));
        });
        match found.await {
            Ok((found, said)) => {
                owners.extend(found);
                groups.merge(said);
            }
            Err(error) => groups.unread(kind.plural, &error),
        }
    }
    let found = listed(source, PODS, |groups: &mut Groups, page| {
        page.iter().for_each(|pod| add_pod(pod, &owners, &known, groups));
    });
    match found.await {
        Ok(said) => groups.merge(said),
        Err(error) => groups.unread(PODS.plural, &error),
    }
    groups
}

/// Lists all objects of a kind page by page. What `add` made of a list that expired is dropped.
async fn listed<T: Default>(
    source: &impl Source,
    kind: Kind,
    add: impl Fn(&mut T, &[Value]),
) -> Result<T, Unread> {
    let mut outcome = Err(Unread::Expired);
    for _ in 0..ATTEMPTS {
        outcome = all_pages(source, kind, &add).await;
        if !matches!(outcome, Err(Unread::Expired)) {
            break;
        }
    }
    outcome
}

async fn all_pages<T: Default>(
    source: &impl Source,
    kind: Kind,
    add: &impl Fn(&mut T, &[Value]),
) -> Result<T, Unread> {
    let mut found = T::default();
    let mut after: Option<String> = None;
    loop {
        let page = source.page(kind, after.as_deref()).await?;
        add(&mut found, &page.items);
        if page.next.is_none() {
            return Ok(found);
        }
        if page.next == after {
            return Err(Unread::Failed("the API server repeats a page".to_owned()));
        }
        after = page.next;
    }
}

/// The configuration of the webhook's ConfigMaps, else the defaults.
async fn read_config(source: &impl Source, settings: &Settings, groups: &mut Groups) -> Config {
    let mut texts = [None, None];
    for (text, (_, name, key)) in texts.iter_mut().zip(ConfigMaps::ALL) {
        match source.config_map(&settings.webhook_namespace, name).await {
            Ok(found) => {
                *text = found
                    .as_ref()
                    .and_then(|found| found.pointer("/data")?.get(key)?.as_str())
                    .map(str::to_owned);
            }
            Err(error) => groups.unread(&format!("ConfigMap {name}"), &error),
        }
        if let Some(Err(error)) = text.as_deref().map(Config::parse) {
            groups.unread(&format!("ConfigMap {name}"), &Unread::Failed(error.to_string()));
        }
    }
    let [manifest, user] = texts;
    merged(manifest.as_deref(), user.as_deref()).unwrap_or_default()
}

/// Judges networks, and lets `known` have them.
async fn add_networks(source: &impl Source, known: &mut Known, groups: &mut Groups) {
    let found = listed(
        source,
        NETWORK_DEFINITIONS,
        |found: &mut (Vec<Networks>, Groups), page| {
            let definitions: Vec<NetworkAttachmentDefinition> = page
                .iter()
                .filter_map(|item| NetworkAttachmentDefinition::deserialize(item).ok())
                .collect();
            for definition in &definitions {
                let namespace = definition.metadata.namespace.as_deref().unwrap_or_default();
                let judgement = judge::network(definition, known.enforcement(namespace));
                let owner = Owner {
                    kind: NETWORK_DEFINITIONS.name.to_owned(),
                    namespace: namespace.to_owned(),
                    name: definition.metadata.name.clone().unwrap_or_default(),
                };
                found.1.add_network(&owner, judgement.findings);
            }
            let networks = Networks::default();
            networks.replace(&definitions);
            found.0.push(networks);
        },
    );
    match found.await {
        Ok((networks, said)) => {
            known.complete(networks);
            groups.merge(said);
        }
        Err(error) => groups.unread(NETWORK_DEFINITIONS.plural, &error),
    }
}

/// Judges the template of a workload; of one that a controller owns, only the owner is kept.
fn add_workload(object: &Value, kind: Kind, known: &Known, (owners, groups): &mut (Owners, Groups)) {
    let Some(own) = objects::identity(object, kind.name) else {
        return;
    };
    if let Some(controller) = objects::controller(object, &own.namespace) {
        owners.insert(own, controller);
        return;
    }
    let template = objects::at(object, kind.template);
    let mut findings = template.map_or_else(Vec::new, |pod| findings(pod, &own.namespace, known));
    let path = kind.template.join(".");
    let counts = template.and_then(objects::networks);
    let job = objects::at(object, &["spec", "jobTemplate"]);
    for (owner, object) in [
        (format!("the {}", kind.name), Some(object)),
        ("spec.jobTemplate".to_owned(), job),
    ] {
        let Some(object) = object else { continue };
        if let Some(misplaced) = objects::networks(object) {
            let said = placement::misplaced(&owner, misplaced, &path, counts);
            findings.extend(said.map(Finding::warning));
        }
        findings.extend(objects::near_misses(object, &path));
    }
    groups.add_template(&own, findings);
}

fn add_pod(pod: &Value, owners: &Owners, known: &Known, groups: &mut Groups) {
    let Some(own) = objects::identity(pod, PODS.name) else {
        return;
    };
    let phase = objects::text(pod, &["status", "phase"]);
    let is_ending = objects::at(pod, &["metadata", "deletionTimestamp"]).is_some();
    if is_ending || matches!(phase, Some("Succeeded" | "Failed")) {
        return;
    }
    let findings = findings(pod, &own.namespace, known);
    let mut owner = objects::controller(pod, &own.namespace).unwrap_or(own);
    for _ in 0..MAX_OWNERS {
        match owners.get(&owner) {
            Some(next) => owner.clone_from(next),
            None => break,
        }
    }
    groups.add_pod(&owner, findings);
}

/// What admission would say about a pod or template, as a new pod.
fn findings(pod: &Value, namespace: &str, known: &Known) -> Vec<Finding> {
    let mut findings = objects::near_misses(pod, "");
    if objects::networks(pod).is_some() {
        findings.extend(judge::pod(&objects::created(pod), None, namespace, known).findings);
    }
    findings
}

#[cfg(test)]
mod tests;
