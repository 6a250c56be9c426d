//! The effects, on the simulated node.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use shared::names::{InterfaceName, NetworkName};

use super::{Bug, EPOCH, Effect, Fault, Node, Simulated, netns};
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

impl Simulated {
    pub(super) fn epoch_of(&self, node: &Node) -> u64 {
        EPOCH + node.now.as_secs() + node.clock_ahead
    }

    async fn write(&self) -> Result<std::cell::RefMut<'_, Node>, RecordsError> {
        let fault = self.effect(Effect::Write).await;
        let mut node = self.node.borrow_mut();
        if fault.is_some() || node.disk_full {
            return Err(RecordsError::Full(PathBuf::from("state")));
        }
        node.changes += 1;
        Ok(node)
    }

    async fn erase(&self) -> Result<std::cell::RefMut<'_, Node>, RecordsError> {
        if self.effect(Effect::Erase).await.is_some() {
            return Err(damaged("removing"));
        }
        let mut node = self.node.borrow_mut();
        node.changes += 1;
        Ok(node)
    }

    async fn ask_runtime(&self) -> Result<std::cell::Ref<'_, Node>, CriError> {
        let fault = self.effect(Effect::Read).await;
        let node = self.node.borrow();
        if fault.is_some() || node.runtime_away {
            return Err(CriError::Unreachable("there is no socket".to_owned()));
        }
        Ok(node)
    }

    async fn ask_api(&self) -> Result<std::cell::Ref<'_, Node>, String> {
        let fault = self.effect(Effect::Read).await;
        let node = self.node.borrow();
        if fault.is_some() || node.api_away {
            return Err("the API server does not answer".to_owned());
        }
        Ok(node)
    }

    async fn ask_cache(&self) -> Result<std::cell::Ref<'_, Node>, CacheError> {
        if self.effect(Effect::Read).await.is_some() {
            return Err(CacheError::Directory {
                path: PathBuf::from("cache"),
                source: io::Error::other("input/output error"),
            });
        }
        Ok(self.node.borrow())
    }
}

fn damaged(doing: &'static str) -> RecordsError {
    RecordsError::Io {
        doing,
        path: PathBuf::from("state"),
        source: io::Error::other("input/output error"),
    }
}

impl World for Simulated {
    fn epoch(&self) -> u64 {
        self.epoch_of(&self.node.borrow())
    }

    fn now(&self) -> Duration {
        if self.bug == Some(Bug::OversleepsRetries) {
            return Duration::ZERO;
        }
        self.node.borrow().now
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }

    fn jitter(&self) -> f64 {
        0.0
    }

    async fn delegate(&self, call: &Call, _: &dyn Fn()) -> Answer {
        let fault = self.effect(match call.command {
            Command::Add => Effect::Add,
            Command::Del => Effect::Del,
        });
        let fault = fault.await;
        if self.skips(call) {
            return Answer::Done(serde_json::Value::Null);
        }
        let answer = {
            let mut node = self.node.borrow_mut();
            if self.told_to_leave_alone.get() && node.exists(&call.sandbox) {
                node.break_rule(format!(
                    "{:?} of {} in a pod that terminates",
                    call.command, call.interface
                ));
            }
            match call.command {
                Command::Add => node.add(call, fault),
                Command::Del => node.del(call, fault),
            }
        };
        self.takes(call, answer)
    }

    async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<Sandbox>, CriError> {
        let node = self.ask_runtime().await?;
        let of_pod = node
            .sandboxes
            .iter()
            .filter(|sandbox| sandbox.pod.uid() == pod_uid);
        Ok(of_pod.cloned().collect())
    }

    async fn sandbox_network(&self, sandbox: &SandboxId) -> Result<Option<Network>, CriError> {
        let node = self.ask_runtime().await?;
        let known = node.sandboxes.iter().any(|listed| listed.id == *sandbox);
        Ok(known.then(|| Network::Namespace(netns(sandbox))))
    }

    async fn has_running_containers(&self, sandbox: &SandboxId) -> Result<bool, CriError> {
        let node = self.ask_runtime().await?;
        Ok(node.running.contains(sandbox) && self.bug != Some(Bug::ReleasesEarly))
    }

    async fn netns_exists(&self, path: &Path) -> bool {
        self.effect(Effect::Ask).await;
        self.node.borrow().namespaces.contains(path) && self.bug != Some(Bug::ReleasesEarly)
    }

    async fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError> {
        Ok(self
            .ask_cache()
            .await?
            .delegates
            .get(sandbox)
            .map(|list| Vec::clone(list)))
    }

    async fn cache_entries(&self, sandbox: &SandboxId) -> Result<Vec<Entry>, CacheError> {
        let node = self.ask_cache().await?;
        let of_sandbox = node.cache.values().filter(|entry| entry.sandbox == *sandbox);
        Ok(of_sandbox.map(|entry| Entry::clone(entry)).collect())
    }

    async fn cache_entry(
        &self,
        config_name: &str,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<Option<Entry>, CacheError> {
        let node = self.ask_cache().await?;
        let key = (config_name.to_owned(), sandbox.clone(), interface.clone());
        Ok(node.cache.get(&key).map(|entry| Entry::clone(entry)))
    }

    async fn put_record(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), RecordsError> {
        let key = (sandbox.clone(), record.interface.clone());
        let mut node = match self.write().await {
            Ok(node) => node,
            Err(error) => {
                self.node.borrow_mut().refused.insert(key);
                return Err(error);
            }
        };
        node.refused.remove(&key);
        if self.forgets(record) {
            return Ok(());
        }
        let records = Rc::make_mut(&mut node.records)
            .entry(sandbox.clone())
            .or_default();
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
        let mut node = self.erase().await?;
        node.refused.remove(&(sandbox.clone(), interface.clone()));
        if self.bug == Some(Bug::KeepsTheRecord) {
            return Ok(());
        }
        if let Some(records) = Rc::make_mut(&mut node.records).get_mut(sandbox) {
            records.attachments.remove(interface);
        }
        Ok(())
    }

    async fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError> {
        let mut node = self.write().await?;
        let records = Rc::make_mut(&mut node.records)
            .entry(sandbox.clone())
            .or_default();
        records.sandbox = Some(record.clone());
        Ok(())
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RecordsError> {
        let mut node = self.erase().await?;
        let occupied = |records: &crate::records::SandboxRecords| !records.attachments.is_empty();
        if node.records.get(sandbox).is_some_and(occupied) {
            return Err(damaged("removing"));
        }
        Rc::make_mut(&mut node.records).remove(sandbox);
        Ok(())
    }

    async fn network(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError> {
        let node = self.ask_api().await.map_err(|cause| NetworkError::Api {
            network: network.clone(),
            cause,
        })?;
        let found = node.networks.get(network).cloned();
        found.ok_or_else(|| NetworkError::Missing(network.clone()))
    }

    async fn pod_uid(&self, _: &PodIdentity) -> Result<Option<String>, String> {
        let node = self.ask_api().await?;
        Ok(node.pod.as_ref().map(|pod| pod.identity.uid().to_owned()))
    }

    async fn read_status(&self, _: &PodIdentity) -> Result<Option<StatusView>, String> {
        Ok(self.ask_api().await?.pod.as_ref().map(view))
    }

    async fn patch_status(&self, _: &PodIdentity, old: &StatusView, new: &str) -> PatchOutcome {
        let fault = self.effect(Effect::Patch).await;
        let mut node = self.node.borrow_mut();
        let failed = PatchOutcome::Failed("the API server is away".to_owned());
        if node.status_faults > 0 {
            node.status_faults -= 1;
            return failed;
        }
        if node.api_away || fault == Some(Fault::Refused) {
            return failed;
        }
        if self.bug == Some(Bug::ForgetsTheStatus) {
            return PatchOutcome::Written(StatusView {
                status: Some(new.to_owned()),
                ..old.clone()
            });
        }
        if fault == Some(Fault::Conflict) {
            node.stranger_writes();
        }
        let version = node.next_version().to_string();
        let Some(pod) = &mut node.pod else {
            return PatchOutcome::Gone;
        };
        if pod.identity.uid() != old.uid || pod.status != old.status {
            return PatchOutcome::Conflict;
        }
        pod.status = Some(new.to_owned());
        pod.resource_version = version;
        let written = PatchOutcome::Written(view(pod));
        node.changes += 1;
        node.results += 1;
        if fault == Some(Fault::LostDone) {
            failed
        } else {
            written
        }
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
