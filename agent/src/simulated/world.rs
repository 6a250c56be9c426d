//! The effects, on the simulated node.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use shared::names::{InterfaceName, NetworkName};

use super::Simulated;
use crate::{
    cni_cache::{CacheError, Delegate, Entry},
    cri::{CriError, Network, Sandbox},
    events::Event,
    identity::{PodIdentity, SandboxId},
    multus::{Answer, Call, Command},
    pod::Pod,
    records::{AttachmentRecord, RecordsError, SandboxRecord},
    world::{NetworkDefinition, NetworkError, PatchOutcome, StatusView, World},
};

impl World for Simulated {
    fn epoch(&self) -> u64 {
        self.epoch_of(&self.node.borrow())
    }

    fn now(&self) -> Duration {
        self.node.borrow().now
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }

    fn jitter(&self) -> f64 {
        0.0
    }

    async fn delegate(&self, call: &Call, _: &dyn Fn()) -> Answer {
        self.effect().await;
        let mut node = self.node.borrow_mut();
        let answer = match call.command {
            Command::Add => node.add(call),
            Command::Del => node.del(call),
        };
        if !matches!(answer, Answer::NotSent(_)) {
            node.calls
                .push((call.command, call.sandbox.clone(), call.interface.clone()));
        }
        answer
    }

    async fn multus_is_well(&self) -> bool {
        self.effect().await;
        true
    }

    async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<Sandbox>, CriError> {
        self.effect().await;
        Ok(self
            .node
            .borrow()
            .sandboxes
            .iter()
            .filter(|sandbox| sandbox.pod.uid() == pod_uid)
            .cloned()
            .collect())
    }

    async fn sandbox_network(&self, sandbox: &SandboxId) -> Result<Option<Network>, CriError> {
        self.effect().await;
        Ok(Some(Network::Namespace(PathBuf::from(format!(
            "/run/netns/{sandbox}"
        )))))
    }

    async fn has_running_containers(&self, sandbox: &SandboxId) -> Result<bool, CriError> {
        self.effect().await;
        Ok(self.node.borrow().running.contains(sandbox))
    }

    async fn netns_exists(&self, path: &Path) -> bool {
        self.effect().await;
        self.node.borrow().namespaces.contains(path)
    }

    async fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError> {
        self.effect().await;
        Ok(self.node.borrow().delegates.get(sandbox).cloned())
    }

    async fn cache_entries(&self, sandbox: &SandboxId) -> Result<Vec<Entry>, CacheError> {
        self.effect().await;
        Ok(self
            .node
            .borrow()
            .cache
            .values()
            .filter(|entry| entry.sandbox == *sandbox)
            .cloned()
            .collect())
    }

    async fn cache_entry(
        &self,
        config_name: &str,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<Option<Entry>, CacheError> {
        self.effect().await;
        let key = (config_name.to_owned(), sandbox.clone(), interface.clone());
        Ok(self.node.borrow().cache.get(&key).cloned())
    }

    async fn put_record(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), RecordsError> {
        self.effect().await;
        self.check_disk()?;
        let mut node = self.node.borrow_mut();
        let records = node.records.entry(sandbox.clone()).or_default();
        records
            .attachments
            .insert(record.interface.clone(), record.clone());
        Ok(())
    }

    async fn remove_record(
        &self,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<(), RecordsError> {
        self.effect().await;
        let mut node = self.node.borrow_mut();
        node.records
            .entry(sandbox.clone())
            .or_default()
            .attachments
            .remove(interface);
        Ok(())
    }

    async fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError> {
        self.effect().await;
        self.check_disk()?;
        self.node
            .borrow_mut()
            .records
            .entry(sandbox.clone())
            .or_default()
            .sandbox = Some(record.clone());
        Ok(())
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RecordsError> {
        self.effect().await;
        let removed = self.node.borrow_mut().records.remove(sandbox);
        if removed.is_some_and(|records| !records.attachments.is_empty()) {
            let source = io::Error::other("directory not empty");
            return Err(RecordsError::Io {
                doing: "removing",
                path: PathBuf::from("state"),
                source,
            });
        }
        Ok(())
    }

    async fn network(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError> {
        self.effect().await;
        let found = self.node.borrow().networks.get(network).cloned();
        found.ok_or_else(|| NetworkError::Missing(network.clone()))
    }

    async fn pod_uid(&self, _: &PodIdentity) -> Result<Option<String>, String> {
        self.effect().await;
        Ok(self
            .node
            .borrow()
            .pod
            .as_ref()
            .map(|pod| pod.identity.uid().to_owned()))
    }

    async fn read_status(&self, _: &PodIdentity) -> Result<Option<StatusView>, String> {
        self.effect().await;
        Ok(self.node.borrow().pod.as_ref().map(view))
    }

    async fn patch_status(&self, _: &PodIdentity, old: &StatusView, new: &str) -> PatchOutcome {
        self.effect().await;
        let mut node = self.node.borrow_mut();
        if node.status_faults > 0 {
            node.status_faults -= 1;
            return PatchOutcome::Failed("the API server is away".to_owned());
        }
        let Some(pod) = &mut node.pod else {
            return PatchOutcome::Gone;
        };
        if pod.identity.uid() != old.uid || pod.status != old.status {
            return PatchOutcome::Conflict;
        }
        pod.status = Some(new.to_owned());
        PatchOutcome::Written(view(pod))
    }

    fn event(&self, _: &PodIdentity, event: Event) {
        self.node
            .borrow_mut()
            .events
            .push((event.reason.as_str(), event.text));
    }
}

fn view(pod: &Pod) -> StatusView {
    StatusView {
        uid: pod.identity.uid().to_owned(),
        status: pod.status.clone(),
        annotation_bytes: pod.annotation_bytes,
    }
}
