//! What admission would say about one pod or NetworkAttachmentDefinition.

use serde_json::{Value, json};
use shared::{cni::NetworkConfig, config::Config, validate::Findings, violation::shown};

use super::{Outcome, documents::Document, known::Known};
use crate::{
    mutate,
    networks::NetworkAttachmentDefinition,
    review::{self, Change},
    verdict,
};

/// What is said about one object.
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) headline: &'static str,
    pub(super) lines: Vec<String>,
}

pub(super) fn network(definition: &NetworkAttachmentDefinition) -> Judged {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    match definition
        .config()
        .map(|config| NetworkConfig::parse(config, name))
    {
        Some(Err(error)) => {
            let lines = vec![format!("error: {error}; pods that use it would be refused")];
            Judged {
                outcome: Outcome::Refused,
                headline: "cannot run",
                lines,
            }
        }
        Some(Ok(_)) | None => Judged {
            outcome: Outcome::Admitted,
            headline: "ok",
            lines: Vec::new(),
        },
    }
}

pub(super) fn pod(pod: &Value, document: &Document, config: &Config, known: &Known) -> Judged {
    let unquoted = unquoted_annotations(pod);
    if !unquoted.is_empty() {
        return Judged {
            outcome: Outcome::Refused,
            headline: "refused",
            lines: unquoted,
        };
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
    let unreadable = |cause: String| Judged {
        outcome: Outcome::Unreadable,
        headline: "unreadable",
        lines: vec![format!("error: {cause}")],
    };
    match review::read(review.as_bytes()) {
        Err(error) => unreadable(error.to_string()),
        Ok(request) => match request.change() {
            Err(cause) => unreadable(cause),
            Ok(None) => Judged {
                outcome: Outcome::Admitted,
                headline: "ok, no networks",
                lines: Vec::new(),
            },
            Ok(Some(change)) => admission(&change, config, known),
        },
    }
}

/// The API server takes strings only as annotations; YAML makes something else of what looks like a list, a number or a bool.
fn unquoted_annotations(object: &Value) -> Vec<String> {
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
            Some(format!(
                "error: annotation {key} is {found} and must be a string; put quotes around it"
            ))
        })
        .collect()
}

/// Fills in and then judges what was filled in, as an API server lets both webhooks do.
fn admission(change: &Change<'_>, config: &Config, known: &Known) -> Judged {
    let mode = config.interface_names;
    let filled = mutate::filled(change, mode, config);
    let mut lines: Vec<String> = filled.iter().map(|text| format!("filled in: {text}")).collect();
    let annotation = filled.as_deref().unwrap_or(change.annotation);
    let change = Change {
        annotation,
        namespace: change.namespace,
        pod: change.pod,
        old: change.old,
    };
    let Findings {
        violations, warnings, ..
    } = verdict::judge(&change, &verdict::parse(&change), mode, config, known);
    lines.extend(violations.iter().map(|violation| format!("error: {violation}")));
    if violations.unlisted() > 0 {
        lines.push(format!("error: and {} more", violations.unlisted()));
    }
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    let (outcome, headline) = match (violations.is_empty(), filled.is_some()) {
        (false, _) => (Outcome::Refused, "refused"),
        (true, true) => (Outcome::Admitted, "ok, with interface names filled in"),
        (true, false) => (Outcome::Admitted, "ok"),
    };
    Judged {
        outcome,
        headline,
        lines,
    }
}
