//! From an annotation to a list: the limits, the choice of format, and the rules about all elements together.

use std::collections::HashSet;

use super::{DEFAULT_INTERFACE, Format, MAX_BYTES, MAX_ELEMENTS, Selection, SelectionList, Slot, json, text};
use crate::{
    names::InterfaceName,
    violation::{Rule, Violation},
};

/// What could be read of one element: enough to judge the list as a whole even when the element itself is broken.
pub(super) struct Element {
    /// `Err`: some field of it broke a rule; the network as the element names it, for messages.
    pub selection: Result<Selection, String>,
    pub interface: Option<InterfaceName>,
    /// IPv4 and IPv6 gateways of its default-route.
    pub gateways: [usize; 2],
    pub slot: Option<Slot>,
}

impl Element {
    /// One of which nothing could be read but the network.
    pub fn broken(network: String) -> Self {
        Self {
            selection: Err(network),
            interface: None,
            gateways: [0, 0],
            slot: None,
        }
    }

    fn network(&self) -> &str {
        match &self.selection {
            Ok(selection) => selection.network.as_str(),
            Err(network) => network,
        }
    }
}

pub(super) fn list(source: &str, pod_namespace: &str) -> Result<SelectionList, Vec<Violation>> {
    if source.len() > MAX_BYTES {
        let message = format!(
            "the annotation has {} bytes, at most {MAX_BYTES} are allowed; list fewer networks",
            source.len()
        );
        return Err(vec![Violation::of_list(Rule::AnnotationSize, message)]);
    }
    let mut violations = Vec::new();
    let (format, elements) = if source.is_empty() {
        (Format::Text, Vec::new())
    } else if source.contains(['[', '{', '"']) {
        (
            Format::Json,
            json::elements(source, pod_namespace, &mut violations)?,
        )
    } else {
        (
            Format::Text,
            text::elements(source, pod_namespace, &mut violations)?,
        )
    };
    judge_together(&elements, &mut violations);
    if !violations.is_empty() {
        violations.sort_by_key(|violation| violation.element);
        return Err(violations);
    }
    let mut list = SelectionList {
        format,
        elements: Vec::with_capacity(elements.len()),
        source: source.to_owned(),
        slots: Vec::with_capacity(elements.len()),
    };
    for element in elements {
        list.elements.extend(element.selection);
        list.slots.push(element.slot);
    }
    Ok(list)
}

/// Refuses more elements than are allowed, before any is looked at.
pub(super) fn check_count(count: usize) -> Result<(), Vec<Violation>> {
    if count <= MAX_ELEMENTS {
        return Ok(());
    }
    let message =
        format!("the annotation lists {count} networks, at most {MAX_ELEMENTS} are allowed; list fewer");
    Err(vec![Violation::of_list(Rule::ElementCount, message)])
}

fn judge_together(elements: &[Element], violations: &mut Vec<Violation>) {
    let mut seen = HashSet::new();
    let mut gateways = [0, 0];
    for (index, element) in elements.iter().enumerate() {
        if let Some(interface) = &element.interface {
            violations
                .extend(judge_interface(index, interface, &mut seen).map(|v| v.network(element.network())));
        }
        for (family, count) in element.gateways.iter().enumerate() {
            let Some(total) = gateways.get_mut(family) else {
                continue;
            };
            let before = *total;
            *total += count;
            if *total > 1 && *count > 0 {
                let family = ["IPv4", "IPv6"].get(family).copied().unwrap_or_default();
                let message = format!(
                    "a pod has at most one {family} default route, and {before} came before this element; keep one gateway"
                );
                let violation = Violation::of_element(Rule::DefaultRoute, index, message);
                violations.push(violation.network(element.network()).field("default-route"));
            }
        }
    }
}

fn judge_interface<'a>(
    index: usize,
    interface: &'a InterfaceName,
    seen: &mut HashSet<&'a str>,
) -> Option<Violation> {
    let name = interface.as_str();
    let (rule, message) = if name == "lo" || name == DEFAULT_INTERFACE {
        let whose = if name == "lo" {
            "the loopback interface"
        } else {
            "the pod's default network"
        };
        (
            Rule::InterfaceReserved,
            format!("belongs to {whose}; choose another name, such as \"net1\""),
        )
    } else if !seen.insert(name) {
        (
            Rule::InterfaceDuplicate,
            "an earlier element has this interface name already; choose another one".to_owned(),
        )
    } else {
        return None;
    };
    Some(
        Violation::of_element(rule, index, message)
            .field("interface")
            .value(name),
    )
}
