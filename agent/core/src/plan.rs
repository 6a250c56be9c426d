//! Decides the next steps for one sandbox: desired state against observed state.
//!
//! Guarantees: a removal names an attachment that has a record. An annotation that cannot be read
//! removes nothing. While a call without an answer may still run, no other call is planned for the
//! sandbox. Removals come before additions, in the reverse order of plugging; additions follow the
//! annotation.

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
    RecoverResult(InterfaceName),
    /// DEL what a lost ADD may have left, and remember that more of it may appear.
    CleanUpLostAdd(InterfaceName),
    /// DEL.
    Unplug(InterfaceName),
    /// DEL of what earlier attachments under this name still hold.
    ReleaseOwed(InterfaceName),
    /// ADD.
    Plug {
        /// The interface.
        interface: InterfaceName,
        /// The element that asks for it.
        selection: Box<Selection>,
    },
}

/// Something that will not be done; reported once on the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
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
    /// In order. Later steps do not depend on earlier ones, except those of the same interface.
    pub steps: Vec<Step>,
    /// Until then a plugin without an answer may still run: nothing is planned before.
    pub blocked_until: Option<Duration>,
    /// See [`Problem`].
    pub problems: Vec<Problem>,
    /// The networks of unnamed elements that have no attachment and that the pod is not told about.
    pub unmatched: Vec<NetworkName>,
}

impl Step {
    /// The interface that it is about.
    pub fn interface(&self) -> &InterfaceName {
        match self {
            Self::RecoverResult(interface)
            | Self::CleanUpLostAdd(interface)
            | Self::Unplug(interface)
            | Self::ReleaseOwed(interface)
            | Self::Plug { interface, .. } => interface,
        }
    }
}

/// Plans for one sandbox.
pub fn plan(desired: &Desired<'_>, observed: &Observed) -> Plan {
    let mut plan = Plan {
        steps: with_state(observed, |state| state == State::AddCompleted)
            .map(Step::RecoverResult)
            .collect(),
        ..Plan::default()
    };
    plan.blocked_until = observed
        .attachments
        .iter()
        .filter_map(|attachment| match attachment.state {
            State::InFlight { until } => Some(until),
            _ => None,
        })
        .min();
    if plan.blocked_until.is_some() {
        return plan;
    }
    match desired {
        Desired::Unreadable(why) => {
            plan.steps.extend(removals(observed, |_| true));
            plan.problems.push(Problem::Unreadable((*why).to_owned()));
        }
        Desired::Elements(elements) => {
            let claims = Claims::of(elements, observed);
            plan.steps.extend(removals(observed, |attachment| {
                claims.kept.contains(&attachment.interface)
            }));
            plan.steps.extend(owed_releases(observed, &claims.plug));
            plan.steps.extend(claims.plug);
            plan.problems = claims.problems;
            plan.unmatched = claims.unmatched;
        }
    }
    plan
}

/// What earlier attachments still hold under names that are free, and stay free in this plan.
fn owed_releases<'a>(observed: &'a Observed, plug: &'a [Step]) -> impl Iterator<Item = Step> + 'a {
    let free = |attachment: &&Attachment| {
        attachment.owes
            && attachment.state == State::Absent
            && !plug.iter().any(|step| *step.interface() == attachment.interface)
    };
    let owing = observed.attachments.iter().filter(free);
    owing.map(|attachment| Step::ReleaseOwed(attachment.interface.clone()))
}

fn with_state(observed: &Observed, wanted: impl Fn(State) -> bool) -> impl Iterator<Item = InterfaceName> {
    observed
        .attachments
        .iter()
        .filter(move |attachment| wanted(attachment.state))
        .map(|attachment| attachment.interface.clone())
}

/// The removals, the last plugged first. What is half done goes in any case; what is present goes
/// unless it is kept.
fn removals(observed: &Observed, kept: impl Fn(&Attachment) -> bool) -> impl Iterator<Item = Step> {
    observed.attachments.iter().rev().filter_map(move |attachment| {
        let interface = attachment.interface.clone();
        match attachment.state {
            State::AddLost => Some(Step::CleanUpLostAdd(interface)),
            State::NeedsDel => Some(Step::Unplug(interface)),
            State::Attached if !kept(attachment) => Some(Step::Unplug(interface)),
            _ => None,
        }
    })
}

/// Which element has which attachment.
#[derive(Default)]
struct Claims {
    kept: BTreeSet<InterfaceName>,
    plug: Vec<Step>,
    problems: Vec<Problem>,
    unmatched: Vec<NetworkName>,
}

impl Claims {
    fn of(elements: &[Element<'_>], observed: &Observed) -> Self {
        let mut claims = Self::default();
        for element in elements {
            if let Some(interface) = &element.selection.interface {
                claims.named(element, interface, observed);
            }
        }
        let mut unnamed: Vec<&Element<'_>> = elements
            .iter()
            .filter(|element| element.selection.interface.is_none())
            .collect();
        // Attributes tell two unnamed elements of one network apart; only then the order does.
        unnamed.retain(|element| !claims.takes(element, elements, observed, Attributes::are_those_of));
        unnamed.retain(|element| !claims.takes(element, elements, observed, Attributes::allow));
        for element in unnamed {
            claims.unnamed(element, elements, observed);
        }
        claims
    }

    /// An element with a name has the attachment of that name, if its network is the same too.
    fn named(&mut self, element: &Element<'_>, interface: &InterfaceName, observed: &Observed) {
        let selection = element.selection;
        let there = observed
            .attachments
            .iter()
            .find(|attachment| attachment.interface == *interface);
        if let Some(there) = there.filter(|there| settled(there.state) && there.network == selection.network)
        {
            self.keep(there, element);
            return;
        }
        let foreign = observed.foreign.get(interface).cloned();
        match foreign.or_else(|| element.refusal.clone()) {
            Some(cause) => self.reject(interface, selection, cause),
            None => self.plug.push(Step::Plug {
                interface: interface.clone(),
                selection: Box::new(selection.clone()),
            }),
        }
    }

    /// An unnamed element takes the first free attachment of its network whose attributes `fit`.
    fn takes(
        &mut self,
        element: &Element<'_>,
        elements: &[Element<'_>],
        observed: &Observed,
        fit: fn(&Attributes, &Attributes) -> bool,
    ) -> bool {
        let wanted = Attributes::of(element.selection);
        let found = self.free(element, elements, observed, |there| {
            fit(&wanted, &there.attributes)
        });
        if let Some(there) = found {
            self.keep(there, element);
        }
        found.is_some()
    }

    /// The k-th remaining unnamed element has the k-th attachment of its network that no name
    /// claims.
    fn unnamed(&mut self, element: &Element<'_>, elements: &[Element<'_>], observed: &Observed) {
        match (self.free(element, elements, observed, |_| true), &element.hint) {
            (Some(there), _) => self.keep(there, element),
            (None, Some(hint)) => {
                self.problems.push(Problem::Unnamed {
                    network: element.selection.network.clone(),
                    hint: hint.clone(),
                });
            }
            (None, None) => self.unmatched.push(element.selection.network.clone()),
        }
    }

    fn free<'o>(
        &self,
        element: &Element<'_>,
        elements: &[Element<'_>],
        observed: &'o Observed,
        fits: impl Fn(&Attachment) -> bool,
    ) -> Option<&'o Attachment> {
        let is_named = |interface: &InterfaceName| {
            elements
                .iter()
                .any(|element| element.selection.interface.as_ref() == Some(interface))
        };
        observed.attachments.iter().find(|there| {
            there.network == element.selection.network
                && settled(there.state)
                && !self.kept.contains(&there.interface)
                && !is_named(&there.interface)
                && fits(there)
        })
    }

    fn keep(&mut self, there: &Attachment, element: &Element<'_>) {
        self.kept.insert(there.interface.clone());
        let changed = Attributes::of(element.selection).changed_from(&there.attributes);
        if !changed.is_empty() && there.state == State::Attached {
            let cause = format!(
                "{} of an attached interface cannot be changed; remove the element, then add it with the new value",
                changed.join(", ")
            );
            self.reject(&there.interface, element.selection, cause);
        }
    }

    fn reject(&mut self, interface: &InterfaceName, selection: &Selection, cause: String) {
        self.problems.push(Problem::Rejected {
            interface: interface.clone(),
            network: selection.network.clone(),
            cause,
        });
    }
}

/// What needs no DEL before it can be kept.
fn settled(state: State) -> bool {
    matches!(state, State::Attached | State::AddCompleted)
}

#[cfg(test)]
mod tests;
