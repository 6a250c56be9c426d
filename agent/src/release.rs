//! Releases what was hot-plugged into a sandbox that has ended: multus tears down only what it attached itself, and an address that nobody
//! gives back is lost. Never before the end: a pod that terminates keeps its network.
//!
//! *Ended* is: not ready, no container running, and the path of its network namespace gone.

use std::path::Path;

use shared::{cni::NetworkConfig, names::InterfaceName};

use crate::{
    cri::{CriError, Sandbox},
    events::Event,
    execute::{Failure, catch_up, failure_of, unplug_config},
    identity::{PodIdentity, SandboxId},
    memory::{Failed, Key, Memory, Retry},
    multus::{Answer, Call, Command, Refusal},
    plan::Step,
    records::{AttachmentRecord, Origin, Phase},
    world::World,
};

/// Plugins that free their addresses also when the namespace is gone (CNI plugins 1.9). Others, host-device among them, may return early.
const FREE_WITHOUT_NAMESPACE: [&str; 7] = ["bridge", "dummy", "ipvlan", "macvlan", "ptp", "tap", "vlan"];

/// Who is asked for and on whose behalf.
pub struct Releaser<'a, W> {
    /// The neighbours.
    pub world: &'a W,
    /// What is remembered of the pod.
    pub memory: &'a mut Memory,
    /// The agent's own pod; `None`: not known.
    pub own: Option<&'a PodIdentity>,
    /// The watch shows the pod.
    pub pod_exists: bool,
}

impl<W: World> Releaser<'_, W> {
    /// Releases every remembered sandbox that has ended; `listed` is what the runtime lists of this pod. One that is about to end is
    /// looked at again soon.
    ///
    /// # Errors
    /// The runtime did not tell.
    pub async fn release_ended(&mut self, listed: &[Sandbox]) -> Result<(), CriError> {
        let all: Vec<SandboxId> = self.memory.sandboxes.keys().cloned().collect();
        for sandbox in all {
            if listed.iter().any(|listed| listed.id == sandbox && listed.ready) {
                continue;
            }
            if self.has_ended(&sandbox).await? {
                self.memory.end(&sandbox, self.world.now());
                self.release(&sandbox).await;
            } else {
                self.memory.look_again(self.world.now());
            }
        }
        Ok(())
    }

    async fn has_ended(&self, sandbox: &SandboxId) -> Result<bool, CriError> {
        if self.world.has_running_containers(sandbox).await? {
            return Ok(false);
        }
        let record = self
            .memory
            .sandboxes
            .get(sandbox)
            .and_then(|records| records.sandbox.as_ref());
        match record {
            Some(record) => Ok(!self.world.netns_exists(Path::new(&record.netns)).await),
            None => Ok(true),
        }
    }

    async fn release(&mut self, sandbox: &SandboxId) {
        for interface in self.memory.interfaces(sandbox).into_iter().rev() {
            let key = (sandbox.clone(), interface.clone());
            let step = Step::Unplug(interface.clone());
            let Some(record) = self.memory.record(&key).cloned() else {
                continue;
            };
            if !self.memory.is_due(sandbox, &step, self.world.now()) {
                self.wake_for_retries(sandbox);
                continue;
            }
            match self.release_one(sandbox, &record).await {
                Ok(()) => self.memory.succeeded(&key, &step),
                Err(failure) => self.note(sandbox, &record, step, failure),
            }
        }
        let left = self
            .memory
            .sandboxes
            .get(sandbox)
            .is_some_and(|records| !records.attachments.is_empty());
        if left {
            self.wake_for_retries(sandbox);
            return;
        }
        if let Err(error) = self.release_damaged(sandbox).await {
            tracing::warn!(%sandbox, %error, "releasing what damaged records were about failed; it is tried again");
            self.memory.look_later(self.world.now(), self.world.jitter());
            return;
        }
        catch_up(self.world, self.memory, sandbox).await;
        match self.world.remove_sandbox(sandbox).await {
            Ok(()) => self.memory.forget_sandbox(sandbox),
            Err(error) => {
                tracing::error!(%sandbox, %error, "the records of an ended sandbox could not be removed");
                self.memory.look_again(self.world.now());
            }
        }
    }

    /// What damaged records were about, as libcni's cache tells it.
    async fn release_damaged(&self, sandbox: &SandboxId) -> Result<(), String> {
        let damaged = self.memory.damaged(sandbox);
        if damaged.is_empty() {
            return Ok(());
        }
        let entries = self.world.cache_entries(sandbox).await;
        for entry in entries.map_err(|error| error.to_string())? {
            if damaged.contains(&entry.interface) {
                let config = String::from_utf8_lossy(&entry.config);
                let freed = self.free(sandbox, &entry.interface, &config).await;
                freed.map_err(|failure| format!("interface {}: {}", entry.interface, failure.error))?;
                tracing::info!(%sandbox, interface = %entry.interface, "released, though its record was damaged");
            }
        }
        Ok(())
    }

    fn wake_for_retries(&mut self, sandbox: &SandboxId) {
        let of_release =
            |((of, _), retry): &(&Key, &Retry)| of == sandbox && matches!(retry.step, Step::Unplug(_));
        if let Some(due) = self
            .memory
            .retries
            .iter()
            .filter(of_release)
            .map(|(_, retry)| retry.due)
            .min()
        {
            self.memory.wake_at(due);
        }
    }

    /// Multus tears down what it plugged. What was hot-plugged is DELeted here; when its ADD may still run, once more when that is over.
    async fn release_one(&mut self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), Failure> {
        let key = (sandbox.clone(), record.interface.clone());
        let now = self.world.now();
        let doubtful = matches!(record.phase, Phase::Plugging { .. } | Phase::Tombstone);
        let doubt_ends = if doubtful {
            self.memory.doubt_ends(&key, now)
        } else {
            now
        };
        if record.phase == Phase::Tombstone && now < doubt_ends {
            self.memory.wake_at(doubt_ends);
            return Ok(());
        }
        if record.origin == Origin::HotPlugged && !self.memory.unplugged.contains(&key) {
            let config = unplug_config(record, self.memory.retries.get(&key));
            self.free(sandbox, &record.interface, &config).await?;
            tracing::info!(%sandbox, network = %record.network, interface = %record.interface, "released");
        }
        if now < doubt_ends {
            let buried = AttachmentRecord {
                phase: Phase::Tombstone,
                ..record.clone()
            };
            let written = self.world.put_record(sandbox, &buried).await;
            written.map_err(|error| Failure::new(error.to_string()))?;
            self.memory.put(sandbox, buried);
            self.memory.wake_at(doubt_ends);
            return Ok(());
        }
        let removed = self.world.remove_record(sandbox, &record.interface).await;
        removed.map_err(|error| Failure::new(error.to_string()))?;
        self.memory.forget(&key);
        Ok(())
    }

    /// DEL without a namespace, and of the addresses alone where the plugin may have stopped before them.
    async fn free(
        &self,
        sandbox: &SandboxId,
        interface: &InterfaceName,
        config: &str,
    ) -> Result<(), Failure> {
        self.delete(sandbox, interface, config).await?;
        let Ok(parsed) = NetworkConfig::parse(config, "") else {
            return Ok(());
        };
        for (index, plugin) in parsed.plugins.iter().enumerate() {
            let kind = plugin
                .get("type")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            if FREE_WITHOUT_NAMESPACE.contains(&kind) {
                continue;
            }
            if let Some(ipam) = parsed.only_ipam(index) {
                self.delete(sandbox, interface, &ipam.conflist()).await?;
            }
        }
        Ok(())
    }

    async fn delete(
        &self,
        sandbox: &SandboxId,
        interface: &InterfaceName,
        config: &str,
    ) -> Result<(), Failure> {
        let mut call = Call {
            command: Command::Del,
            sandbox: sandbox.clone(),
            netns: String::new(),
            interface: interface.clone(),
            pod: self.identity(sandbox, self.pod_exists).await?,
            config: config.to_owned(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
        };
        let late = || tracing::warn!(%sandbox, %interface, "multus is late with a release");
        let mut answer = self.world.delegate(&call, &late).await;
        if let Answer::Refused {
            cause: Refusal::PodNotFound | Refusal::PodUidMismatch,
            ..
        } = answer
        {
            call.pod = self.identity(sandbox, false).await?;
            answer = self.world.delegate(&call, &late).await;
        }
        failure_of(answer)
    }

    /// Multus takes a call only in the name of a pod that exists: the pod itself while it does, else its namesake, else the agent.
    async fn identity(&self, sandbox: &SandboxId, exists: bool) -> Result<PodIdentity, Failure> {
        let record = self
            .memory
            .sandboxes
            .get(sandbox)
            .and_then(|records| records.sandbox.as_ref());
        if let Some(record) = record {
            if exists {
                return Ok(record.pod.clone());
            }
            match self.world.pod_uid(&record.pod).await.map_err(Failure::new)? {
                Some(uid) if uid == record.pod.uid() => return Ok(record.pod.clone()),
                Some(_) => return Ok(record.pod.without_uid()),
                None => {}
            }
        }
        let unknown =
            "the pod is gone, and the agent does not know its own pod (POD_NAMESPACE, POD_NAME, POD_UID)";
        self.own.cloned().ok_or_else(|| Failure::new(unknown))
    }

    fn note(&mut self, sandbox: &SandboxId, record: &AttachmentRecord, step: Step, failure: Failure) {
        let Failure {
            error,
            cure,
            missing_plugin,
            ..
        } = failure;
        let key = (sandbox.clone(), record.interface.clone());
        let failed = Failed {
            step,
            error: error.clone(),
            cure: *cure,
            missing_plugin,
        };
        let wait = self
            .memory
            .failed(key, failed, self.world.now(), self.world.jitter());
        self.memory.wake_at(self.world.now() + wait);
        tracing::warn!(
            %sandbox, network = %record.network, interface = %record.interface, cause = %error, retry_in = ?wait,
            "releasing what an ended sandbox held failed"
        );
        let pod = self
            .memory
            .sandboxes
            .get(sandbox)
            .and_then(|records| records.sandbox.as_ref())
            .map(|sandbox| &sandbox.pod);
        if let Some(pod) = pod.filter(|_| self.pod_exists) {
            self.world.event(
                pod,
                Event::failed_removing(&record.interface, &record.network, &error, Some(wait)),
            );
        }
    }
}
