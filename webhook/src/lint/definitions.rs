//! NetworkAttachmentDefinitions: their own kind, and what other kinds hold of them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    documents::{Contents, Document, Subject},
    report::Finding,
    tree::Node,
};
use crate::cluster::networks::NetworkAttachmentDefinition;

/// Where OpenShift's operator creates networks whose namespace is not given.
const OPENSHIFT_NAMESPACE: &str = "default";

impl Contents {
    pub(super) fn add_network(&mut self, node: &Node, kind: &str) {
        let mut value = node.to_value();
        let document = self.document(node, kind, node, Subject::Unknown);
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), document.namespace.clone().into());
        }
        match NetworkAttachmentDefinition::deserialize(value) {
            Ok(definition) => {
                let mut findings = Vec::new();
                let misplaced = misplaced_config(node);
                if definition.config().is_none() && misplaced.is_none() {
                    findings.push(Finding::note(
                        "no spec.config: needs a CNI file of this name on each node",
                    ));
                }
                let config = node.find(&["spec", "config"]);
                self.documents.push(Document {
                    at: config.unwrap_or(node).at,
                    subject: Subject::Network(Box::new(definition)),
                    scalar: config.and_then(Node::scalar),
                    errors: misplaced.into_iter().collect(),
                    findings,
                    ..document
                });
            }
            Err(error) => self.error(node.at, format!("{}: {error}", document.title)),
        }
    }

    /// The `Network` of OpenShift's operator, which makes NetworkAttachmentDefinitions.
    pub(super) fn add_operator_network(&mut self, node: &Node, kind: &str) {
        let additional = node.find(&["spec", "additionalNetworks"]).and_then(Node::items);
        let additional = additional.unwrap_or_default();
        if additional.is_empty() {
            self.add_unknown(node, kind);
        }
        for (index, network) in additional.iter().enumerate() {
            let name = network.text(&["name"]).unwrap_or("<unnamed>");
            let namespace = network.text(&["namespace"]).filter(|name| !name.is_empty());
            let namespace = namespace.unwrap_or(OPENSHIFT_NAMESPACE);
            let whole = self.document(node, kind, node, Subject::Unknown);
            let title = format!(
                "{kind} {}: spec.additionalNetworks[{index}] ({namespace}/{name})",
                whole.name
            );
            let raw = network.find(&["rawCNIConfig"]);
            let (at, subject) = match raw {
                Some(raw) => (raw.at, raw_config(network, namespace, name)),
                None => (network.at, Subject::Unknown),
            };
            self.documents.push(Document {
                title,
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                at,
                subject,
                scalar: raw.and_then(Node::scalar),
                ..whole
            });
        }
    }
}

fn raw_config(network: &Node, namespace: &str, name: &str) -> Subject {
    let config = network.text(&["rawCNIConfig"]).unwrap_or_default();
    let definition = json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "config": config },
    });
    NetworkAttachmentDefinition::deserialize(definition).map_or(Subject::Unknown, |definition| {
        Subject::Network(Box::new(definition))
    })
}

/// A config that is written where multus never sees it. Without any config, multus takes a file on
/// the node.
fn misplaced_config(definition: &Node) -> Option<Finding> {
    if let Some(config) = definition.find(&["config"]) {
        let message = "config is outside spec, where the API server drops it; indent it below spec";
        return Some(Finding::error(message).at(config.at));
    }
    let spec = definition.find(&["spec"]).filter(|spec| !spec.is_null())?;
    let (message, found) = match spec.find(&["config"]) {
        Some(config) if config.is_null() || spec.text(&["config"]).is_some() => return None,
        Some(config) => (
            "spec.config must be a string, or the API server refuses it; put the JSON in quotes, or as a block after config: |",
            config,
        ),
        None if !spec.is_map() => (
            "spec must be a map with config, or the API server refuses it; put the JSON as a string into spec.config",
            spec,
        ),
        None => {
            spec.entries().next()?;
            let message = "spec has no config, and the API server drops the rest; put the JSON as a string into spec.config";
            (message, spec)
        }
    };
    Some(Finding::error(message).at(found.at))
}
