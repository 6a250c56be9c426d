//! Which mode a namespace asks for: a watch cache of the namespaces that carry the label, metadata only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PartialObjectMeta};
use shared::{annotations::INTERFACE_NAMES_LABEL, config::InterfaceNames};

use crate::{
    api::watching,
    cache::{Cache, State},
    metrics::Metrics,
};

/// The labels of all namespaces that have one.
#[derive(Debug)]
pub struct Namespaces {
    cache: Cache<String, String>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            cache: Cache::new("namespaces"),
        }
    }
}

/// What a namespace says about unnamed elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// Nothing, or nothing known yet: the configuration holds.
    None,
    /// This mode.
    Mode(InterfaceNames),
    /// Something that is no mode: the configuration holds, and whoever asks should hear of it.
    Unreadable,
}

impl Namespaces {
    /// Follows the API server. Never returns.
    pub async fn follow(&self, client: Client, metrics: &Metrics) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.cache.heard_through(client));
        // A label that goes away shows as a deletion to a watch with this selector.
        let labelled = watching().labels(INTERFACE_NAMES_LABEL);
        self.cache.follow(api, labelled, metrics, label).await;
    }

    /// Replaces the whole content by a complete one: pairs of namespace and label value.
    pub fn replace(&self, labels: impl IntoIterator<Item = (String, String)>) {
        self.cache.replace(labels);
    }

    /// How far the cache may be believed.
    pub fn state(&self) -> State {
        self.cache.state()
    }

    /// How long ago the API server last showed that it follows.
    pub fn age(&self) -> Duration {
        self.cache.age()
    }

    /// What `namespace` asks for.
    pub fn mode(&self, namespace: &str) -> Override {
        let label = self
            .cache
            .look(|entries| entries.get(namespace).cloned())
            .flatten();
        label.map_or(Override::None, |label| {
            InterfaceNames::parse(&label).map_or(Override::Unreadable, Override::Mode)
        })
    }
}

fn label(namespace: &PartialObjectMeta<Namespace>) -> Option<(String, Option<String>)> {
    let name = namespace.metadata.name.clone()?;
    let labels = namespace.metadata.labels.as_ref();
    Some((
        name,
        labels.and_then(|labels| labels.get(INTERFACE_NAMES_LABEL).cloned()),
    ))
}

#[cfg(test)]
mod tests;
