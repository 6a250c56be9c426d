//! The JSON format: a list of objects, with the keys that Go's encoding/json would recognise.

use serde_json::Value;

use super::{
    Attributes, InsertionPoint, MAX_DEPTH, MAX_ELEMENTS, Prefix, Selection,
    draft::{Draft, check_count},
    fields,
    reader::{Reader, folded},
    syntax::{self, EXAMPLE},
};
use crate::{
    names::{InterfaceName, NetworkName, NetworkNameError, is_label, is_subdomain},
    spanned_json::{self, Member, Node, Tree},
    violation::{Rule, Violation, Violations},
};

/// The keys that multus, or the network-attachment-definition-client, knows.
pub(super) const KEYS: &[&str] = &[
    "name",
    "namespace",
    "ips",
    "mac",
    "infiniband-guid",
    "interface",
    "interfaceRequest",
    "portMappings",
    "bandwidth",
    "deviceID",
    "cni-args",
    "default-route",
    "ipam-claim-reference",
];

/// Bytes of the shortest element, `{"name":"a"}`.
const SHORTEST: usize = 12;

pub(super) fn read(source: &str, pod_namespace: &str, draft: &mut Draft) -> Result<(), Violations> {
    draft.expect(MAX_ELEMENTS.min(source.len() / SHORTEST));
    let mut count = 0;
    let other = spanned_json::items(source, MAX_DEPTH, |item| {
        count += 1;
        if count <= MAX_ELEMENTS {
            let mut reader = Reader {
                source,
                pod_namespace,
                index: count - 1,
                members: &[],
                draft,
            };
            reader.element(item);
        }
    })
    .map_err(|error| syntax::violation(source, &error))?;
    if let Some(node) = other {
        return Err(Violation::of_list(Rule::JsonList, no_list(&node))
            .value(source)
            .into());
    }
    check_count(count)
}

/// Says what to write instead of something that is no list.
fn no_list(node: &Node<'_>) -> String {
    let kind = node.kind();
    match &node.tree {
        Tree::Object(_) => {
            format!("the annotation is {kind}, not a list; put '[' before it and ']' after it: {EXAMPLE}")
        }
        Tree::Text(text) if text.trim_start().starts_with(['[', '{']) => {
            "the annotation is a string that holds JSON; write the list itself, without the quotes around it and \
             the backslashes in it"
                .to_owned()
        }
        _ => format!("the annotation is {kind}, not a list; write a list, also for one network: {EXAMPLE}"),
    }
}

impl<'a> Reader<'a> {
    fn element(&mut self, item: &'a Node<'a>) {
        let Tree::Object(members) = &item.tree else {
            let message = format!(
                "an element must be an object such as {{\"name\":\"macvlan1\"}}, not {}",
                item.kind()
            );
            let violation = Violation::of_element(Rule::ElementType, self.index, message);
            self.draft.violations.push(violation.value(item.raw));
            return;
        };
        self.members = members;
        let unknown_keys = self.check_keys(members, KEYS);
        self.check_values(item);
        let network = self.network_name();
        let interface = self.interface();
        let point = interface.is_none().then(|| insertion_point(self.source, members));
        // Every field is read, also of an element without a usable name, to report all violations
        // at once.
        let attributes = fields::attributes(self);
        let gateways = attributes
            .as_ref()
            .and_then(|attributes| attributes.default_route.as_deref());
        let gateways = fields::count_by_family(gateways.unwrap_or_default());
        // Most have neither.
        if interface.is_some() || gateways != [0, 0] {
            for violation in self.draft.judge(self.index, interface.as_ref(), gateways) {
                self.push(violation);
            }
        }
        if let Some(network) = network {
            let attributes = attributes.and_then(Attributes::boxed);
            let element = Selection {
                network,
                interface,
                attributes,
                unknown_keys: unknown_keys.map(Box::new),
            };
            self.draft.push(element, point);
        }
    }

    fn network_name(&mut self) -> Option<NetworkName> {
        let namespace = self.text("namespace").unwrap_or(self.pod_namespace);
        let said_of_namespace = self.draft.violations.len();
        let name = self.text("name").unwrap_or_default();
        let has_name = !name.is_empty() || self.draft.violations.len() > said_of_namespace;
        if let Ok(network) = NetworkName::new(namespace, name) {
            return Some(network);
        }
        if !is_label(namespace) {
            let message = NetworkNameError::Namespace.to_string();
            self.refuse(Rule::NetworkName, "namespace", namespace, message);
        }
        // "Name" is refused for its spelling; that there is a name is plain.
        let is_misspelt = |member: &Member<'_>| folded(&member.key).eq("name".chars());
        if !has_name && self.members.iter().any(is_misspelt) && self.find("name").is_none() {
            return None;
        }
        if !has_name {
            let message = "an element must have a name, that of a NetworkAttachmentDefinition";
            self.refuse(Rule::NetworkName, "name", name, message.to_owned());
        } else if !name.is_empty() && !is_subdomain(name) {
            let message = in_own_keys(name).unwrap_or_else(|| NetworkNameError::Name.to_string());
            self.refuse(Rule::NetworkName, "name", name, message);
        }
        None
    }

    /// multus takes the deprecated alias only when `interface` has no value.
    fn interface(&mut self) -> Option<InterfaceName> {
        let named = self.text("interface").map(|name| ("interface", name));
        let alias = self
            .text("interfaceRequest")
            .map(|name| ("interfaceRequest", name));
        let (field, name) = named.or(alias)?;
        match InterfaceName::parse(name) {
            Ok(name) => Some(name),
            Err(error) => {
                self.refuse(Rule::InterfaceName, field, name, error.to_string());
                None
            }
        }
    }
}

/// What to write instead of a name in the text format's form, `namespace/name@interface`.
fn in_own_keys(text: &str) -> Option<String> {
    let (network, interface) = match text.split_once('@') {
        Some((network, interface)) => (network, InterfaceName::parse(interface).ok()?.to_string()),
        None => (text, String::new()),
    };
    let (namespace, name) = match network.split_once('/') {
        Some((namespace, name)) => (is_label(namespace).then_some(namespace)?, name),
        None => ("", network),
    };
    if !is_subdomain(name) {
        return None;
    }
    let parts = [
        ("namespace", namespace),
        ("name", name),
        ("interface", &interface),
    ];
    let written: Vec<String> = parts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("\"{key}\": {}", Value::from(*value)))
        .collect();
    Some(format!(
        "in JSON each part has a key of its own; write {}",
        written.join(", ")
    ))
}

/// In place of an `interface` without a value, else after the last member, in the style of the
/// members that are there.
fn insertion_point(source: &str, members: &[Member<'_>]) -> InsertionPoint {
    let at = |start, end, prefix| InsertionPoint { start, end, prefix };
    if let Some(member) = members.iter().rfind(|member| member.key == "interface") {
        return at(member.value.start, member.value.end(), Prefix::Nothing);
    }
    let Some(last) = members.last() else {
        return at(0, 0, Prefix::Nothing);
    };
    let colon = last.key_end..last.value.start;
    let ahead = source.get(..last.key_start).unwrap_or_default();
    let mut space = ahead.trim_end_matches([' ', '\t', '\n', '\r']).len()..last.key_start;
    // `{"name": "a"}`: the first key has no space before it, but the next one would have.
    if space.is_empty() && members.len() == 1 && source.get(colon.clone()) == Some(": ") {
        space = colon.start + 1..colon.end;
    }
    let end = last.value.end();
    at(end, end, Prefix::Key { space, colon })
}

/// Appends a name as a JSON string. A name has no control characters, so that only two need an
/// escape.
pub(super) fn push_name(out: &mut String, name: &str) {
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    out.extend(["\"", &escaped, "\""]);
}
