//! What to do next for one sandbox: wanted against there, as ordered steps. Pure.
//!
//! Guarantees: a removal names an attachment that has a record; an annotation that cannot be read removes nothing; while a call without
//! an answer may still run, nothing else does; removals come before additions and go backwards through the order of plugging;
//! additions follow the annotation.

pub mod desired;
pub mod observed;

use std::{collections::BTreeSet, time::Duration};

use shared::{
    names::{InterfaceName, NetworkName},
    selection::Selection,
};

use desired::{Attributes, Desired, Element};
use observed::{Attachment, Observed, State};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Take the result of an ADD, whose answer was lost, from libcni's cache.
    Confirm(InterfaceName),
    /// Do nothing until a plugin that may still run has had its time, on the clock that never goes back.
    Await {
        /// The interface in doubt.
        interface: InterfaceName,
        /// The end of the doubt.
        until: Duration,
    },
    /// DEL what an ADD without an answer may have left, and remember that more of it may appear.
    Bury(InterfaceName),
    /// DEL.
    Unplug(InterfaceName),
    /// ADD.
    Plug {
        /// The interface.
        interface: InterfaceName,
        /// The element that asks for it.
        selection: Box<Selection>,
    },
}

/// Something that will not be done; said once on the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Complaint {
    /// The annotation cannot be read.
    Unreadable(String),
    /// An element needs an interface name.
    Unnamed {
        /// The network.
        network: NetworkName,
        /// The text to write instead.
        hint: String,
    },
    /// An element cannot be plugged into a running pod, or under that name.
    Rejected {
        /// The interface.
        interface: InterfaceName,
        /// The network.
        network: NetworkName,
        /// The cause.
        cause: String,
    },
}

/// What to do, in order, and what not to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In order. Later steps do not depend on earlier ones, but for those of the same interface.
    pub steps: Vec<Step>,
    /// See [`Complaint`].
    pub complaints: Vec<Complaint>,
}

impl Step {
    /// The interface that it is about.
    pub fn interface(&self) -> &InterfaceName {
        match self {
            Self::Confirm(interface) | Self::Bury(interface) | Self::Unplug(interface) => interface,
            Self::Await { interface, .. } | Self::Plug { interface, .. } => interface,
        }
    }
}

/// Plans for one sandbox.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let confirm = with_state(observed, |state| state == State::Appeared).map(Step::Confirm);
    let mut plan = Plan {
        steps: confirm.collect(),
        complaints: Vec::new(),
    };
    let doubts = observed
        .attachments
        .iter()
        .filter_map(|attachment| match attachment.state {
            State::InDoubt { until } => Some(Step::Await {
                interface: attachment.interface.clone(),
                until,
            }),
            _ => None,
        });
    let waiting = plan.steps.len();
    plan.steps.extend(doubts);
    if plan.steps.len() > waiting {
        return plan;
    }
    match desired {
        Desired::Unreadable(why) => {
            plan.steps.extend(removals(observed, |_| true));
            plan.complaints.push(Complaint::Unreadable(why.clone()));
        }
        Desired::Elements(elements) => {
            let claims = Claims::of(elements, observed);
            plan.steps.extend(removals(observed, |attachment| {
                claims.kept.contains(&attachment.interface)
            }));
            plan.steps.extend(claims.plug);
            plan.complaints = claims.complaints;
        }
    }
    plan
}

fn with_state(observed: &Observed, wanted: impl Fn(State) -> bool) -> impl Iterator<Item = InterfaceName> {
    observed
        .attachments
        .iter()
        .filter(move |attachment| wanted(attachment.state))
        .map(|attachment| attachment.interface.clone())
}

/// The removals, the last plugged first. What is half done goes in any case; what is present goes unless it is kept.
fn removals(observed: &Observed, kept: impl Fn(&Attachment) -> bool) -> impl Iterator<Item = Step> {
    observed.attachments.iter().rev().filter_map(move |attachment| {
        let interface = attachment.interface.clone();
        match attachment.state {
            State::Lost => Some(Step::Bury(interface)),
            State::Leaving => Some(Step::Unplug(interface)),
            State::Present if !kept(attachment) => Some(Step::Unplug(interface)),
            _ => None,
        }
    })
}

/// Which element has which attachment.
#[derive(Default)]
struct Claims {
    kept: BTreeSet<InterfaceName>,
    plug: Vec<Step>,
    complaints: Vec<Complaint>,
}

impl Claims {
    fn of(elements: &[Element], observed: &Observed) -> Self {
        let mut claims = Self::default();
        for element in elements {
            if let Some(interface) = &element.selection.interface {
                claims.named(element, interface, observed);
            }
        }
        for element in elements
            .iter()
            .filter(|element| element.selection.interface.is_none())
        {
            claims.unnamed(element, elements, observed);
        }
        claims
    }

    /// An element with a name has the attachment of that name, if its network is the same too.
    fn named(&mut self, element: &Element, interface: &InterfaceName, observed: &Observed) {
        let selection = &element.selection;
        let there = observed
            .attachments
            .iter()
            .find(|attachment| attachment.interface == *interface);
        if let Some(there) = there.filter(|there| settled(there.state) && there.network == selection.network)
        {
            self.keep(there, element);
            return;
        }
        let foreign = observed.foreign.contains(interface);
        let taken = foreign.then(|| "the interface is not this annotation's; choose another name".to_owned());
        match taken.or_else(|| element.refusal.clone()) {
            Some(cause) => self.reject(interface, selection, cause),
            None => self.plug.push(Step::Plug {
                interface: interface.clone(),
                selection: Box::new(selection.clone()),
            }),
        }
    }

    /// The k-th element without a name has the k-th attachment of its network that no name claims.
    fn unnamed(&mut self, element: &Element, elements: &[Element], observed: &Observed) {
        let network = &element.selection.network;
        let is_named = |interface: &InterfaceName| {
            elements
                .iter()
                .any(|element| element.selection.interface.as_ref() == Some(interface))
        };
        let free = observed.attachments.iter().find(|there| {
            there.network == *network
                && settled(there.state)
                && !self.kept.contains(&there.interface)
                && !is_named(&there.interface)
        });
        match (free, &element.hint) {
            (Some(there), _) => self.keep(there, element),
            (None, Some(hint)) => {
                self.complaints.push(Complaint::Unnamed {
                    network: network.clone(),
                    hint: hint.clone(),
                });
            }
            (None, None) => {}
        }
    }

    fn keep(&mut self, there: &Attachment, element: &Element) {
        self.kept.insert(there.interface.clone());
        let changed = Attributes::of(&element.selection).changed_from(&there.attributes);
        if !changed.is_empty() && there.state == State::Present {
            let cause = format!(
                "{} of an attachment that exists cannot be changed; remove the element, then add it with the new value",
                changed.join(", ")
            );
            self.reject(&there.interface, &element.selection, cause);
        }
    }

    fn reject(&mut self, interface: &InterfaceName, selection: &Selection, cause: String) {
        self.complaints.push(Complaint::Rejected {
            interface: interface.clone(),
            network: selection.network.clone(),
            cause,
        });
    }
}

/// What needs no DEL before it can be kept.
fn settled(state: State) -> bool {
    matches!(state, State::Present | State::Appeared)
}

#[cfg(test)]
mod tests;
