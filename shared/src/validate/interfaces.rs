//! The interface names of a list: those that are missing, and those that multus gives to others at pod start.

use super::{Found, Operation, Subject, previous::Previous};
use crate::{
    config::{Config, InterfaceNames},
    names::InterfaceName,
    naming::{fill_on_create, fill_on_update, multus_names},
    selection::{Format, Selection},
    violation::{Rule, Violation},
};

pub(super) fn judge(subject: &Subject<'_>, config: &Config, previous: &[Previous<'_>], findings: &mut Found) {
    let offset = config.offset_in(subject.namespace);
    let proposed = match &subject.operation {
        Operation::Create => {
            judge_start(subject, offset, findings);
            fill_on_create(subject.list, offset)
        }
        Operation::Update { old, status, .. } => fill_on_update(subject.list, *old, status),
    };
    // KubeVirt leaves elements of binding plugins unnamed, and reads netN as its own old scheme.
    if subject.virt_launcher {
        return;
    }
    let elements = subject
        .list
        .elements
        .iter()
        .zip(proposed)
        .zip(previous)
        .enumerate();
    for (index, ((element, proposed), previous)) in elements {
        if let (Some(name), None, None) = (proposed, &element.interface, previous.element) {
            judge_unnamed(subject, index, element, &name, findings);
        }
    }
}

/// Names that multus could not give at pod start: it does not avoid clashes.
fn judge_start(subject: &Subject<'_>, offset: u32, findings: &mut Found) {
    if subject.interface_names == InterfaceNames::Off {
        return;
    }
    let chosen = multus_names(subject.list, offset);
    let named = |name: &InterfaceName| {
        subject
            .list
            .elements
            .iter()
            .any(|e| e.interface.as_ref() == Some(name))
    };
    for (index, (element, chosen)) in subject.list.elements.iter().zip(chosen).enumerate() {
        if let Some(chosen) = chosen.filter(named) {
            let message = format!(
                "multus would name this interface {chosen}, which another element has; give it a name of its own"
            );
            let violation = Violation::of_element(Rule::InterfaceDuplicate, index, message);
            findings
                .violations
                .push(violation.network(&element.network).field("interface"));
        }
        if let Some(name) = element.interface.as_ref().filter(|name| is_ahead(name, offset)) {
            let message = if offset == 1 {
                "multus gives net1 to the network that it puts before these (interfaceOffset); choose another name"
                    .to_owned()
            } else {
                format!(
                    "multus gives net1 to net{offset} to the networks that it puts before these (interfaceOffset); choose another name"
                )
            };
            let violation = Violation::of_element(Rule::InterfaceReserved, index, message);
            findings.violations.push(
                violation
                    .network(&element.network)
                    .field("interface")
                    .value(name.as_str()),
            );
        }
    }
}

/// Whether it is one of net1 to `net<offset>`.
fn is_ahead(name: &InterfaceName, offset: u32) -> bool {
    let number = name
        .as_str()
        .strip_prefix("net")
        .and_then(|number| number.parse().ok());
    number.is_some_and(|k| (1..=offset).contains(&k) && *name == InterfaceName::net(k))
}

fn judge_unnamed(
    subject: &Subject<'_>,
    index: usize,
    element: &Selection,
    name: &InterfaceName,
    findings: &mut Found,
) {
    let write = match subject.list.format {
        Format::Text => format!("{}@{name}", element.network),
        Format::Json => format!("\"interface\":\"{name}\""),
    };
    let running = matches!(subject.operation, Operation::Update { running: true, .. });
    match subject.interface_names {
        InterfaceNames::Reject => {
            let message = format!("every element must name its interface in this namespace; write {write}");
            let violation = Violation::of_element(Rule::InterfaceNameMissing, index, message);
            findings
                .violations
                .push(violation.network(&element.network).field("interface"));
        }
        InterfaceNames::Warn | InterfaceNames::Fill if running => {
            findings.warn_of(
                index,
                element,
                &format!("no interface name, so it is not plugged; write {write}"),
            );
        }
        InterfaceNames::Warn => {
            findings.warn_of(index, element, &format!("no interface name; write {write}"));
        }
        InterfaceNames::Fill | InterfaceNames::Off => {}
    }
}
