//! Carries out the core's effects on the real node: multus, the runtime, the CNI files, the
//! records, the API server. Every effect but one has a deadline: `/delegate` is never hung up on,
//! because that does not stop the plugin.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use agent_core::{
    cni_state::CniState,
    delegate::{Answer, Call},
    device::PodDevices,
    effect::{Effect, Now, Outcome, PatchOutcome, StatusView},
    identity::{PodIdentity, SandboxId},
    record::{AttachmentRecord, Phase, SandboxRecord},
    sandbox::Network,
};
use kube::Client;
use shared::names::{InterfaceName, NetworkName};

use crate::{
    cni::{
        cache::{CacheError, CniCache},
        delegate_file::{self, DelegateEntry},
        sandbox_network::{self, NetworkError},
    },
    cri::{Cri, CriError, Listing},
    devices::Devices,
    disk::{
        blocking::blocking,
        records::{Durability, Records, RecordsError},
    },
    failpoint::{FailPoint, hit},
    health::Health,
    kubernetes::{
        networks::Networks,
        pod_status::{self, StatusPatch},
    },
    metrics::{Dependency, Metrics},
    multus::Multus,
};

/// The node that the agent runs on.
pub struct Node {
    /// When the program started.
    pub started: Instant,
    /// The API server.
    pub client: Client,
    /// The multus daemon.
    pub multus: Multus,
    /// The container runtime.
    pub cri: Cri,
    /// The node's sandboxes.
    pub listing: Rc<Listing>,
    /// The devices that pods were given.
    pub devices: Devices,
    /// Where the node's `/run` is mounted.
    pub host_run: PathBuf,
    /// multus' data directory.
    pub cache: CniCache,
    /// The same, for the delegate files.
    pub cni_dir: PathBuf,
    /// The records.
    pub records: Arc<Records>,
    /// The reader of networks.
    pub networks: Networks,
    /// Where an unavailable dependency is noted.
    pub health: Health,
    /// Where calls are counted.
    pub metrics: Metrics,
}

impl Node {
    /// The time of a step of the core.
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            jitter: fastrand::f64(),
        }
    }

    /// Carries out an effect of the pod with this uid. Permits are the worker's own affair.
    pub async fn carry_out(&self, pod_uid: &str, effect: Effect) -> Outcome {
        match effect {
            Effect::ListSandboxes => Outcome::Sandboxes(self.sandboxes_of(pod_uid).await),
            Effect::SandboxNetwork(sandbox) => Outcome::Network(self.sandbox_network(&sandbox).await),
            Effect::HasEnded { sandbox, netns } => Outcome::Ended(self.has_ended(&sandbox, &netns).await),
            Effect::ReadCniState(sandbox) => Outcome::CniState(self.cni_state(&sandbox).await),
            Effect::ReadCniEntry {
                config_name,
                sandbox,
                interface,
            } => {
                let entry = self.cache.entry(&config_name, &sandbox, &interface).await;
                Outcome::CniEntry(
                    entry
                        .map(|entry| entry.map(Box::new))
                        .map_err(|error| error.to_string()),
                )
            }
            Effect::ReadNetwork(network) => {
                Outcome::Definition(self.networks.read(&network).await.map(Box::new))
            }
            Effect::ReadDevices {
                pod,
                sandbox,
                resource,
            } => Outcome::Devices(self.pod_devices(&pod, &sandbox, &resource).await.map(Box::new)),
            Effect::AcquirePermit { .. } => Outcome::Done,
            Effect::PutRecord {
                sandbox,
                record,
                durable,
            } => Outcome::Written(self.put_record(sandbox, *record, durable).await),
            Effect::RemoveRecord(sandbox, interface) => {
                Outcome::Written(self.remove_record(sandbox, interface).await)
            }
            Effect::PutSandbox(sandbox, record) => Outcome::Written(self.put_sandbox(sandbox, *record).await),
            Effect::RemoveSandbox(sandbox) => {
                let removed = self.on_disk(move |records| records.remove_sandbox(&sandbox));
                Outcome::Written(removed.await)
            }
            Effect::ListDelegate {
                sandbox,
                network,
                interface,
                config,
                device,
            } => {
                let entry = DelegateEntry {
                    network,
                    interface,
                    config,
                    device: device.map(|device| (device.resource, device.id)),
                    // The plan gives no element the name of a foreign interface: what multus
                    // attached under it is gone.
                    replaces_cold_plugged: true,
                };
                Outcome::Written(self.list_delegate(sandbox, entry).await)
            }
            Effect::UnlistDelegate {
                sandbox,
                network,
                interface,
            } => Outcome::Written(self.unlist_delegate(sandbox, network, interface).await),
            Effect::Delegate(call) => Outcome::Answer(self.delegate(&call).await),
            Effect::ReadPodUid(pod) => {
                Outcome::PodUid(self.read_status(&pod).await.map(|view| view.map(|view| view.uid)))
            }
            Effect::ReadStatus(pod) => Outcome::Status(self.read_status(&pod).await),
            Effect::ReadCondition(pod) => {
                Outcome::Condition(pod_status::read_condition(&self.client, &pod).await)
            }
            Effect::PatchStatus {
                pod,
                old,
                new,
                condition,
            } => {
                let patch = StatusPatch {
                    old: &old,
                    status: new.as_deref(),
                    condition: condition.as_deref(),
                };
                Outcome::Patched(self.patch_status(&pod, &patch).await)
            }
        }
    }

    // The runtime.

    async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<agent_core::sandbox::Sandbox>, String> {
        let listed = self.listing.sandboxes().await;
        let listed = self.noted_cri(listed)?;
        let of_pod = listed.iter().filter(|sandbox| sandbox.pod.uid() == pod_uid);
        Ok(of_pod.cloned().collect())
    }

    async fn sandbox_network(&self, sandbox: &SandboxId) -> Result<Option<Network>, String> {
        let network = match sandbox_network::read(&self.cri, &self.cache, sandbox).await {
            Ok(network) => network,
            Err(NetworkError::Cri(error)) => self.noted_cri(Err(error))?,
            Err(NetworkError::Cache(error)) => self.noted_cache(Err(error))?,
        };
        if let Some(Network::Namespace(netns)) = &network {
            check_visible(netns, &self.host_run).await?;
        }
        Ok(network)
    }

    /// The namespace is looked at first: while it exists, the runtime need not be asked.
    async fn has_ended(&self, sandbox: &SandboxId, netns: &str) -> Result<bool, String> {
        if let Some(path) = seen_here(netns, &self.host_run)
            && tokio::fs::try_exists(path).await.unwrap_or(true)
        {
            return Ok(false);
        }
        let running = self.listing.running_sandboxes().await;
        Ok(!self.noted_cri(running)?.contains(sandbox))
    }

    fn noted_cri<T>(&self, outcome: Result<T, CriError>) -> Result<T, String> {
        outcome.map_err(|error| {
            if error.is_unavailable() {
                self.health.set(Dependency::Cri, Err(error.to_string()));
            }
            error.to_string()
        })
    }

    // What multus and libcni keep.

    async fn cni_state(&self, sandbox: &SandboxId) -> Result<CniState, String> {
        let delegates = self.cache.delegates(sandbox).await;
        let delegates = self.noted_cache(delegates)?;
        let entries = self.cache.entries(sandbox).await;
        let entries = self.noted_cache(entries)?;
        for damaged in &entries.damaged {
            tracing::warn!(%sandbox, interface = damaged.interface.as_ref().map(InterfaceName::as_str),
                error = %damaged.error, "leaving out a damaged entry of libcni's cache");
        }
        Ok(CniState {
            delegates,
            entries: entries.entries,
        })
    }

    fn noted_cache<T>(&self, outcome: Result<T, CacheError>) -> Result<T, String> {
        outcome.map_err(|error| {
            if matches!(error, CacheError::Directory { .. }) {
                self.health.set(Dependency::CniCache, Err(error.to_string()));
            }
            error.to_string()
        })
    }

    async fn pod_devices(
        &self,
        pod: &PodIdentity,
        sandbox: &SandboxId,
        resource: &str,
    ) -> Result<PodDevices, String> {
        Ok(PodDevices {
            allocated: self.devices.of_pod(pod, resource).await?,
            state: self.cni_state(sandbox).await?,
        })
    }

    async fn list_delegate(&self, sandbox: SandboxId, entry: DelegateEntry) -> Result<(), String> {
        hit(FailPoint::ListingDue);
        let dir = self.cni_dir.clone();
        let listed = blocking(move || delegate_file::append(&dir, &sandbox, &entry)).await;
        hit(FailPoint::Listed);
        listed.map(drop)
    }

    async fn unlist_delegate(
        &self,
        sandbox: SandboxId,
        network: NetworkName,
        interface: InterfaceName,
    ) -> Result<(), String> {
        let dir = self.cni_dir.clone();
        let remove = move || delegate_file::remove(&dir, &sandbox, &interface, &network);
        blocking(remove).await.map(drop)
    }

    // Records.

    /// Writing waits for the disk; nothing else waits for it.
    async fn on_disk(
        &self,
        write: impl FnOnce(&Records) -> Result<(), RecordsError> + Send + 'static,
    ) -> Result<(), String> {
        let records = Arc::clone(&self.records);
        let outcome = blocking(move || write(&records)).await;
        // Success does not prove that the disk is writable (a full disk still allows removals); the
        // probe decides.
        if let Err(error) = &outcome {
            self.health.set(Dependency::Records, Err(error.clone()));
        }
        outcome
    }

    async fn put_record(
        &self,
        sandbox: SandboxId,
        record: AttachmentRecord,
        durable: bool,
    ) -> Result<(), String> {
        hit(FailPoint::RecordDue);
        let written = match record.phase {
            Phase::Plugging { .. } => Some(FailPoint::IntentWritten),
            Phase::Plugged { .. } => Some(FailPoint::ResultWritten),
            Phase::Unplugging { .. } => Some(FailPoint::RemovalWritten),
            Phase::Tombstone | Phase::Owed => None,
        };
        let durability = if durable {
            Durability::Power
        } else {
            Durability::Process
        };
        let outcome = self
            .on_disk(move |records| records.put(&sandbox, &record, durability))
            .await;
        written.into_iter().for_each(hit);
        outcome
    }

    async fn remove_record(&self, sandbox: SandboxId, interface: InterfaceName) -> Result<(), String> {
        hit(FailPoint::EraseDue);
        let outcome = self
            .on_disk(move |records| records.remove(&sandbox, &interface))
            .await;
        hit(FailPoint::Erased);
        outcome
    }

    async fn put_sandbox(&self, sandbox: SandboxId, record: SandboxRecord) -> Result<(), String> {
        let outcome = self
            .on_disk(move |records| records.put_sandbox(&sandbox, &record))
            .await;
        hit(FailPoint::SandboxWritten);
        outcome
    }

    // Multus.

    async fn delegate(&self, call: &Call) -> Answer {
        self.metrics.running(1);
        let sent = Instant::now();
        let answer = self.multus.delegate(call).await;
        self.metrics.running(-1);
        hit(FailPoint::Answered);
        self.metrics.operation(call.command, &answer, sent.elapsed());
        if let Answer::NotSent(error) = &answer {
            self.health.set(Dependency::Multus, Err(error.clone()));
        }
        answer
    }

    // The API server.

    async fn read_status(&self, pod: &PodIdentity) -> Result<Option<StatusView>, String> {
        pod_status::read(&self.client, pod).await
    }

    async fn patch_status(&self, pod: &PodIdentity, patch: &StatusPatch<'_>) -> PatchOutcome {
        hit(FailPoint::StatusDue);
        let outcome = pod_status::patch(&self.client, pod, patch).await;
        hit(FailPoint::StatusWritten);
        self.metrics.status_patch(match outcome {
            PatchOutcome::Written(_) => "written",
            PatchOutcome::Conflict => "conflict",
            PatchOutcome::Gone => "gone",
            PatchOutcome::Failed(_) => "failed",
        });
        outcome
    }
}

/// Where a path below the node's `/run` (or `/var/run`, which is the same) is seen from here;
/// `None` for other paths.
fn below_run(path: &Path, host_run: &Path) -> Option<PathBuf> {
    let mut runs = ["/var/run", "/run"].iter();
    let below = runs.find_map(|run| path.strip_prefix(run).ok());
    below.map(|below| host_run.join(below))
}

/// Where a namespace's path on the node can be looked at from here. `/proc/<pid>/ns/net`, which
/// docker uses, cannot: the agent has other process ids than the node.
fn seen_here(netns: &str, host_run: &Path) -> Option<PathBuf> {
    let path = Path::new(netns);
    if netns.is_empty() || path.starts_with("/proc") {
        return None;
    }
    Some(below_run(path, host_run).unwrap_or_else(|| path.to_owned()))
}

/// Whether a namespace that the runtime names is seen from here. Under a wrong mount every sandbox
/// would look as if it had ended.
async fn check_visible(netns: &Path, host_run: &Path) -> Result<(), String> {
    match below_run(netns, host_run) {
        Some(path) if !tokio::fs::try_exists(&path).await.unwrap_or(true) => Err(format!(
            "the runtime names the network namespace {}, but there is no {}: the sandbox has just ended, or \
             HOST_RUN is not where the node's /run is mounted",
            netns.display(),
            path.display()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_is_not_seen_is_an_error() {
        let host_run = tempfile::tempdir().unwrap();
        std::fs::create_dir(host_run.path().join("netns")).unwrap();
        std::fs::write(host_run.path().join("netns/cni-1"), "").unwrap();
        let check = async |netns| check_visible(Path::new(netns), host_run.path()).await;
        assert_eq!(check("/var/run/netns/cni-1").await, Ok(()));
        assert_eq!(check("/proc/1/ns/net").await, Ok(()), "it is not below /run");
        let unseen = check("/var/run/netns/cni-2").await.unwrap_err();
        assert!(unseen.contains("HOST_RUN"), "{unseen}");
    }

    #[rstest]
    #[case::below_run("/run/netns/cni-1", Some("/host/run/netns/cni-1"))]
    #[case::elsewhere("/tmp/netns/cni-1", Some("/tmp/netns/cni-1"))]
    #[case::of_a_process("/proc/1/ns/net", None)]
    #[case::unknown("", None)]
    fn a_process_of_the_node_is_not_seen_here(#[case] on_node: &str, #[case] here: Option<&str>) {
        assert_eq!(
            seen_here(on_node, Path::new("/host/run")),
            here.map(PathBuf::from)
        );
    }

    #[rstest]
    #[case("/var/run/netns/cni-1", Some("/host/run/netns/cni-1"))]
    #[case("/run/netns/cni-1", Some("/host/run/netns/cni-1"))]
    #[case("/running/netns", None)]
    #[case("/proc/1/ns/net", None)]
    fn finds_the_nodes_namespaces_below_its_mount(#[case] on_node: &str, #[case] here: Option<&str>) {
        assert_eq!(
            below_run(Path::new(on_node), Path::new("/host/run")),
            here.map(PathBuf::from)
        );
    }
}
