//! Where an object of any kind has pod templates, and the pod that KubeVirt makes for a virtual
//! machine.

use serde_json::{Value, json};
use shared::annotations::{KUBEVIRT_LABEL, NETWORKS};

use super::tree::{Node, Position};

/// Where KubeVirt's kinds list networks: instances, machines and replica sets, pools.
const MACHINE_SPECS: [&[&str]; 3] = [
    &["spec"],
    &["spec", "template", "spec"],
    &["spec", "virtualMachineTemplate", "spec", "template", "spec"],
];

/// A pod template and its path in the object (`spec.template`).
pub(super) struct Template<'a> {
    pub(super) path: String,
    pub(super) pod: &'a Node,
}

/// The pod templates in an object: what has containers, or carries the networks annotation.
pub(super) fn find(object: &Node) -> Vec<Template<'_>> {
    let mut found = Vec::new();
    if object.has(&["spec", "containers"]) {
        found.push(Template {
            path: String::new(),
            pod: object,
        });
    } else {
        children(object, "", &mut found);
    }
    found
}

fn children<'a>(node: &'a Node, path: &str, found: &mut Vec<Template<'a>>) {
    for (key, child) in node.entries() {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        visit(child, path, found);
    }
    for (index, child) in node.items().unwrap_or_default().iter().enumerate() {
        visit(child, format!("{path}[{index}]"), found);
    }
}

fn visit<'a>(node: &'a Node, path: String, found: &mut Vec<Template<'a>>) {
    let is_annotated = node.has(&["metadata", "annotations", NETWORKS]) && !node.has(&["spec", "template"]);
    if is_annotated || node.has(&["spec", "containers"]) {
        found.push(Template { path, pod: node });
    } else {
        children(node, &path, found);
    }
}

/// The pod of a virtual machine with the annotation that KubeVirt writes for its multus networks,
/// and where they are listed.
pub(super) fn of_virtual_machine(object: &Node) -> (Value, Position) {
    let spec = MACHINE_SPECS
        .iter()
        .filter_map(|path| object.find(path))
        .find(|spec| spec.has(&["networks"]));
    let listed = spec.and_then(|spec| spec.find(&["networks"]));
    let networks = listed.and_then(Node::items).unwrap_or_default().iter();
    let elements: Vec<Value> = networks
        .enumerate()
        .filter_map(|(index, network)| {
            let name = network.text(&["multus", "networkName"])?;
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let mut element =
                json!({ "name": name, "namespace": namespace, "interface": format!("pod{index}") });
            let mac = mac_address(spec?, network.text(&["name"])?);
            if let (Some(mac), Some(element)) = (mac, element.as_object_mut()) {
                element.insert("mac".to_owned(), mac.into());
            }
            Some(element)
        })
        .collect();
    let (label, value) = KUBEVIRT_LABEL;
    let annotation = match elements.as_slice() {
        [] => String::new(),
        elements => json!(elements).to_string(),
    };
    let pod = json!({ "metadata": { "labels": { label: value }, "annotations": { NETWORKS: annotation } } });
    (pod, listed.unwrap_or(object).at)
}

fn mac_address<'a>(spec: &'a Node, network: &str) -> Option<&'a str> {
    spec.find(&["domain", "devices", "interfaces"])?
        .items()?
        .iter()
        .find(|interface| interface.text(&["name"]) == Some(network))?
        .text(&["macAddress"])
}
