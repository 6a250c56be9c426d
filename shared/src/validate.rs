//! Admission's rules about a list in its surroundings: the pod, its namespace, the networks that exist, what was there before.

mod element;
mod interfaces;
mod similar;

pub use self::similar::similar;
use crate::{
    cni::{Capabilities, ConfigError, DeviceNeed},
    config::{Config, InterfaceNames},
    history::{History, Previous},
    names::NetworkName,
    naming::fill_on_create,
    selection::{Selection, SelectionList},
    violation::{Violation, Violations, shortened},
};

/// The characters of a warning: to these the API server cuts all of them when they have more than
/// 4,096 together.
const MAX_WARNING: usize = 256;
/// Leaves room for the warning itself.
const MAX_NETWORK_IN_WARNING: usize = 80;
/// An answer has this many warnings.
const MAX_WARNINGS: usize = 10;

/// What is known about one network.
#[derive(Clone, Debug, PartialEq)]
pub enum Network {
    /// The watch cache has not listed yet, or cannot: no opinion.
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

/// Answers what is known about a network. The webhook's watch cache and the lint command implement it.
pub trait Networks {
    /// Looks one up; never does I/O.
    fn network(&self, name: &NetworkName) -> Network;
}

/// Create or update, with what was there before.
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

/// One list to judge.
pub struct Subject<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// The pod carries KubeVirt's label.
    pub virt_launcher: bool,
    /// The mode that applies: the namespace's label, else the configuration's.
    pub interface_names: InterfaceNames,
    /// What happens.
    pub operation: Operation<'a>,
    /// The list as it would be stored.
    pub list: &'a SelectionList,
}

/// Everything found at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Why the request is refused.
    pub violations: Violations,
    /// Legal but surprising.
    pub warnings: Warnings,
    /// The networks on which a violation or the warning of a missing one rests, each once: that they
    /// are missing, what their config is or declares, or what they require.
    pub rests_on: Vec<NetworkName>,
}

/// Up to ten warnings of up to 256 characters, all printable ASCII; where there are more, the last
/// one says how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warnings {
    texts: Vec<String>,
    count: usize,
}

impl Warnings {
    /// Adds a warning; what a line cannot hold is escaped or cut off.
    pub fn push(&mut self, text: &str) {
        self.count += 1;
        if self.count <= MAX_WARNINGS {
            let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            self.texts.push(shortened(&ascii, MAX_WARNING));
        } else {
            self.texts.truncate(MAX_WARNINGS - 1);
            self.texts
                .push(format!("and {} more warnings", self.count - self.texts.len()));
        }
    }

    /// As they are shown.
    pub fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

impl FromIterator<String> for Warnings {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        let mut warnings = Self::default();
        texts.into_iter().for_each(|text| warnings.push(&text));
        warnings
    }
}

impl std::ops::Deref for Warnings {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.texts
    }
}

/// What has been found so far. Bounded: an element breaks few rules about its surroundings.
#[derive(Default)]
struct Found {
    violations: Vec<Violation>,
    warnings: Warnings,
    rests_on: Vec<NetworkName>,
}

/// Judges one list by every rule about its surroundings. On update, only elements and fields that are new or changed are judged: what
/// was there before never blocks an unrelated edit, least of all its neighbour's removal.
pub fn validate(subject: &Subject<'_>, config: &Config, networks: &dyn Networks) -> Findings {
    let mut findings = Found::default();
    let offset = config.offset_in(subject.namespace);
    let list = subject.list;
    let (proposed, previous) = match &subject.operation {
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
    if subject.host_network
        && matches!(subject.operation, Operation::Create)
        && !subject.list.elements.is_empty()
    {
        findings
            .warnings
            .push("the pod uses the host's network: its networks annotation has no effect");
    }
    for (index, (element, previous)) in list.elements.iter().zip(&previous).enumerate() {
        let findings = &mut findings;
        element::Judge {
            subject,
            config,
            index,
            element,
            previous: *previous,
            findings,
        }
        .judge(networks);
    }
    interfaces::judge(subject, offset, &proposed, &previous, &mut findings);
    findings.violations.sort_by_key(|violation| violation.element);
    Findings {
        violations: findings.violations.into_iter().collect(),
        warnings: findings.warnings,
        rests_on: findings.rests_on,
    }
}

impl Found {
    fn warn_of(&mut self, index: usize, element: &Selection, text: &str) {
        let network = shortened(&element.network.to_string(), MAX_NETWORK_IN_WARNING);
        self.warnings
            .push(&format!("element {index} ({network}): {text}"));
    }
}

/// Whether a pod of `namespace` may use `network` under multus' namespace isolation (also the agent's check).
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
