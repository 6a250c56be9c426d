//! Finding pods, networks, and what the webhook's decisions depend on in YAML or JSON text.

use serde::Deserialize;
use serde_json::Value;
use shared::annotations::{INTERFACE_NAMES_LABEL, NETWORKS};

use super::{
    templates,
    tree::{self, Node, Position, SyntaxError},
};
use crate::cluster::networks::NetworkAttachmentDefinition;

/// Where the only template of most kinds is; needs no mention.
const USUAL_TEMPLATES: [&str; 3] = ["", "spec.template", "spec.jobTemplate.spec.template"];

/// Something to judge.
pub(super) struct Document {
    /// `Kind namespace/name`, for the reader.
    pub(super) title: String,
    pub(super) name: String,
    /// The namespace it would be created in.
    pub(super) namespace: String,
    /// What the judgement is about: the annotation, or the config of a network.
    pub(super) at: Position,
    pub(super) subject: Subject,
    /// Why the API server would refuse it, or drop what is meant.
    pub(super) errors: Vec<&'static str>,
    /// What there is to say before anything is judged.
    pub(super) warnings: Vec<String>,
}

impl Document {
    /// Namespace and name.
    pub(super) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

pub(super) enum Subject {
    Pod(Value),
    /// What pods are made of: never changed in a pod that exists.
    Template(Value),
    Network(Box<NetworkAttachmentDefinition>),
    /// A namespace, and the mode that its label asks for.
    Namespace(Option<String>),
    /// Content of one of the webhook's two ConfigMaps.
    Settings(Settings, String),
    /// An object of a kind that this program knows nothing about.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settings {
    /// What the manifest brings.
    Manifest,
    /// What the user sets; wins.
    User,
}

impl Settings {
    const ALL: [(Self, &str, &str); 2] = [
        (
            Self::Manifest,
            "dynamic-networks-controller-config",
            "dynamic-networks-config.json",
        ),
        (Self::User, "dynamic-networks-settings", "settings.json"),
    ];
}

/// What a file has.
pub(super) struct Contents {
    /// What there is something to say about.
    pub(super) documents: Vec<Document>,
    /// Documents without a kind: values of Helm, kustomizations, configuration of other programs.
    pub(super) without_kind: usize,
    /// What could not be read.
    pub(super) errors: Vec<SyntaxError>,
    default_namespace: String,
}

/// Reads all documents of `text`. JSON is YAML. Objects without a namespace are taken for ones of
/// `default_namespace`.
pub(super) fn read(text: &str, default_namespace: &str) -> Contents {
    let mut contents = Contents {
        documents: Vec::new(),
        without_kind: 0,
        errors: Vec::new(),
        default_namespace: default_namespace.to_owned(),
    };
    for document in tree::read(text) {
        match document {
            Ok(node) if node.is_null() => {}
            Ok(node) => contents.add(&node, "", ""),
            Err(error) => contents.errors.push(error),
        }
    }
    contents
}

/// Whether Kubernetes itself defines the kinds of an API group: of those all are known that make
/// pods.
fn is_built_in(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// A config that is written where multus never sees it. Without any config, multus takes a file on
/// the node.
fn misplaced_config(definition: &Node) -> Option<&'static str> {
    if definition.has(&["config"]) {
        return Some("config is outside spec, where the API server drops it; indent it below spec");
    }
    match definition.find(&["spec", "config"]) {
        Some(config) if config.is_null() || definition.text(&["spec", "config"]).is_some() => None,
        Some(_) => {
            Some("spec.config must be a string; put the JSON in quotes, or as a block after config: |")
        }
        None => {
            let mut members = definition.find(&["spec"])?.entries();
            members.next()?;
            Some(
                "spec has no config, and the API server drops the rest; put the JSON as a string into spec.config",
            )
        }
    }
}

impl Contents {
    /// Items of a list may leave out version and kind: the API server does, in its own lists.
    fn add(&mut self, node: &Node, list_version: &str, list_kind: &str) {
        let kind = node.text(&["kind"]).unwrap_or(list_kind);
        let version = node.text(&["apiVersion"]).unwrap_or(list_version);
        if kind.is_empty() {
            self.without_kind += 1;
            return;
        }
        let item_kind = kind.strip_suffix("List");
        if let Some((items, item_kind)) = node.find(&["items"]).zip(item_kind) {
            match items.items() {
                Some(items) => items.iter().for_each(|item| self.add(item, version, item_kind)),
                None if items.is_null() => {}
                None => self.error(items.at, format!("the items of a {kind} are not a list")),
            }
            return;
        }
        let group = version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            (_, "NetworkAttachmentDefinition") => self.add_network(node, kind),
            ("", "Pod") => {
                let subject = Subject::Pod(node.to_value());
                self.documents.push(self.document(node, kind, node, subject));
            }
            ("", "Namespace") => self.add_namespace(node, kind),
            ("", "ConfigMap") => self.add_config_map(node, kind),
            ("kubevirt.io" | "pool.kubevirt.io", _) => {
                let (pod, at) = templates::of_virtual_machine(node);
                let document = self.document(node, kind, node, Subject::Template(pod));
                self.documents.push(Document { at, ..document });
            }
            _ => self.add_templates(node, kind, is_built_in(group)),
        }
    }

    /// `object`, of which `pod` is judged.
    fn document(&self, object: &Node, kind: &str, pod: &Node, subject: Subject) -> Document {
        let namespace = object.text(&["metadata", "namespace"]);
        let namespace = namespace.unwrap_or(&self.default_namespace).to_owned();
        let name = object
            .text(&["metadata", "name"])
            .or_else(|| object.text(&["metadata", "generateName"]))
            .unwrap_or("<unnamed>")
            .to_owned();
        // What was found at the annotation, else at the pod.
        let annotation = pod.find(&["metadata", "annotations", NETWORKS]);
        Document {
            title: format!("{kind} {namespace}/{name}"),
            name,
            namespace,
            at: annotation.unwrap_or(pod).at,
            subject,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add_network(&mut self, node: &Node, kind: &str) {
        let mut value = node.to_value();
        let namespace = node.text(&["metadata", "namespace"]);
        let namespace = namespace.unwrap_or(&self.default_namespace);
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        match NetworkAttachmentDefinition::deserialize(value) {
            Ok(definition) => {
                let at = node.find(&["spec", "config"]).unwrap_or(node).at;
                let subject = Subject::Network(Box::new(definition));
                let document = self.document(node, kind, node, subject);
                let errors = misplaced_config(node).into_iter().collect();
                self.documents.push(Document {
                    at,
                    errors,
                    ..document
                });
            }
            Err(error) => {
                let name = node.text(&["metadata", "name"]).unwrap_or("<unnamed>");
                self.error(node.at, format!("{kind} {namespace}/{name}: {error}"));
            }
        }
    }

    fn add_namespace(&mut self, node: &Node, kind: &str) {
        let label = node.text(&["metadata", "labels", INTERFACE_NAMES_LABEL]);
        let label = label.map(str::to_owned);
        let document = self.document(node, kind, node, Subject::Namespace(label));
        let title = format!("{kind} {}", document.name);
        self.documents.push(Document { title, ..document });
    }

    fn add_config_map(&mut self, node: &Node, kind: &str) {
        let name = node.text(&["metadata", "name"]);
        for (settings, _, key) in Settings::ALL.iter().filter(|(_, own, _)| name == Some(own)) {
            let path = ["data", key];
            if let Some((text, found)) = node.text(&path).zip(node.find(&path)) {
                let subject = Subject::Settings(*settings, text.to_owned());
                let at = found.at;
                let document = self.document(node, kind, node, subject);
                self.documents.push(Document { at, ..document });
            }
        }
    }

    fn add_templates(&mut self, node: &Node, kind: &str, is_built_in: bool) {
        let found = templates::find(node);
        let is_misplaced = is_built_in && node.has(&["metadata", "annotations", NETWORKS]);
        if found.is_empty() && !is_built_in {
            self.documents
                .push(self.document(node, kind, node, Subject::Unknown));
        }
        for template in found {
            let subject = Subject::Template(template.pod.to_value());
            let mut document = self.document(node, kind, template.pod, subject);
            let path = template.path;
            if is_misplaced && !path.is_empty() {
                document.warnings.push(format!(
                    "metadata.annotations of the {kind} has no effect; put {NETWORKS} into {path}.metadata.annotations"
                ));
            }
            if !USUAL_TEMPLATES.contains(&path.as_str()) {
                document.title.push_str(&format!(": {path}"));
            }
            self.documents.push(document);
        }
    }

    fn error(&mut self, at: Position, message: String) {
        self.errors.push(SyntaxError { at, message });
    }
}
