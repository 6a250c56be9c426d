//! What is read of objects of any kind.

use std::collections::HashMap;

use serde_json::{Value, json};
use shared::annotations::{ENFORCEMENT_LABEL, INTERFACE_NAMES_LABEL, NETWORKS};

use super::super::report::Finding;
use crate::admission::placement;
use crate::cluster::namespaces::Labels;

/// Owners by kind, namespace and name.
pub(super) type Owners = HashMap<Owner, Owner>;

/// An object that others are counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) fn labels(namespace: &Value) -> Option<(String, Labels)> {
    let name = text(namespace, &["metadata", "name"])?.to_owned();
    let label = |key| text(namespace, &["metadata", "labels", key]).map(str::to_owned);
    let labels = Labels {
        interface_names: label(INTERFACE_NAMES_LABEL),
        enforcement: label(ENFORCEMENT_LABEL),
    };
    let has_one = labels.interface_names.is_some() || labels.enforcement.is_some();
    has_one.then_some((name, labels))
}

/// The parts of a pod that admission reads, as if it were created.
pub(super) fn created(pod: &Value) -> Value {
    let part = |path: &[&str]| at(pod, path).cloned().unwrap_or_default();
    json!({
        "metadata": {
            "annotations": part(&["metadata", "annotations"]),
            "labels": part(&["metadata", "labels"]),
        },
        "spec": { "hostNetwork": part(&["spec", "hostNetwork"]) },
    })
}

pub(super) fn near_misses(object: &Value, path: &str) -> Vec<Finding> {
    let annotations = at(object, &["metadata", "annotations"]).and_then(Value::as_object);
    let keys = annotations.into_iter().flatten().map(|(key, _)| key);
    let near = keys.filter(|key| placement::is_near_miss(key));
    near.map(|key| Finding::warning(placement::near_miss(key, path)))
        .collect()
}

pub(super) fn networks(object: &Value) -> Option<&str> {
    text(object, &["metadata", "annotations", NETWORKS]).filter(|text| !text.is_empty())
}

pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}

pub(super) fn identity(object: &Value, kind: &str) -> Option<Owner> {
    Some(Owner {
        kind: kind.to_owned(),
        namespace: text(object, &["metadata", "namespace"])?.to_owned(),
        name: text(object, &["metadata", "name"])?.to_owned(),
    })
}

pub(super) fn controller(object: &Value, namespace: &str) -> Option<Owner> {
    let references = at(object, &["metadata", "ownerReferences"])?.as_array()?;
    let controls = |reference: &&Value| reference.get("controller") == Some(&Value::Bool(true));
    let controller = references.iter().find(controls)?;
    Some(Owner {
        kind: text(controller, &["kind"])?.to_owned(),
        namespace: namespace.to_owned(),
        name: text(controller, &["name"])?.to_owned(),
    })
}
