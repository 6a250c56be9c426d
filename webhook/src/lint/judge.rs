//! What admission would say about one pod or NetworkAttachmentDefinition.

use serde_json::{Value, json};
use shared::{
    annotations::{ENFORCEMENT_LABEL, INTERFACE_NAMES_LABEL},
    cni::{ConfigProblem, Severity, check},
    config::{Config, Enforcement, InterfaceNames},
    violation::shown,
};

use super::{
    documents::{Document, Subject},
    known::Known,
    report::{Finding, Judgement},
};
use crate::{
    admission::{
        check, fill,
        review::{self, Change},
    },
    cluster::{namespaces::Labels, networks::NetworkAttachmentDefinition},
};

/// What is said of a network that multus could not run.
const CANNOT_RUN: &str = "cannot run";

pub(super) fn network(definition: &NetworkAttachmentDefinition, enforcement: Enforcement) -> Judgement {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let config = definition.config();
    let problems = config.map(|config| check(config, name).problems);
    let problems = problems.unwrap_or_default();
    let cannot_run = |problem: &ConfigProblem| problem.severity == Severity::CannotRun;
    let findings = problems
        .iter()
        .map(|problem| Finding::of_config(problem, enforcement))
        .collect();
    let headline = match (problems.iter().any(cannot_run), enforcement) {
        (true, Enforcement::Enforce) => return Judgement::refused(CANNOT_RUN, findings),
        (true, Enforcement::Warn) => CANNOT_RUN,
        (false, _) => "ok",
    };
    Judgement {
        findings,
        ..Judgement::ok(headline)
    }
}

/// Everything about one document; `None` when there is nothing to say. A pod may be an update of a
/// `stored` one.
pub(super) fn document(document: &Document, stored: Option<&Value>, known: &Known) -> Option<Judgement> {
    let mut judgement = match &document.subject {
        Subject::Network(definition) => network(definition, known.enforcement(&document.namespace)),
        Subject::Pod(pod) => self::pod(pod, stored, &document.namespace, known),
        Subject::Template(pod) => self::pod(pod, None, &document.namespace, known),
        Subject::Settings(_, text) => match Config::parse(text) {
            Ok(_) => Judgement::ok("ok"),
            Err(error) => Judgement::unreadable(error.to_string()),
        },
        Subject::Namespace(labels) => namespace(labels)?,
        Subject::Unknown => Judgement::ok("not judged: no pod template or network found in this kind"),
    };
    if !document.errors.is_empty() {
        judgement = Judgement::refused(CANNOT_RUN, document.errors.clone());
    }
    judgement.findings.extend(document.findings.iter().cloned());
    Some(judgement)
}

/// Labels that the webhook cannot read; `None` when there are none.
fn namespace(labels: &Labels) -> Option<Judgement> {
    let read = [
        (
            INTERFACE_NAMES_LABEL,
            &labels.interface_names,
            "fill, reject, warn or off",
        ),
        (ENFORCEMENT_LABEL, &labels.enforcement, "enforce or warn"),
    ];
    let is_readable = |key, text: &str| match key {
        INTERFACE_NAMES_LABEL => InterfaceNames::parse(text).is_some(),
        _ => Enforcement::parse(text).is_some(),
    };
    let mut judgement = Judgement::ok("ok");
    for (key, text, allowed) in read {
        let unreadable = text.as_deref().filter(|text| !is_readable(key, text));
        judgement.findings.extend(unreadable.map(|text| {
            let text = shown(text);
            Finding::warning(format!(
                "label {key} is \"{text}\" and must be {allowed}; the configuration holds"
            ))
        }));
    }
    (!judgement.findings.is_empty()).then_some(judgement)
}

/// A pod that is created, or takes the place of a `stored` one.
pub(super) fn pod(pod: &Value, stored: Option<&Value>, namespace: &str, known: &Known) -> Judgement {
    let unquoted = unquoted_annotations(pod);
    if !unquoted.is_empty() {
        return Judgement::refused("refused", unquoted);
    }
    if !known.is_watched(namespace) {
        return Judgement::ok(format!(
            "not judged: the webhook leaves pods in {} alone",
            shown(namespace)
        ));
    }
    // The same path as a real review, so that both always say the same.
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "lint",
            "operation": if stored.is_some() { "UPDATE" } else { "CREATE" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "object": pod,
            "oldObject": stored,
        },
    })
    .to_string();
    match review::read(review.as_bytes()) {
        Err(error) => Judgement::unreadable(error.to_string()),
        Ok(request) => match request.change() {
            Err(cause) => Judgement::unreadable(cause),
            Ok(None) if request.object.as_ref().is_some_and(review::Pod::is_mirror) => {
                Judgement::ok("not judged: the webhook leaves mirror pods alone")
            }
            Ok(None) if stored.is_some() => Judgement::ok("ok, no networks, or the same as before"),
            Ok(None) => Judgement::ok("ok, no networks"),
            Ok(Some(change)) => admission(&change, known),
        },
    }
}

/// The API server takes strings only as annotations; YAML makes something else of what looks like a
/// list, a number or a bool.
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
fn admission(change: &Change<'_>, known: &Known) -> Judgement {
    let config = &known.config;
    let mode = known.mode(change.namespace);
    // Names are wanted in all modes but the one without an opinion.
    let names = match mode {
        InterfaceNames::Reject | InterfaceNames::Warn if known.fixes => InterfaceNames::Fill,
        mode => mode,
    };
    let filled = fill::filled(change, names, config);
    let annotation = filled.as_deref().unwrap_or(change.annotation);
    let change = Change {
        annotation,
        namespace: change.namespace,
        pod: change.pod,
        old: change.old,
    };
    let parsed = check::parse(&change);
    let missing = parsed.as_ref().map(|list| known.missing(list, change.namespace));
    let missing = missing.unwrap_or_default();
    let found = check::judge(&change, &parsed, mode, config, known);
    let enforcement = known.enforcement(change.namespace);
    let mut findings = Finding::all(&found, enforcement);
    findings.extend(missing);
    let mut judgement = match (found.violations.is_empty(), enforcement) {
        (false, Enforcement::Enforce) => Judgement::refused("refused", Vec::new()),
        (false, Enforcement::Warn) => Judgement::ok("ok, but breaks rules: enforcement is warn"),
        (true, _) if filled.is_some() => Judgement::ok("ok, with interface names filled in"),
        (true, _) => Judgement::ok("ok"),
    };
    judgement.filled = filled;
    judgement.findings = findings;
    judgement
}
