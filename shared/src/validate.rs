//! The rules of admission about a list in its surroundings: the pod, its namespace, the networks
//! that exist, and the stored pod.

mod changed_field;
mod devices;
mod duplicates;
mod element;
mod facts;
mod interfaces;
mod similar;
mod warning;

use std::collections::BTreeMap;

pub use self::{
    facts::NetworkFacts,
    similar::similar,
    warning::{Warning, Warnings},
};
use crate::{
    cni::{Capabilities, ConfigError, DeviceNeed},
    config::{Config, InterfaceNames},
    history::{History, Previous},
    names::NetworkName,
    naming::fill_on_create,
    selection::{Selection, SelectionList},
    violation::{Violation, Violations, shortened},
};

/// Leaves room for the warning itself.
const MAX_NETWORK_IN_WARNING: usize = 80;

/// What is known about one network.
#[derive(Clone, Debug, PartialEq)]
pub enum Network {
    /// The watch cache has no complete list yet: the network gets no findings.
    Unknown,
    /// It does not exist; the names of similar ones ("did you mean"), best first (see [`similar`]).
    Missing {
        /// Similar existing networks.
        similar: Vec<NetworkName>,
    },
    /// It exists.
    Present {
        /// What its config declares; `None`: an empty spec (the config is a file on the node).
        config: Option<Result<Capabilities, ConfigError>>,
        /// Whether a pod needs a device for it.
        device: DeviceNeed,
    },
}

/// Looks up what is known about a network. The webhook's watch cache and the lint command implement
/// it.
pub trait Networks {
    /// Looks one up; never does I/O.
    fn network(&self, name: &NetworkName) -> Network;

    /// The resource whose devices its plugin requires, as far as it is known.
    fn resource(&self, _name: &NetworkName) -> Option<String> {
        None
    }

    /// What its config is known to do beyond the capabilities that it declares. Nothing is refused
    /// or warned about because of a fact that is not known.
    fn facts(&self, _name: &NetworkName) -> NetworkFacts {
        NetworkFacts::default()
    }
}

/// Create, or update of a stored pod.
pub enum Operation<'a> {
    /// The pod is being created.
    Create,
    /// The pod exists.
    Update {
        /// The stored pod.
        history: History<'a>,
        /// The pod has been scheduled and is not finished (phase Running, or Pending with a node).
        running: bool,
    },
}

/// A list, and the pod and namespace that it is judged in.
pub struct PodContext<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// The pod carries KubeVirt's label.
    pub virt_launcher: bool,
    /// The mode that applies: the namespace's label, else the configuration's.
    pub interface_names: InterfaceNames,
    /// How many devices of each resource the pod was certainly given. Of a resource that is not
    /// here, nothing is known.
    pub devices: &'a BTreeMap<String, u64>,
    /// What the request does.
    pub operation: Operation<'a>,
    /// The list as it would be stored.
    pub list: &'a SelectionList,
}

/// All findings about a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Why the request is refused.
    pub violations: Violations,
    /// What is legal and may surprise.
    pub warnings: Warnings,
    /// The networks on which a violation or the warning of a missing one rests, each once: that
    /// they are missing, what their config is or declares, or what they require.
    pub rests_on: Vec<NetworkName>,
}

/// What has been found so far. Bounded: an element breaks few rules about its surroundings.
#[derive(Default)]
struct Found {
    violations: Vec<Violation>,
    warnings: Warnings,
    rests_on: Vec<NetworkName>,
}

/// Judges one list by every rule about its surroundings. On update, only elements and fields that
/// are new or changed are judged: an element that did not change never blocks an edit of another
/// one.
pub fn validate(context: &PodContext<'_>, config: &Config, networks: &dyn Networks) -> Findings {
    let mut findings = Found::default();
    let offset = config.offset_in(context.namespace);
    let list = context.list;
    let (proposed, previous) = match &context.operation {
        Operation::Create => {
            let new = vec![Previous::default(); list.elements.len()];
            (fill_on_create(list, offset), new)
        }
        Operation::Update { history, .. } => {
            let proposed = history.names(list, offset);
            let previous = history.of(list, &proposed, offset);
            (proposed, previous)
        }
    };
    if context.host_network
        && matches!(context.operation, Operation::Create)
        && !context.list.elements.is_empty()
    {
        findings.warnings.push(&Warning::HostNetwork.text(&[]));
    }
    let mut exhausted = devices::exhausted(context, &previous, networks).into_iter();
    for (index, (element, previous)) in list.elements.iter().zip(&previous).enumerate() {
        let findings = &mut findings;
        element::ElementCheck {
            context,
            config,
            index,
            element,
            previous: *previous,
            exhausted: exhausted.next().flatten(),
            findings,
        }
        .judge(networks);
    }
    interfaces::judge(context, offset, &proposed, &previous, &mut findings);
    duplicates::judge(context, config, &previous, &mut findings);
    findings.violations.sort_by_key(|violation| violation.element);
    Findings {
        violations: findings.violations.into_iter().collect(),
        warnings: findings.warnings,
        rests_on: findings.rests_on,
    }
}

impl Found {
    fn warn_of(&mut self, index: usize, element: &Selection, warning: Warning, parts: &[&str]) {
        let text = warning.text(parts);
        let network = shortened(&element.network.to_string(), MAX_NETWORK_IN_WARNING);
        self.warnings
            .push(&format!("element {index} ({network}): {text}"));
    }
}

/// Whether a pod of `namespace` may use `network` under multus' namespace isolation (also the
/// agent's check).
pub fn isolation_allows(namespace: &str, network: &NetworkName, config: &Config) -> bool {
    !config.namespace_isolation
        || network.namespace() == namespace
        || config
            .global_namespaces
            .iter()
            .any(|global| global == network.namespace())
}

#[cfg(test)]
mod tests;
