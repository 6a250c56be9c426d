//! Finding pods and networks in YAML or JSON text.

use serde::Deserialize;
use serde_json::Value;

use super::tree::{self, Node, Position, SyntaxError};
use crate::networks::NetworkAttachmentDefinition;

/// Something to judge.
pub(super) struct Document {
    /// `Kind namespace/name`, for the reader.
    pub(super) title: String,
    /// The namespace it would be created in: `default` where none is written.
    pub(super) namespace: String,
    /// What the judgement is about: the annotation, or the config of a network.
    pub(super) at: Position,
    pub(super) subject: Subject,
}

pub(super) enum Subject {
    /// A pod or a pod template.
    Pod(Value),
    Network(Box<NetworkAttachmentDefinition>),
}

/// What a file has.
#[derive(Default)]
pub(super) struct Contents {
    /// What there is something to say about.
    pub(super) documents: Vec<Document>,
    /// Documents without a kind: values of Helm, kustomizations, configuration of other programs.
    pub(super) without_kind: usize,
    /// What could not be read.
    pub(super) errors: Vec<SyntaxError>,
}

/// Reads all documents of `text`. JSON is YAML.
pub(super) fn read(text: &str) -> Contents {
    let mut contents = Contents::default();
    for document in tree::read(text) {
        match document {
            Ok(node) if node.is_null() => {}
            Ok(node) => contents.add(&node),
            Err(error) => contents.errors.push(error),
        }
    }
    contents
}

impl Contents {
    fn add(&mut self, node: &Node) {
        let Some(kind) = node.text(&["kind"]) else {
            self.without_kind += 1;
            return;
        };
        if let Some(items) = node.find(&["items"]).filter(|_| kind.ends_with("List")) {
            match items.items() {
                Some(items) => items.iter().for_each(|item| self.add(item)),
                None => self.error(items.at, format!("the items of a {kind} are not a list")),
            }
            return;
        }
        let namespace = node.text(&["metadata", "namespace"]).unwrap_or("default");
        let name = node
            .text(&["metadata", "name"])
            .or_else(|| node.text(&["metadata", "generateName"]))
            .unwrap_or("<unnamed>");
        let title = format!("{kind} {namespace}/{name}");
        let templates: [&[&str]; 2] = [
            &["spec", "template"],
            &["spec", "jobTemplate", "spec", "template"],
        ];
        if kind == "NetworkAttachmentDefinition" {
            self.add_network(node, title, namespace);
        } else if kind == "Pod" {
            self.add_pod(node, title, namespace);
        } else if let Some(pod) = templates.iter().find_map(|path| node.find(path)) {
            self.add_pod(pod, title, namespace);
        }
    }

    fn add_network(&mut self, node: &Node, title: String, namespace: &str) {
        let at = node.find(&["spec", "config"]).unwrap_or(node).at;
        let mut value = node.to_value();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        match NetworkAttachmentDefinition::deserialize(value) {
            Ok(definition) => self.documents.push(Document {
                title,
                namespace: namespace.to_owned(),
                at,
                subject: Subject::Network(Box::new(definition)),
            }),
            Err(error) => self.error(node.at, format!("{title}: {error}")),
        }
    }

    fn add_pod(&mut self, pod: &Node, title: String, namespace: &str) {
        let annotation = pod.find(&["metadata", "annotations", shared::annotations::NETWORKS]);
        self.documents.push(Document {
            title,
            namespace: namespace.to_owned(),
            at: annotation.unwrap_or(pod).at,
            subject: Subject::Pod(pod.to_value()),
        });
    }

    fn error(&mut self, at: Position, message: String) {
        self.errors.push(SyntaxError { at, message });
    }
}
