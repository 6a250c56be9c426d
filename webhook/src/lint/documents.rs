//! Finding pods, networks, and what the webhook's decisions depend on in YAML or JSON text.

use serde_json::Value;
use shared::annotations::{ENFORCEMENT_LABEL, INTERFACE_NAMES_LABEL, NETWORKS};

use super::{
    report::Finding,
    templates::{self, Template},
    tree::{self, Node, Position, Scalar, SyntaxError},
};
use crate::{
    admission::placement,
    cluster::{namespaces::Labels, networks::NetworkAttachmentDefinition},
};

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
    /// The text that is judged: the annotation, or the config of a network.
    pub(super) scalar: Option<Scalar>,
    /// Why the API server would refuse it, or drop what is meant.
    pub(super) errors: Vec<Finding>,
    /// What there is to say before anything is judged.
    pub(super) findings: Vec<Finding>,
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
    /// A namespace, and its labels that are ours.
    Namespace(Labels),
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
    /// Each with its object's name and key.
    pub(super) const ALL: [(Self, &str, &str); 2] = [
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
            ("operator.openshift.io", "Network") => self.add_operator_network(node, kind),
            ("", "Namespace") => self.add_namespace(node, kind),
            ("", "ConfigMap") => self.add_config_map(node, kind),
            ("kubevirt.io" | "pool.kubevirt.io", _) if kind.starts_with("VirtualMachine") => {
                let (pod, at) = templates::of_virtual_machine(node);
                let document = self.document(node, kind, node, Subject::Template(pod));
                // KubeVirt writes the annotation, nobody edits it.
                let scalar = None;
                self.documents.push(Document {
                    at,
                    scalar,
                    ..document
                });
            }
            _ => self.add_templates(node, kind, is_built_in(group)),
        }
    }

    /// `object`, of which `pod` is judged.
    pub(super) fn document(&self, object: &Node, kind: &str, pod: &Node, subject: Subject) -> Document {
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
            scalar: annotation.and_then(Node::scalar),
            errors: Vec::new(),
            findings: near_misses(pod, ""),
        }
    }

    fn add_namespace(&mut self, node: &Node, kind: &str) {
        let label = |key| node.text(&["metadata", "labels", key]).map(str::to_owned);
        let labels = Labels {
            interface_names: label(INTERFACE_NAMES_LABEL),
            enforcement: label(ENFORCEMENT_LABEL),
        };
        let document = self.document(node, kind, node, Subject::Namespace(labels));
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
        if found.is_empty() && !is_built_in {
            self.add_unknown(node, kind);
        }
        for (index, template) in found.iter().enumerate() {
            let subject = Subject::Template(template.pod.to_value());
            let mut document = self.document(node, kind, template.pod, subject);
            // The operator of a custom kind may well copy the metadata of its objects to pods.
            if is_built_in && index == 0 {
                document.findings.extend(misplaced(node, kind, template));
            }
            if !USUAL_TEMPLATES.contains(&template.path.as_str()) {
                document.title.push_str(&format!(": {}", template.path));
            }
            self.documents.push(document);
        }
    }

    pub(super) fn add_unknown(&mut self, node: &Node, kind: &str) {
        let document = self.document(node, kind, node, Subject::Unknown);
        let findings = Vec::new();
        self.documents.push(Document { findings, ..document });
    }

    pub(super) fn error(&mut self, at: Position, message: String) {
        self.errors.push(SyntaxError { at, message });
    }
}

/// Warnings about keys that seem to mean the networks annotation, in the metadata of `object`.
fn near_misses(object: &Node, path: &str) -> Vec<Finding> {
    let annotations = object.find(&["metadata", "annotations"]);
    let annotations = annotations.into_iter().flat_map(Node::entries);
    let near = annotations.filter(|(key, _)| placement::is_near_miss(key));
    near.map(|(key, value)| Finding::warning(placement::near_miss(key, path)).at(value.at))
        .collect()
}

/// Warnings about networks annotations of a workload, or of the jobs that it makes, which no pod
/// gets.
fn misplaced(workload: &Node, kind: &str, template: &Template<'_>) -> Vec<Finding> {
    let path = &template.path;
    let counts = template.pod.text(&["metadata", "annotations", NETWORKS]);
    let job = workload.find(&["spec", "jobTemplate"]);
    let owners = [
        (format!("the {kind}"), Some(workload)),
        ("spec.jobTemplate".to_owned(), job),
    ];
    let mut findings = Vec::new();
    for (owner, object) in owners {
        // An object that is its own template (a pod of any kind) has its annotation in place.
        let Some(object) = object.filter(|object| !path.is_empty() && !std::ptr::eq(*object, template.pod))
        else {
            continue;
        };
        let own = object.find(&["metadata", "annotations", NETWORKS]);
        if let Some((own, text)) = own.zip(object.text(&["metadata", "annotations", NETWORKS])) {
            let said = placement::misplaced(&owner, text, path, counts);
            findings.extend(said.map(|said| Finding::warning(said).at(own.at)));
        }
        findings.extend(near_misses(object, path));
    }
    findings
}
