//! The real neighbours behind [`World`]. Every call but one has a deadline: `/delegate` is never hung up on.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    api_error::{self, PatchRefusal},
    cni_cache::{CacheError, CniCache, Delegate, Entries, Entry},
    cri::{Cri, CriError, Listing, Network, Sandbox},
    events::{Event, EventSink},
    execute::LATE,
    failpoint::{Place, patience, reach},
    health::Health,
    identity::{PodIdentity, SandboxId},
    metrics::{Dependency, Metrics},
    multus::{
        Answer, Call, Multus,
        limiter::{self, DelegateLimiter},
    },
    networks::Networks,
    pod,
    records::{AttachmentRecord, Durability, Phase, Records, RecordsError, SandboxRecord},
    world::{NetworkDefinition, NetworkError, PatchOutcome, StatusView, World},
};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;
use shared::{
    annotations::NETWORK_STATUS,
    names::{InterfaceName, NetworkName},
};

const API_DEADLINE: Duration = Duration::from_secs(10);
/// The annotation's key in a JSON pointer.
const STATUS_POINTER: &str = "/metadata/annotations/k8s.v1.cni.cncf.io~1network-status";

/// The node that the agent runs on.
pub struct Live {
    started: Instant,
    client: Client,
    multus: Multus,
    limiter: DelegateLimiter,
    cri: Cri,
    listing: Rc<Listing>,
    host_run: PathBuf,
    cache: CniCache,
    records: Arc<Records>,
    networks: Networks,
    events: EventSink,
    health: Health,
    metrics: Metrics,
}

/// What [`Live`] is made of.
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// The multus daemon.
    pub multus: Multus,
    /// The container runtime.
    pub cri: Cri,
    /// The node's sandboxes.
    pub listing: Rc<Listing>,
    /// Where the node's `/run` is mounted.
    pub host_run: PathBuf,
    /// multus' data directory.
    pub cache: CniCache,
    /// The records.
    pub records: Arc<Records>,
    /// The reader of networks.
    pub networks: Networks,
    /// Where events go.
    pub events: EventSink,
    /// Where a neighbour that is missing is noted.
    pub health: Health,
    /// Where calls are counted.
    pub metrics: Metrics,
}

impl Live {
    /// The node as `parts` reach it.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            client,
            multus,
            cri,
            listing,
            host_run,
            cache,
            records,
            networks,
            events,
            health,
            metrics,
        } = parts;
        Self {
            started: Instant::now(),
            limiter: DelegateLimiter::default(),
            client,
            multus,
            cri,
            listing,
            host_run,
            cache,
            records,
            networks,
            events,
            health,
            metrics,
        }
    }

    fn pods(&self, namespace: &str) -> Api<PartialObjectMeta<ApiPod>> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Writing waits for the disk; nothing else waits for it.
    async fn on_disk(
        &self,
        write: impl FnOnce(&Records) -> Result<(), RecordsError> + Send + 'static,
    ) -> Result<(), RecordsError> {
        let records = Arc::clone(&self.records);
        let outcome = tokio::task::spawn_blocking(move || write(&records))
            .await
            .unwrap_or_else(|error| {
                Err(RecordsError::Io {
                    doing: "writing",
                    path: PathBuf::new(),
                    source: std::io::Error::other(error),
                })
            });
        // That one went well is no sign that the next will: a full disk still lets files be removed. The watch over the records finds out.
        if let Err(error) = &outcome {
            self.health.set(Dependency::Records, Err(error.to_string()));
        }
        outcome
    }

    /// Only the probes find that a dependency is back: they report it to all.
    fn note_cri<T>(&self, outcome: &Result<T, CriError>) {
        if let Err(error) = outcome
            && error.is_unavailable()
        {
            self.health.set(Dependency::Cri, Err(error.to_string()));
        }
    }

    fn note_cache<T>(&self, outcome: &Result<T, CacheError>) {
        if let Err(error @ CacheError::Directory { .. }) = outcome {
            self.health.set(Dependency::CniCache, Err(error.to_string()));
        }
    }
}

impl World for Live {
    fn epoch(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn jitter(&self) -> f64 {
        fastrand::f64()
    }

    async fn delegate(&self, call: &Call, late: &dyn Fn()) -> Answer {
        self.metrics.queued(1);
        let kind = limiter::kind_of(&call.config);
        let permit = self.limiter.acquire(&kind, call.pod.namespace()).await;
        self.metrics.queued(-1);
        self.metrics.running(1);
        let sent = Instant::now();
        let answer = self.multus.delegate(call);
        tokio::pin!(answer);
        let in_time = tokio::time::timeout(patience(LATE), &mut answer).await;
        self.metrics.running(-1);
        let answer = match in_time {
            Ok(answer) => answer,
            Err(_) => {
                permit.late();
                self.metrics.late();
                late();
                answer.await
            }
        };
        reach(Place::Answered);
        self.metrics.operation(call.command, &answer, sent.elapsed());
        if let Answer::NotSent(error) = &answer {
            self.health.set(Dependency::Multus, Err(error.clone()));
        }
        answer
    }

    async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<Sandbox>, CriError> {
        let outcome = self.listing.sandboxes().await;
        self.note_cri(&outcome);
        let listed = outcome?;
        let of_pod = listed.iter().filter(|sandbox| sandbox.pod.uid() == pod_uid);
        Ok(of_pod.cloned().collect())
    }

    async fn sandbox_network(&self, sandbox: &SandboxId) -> Result<Option<Network>, CriError> {
        Ok(self.cri.sandbox(sandbox).await?.map(|(_, network)| network))
    }

    async fn has_running_containers(&self, sandbox: &SandboxId) -> Result<bool, CriError> {
        Ok(self.listing.running_sandboxes().await?.contains(sandbox))
    }

    async fn netns_exists(&self, path: &Path) -> bool {
        !path.as_os_str().is_empty()
            && tokio::fs::try_exists(as_mounted(path, &self.host_run))
                .await
                .unwrap_or(true)
    }

    async fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError> {
        let outcome = self.cache.delegates(sandbox).await;
        self.note_cache(&outcome);
        outcome
    }

    async fn cache_entries(&self, sandbox: &SandboxId) -> Result<Vec<Entry>, CacheError> {
        let outcome = self.cache.entries(sandbox).await;
        self.note_cache(&outcome);
        let Entries { entries, damaged } = outcome?;
        // The core cannot tell an attachment that is unknown from one that is gone.
        match damaged.into_iter().next() {
            Some(damaged) => Err(damaged.error),
            None => Ok(entries),
        }
    }

    async fn cache_entry(
        &self,
        config_name: &str,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<Option<Entry>, CacheError> {
        self.cache.entry(config_name, sandbox, interface).await
    }

    async fn put_record(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), RecordsError> {
        reach(Place::RecordDue);
        let written = match record.phase {
            Phase::Plugging { .. } => Some(Place::IntentWritten),
            Phase::Plugged { .. } => Some(Place::ResultWritten),
            Phase::Unplugging { .. } => Some(Place::RemovalWritten),
            Phase::Tombstone => None,
        };
        let durability = match record.phase {
            Phase::Plugging { .. } => Durability::Power,
            _ => Durability::Process,
        };
        let (sandbox, record) = (sandbox.clone(), record.clone());
        let outcome = self
            .on_disk(move |records| records.put(&sandbox, &record, durability))
            .await;
        written.into_iter().for_each(reach);
        outcome
    }

    async fn remove_record(
        &self,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<(), RecordsError> {
        reach(Place::EraseDue);
        let (sandbox, interface) = (sandbox.clone(), interface.clone());
        let outcome = self
            .on_disk(move |records| records.remove(&sandbox, &interface))
            .await;
        reach(Place::Erased);
        outcome
    }

    async fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError> {
        let (sandbox, record) = (sandbox.clone(), record.clone());
        let outcome = self
            .on_disk(move |records| records.put_sandbox(&sandbox, &record))
            .await;
        reach(Place::SandboxWritten);
        outcome
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RecordsError> {
        let sandbox = sandbox.clone();
        self.on_disk(move |records| records.remove_sandbox(&sandbox))
            .await
    }

    async fn network(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError> {
        self.networks.read(network).await
    }

    async fn pod_uid(&self, pod: &PodIdentity) -> Result<Option<String>, String> {
        Ok(self.read_status(pod).await?.map(|view| view.uid))
    }

    async fn read_status(&self, pod: &PodIdentity) -> Result<Option<StatusView>, String> {
        let found = within(self.pods(pod.namespace()).get_opt(pod.name())).await?;
        Ok(found
            .map_err(|error| format!("reading the pod {pod}: {}", api_error::text(&error)))?
            .map(|pod| view(&pod)))
    }

    async fn patch_status(&self, pod: &PodIdentity, old: &StatusView, new: &str) -> PatchOutcome {
        let patch = match serde_json::from_value::<json_patch::Patch>(json!([
            {"op": "test", "path": "/metadata/uid", "value": old.uid},
            {"op": "test", "path": STATUS_POINTER, "value": old.status},
            {"op": "add", "path": STATUS_POINTER, "value": new},
        ])) {
            Ok(patch) => patch,
            Err(error) => return PatchOutcome::Failed(error.to_string()),
        };
        reach(Place::StatusDue);
        let api = self.pods(pod.namespace());
        let params = PatchParams::default();
        let answer = within(api.patch_status(pod.name(), &params, &Patch::Json::<()>(patch))).await;
        let (outcome, label) = match answer {
            Err(error) => (PatchOutcome::Failed(error), "failed"),
            Ok(Ok(pod)) => (PatchOutcome::Written(view(&pod)), "written"),
            Ok(Err(error)) => match api_error::patch_refusal(&error) {
                PatchRefusal::Gone => (PatchOutcome::Gone, "gone"),
                PatchRefusal::Conflict => (PatchOutcome::Conflict, "conflict"),
                PatchRefusal::Failed => (PatchOutcome::Failed(api_error::text(&error)), "failed"),
            },
        };
        reach(Place::StatusWritten);
        self.metrics.status_patch(label);
        outcome
    }

    fn event(&self, pod: &PodIdentity, event: Event) {
        self.events.send(pod, event);
    }
}

async fn within<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let late = |_| {
        format!(
            "the API server did not answer within {} s",
            API_DEADLINE.as_secs()
        )
    };
    tokio::time::timeout(API_DEADLINE, call).await.map_err(late)
}

fn view(object: &PartialObjectMeta<ApiPod>) -> StatusView {
    let annotations = object.metadata.annotations.as_ref();
    StatusView {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        status: annotations
            .and_then(|annotations| annotations.get(NETWORK_STATUS))
            .cloned(),
        annotation_bytes: pod::annotation_bytes(&object.metadata),
    }
}

/// Where a path below the node's `/run` (or `/var/run`, which is the same) is seen from here.
fn as_mounted(path: &Path, host_run: &Path) -> PathBuf {
    let below = ["/var/run", "/run"]
        .iter()
        .find_map(|run| path.strip_prefix(run).ok());
    below.map_or_else(|| path.to_owned(), |below| host_run.join(below))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/var/run/netns/cni-1", "/host/run/netns/cni-1")]
    #[case("/run/netns/cni-1", "/host/run/netns/cni-1")]
    #[case("/running/netns", "/running/netns")]
    #[case("/proc/1/ns/net", "/proc/1/ns/net")]
    fn finds_the_nodes_namespaces_below_its_mount(#[case] on_node: &str, #[case] here: &str) {
        assert_eq!(
            as_mounted(Path::new(on_node), Path::new("/host/run")),
            Path::new(here)
        );
    }

    #[test]
    fn patches_the_one_annotation_that_it_tests() {
        let key = STATUS_POINTER
            .trim_start_matches("/metadata/annotations/")
            .replace("~1", "/");
        assert_eq!(key, NETWORK_STATUS);
    }
}
