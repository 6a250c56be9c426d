//! Finding pods and networks in YAML or JSON text.

use serde::Deserialize;
use serde_json::Value;

use crate::networks::NetworkAttachmentDefinition;

/// Something to judge.
pub(super) struct Document {
    /// `Kind namespace/name`, for the reader.
    pub(super) title: String,
    /// The namespace it would be created in: `default` where none is written.
    pub(super) namespace: String,
    pub(super) subject: Subject,
}

pub(super) enum Subject {
    /// A pod or a pod template.
    Pod(Value),
    Network(Box<NetworkAttachmentDefinition>),
}

/// Every document of `text` that there is something to say about. JSON is YAML.
///
/// # Errors
/// The text is no YAML, or a document is no object with a kind; in the parser's words.
pub(super) fn read(text: &str) -> Result<Vec<Document>, String> {
    let values: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for value in values {
        collect(value, &mut found)?;
    }
    Ok(found)
}

fn collect(mut value: Value, found: &mut Vec<Document>) -> Result<(), String> {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .ok_or("a document without a kind")?
        .to_owned();
    if let Some(items) = value.get_mut("items").filter(|_| kind.ends_with("List")) {
        let items = std::mem::take(items);
        let Value::Array(items) = items else {
            return Err(format!("the items of a {kind} are no list"));
        };
        return items.into_iter().try_for_each(|item| collect(item, found));
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").unwrap_or("default").to_owned();
    let name = text("/metadata/name")
        .or_else(|| text("/metadata/generateName"))
        .unwrap_or("<unnamed>");
    let title = format!("{kind} {namespace}/{name}");
    let template = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let subject = if kind == "NetworkAttachmentDefinition" {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.clone().into());
        }
        let definition =
            NetworkAttachmentDefinition::deserialize(value).map_err(|error| format!("{title}: {error}"))?;
        Subject::Network(Box::new(definition))
    } else if kind == "Pod" {
        Subject::Pod(value)
    } else if let Some(pod) = template.iter().find_map(|pointer| value.pointer(pointer)) {
        Subject::Pod(pod.clone())
    } else {
        return Ok(());
    };
    found.push(Document {
        title,
        namespace,
        subject,
    });
    Ok(())
}
