//! What admission would say about one pod or NetworkAttachmentDefinition.

use serde_json::{Value, json};
use shared::{cni::NetworkConfig, config::Config, violation::shown};

use super::{
    documents::Document,
    known::Known,
    report::{Finding, Judgement},
};
use crate::{
    mutate,
    networks::NetworkAttachmentDefinition,
    review::{self, Change},
    verdict,
};

pub(super) fn network(definition: &NetworkAttachmentDefinition) -> Judgement {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let parsed = definition
        .config()
        .map(|config| NetworkConfig::parse(config, name));
    match parsed {
        Some(Err(error)) => {
            let finding = Finding::error(format!("{error}; pods that use it would be refused"));
            Judgement::refused("cannot run", vec![finding])
        }
        Some(Ok(_)) | None => Judgement::ok("ok"),
    }
}

pub(super) fn pod(pod: &Value, document: &Document, config: &Config, known: &Known) -> Judgement {
    let unquoted = unquoted_annotations(pod);
    if !unquoted.is_empty() {
        return Judgement::refused("refused", unquoted);
    }
    // The same path as a real review, so that both always say the same.
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "lint",
            "operation": "CREATE",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": document.namespace,
            "object": pod,
        },
    })
    .to_string();
    match review::read(review.as_bytes()) {
        Err(error) => Judgement::unreadable(error.to_string()),
        Ok(request) => match request.change() {
            Err(cause) => Judgement::unreadable(cause),
            Ok(None) => Judgement::ok("ok, no networks"),
            Ok(Some(change)) => admission(&change, config, known),
        },
    }
}

/// The API server takes strings only as annotations; YAML makes something else of what looks like a list, a number or a bool.
fn unquoted_annotations(object: &Value) -> Vec<Finding> {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| {
            let found = match value {
                Value::Null | Value::String(_) => return None,
                Value::Bool(_) => "a bool",
                Value::Number(_) => "a number",
                Value::Array(_) => "a list",
                Value::Object(_) => "a map",
            };
            let key = shown(key);
            Some(Finding::error(format!(
                "annotation {key} is {found} and must be a string; put quotes around it"
            )))
        })
        .collect()
}

/// Fills in and then judges what was filled in, as an API server lets both webhooks do.
fn admission(change: &Change<'_>, config: &Config, known: &Known) -> Judgement {
    let mode = config.interface_names;
    let filled = mutate::filled(change, mode, config);
    let annotation = filled.as_deref().unwrap_or(change.annotation);
    let change = Change {
        annotation,
        namespace: change.namespace,
        pod: change.pod,
        old: change.old,
    };
    let found = verdict::judge(&change, &verdict::parse(&change), mode, config, known);
    let findings = Finding::all(&found);
    let mut judgement = match (found.violations.is_empty(), filled.is_some()) {
        (false, _) => Judgement::refused("refused", Vec::new()),
        (true, true) => Judgement::ok("ok, with interface names filled in"),
        (true, false) => Judgement::ok("ok"),
    };
    judgement.filled = filled;
    judgement.findings = findings;
    judgement
}
