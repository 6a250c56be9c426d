//! What a namespace asks for by its labels: a watch cache of those that carry one, metadata only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PartialObjectMeta};
use shared::{
    annotations::{ENFORCEMENT_LABEL, INTERFACE_NAMES_LABEL},
    config::{Enforcement, InterfaceNames},
};

use super::{
    cache::{Cache, State},
    client::watching,
};
use crate::metrics::Metrics;

/// The labels of all namespaces that have one.
#[derive(Debug)]
pub struct Namespaces {
    cache: Cache<String, Labels>,
}

/// The labels of one namespace that are ours.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// `…/interface-names`
    pub interface_names: Option<String>,
    /// `…/enforcement`
    pub enforcement: Option<String>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            cache: Cache::new("namespaces"),
        }
    }
}

/// What a label of a namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override<T> {
    /// No label, or not listed yet: the configuration applies.
    None,
    /// The value of the label.
    Mode(T),
    /// The label has an unknown value: the configuration applies, and the client gets a warning.
    Unreadable,
}

impl<T> Override<T> {
    fn of(label: Option<&str>, parse: fn(&str) -> Option<T>) -> Self {
        label.map_or(Self::None, |label| {
            parse(label).map_or(Self::Unreadable, Self::Mode)
        })
    }

    /// What holds where the configuration says `otherwise`, and whether the label could be read.
    pub fn or(self, otherwise: T) -> (T, bool) {
        match self {
            Self::Mode(value) => (value, true),
            Self::None => (otherwise, true),
            Self::Unreadable => (otherwise, false),
        }
    }
}

impl Namespaces {
    /// Lists and watches the API server. Never returns.
    pub async fn follow(&self, client: Client, metrics: &Metrics) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.cache.heard_through(client));
        // Of all namespaces: no selector means "one label or the other".
        self.cache.follow(api, watching(), metrics, entry).await;
    }

    /// Replaces the whole content by a complete list.
    pub fn replace(&self, labels: impl IntoIterator<Item = (String, Labels)>) {
        self.cache.replace(labels);
    }

    /// Whether the cache is complete.
    pub fn state(&self) -> State {
        self.cache.state()
    }

    /// See [`Cache::age`].
    pub fn age(&self) -> Duration {
        self.cache.age()
    }

    /// How unnamed elements are treated in `namespace`.
    pub fn mode(&self, namespace: &str) -> Override<InterfaceNames> {
        self.label(namespace, |labels| {
            Override::of(labels.interface_names.as_deref(), InterfaceNames::parse)
        })
    }

    /// Whether broken rules refuse in `namespace`.
    pub fn enforcement(&self, namespace: &str) -> Override<Enforcement> {
        self.label(namespace, |labels| {
            Override::of(labels.enforcement.as_deref(), Enforcement::parse)
        })
    }

    fn label<T>(&self, namespace: &str, read: impl FnOnce(&Labels) -> Override<T>) -> Override<T> {
        let found = self
            .cache
            .with_entries(|entries| entries.get(namespace).map(read));
        found.flatten().unwrap_or(Override::None)
    }
}

fn entry(namespace: &PartialObjectMeta<Namespace>) -> Option<(String, Option<Labels>)> {
    let name = namespace.metadata.name.clone()?;
    let label = |key| namespace.metadata.labels.as_ref()?.get(key).cloned();
    let labels = Labels {
        interface_names: label(INTERFACE_NAMES_LABEL),
        enforcement: label(ENFORCEMENT_LABEL),
    };
    let has_one = labels.interface_names.is_some() || labels.enforcement.is_some();
    Some((name, has_one.then_some(labels)))
}

#[cfg(test)]
mod tests;
