//! One lookup at the API server per network on which a refusal, or the warning that it does not
//! exist, rests. A NetworkAttachmentDefinition and a pod that uses it are often applied together,
//! and the watch may lag or be lost.
//!
//! Bounded: the program makes few lookups at once, those of one review take at most two seconds,
//! and a missing network is not looked up again within two seconds.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::{Api, Client};
use shared::{
    names::NetworkName,
    validate::{Network, Networks as _},
};
use tokio::{sync::Semaphore, time::Instant};

use super::{Confirmed, NetworkAttachmentDefinition, Networks, Seen};

/// For all lookups of one review together: well under the timeout of the webhook's registration.
const DEADLINE: Duration = Duration::from_secs(2);
/// Lookups at once, of all reviews together.
const AT_ONCE: usize = 16;
/// How long a missing network is remembered.
const MEMORY: Duration = Duration::from_secs(2);
/// Missing networks that are remembered.
const REMEMBERED: usize = 1024;

/// Bounds the lookups.
#[derive(Debug)]
pub(super) struct Lookups {
    permits: Semaphore,
    /// When networks were last found to be missing.
    missing: Mutex<HashMap<NetworkName, Instant>>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(AT_ONCE),
            missing: Mutex::default(),
        }
    }
}

impl Lookups {
    fn remember_missing(&self, name: NetworkName) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() >= REMEMBERED {
            missing.retain(|_, seen| seen.elapsed() < MEMORY);
        }
        if missing.len() < REMEMBERED {
            missing.insert(name, Instant::now());
        }
    }

    fn is_missing(&self, name: &NetworkName) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(name).is_some_and(|seen| seen.elapsed() < MEMORY)
    }
}

/// Looks `names` up at the API server. A network about which the API server gives no clear answer
/// in time counts as unknown, so that neither refusal nor warning rests on it.
pub async fn confirm<'a>(networks: &'a Networks, names: &[NetworkName], client: &Client) -> Confirmed<'a> {
    let known_missing = |name: &&NetworkName| {
        let in_cache = networks.network(name);
        matches!(in_cache, Network::Missing { .. }) && networks.lookups.is_missing(name)
    };
    let doubtful: Vec<&NetworkName> = names.iter().filter(|name| !known_missing(name)).collect();
    // A network without an answer stays unknown.
    let mut seen: HashMap<NetworkName, Seen> = doubtful
        .iter()
        .map(|name| ((*name).clone(), Seen::only(Network::Unknown)))
        .collect();
    let mut answers: FuturesUnordered<_> = doubtful
        .into_iter()
        .map(|name| async move { (name, lookup(networks, name, client).await) })
        .collect();
    let _ = tokio::time::timeout(DEADLINE, async {
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(answer) => _ = seen.insert(name.clone(), answer),
                Err(error) => tracing::warn!(network = %name, %error, "network lookup failed; the network counts as unknown"),
            }
        }
    })
    .await;
    Confirmed {
        cache: networks,
        seen,
    }
}

async fn lookup(networks: &Networks, name: &NetworkName, client: &Client) -> Result<Seen, kube::Error> {
    // The semaphore is never closed; an error would mean no bound.
    let _permit = networks.lookups.permits.acquire().await.ok();
    let api: Api<NetworkAttachmentDefinition> = Api::namespaced(client.clone(), name.namespace());
    let definition = api.get_opt(name.name()).await?;
    if let Some((_, summary)) = definition.and_then(|definition| definition.summary()) {
        return Ok(Seen {
            network: summary.network(),
            facts: summary.facts(),
            resource: summary.resource(),
        });
    }
    networks.lookups.remember_missing(name.clone());
    Ok(Seen::only(networks.missing(name)))
}
