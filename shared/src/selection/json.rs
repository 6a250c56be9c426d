//! The JSON format: a list of objects, with the keys that Go's encoding/json would recognise.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Attributes, InsertionPoint, MAX_DEPTH, MAX_ELEMENTS, Prefix, Selection, fields,
    parse::{Draft, check_count},
    syntax,
    unknown::UnknownKeys,
};
use crate::{
    names::{InterfaceName, NetworkName, NetworkNameError, is_label, is_subdomain},
    spanned_json::{self, Member, Node, Tree},
    violation::{Rule, Violation, Violations, shown},
    work,
};

pub(super) const EXAMPLE: &str = r#"[{"name":"macvlan1","interface":"net1"}]"#;

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

/// Up to this many members, comparing each with all before it is the quickest way to find
/// duplicates.
const FEW: usize = 16;

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

/// Reads one element, and reports what it cannot read as violations.
pub(super) struct Reader<'a> {
    source: &'a str,
    pod_namespace: &'a str,
    index: usize,
    members: &'a [Member<'a>],
    draft: &'a mut Draft,
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

    /// `namespace/name` for messages.
    fn network_as_written(&self) -> String {
        let written = |key| match self.find(key).map(|member| &member.value.tree) {
            Some(Tree::Text(text)) => text.as_ref(),
            _ => "",
        };
        let namespace = Some(written("namespace"))
            .filter(|text| !text.is_empty())
            .unwrap_or(self.pod_namespace);
        format!("{namespace}/{}", written("name"))
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

    fn find(&self, key: &str) -> Option<&'a Member<'a>> {
        // The last one, as in Go; duplicates are refused anyway.
        work::add(self.members.len());
        self.members.iter().rfind(|member| member.key == key)
    }

    /// Whether it has no key but those.
    pub fn has_only(&self, keys: &[&str]) -> bool {
        work::add(self.members.len());
        self.members
            .iter()
            .all(|member| keys.contains(&member.key.as_ref()))
    }

    /// The value of `key`; a null counts as absent.
    pub fn value(&self, key: &str) -> Option<&'a Node<'a>> {
        self.find(key)
            .map(|member| &member.value)
            .filter(|value| value.tree != Tree::Null)
    }

    /// The string under `key`; an empty one counts as absent.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        let Tree::Text(text) = &value.tree else {
            self.refuse_type(key, value, "a string");
            return None;
        };
        Some(text.as_ref()).filter(|text| !text.is_empty())
    }

    pub fn refuse_type(&mut self, field: &'static str, value: &Node<'_>, wanted: &str) {
        let message = format!("must be {wanted}, not {}", value.kind());
        self.refuse(Rule::FieldType, field, value.shown(), message);
    }

    pub fn refuse(&mut self, rule: Rule, field: &'static str, value: &str, message: String) {
        let violation = Violation::of_element(rule, self.index, message)
            .field(field)
            .value(value);
        self.push(violation);
    }

    fn push(&mut self, mut violation: Violation) {
        // Finding the name takes as long as the element has members: not for a violation that is
        // only counted.
        if !self.draft.violations.is_full() {
            violation = violation.network(self.network_as_written());
        }
        self.draft.violations.push(violation);
    }

    /// Refuses keys that Go would take for one of `known` although they are written differently,
    /// and reports the keys that it would ignore.
    pub fn check_keys(
        &mut self,
        members: &[Member<'_>],
        known: &'static [&'static str],
    ) -> Option<UnknownKeys> {
        work::add(members.len());
        let mut unknown = None;
        for member in members {
            let key = member.key.as_ref();
            if known.contains(&key) {
                continue;
            }
            let Some(meant) = known.iter().find(|known| folded(known).eq(folded(key))) else {
                UnknownKeys::add(&mut unknown, key, known);
                continue;
            };
            let message = format!(
                "multus reads the key \"{}\" as \"{meant}\"; write \"{meant}\"",
                shown(key)
            );
            self.push(Violation::of_element(Rule::KeySpelling, self.index, message));
        }
        unknown
    }

    /// Duplicate keys and inexact numbers, at any depth (which is bounded by [`MAX_DEPTH`]).
    fn check_values(&mut self, node: &Node<'_>) {
        match &node.tree {
            Tree::Number if !spanned_json::is_exact(node.raw) => {
                let message = "must be at most 2^53 (9007199254740992) in magnitude, or multus would change it; write it as a string";
                let violation = Violation::of_element(Rule::NumberRange, self.index, message);
                self.push(violation.value(node.raw));
            }
            Tree::List(items) => items.iter().for_each(|item| self.check_values(item)),
            Tree::Object(members) => {
                let mut seen = HashSet::new();
                for (index, member) in members.iter().enumerate() {
                    work::add(index.min(FEW));
                    let repeated = if members.len() <= FEW {
                        members.iter().take(index).any(|other| other.key == member.key)
                    } else {
                        !seen.insert(member.key.as_ref())
                    };
                    if repeated {
                        let key = shown(&member.key);
                        let message =
                            format!("the key \"{key}\" occurs twice in one object; keep one of them");
                        self.push(Violation::of_element(Rule::DuplicateKey, self.index, message));
                    }
                    self.check_values(&member.value);
                }
            }
            _ => {}
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

/// Two keys are the same to Go's encoding/json when these are equal: letters without case, and the
/// two characters beyond ASCII that fold to a letter (the long s and the Kelvin sign).
fn folded(key: &str) -> impl Iterator<Item = char> {
    let fold = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold)
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
