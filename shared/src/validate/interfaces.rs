//! The interface names of a list: missing ones, and those that multus gives to other interfaces at
//! pod start.

use super::{Found, Operation, PodContext, Previous, Warning};
use crate::{
    config::InterfaceNames,
    names::InterfaceName,
    naming::multus_names,
    selection::{Format, Selection, SelectionList},
    violation::{Rule, Violation},
};

/// `proposed` are the names that unnamed elements would get.
pub(super) fn judge(
    context: &PodContext<'_>,
    offset: u32,
    proposed: &[Option<InterfaceName>],
    previous: &[Previous<'_>],
    findings: &mut Found,
) {
    if context.interface_names != InterfaceNames::Off {
        judge_start(context, offset, previous, findings);
    }
    // KubeVirt leaves elements of binding plugins unnamed, and takes netN for its old naming
    // scheme.
    if context.virt_launcher {
        return;
    }
    let elements = context.list.elements.iter().zip(proposed).zip(previous);
    for (index, ((element, proposed), previous)) in elements.enumerate() {
        if let (Some(name), None, true) = (proposed, &element.interface, previous.is_new()) {
            judge_unnamed(context, index, element, name, findings);
        }
    }
}

/// Judges names that multus could not give at pod start. A clash that the stored list has already
/// does not block the edit.
fn judge_start(context: &PodContext<'_>, offset: u32, previous: &[Previous<'_>], findings: &mut Found) {
    let before = match &context.operation {
        Operation::Create => Vec::new(),
        Operation::Update { history, .. } if history.has_started() => return,
        Operation::Update { history, .. } => history
            .old
            .map(|old| {
                clashes(old, offset)
                    .map(|(index, ..)| old.elements.get(index))
                    .collect()
            })
            .unwrap_or_default(),
    };
    for (index, element, violation) in clashes(context.list, offset) {
        let continued = previous.get(index).and_then(|previous| previous.element);
        let is_old = |old: &Option<&Selection>| {
            old.zip(continued)
                .is_some_and(|(old, continued)| std::ptr::eq(old, continued))
        };
        if !before.iter().any(is_old) {
            let violation = violation.network(&element.network).field("interface");
            findings.violations.push(violation);
        }
    }
}

/// The elements whose names clash when multus sets the pod up: multus does not avoid clashes.
fn clashes(list: &SelectionList, offset: u32) -> impl Iterator<Item = (usize, &Selection, Violation)> {
    let chosen = multus_names(list, offset);
    let named = move |name: &InterfaceName| list.elements.iter().any(|e| e.interface.as_ref() == Some(name));
    let elements = list.elements.iter().zip(chosen).enumerate();
    elements.filter_map(move |(index, (element, chosen))| {
        if let Some(chosen) = chosen.filter(named) {
            let message = format!(
                "multus would name this interface {chosen}, which another element has; give it a name of its own"
            );
            let violation = Violation::of_element(Rule::InterfaceDuplicate, index, message);
            return Some((index, element, violation));
        }
        let name = element.interface.as_ref().filter(|name| is_of_default_networks(name, offset))?;
        let message = if offset == 1 {
            "multus gives net1 to the network that it puts before these (interfaceOffset); choose another name"
                .to_owned()
        } else {
            format!(
                "multus gives net1 to net{offset} to the networks that it puts before these (interfaceOffset); choose another name"
            )
        };
        let violation = Violation::of_element(Rule::InterfaceReserved, index, message);
        Some((index, element, violation.value(name.as_str())))
    })
}

/// Whether it is one of net1 to `net<offset>`.
fn is_of_default_networks(name: &InterfaceName, offset: u32) -> bool {
    let number = name
        .as_str()
        .strip_prefix("net")
        .and_then(|number| number.parse().ok());
    number.is_some_and(|k| (1..=offset).contains(&k) && *name == InterfaceName::net(k))
}

fn judge_unnamed(
    context: &PodContext<'_>,
    index: usize,
    element: &Selection,
    name: &InterfaceName,
    findings: &mut Found,
) {
    let write = match context.list.format {
        Format::Text => format!("{}@{name}", element.network),
        Format::Json => format!("\"interface\":\"{name}\""),
    };
    let mut refuse = |why: &str| {
        let violation =
            Violation::of_element(Rule::InterfaceNameMissing, index, format!("{why}; write {write}"));
        findings
            .violations
            .push(violation.network(&element.network).field("interface"));
    };
    match (context.interface_names, &context.operation) {
        (InterfaceNames::Reject, _) => refuse("every element must name its interface in this namespace"),
        // The mutating webhook was not asked, or did not answer.
        (InterfaceNames::Fill, Operation::Update { .. }) => {
            refuse("the element has no interface name, and none was filled in");
        }
        (InterfaceNames::Warn, Operation::Update { history, running })
            if *running && history.has_started() =>
        {
            findings.warn_of(index, element, Warning::NotPlugged, &[&write]);
        }
        (InterfaceNames::Warn, _) => {
            findings.warn_of(index, element, Warning::NoInterfaceName, &[&write]);
        }
        (InterfaceNames::Fill, Operation::Create) | (InterfaceNames::Off, _) => {}
    }
}
