//! NetworkAttachmentDefinitions: read when one is needed; watched, that one object, while an attachment waits for a change of it. A node
//! does not hold the whole cluster's.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    path::PathBuf,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;
use shared::{annotations::RESOURCE_NAME, names::NetworkName};
use tokio::sync::Notify;

use crate::{
    api, api_error,
    mailbox::{Cured, Mailbox},
    memory::{Cure, Memory},
    world::{NetworkDefinition, NetworkError},
};

const DEADLINE: Duration = Duration::from_secs(10);
/// The largest CNI file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads networks.
#[derive(Clone)]
pub struct Networks {
    client: Client,
    conf_dir: PathBuf,
}

/// Who waits for which network, and the watches of those networks.
#[derive(Default)]
pub struct NetworkWatches {
    waiting: RefCell<BTreeMap<NetworkName, BTreeMap<String, Rc<Mailbox>>>>,
    changed: Notify,
}

type Watch =
    Pin<Box<dyn Stream<Item = Result<watcher::Event<PartialObjectMeta<DynamicObject>>, watcher::Error>>>>;

fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions")
}

impl Networks {
    /// `conf_dir`: where the CNI files for networks with an empty spec are.
    pub fn new(client: Client, conf_dir: PathBuf) -> Self {
        Self { client, conf_dir }
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub async fn read(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), network.namespace(), &resource());
        let failed = |cause| NetworkError::Api {
            network: network.clone(),
            cause,
        };
        let answer = tokio::time::timeout(DEADLINE, api.get(network.name())).await;
        let object = match answer {
            Ok(Ok(object)) => object,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                let named = status
                    .details
                    .as_ref()
                    .is_some_and(|details| details.name == network.name());
                return Err(if named {
                    NetworkError::Missing(network.clone())
                } else {
                    NetworkError::NoSuchKind
                });
            }
            Ok(Err(error)) => return Err(failed(api_error::text(&error))),
            Err(_) => {
                return Err(failed(format!(
                    "the API server did not answer within {} s",
                    DEADLINE.as_secs()
                )));
            }
        };
        let config = object
            .data
            .pointer("/spec/config")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let config = if config.is_empty() {
            self.file(network).await?
        } else {
            config.to_owned()
        };
        Ok(NetworkDefinition {
            resource_version: object.resource_version().unwrap_or_default(),
            config,
            resource_name: object.annotations().get(RESOURCE_NAME).cloned(),
        })
    }

    /// The first file of the directory, by name, whose config has the network's name: as multus looks for it.
    async fn file(&self, network: &NetworkName) -> Result<String, NetworkError> {
        let missing = || NetworkError::NoFile {
            network: network.clone(),
            dir: self.conf_dir.display().to_string(),
        };
        let mut directory = tokio::fs::read_dir(&self.conf_dir).await.map_err(|_| missing())?;
        let mut paths = BTreeSet::new();
        while let Ok(Some(entry)) = directory.next_entry().await {
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let small = entry
                .metadata()
                .await
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_FILE_BYTES);
            if small && matches!(extension, Some("conf" | "conflist" | "json")) {
                paths.insert(path);
            }
        }
        for path in paths {
            let Ok(text) = tokio::fs::read_to_string(&path).await else {
                continue;
            };
            let name = serde_json::from_str::<Value>(&text).ok();
            if name
                .as_ref()
                .and_then(|value| value.get("name"))
                .and_then(Value::as_str)
                == Some(network.name())
            {
                return Ok(text);
            }
        }
        Err(missing())
    }
}

impl NetworkWatches {
    /// Watches exactly what the attachments in `memory` wait for, on behalf of `mailbox`.
    pub fn follow(&self, memory: &Memory, mailbox: &Rc<Mailbox>) {
        let wanted = memory.retries.values().filter_map(|retry| match &retry.cure {
            Cure::Network { network, .. } => Some(network),
            _ => None,
        });
        let wanted: BTreeSet<&NetworkName> = wanted.collect();
        let mut waiting = self.waiting.borrow_mut();
        let before: Vec<NetworkName> = waiting.keys().cloned().collect();
        for (_, pods) in waiting
            .iter_mut()
            .filter(|(network, _)| !wanted.contains(network))
        {
            pods.remove(&memory.uid);
        }
        for network in wanted {
            waiting
                .entry(network.clone())
                .or_default()
                .insert(memory.uid.clone(), Rc::clone(mailbox));
        }
        waiting.retain(|_, pods| !pods.is_empty());
        if !before.iter().eq(waiting.keys()) {
            self.changed.notify_one();
        }
    }

    /// Runs the watches, for ever.
    pub async fn run(&self, client: Client) {
        let mut watches: BTreeMap<NetworkName, Watch> = BTreeMap::new();
        loop {
            watches.retain(|network, _| self.waiting.borrow().contains_key(network));
            for network in self.waiting.borrow().keys() {
                watches
                    .entry(network.clone())
                    .or_insert_with(|| watch(&client, network));
            }
            tokio::select! {
                () = self.changed.notified() => {}
                (network, event) = next(&mut watches) => self.apply(&network, event),
            }
        }
    }

    fn apply(
        &self,
        network: &NetworkName,
        event: Result<watcher::Event<PartialObjectMeta<DynamicObject>>, watcher::Error>,
    ) {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                for mailbox in self
                    .waiting
                    .borrow()
                    .get(network)
                    .into_iter()
                    .flat_map(BTreeMap::values)
                {
                    mailbox.cure(Cured::Network(network.clone(), object.resource_version()));
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%network, %error, "watching a network failed; it is tried again"),
        }
    }
}

fn watch(client: &Client, network: &NetworkName) -> Watch {
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client.clone(), network.namespace(), &resource());
    let fields = format!("metadata.name={}", network.name());
    Box::pin(watcher(api, api::watch(&fields)).default_backoff())
}

/// The next event of any watch.
async fn next(
    watches: &mut BTreeMap<NetworkName, Watch>,
) -> (
    NetworkName,
    Result<watcher::Event<PartialObjectMeta<DynamicObject>>, watcher::Error>,
) {
    poll_fn(|context| {
        for (network, watch) in watches.iter_mut() {
            if let Poll::Ready(Some(event)) = watch.poll_next_unpin(context) {
                return Poll::Ready((network.clone(), event));
            }
        }
        Poll::Pending
    })
    .await
}
