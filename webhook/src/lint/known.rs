//! What the files say about a cluster: its networks, the modes of its namespaces, and the webhook's
//! configuration.

use std::collections::HashSet;

use shared::{
    config::{Config, Effective, Enforcement, InterfaceNames},
    names::NetworkName,
    selection::SelectionList,
    validate::{self, Network, NetworkFacts, Networks as _, isolation_allows},
};

use super::{
    self as lint,
    documents::{Document, Settings, Subject},
    report::Finding,
};
use crate::cluster::{
    namespaces::{Labels, Namespaces},
    networks::Networks,
};

/// The namespace that the webhook leaves alone besides its own.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// What is known besides the object that is judged.
pub(super) struct Known {
    pub(super) config: Config,
    /// Those of the files, or of each page of a cluster's list.
    networks: Vec<Networks>,
    /// Whether these are all networks that there are.
    is_complete: bool,
    /// Namespaces with networks in the files.
    with_networks: HashSet<String>,
    namespaces: Namespaces,
    unwatched: HashSet<String>,
    /// Whether missing interface names are about to be written.
    pub(super) fixes: bool,
}

impl Known {
    /// What `documents` say. The configuration of `settings` wins over theirs.
    pub(super) fn of(documents: &[&Document], settings: &lint::Settings) -> Self {
        let definitions = documents.iter().filter_map(|document| match &document.subject {
            Subject::Network(definition) => Some(&**definition),
            _ => None,
        });
        let networks = Networks::default();
        networks.replace(definitions.clone());
        let labels = documents.iter().filter_map(|document| match &document.subject {
            Subject::Namespace(labels) => Some((document.name.clone(), labels.clone())),
            _ => None,
        });
        let namespaces = Namespaces::default();
        namespaces.replace(labels);
        let written = |wanted| {
            let mut last_first = documents.iter().rev();
            last_first.find_map(|document| match &document.subject {
                Subject::Settings(own, text) if *own == wanted => Some(text.as_str()),
                _ => None,
            })
        };
        let in_files = || merged(written(Settings::Manifest), written(Settings::User));
        Self {
            config: settings.config.clone().or_else(in_files).unwrap_or_default(),
            networks: vec![networks],
            is_complete: false,
            with_networks: definitions
                .filter_map(|definition| definition.metadata.namespace.clone())
                .collect(),
            namespaces,
            unwatched: unwatched(&settings.webhook_namespace),
            fixes: settings.fix,
        }
    }

    /// What is known of a cluster before its networks.
    pub(super) fn of_cluster(
        config: Config,
        labels: Vec<(String, Labels)>,
        settings: &lint::Settings,
    ) -> Self {
        let namespaces = Namespaces::default();
        namespaces.replace(labels);
        Self {
            config,
            networks: Vec::new(),
            is_complete: false,
            with_networks: HashSet::new(),
            namespaces,
            unwatched: unwatched(&settings.webhook_namespace),
            fixes: false,
        }
    }

    /// Lets all networks of a cluster be known: any other is missing.
    pub(super) fn complete(&mut self, networks: Vec<Networks>) {
        self.networks = networks;
        self.is_complete = true;
    }

    /// A network of any page; what is similar comes from all.
    fn find(&self, name: &NetworkName) -> Network {
        let mut all = Vec::new();
        for page in &self.networks {
            match page.network(name) {
                Network::Missing { similar } => all.extend(similar),
                known => return known,
            }
        }
        Network::Missing {
            similar: validate::similar(name, &all),
        }
    }

    /// Whether the webhook sees pods of `namespace`.
    pub(super) fn is_watched(&self, namespace: &str) -> bool {
        !self.unwatched.contains(namespace)
    }

    /// The mode that holds in `namespace`.
    pub(super) fn mode(&self, namespace: &str) -> InterfaceNames {
        let (mode, _) = self.namespaces.mode(namespace).or(self.config.interface_names);
        mode
    }

    /// Whether broken rules refuse in `namespace`.
    pub(super) fn enforcement(&self, namespace: &str) -> Enforcement {
        let (enforcement, _) = self.namespaces.enforcement(namespace).or(self.config.enforcement);
        enforcement
    }

    /// Warnings about networks that are not in the files, where the files have others of their
    /// namespace, or similar ones.
    pub(super) fn missing(&self, list: &SelectionList, namespace: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.is_complete {
            return findings;
        }
        for (index, element) in list.elements.iter().enumerate() {
            let wanted = &element.network;
            let Network::Missing { similar } = self.find(wanted) else {
                continue;
            };
            let usable = |name: &NetworkName| isolation_allows(namespace, name, &self.config);
            let similar: Vec<String> = similar
                .iter()
                .filter(|name| usable(name))
                .map(NetworkName::to_string)
                .collect();
            let has_others = self.with_networks.contains(wanted.namespace());
            if usable(wanted) && (has_others || !similar.is_empty()) {
                let hint = match similar.as_slice() {
                    [] => String::new(),
                    names => format!("; did you mean {}?", names.join(" or ")),
                };
                let message = format!(
                    "element {index} ({wanted}): no such NetworkAttachmentDefinition in these files{hint}"
                );
                findings.push(Finding::warning(message).of_element(index));
            }
        }
        findings
    }
}

/// Namespaces whose pods the webhook leaves alone.
fn unwatched(webhook_namespace: &str) -> HashSet<String> {
    [SYSTEM_NAMESPACE, webhook_namespace].map(str::to_owned).into()
}

/// The configuration of both ConfigMaps together; `None` when there is none, or it cannot be read.
pub(super) fn merged(manifest: Option<&str>, user: Option<&str>) -> Option<Config> {
    let effective = Effective::merge(manifest.unwrap_or("{}"), user).ok()?;
    Some(effective.config)
}

impl validate::Networks for Known {
    /// A network that is not in the files may be in the cluster.
    fn network(&self, name: &NetworkName) -> Network {
        match self.find(name) {
            Network::Missing { .. } if !self.is_complete => Network::Unknown,
            known => known,
        }
    }

    fn resource(&self, name: &NetworkName) -> Option<String> {
        self.networks.iter().find_map(|page| page.resource(name))
    }

    fn facts(&self, name: &NetworkName) -> NetworkFacts {
        // A page that does not have the network knows no facts about it.
        let facts = self.networks.iter().map(|page| page.facts(name));
        let mut known = facts.filter(|facts| *facts != NetworkFacts::default());
        known.next().unwrap_or_default()
    }
}
