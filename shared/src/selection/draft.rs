//! A list while it is being read: its elements so far, and the rules about all of them together.

use std::collections::HashSet;

use super::{DEFAULT_INTERFACE, Format, InsertionPoint, MAX_ELEMENTS, Selection, SelectionList};
use crate::{
    names::InterfaceName,
    violation::{Rule, Violation, Violations},
};

/// A list while it is being read.
#[derive(Default)]
pub(super) struct Draft {
    elements: Vec<Selection>,
    insertion_points: Vec<Option<InsertionPoint>>,
    interfaces: HashSet<InterfaceName>,
    /// IPv4 and IPv6 gateways of the default-routes so far.
    gateways: [usize; 2],
    /// What is wrong with the elements so far.
    pub violations: Violations,
}

/// Refuses more elements than are allowed, before any is parsed.
pub(super) fn check_count(count: usize) -> Result<(), Violations> {
    if count <= MAX_ELEMENTS {
        return Ok(());
    }
    let message =
        format!("the annotation lists {count} networks, at most {MAX_ELEMENTS} are allowed; list fewer");
    Err(Violation::of_list(Rule::ElementCount, message).into())
}

impl Draft {
    /// Makes room for this many elements.
    pub fn expect(&mut self, elements: usize) {
        self.elements.reserve(elements);
        self.insertion_points.reserve(elements);
    }

    /// Adds the next element.
    pub fn push(&mut self, element: Selection, point: Option<InsertionPoint>) {
        self.elements.push(element);
        self.insertion_points.push(point);
    }

    /// What is wrong with the next element because of those before it.
    pub fn judge(
        &mut self,
        index: usize,
        interface: Option<&InterfaceName>,
        gateways: [usize; 2],
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        violations.extend(interface.and_then(|interface| self.judge_interface(index, interface)));
        for ((total, count), family) in self.gateways.iter_mut().zip(gateways).zip(["IPv4", "IPv6"]) {
            let before = *total;
            *total += count;
            if *total > 1 && count > 0 {
                let message = format!(
                    "a pod has at most one {family} default route, and {before} came before this element; keep one gateway"
                );
                let violation = Violation::of_element(Rule::DefaultRoute, index, message);
                violations.push(violation.field("default-route"));
            }
        }
        violations
    }

    fn judge_interface(&mut self, index: usize, interface: &InterfaceName) -> Option<Violation> {
        let name = interface.as_str();
        let (rule, message) = if name == "lo" || name == DEFAULT_INTERFACE {
            let whose = if name == "lo" {
                "the loopback interface"
            } else {
                "the pod's default network"
            };
            (
                Rule::InterfaceReserved,
                format!("belongs to {whose}; choose another name"),
            )
        } else if !self.interfaces.insert(interface.clone()) {
            (
                Rule::InterfaceDuplicate,
                "an earlier element has this interface name already; choose another one".to_owned(),
            )
        } else {
            return None;
        };
        let violation = Violation::of_element(rule, index, message);
        Some(violation.field("interface").value(name))
    }

    pub fn finish(self, source: &str, format: Format) -> Result<SelectionList, Violations> {
        if !self.violations.is_empty() {
            return Err(self.violations);
        }
        Ok(SelectionList {
            format,
            elements: self.elements,
            source: source.to_owned(),
            insertion_points: self.insertion_points,
        })
    }
}
