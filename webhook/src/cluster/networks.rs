//! Which networks exist: a watch cache of NetworkAttachmentDefinitions that keeps the facts that
//! rules need, and the lookup at the API server before a refusal that rests on a network.

mod lookup;
mod summary;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use kube::{Api, Client};
use shared::{
    names::NetworkName,
    validate::{self, Network, NetworkFacts},
};

pub use lookup::confirm;
pub use summary::{NetworkAttachmentDefinition, Summary};

use super::{
    cache::{Cache, State},
    client::watching,
};
use crate::metrics::Metrics;

/// Objects in one page of a list, which bounds the memory of a list: an object has up to 1.5 MiB.
const PAGE: u32 = 16;

/// Networks that are compared with a missing one. Bounds the cost of an annotation that names many
/// missing networks.
const MAX_CANDIDATES: usize = 1000;

/// What is known about all networks.
#[derive(Debug)]
pub struct Networks {
    cache: Cache<NetworkName, Summary>,
    lookups: lookup::Lookups,
}

impl Default for Networks {
    fn default() -> Self {
        Self {
            cache: Cache::new("networks"),
            lookups: lookup::Lookups::default(),
        }
    }
}

impl Networks {
    /// Lists and watches the API server. Never returns.
    pub async fn follow(&self, client: Client, metrics: &Metrics) {
        let api: Api<NetworkAttachmentDefinition> = Api::all(self.cache.heard_through(client));
        self.cache
            .follow(api, watching().page_size(PAGE), metrics, |definition| {
                definition.summary().map(|(name, summary)| (name, Some(summary)))
            })
            .await;
    }

    /// Replaces the whole content by a complete list.
    pub fn replace<'a>(&self, definitions: impl IntoIterator<Item = &'a NetworkAttachmentDefinition>) {
        self.cache.replace(
            definitions
                .into_iter()
                .filter_map(NetworkAttachmentDefinition::summary),
        );
    }

    /// Whether the cache is complete.
    pub fn state(&self) -> State {
        self.cache.state()
    }

    /// See [`Cache::age`].
    pub fn age(&self) -> Duration {
        self.cache.age()
    }

    /// `name` as missing, with similar names of the cache.
    fn missing(&self, name: &NetworkName) -> Network {
        let similar = self.cache.with_entries(|entries| similar(name, entries));
        Network::Missing {
            similar: similar.unwrap_or_default(),
        }
    }
}

impl validate::Networks for Networks {
    fn network(&self, name: &NetworkName) -> Network {
        let known = self.cache.with_entries(|entries| match entries.get(name) {
            Some(summary) => summary.network(),
            None => Network::Missing {
                similar: similar(name, entries),
            },
        });
        known.unwrap_or(Network::Unknown)
    }

    fn facts(&self, name: &NetworkName) -> NetworkFacts {
        let facts = self
            .cache
            .with_entries(|entries| entries.get(name).map(Summary::facts));
        facts.flatten().unwrap_or_default()
    }

    fn resource(&self, name: &NetworkName) -> Option<String> {
        let resource = self
            .cache
            .with_entries(|entries| entries.get(name).and_then(Summary::resource));
        resource.flatten()
    }
}

fn similar(name: &NetworkName, entries: &BTreeMap<NetworkName, Summary>) -> Vec<NetworkName> {
    let close = |other: &&NetworkName| {
        *other != name && (other.namespace() == name.namespace() || other.name() == name.name())
    };
    validate::similar(name, entries.keys().filter(close).take(MAX_CANDIDATES))
}

/// The cache, overlaid with the answers of [`confirm`].
#[derive(Debug)]
pub struct Confirmed<'a> {
    cache: &'a Networks,
    seen: HashMap<NetworkName, Seen>,
}

/// The answer of the API server about one network.
#[derive(Clone, Debug)]
struct Seen {
    network: Network,
    facts: NetworkFacts,
    resource: Option<String>,
}

impl Seen {
    /// Nothing but this is known.
    fn only(network: Network) -> Self {
        Self {
            network,
            facts: NetworkFacts::default(),
            resource: None,
        }
    }
}

impl validate::Networks for Confirmed<'_> {
    fn network(&self, name: &NetworkName) -> Network {
        let seen = self.seen.get(name).map(|seen| seen.network.clone());
        seen.unwrap_or_else(|| self.cache.network(name))
    }

    fn facts(&self, name: &NetworkName) -> NetworkFacts {
        let seen = self.seen.get(name).map(|seen| seen.facts);
        seen.unwrap_or_else(|| self.cache.facts(name))
    }

    fn resource(&self, name: &NetworkName) -> Option<String> {
        let seen = self.seen.get(name).map(|seen| seen.resource.clone());
        seen.unwrap_or_else(|| self.cache.resource(name))
    }
}

#[cfg(test)]
mod tests;
