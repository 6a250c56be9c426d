//! The text format: `[namespace/]name[@interface]`, comma-separated, as multus' own parser splits
//! it.

use super::{
    InsertionPoint, Prefix, Selection,
    draft::{Draft, check_count},
};
use crate::{
    names::{InterfaceName, NetworkName, NetworkNameError, is_label, is_label_of_any_length, is_subdomain},
    violation::{Rule, Violation, Violations},
};

const FORM: &str = "write [namespace/]name[@interface], for example \"default/macvlan1@net1\"";

pub(super) fn read(source: &str, pod_namespace: &str, draft: &mut Draft) -> Result<(), Violations> {
    check_count(source.split(',').count())?;
    let mut start = 0;
    for (index, item) in source.split(',').enumerate() {
        let mut parser = Parser {
            network: ("", ""),
            index,
            item,
            start,
            source_length: source.len(),
            draft: &mut *draft,
        };
        parser.element(pod_namespace);
        start += item.len() + 1;
    }
    Ok(())
}

struct Parser<'a> {
    index: usize,
    /// The item with the whitespace around it.
    item: &'a str,
    /// Where the item begins in the source.
    start: usize,
    source_length: usize,
    /// The network's namespace and name, once they are known.
    network: (&'a str, &'a str),
    draft: &'a mut Draft,
}

impl<'a> Parser<'a> {
    fn element(&mut self, pod_namespace: &'a str) {
        let trimmed = self.item.trim();
        let (namespace, rest) = trimmed.split_once('/').unwrap_or(("", trimmed));
        let (name, interface) = rest
            .split_once('@')
            .map_or((rest, None), |(name, rest)| (name, Some(rest)));
        let (namespace, name) = (namespace.trim(), name.trim());
        let is_last = self.start + self.item.len() == self.source_length;
        let error = match trimmed.is_empty() {
            true if is_last && self.index > 0 => Some("the annotation ends with a comma; remove it"),
            true => Some("the element is empty, perhaps by a comma too many"),
            false => form_error(name, rest, interface),
        };
        if let Some(message) = error {
            self.refuse(Rule::TextSyntax, None, trimmed, format!("{message}; {FORM}"));
            return;
        }
        let namespace = if namespace.is_empty() {
            pod_namespace
        } else {
            namespace
        };
        self.network = (namespace, name);
        let network = self.network();
        let wanted = interface.map(str::trim).unwrap_or_default();
        let (interface, point) = match InterfaceName::parse(wanted) {
            _ if wanted.is_empty() => (None, Some(self.insertion_point(interface.is_some()))),
            Ok(name) => (Some(name), None),
            Err(error) => {
                self.refuse(Rule::InterfaceName, Some("interface"), wanted, error.to_string());
                return;
            }
        };
        for violation in self.draft.judge(self.index, interface.as_ref(), [0, 0]) {
            self.draft
                .violations
                .push(violation.network(format_args!("{namespace}/{name}")));
        }
        if let Some(network) = network {
            let element = Selection {
                interface,
                ..Selection::new(network)
            };
            self.draft.push(element, point);
        }
    }

    fn network(&mut self) -> Option<NetworkName> {
        let (namespace, name) = self.network;
        if !is_label(namespace) {
            self.refuse(
                Rule::NetworkName,
                Some("namespace"),
                namespace,
                NetworkNameError::Namespace.to_string(),
            );
        }
        if !is_subdomain(name) {
            self.refuse(
                Rule::NetworkName,
                Some("name"),
                name,
                NetworkNameError::Name.to_string(),
            );
        } else if !is_label_of_any_length(name) {
            let message =
                "a name with dots cannot be written as text; write the list as JSON: [{\"name\":\"…\"}]";
            self.refuse(Rule::NetworkName, Some("name"), name, message.to_owned());
            return None;
        }
        NetworkName::new(namespace, name).ok()
    }

    /// After the last character that is not whitespace, or right after the `@` that has nothing
    /// behind it.
    fn insertion_point(&self, has_at: bool) -> InsertionPoint {
        let end = self.start + self.item.trim_end().len();
        InsertionPoint {
            start: end,
            end,
            prefix: if has_at { Prefix::Nothing } else { Prefix::At },
        }
    }

    fn refuse(&mut self, rule: Rule, field: Option<&'static str>, value: &str, message: String) {
        let mut violation = Violation::of_element(rule, self.index, message).value(value);
        if let Some(field) = field {
            let (namespace, name) = self.network;
            violation = violation.network(format_args!("{namespace}/{name}")).field(field);
        }
        self.draft.violations.push(violation);
    }
}

fn form_error(name: &str, rest: &str, interface: Option<&str>) -> Option<&'static str> {
    if interface.is_some_and(|interface| interface.contains('@')) {
        Some("the element has more than one '@'")
    } else if rest.contains('/') {
        Some("the element has more than one '/'")
    } else if name.is_empty() {
        Some("the element names no network")
    } else {
        None
    }
}
