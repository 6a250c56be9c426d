//! The objects of the scripted API server, and what has happened to them.

use std::collections::BTreeMap;

use hyper::{Method, Uri};
use serde_json::{Value, json};

use super::{Verb, status};

/// What kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Pod,
    Network,
}

/// A NetworkAttachmentDefinition.
pub fn network(namespace: &str, name: &str, uid: &str, config: &str) -> Value {
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": namespace, "name": name, "uid": uid}, "spec": {"config": config},
    })
}

/// A pod of the node `n` with one annotation.
pub fn pod(namespace: &str, name: &str, uid: &str, networks: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name, "uid": uid,
            "annotations": {"k8s.v1.cni.cncf.io/networks": networks},
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {"nodeName": "n"},
    })
}

/// See the module.
#[derive(Default)]
pub struct Store {
    version: u64,
    floor: u64,
    objects: BTreeMap<(Kind, String, String), Value>,
    events: Vec<(u64, Kind, Value)>,
}

/// A request, parsed.
#[derive(Clone, Debug)]
pub struct Query {
    pub kind: Kind,
    pub verb: Verb,
    pub version: u64,
    pub fields: String,
    object: Option<(String, String)>,
    limit: usize,
    skipped: usize,
}

impl Query {
    pub fn of(method: &Method, uri: &Uri) -> Result<Self, String> {
        let parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
        let (kind, object) = match parts[..] {
            ["api", "v1", "pods"] => (Kind::Pod, None),
            ["api", "v1", "namespaces", namespace, "pods", name, ..] => (Kind::Pod, Some((namespace, name))),
            ["apis", _, "v1", "network-attachment-definitions"] => (Kind::Network, None),
            ["apis", _, "v1", "namespaces", namespace, _, name] => (Kind::Network, Some((namespace, name))),
            _ => return Err(format!("{uri} is not known here")),
        };
        let of = |key: &str| {
            let pairs = uri.query().unwrap_or_default().split('&');
            let mut found = pairs
                .filter_map(|pair| pair.split_once('='))
                .filter(|pair| pair.0 == key);
            found.next().map(|pair| pair.1.to_owned()).unwrap_or_default()
        };
        let verb = match object {
            _ if method == Method::PATCH => Verb::Patch,
            Some(_) => Verb::Get,
            None if of("watch") == "true" => Verb::Watch,
            None => Verb::List,
        };
        Ok(Self {
            kind,
            verb,
            version: of("resourceVersion").parse().unwrap_or(0),
            fields: of("fieldSelector").replace("%3D", "="),
            object: object.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())),
            limit: of("limit").parse().unwrap_or(usize::MAX),
            skipped: of("continue").parse().unwrap_or(0),
        })
    }
}

impl Store {
    pub fn put(&mut self, kind: Kind, mut object: Value) -> String {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (kind, text("namespace"), text("name"));
        let before = self.objects.insert(key, object.clone());
        let happened = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.happened(kind, happened, &object);
        self.version.to_string()
    }

    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut object = self.objects.remove(&key).expect("it exists");
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.happened(kind, "DELETED", &object);
    }

    pub fn version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        let object = self.objects.get(&(kind, namespace.to_owned(), name.to_owned()))?;
        object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
    }

    pub fn bookmark(&mut self, kind: Kind) {
        self.version += 1;
        let object = json!({
            "apiVersion": "v1", "kind": "any",
            "metadata": {"resourceVersion": self.version.to_string(), "creationTimestamp": null},
        });
        self.happened(kind, "BOOKMARK", &object);
    }

    pub fn expire(&mut self) {
        self.version += 1;
        self.floor = self.version;
        self.events.clear();
    }

    fn happened(&mut self, kind: Kind, what: &str, object: &Value) {
        let event = json!({"type": what, "object": metadata_of(object)});
        self.events.push((self.version, kind, event));
    }

    /// The answer to a watch from a version that is forgotten.
    pub fn is_gone(&self, query: &Query) -> Option<Value> {
        let gone = query.version < self.floor;
        gone.then(|| status(410, "too old resource version", ""))
    }

    /// The first event after version `from`.
    pub fn next_event(&self, kind: Kind, fields: &str, from: u64) -> Option<(u64, Value)> {
        let wanted = |(version, of, event): &&(u64, Kind, Value)| {
            *version > from
                && *of == kind
                && (event["type"] == "BOOKMARK" || self.selects(kind, fields, event))
        };
        let found = self.events.iter().find(wanted);
        found.map(|(version, _, event)| (*version, event.clone()))
    }

    /// Of fields only the node's name is known, and every pod is on the node `n`.
    fn selects(&self, kind: Kind, fields: &str, _event: &Value) -> bool {
        kind != Kind::Pod || fields.is_empty() || fields == "spec.nodeName=n"
    }

    pub fn answer(&self, query: &Query) -> (u16, Value) {
        let Some((namespace, name)) = &query.object else {
            return (200, self.list(query));
        };
        let key = (query.kind, namespace.clone(), name.clone());
        match self.objects.get(&key) {
            Some(object) => (200, object.clone()),
            None => (404, status(404, &format!("{name:?} not found"), name)),
        }
    }

    fn list(&self, query: &Query) -> Value {
        let all = self
            .objects
            .iter()
            .filter(|((kind, ..), object)| *kind == query.kind && self.selects(*kind, &query.fields, object));
        let all: Vec<Value> = all.map(|(_, object)| metadata_of(object)).collect();
        let rest = all.get(query.skipped..).unwrap_or_default();
        let page = rest.get(..query.limit.min(rest.len())).unwrap_or_default();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if page.len() < rest.len() {
            metadata["continue"] = json!((query.skipped + page.len()).to_string());
        }
        // As the real one writes an empty list.
        let page = if page.is_empty() { Value::Null } else { json!(page) };
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": page})
    }
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
