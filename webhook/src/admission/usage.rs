//! Which networks the pods of a namespace use: listed from the API server when a network is
//! deleted. The webhook keeps no cache of pods. A list covers one namespace, is bounded in time and
//! bytes, and is remembered for a few seconds, because networks are often deleted together.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Resource, api::ListParams, client::Body, core::Request};
use serde::Deserialize;
use shared::{names::NetworkName, selection::SelectionList};
use tokio::{sync::Semaphore, time::Instant};

/// For all pages together: well under the timeout of the webhook's registration.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long an answer is remembered.
const MEMORY: Duration = Duration::from_secs(10);
/// Namespaces that are remembered.
const REMEMBERED: usize = 64;
/// Networks of one namespace's pods that are counted.
const MAX_NETWORKS: usize = 4096;
/// Lists at once.
const AT_ONCE: usize = 2;
/// Pods in a page.
const PAGE: u32 = 500;
/// Pods that have interfaces, or will.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Bytes of a page; a larger one is not read.
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Pods by network, of one namespace.
type Counts = HashMap<NetworkName, usize>;

/// Lists pods by network, and remembers recent results.
#[derive(Debug)]
pub struct Usage {
    recent: Mutex<HashMap<String, (Instant, Arc<Counts>)>>,
    permits: Semaphore,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            recent: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
        }
    }
}

impl Usage {
    /// A lower bound of the pods in the network's own namespace that use it; `None`: no such pod is
    /// known.
    pub async fn of(&self, name: &NetworkName, client: &Client) -> Option<usize> {
        let namespace = name.namespace();
        let counts = match self.remembered(namespace) {
            Some(counts) => counts,
            None => self.count(namespace, client).await,
        };
        counts.get(name).copied()
    }

    async fn count(&self, namespace: &str, client: &Client) -> Arc<Counts> {
        let mut counts = Counts::new();
        let counting = async {
            // The semaphore is never closed; an error would mean no bound.
            let _permit = self.permits.acquire().await.ok();
            let mut next = Some(String::new());
            while let Some(from) = next {
                next = page(namespace, &from, client, &mut counts).await?;
            }
            Ok::<(), String>(())
        };
        let cause = match tokio::time::timeout(DEADLINE, counting).await {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(cause),
            Err(_elapsed) => Some(format!("no answer within {} s", DEADLINE.as_secs())),
        };
        if let Some(cause) = cause {
            tracing::warn!(namespace, %cause, "listing the pods that use a deleted network failed");
        }
        let counts = Arc::new(counts);
        self.remember(namespace, &counts);
        counts
    }

    fn remembered(&self, namespace: &str) -> Option<Arc<Counts>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counts) = recent.get(namespace)?;
        (at.elapsed() < MEMORY).then(|| Arc::clone(counts))
    }

    fn remember(&self, namespace: &str, counts: &Arc<Counts>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (at, _)| at.elapsed() < MEMORY);
        if recent.len() < REMEMBERED {
            recent.insert(namespace.to_owned(), (Instant::now(), Arc::clone(counts)));
        }
    }
}

/// The fields of a list of pods that are read.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    metadata: ItemMetadata,
}

#[derive(Default, Deserialize)]
struct ItemMetadata {
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "k8s.v1.cni.cncf.io/networks")]
    networks: Option<String>,
}

/// Counts one page; returns where the next one begins.
async fn page(
    namespace: &str,
    from: &str,
    client: &Client,
    counts: &mut Counts,
) -> Result<Option<String>, String> {
    let mut params = ListParams::default().limit(PAGE).fields(UNFINISHED);
    if !from.is_empty() {
        params = params.continue_token(from);
    }
    let pods = Request::new(Pod::url_path(&(), Some(namespace)));
    let request = pods.list_metadata(&params).map_err(|error| error.to_string())?;
    let response = client
        .send(request.map(Body::from))
        .await
        .map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the API server answers {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_PAGE);
    let body = body
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let page: Page = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    for item in page.items {
        let text = item.metadata.annotations.and_then(|all| all.networks);
        // The pod counts once, however often it lists a network.
        let list = SelectionList::parse(text.as_deref(), namespace);
        let named: HashSet<NetworkName> = list
            .iter()
            .flat_map(|list| &list.elements)
            .map(|element| element.network.clone())
            .collect();
        for network in named {
            if counts.len() < MAX_NETWORKS || counts.contains_key(&network) {
                *counts.entry(network).or_default() += 1;
            }
        }
    }
    Ok(page.metadata.next.filter(|next| !next.is_empty()))
}
