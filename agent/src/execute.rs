//! Carries out one step on one sandbox: durable intent, call to multus, durable outcome, event. A crash after any of these leaves
//! records from which the plan goes on.

mod plug;
mod unplug;

use std::time::Duration;

use serde_json::Value;
use shared::{cni::CniResult, names::InterfaceName, status};

use crate::{
    events::{Event, Reason},
    failpoint::patience,
    identity::{PodIdentity, SandboxId},
    memory::{Cure, Failed, Key, Memory},
    multus::{Answer, Call, Command},
    plan::Step,
    records::{AttachmentRecord, Phase},
    world::World,
};
pub use unplug::{failure_of, unplug_config, unpublished};

/// An answer that takes longer is late: the pod is told, others no longer wait for its slot.
pub const LATE: Duration = Duration::from_secs(30);

/// What is said of [`Answer::Crashed`].
const CRASHED: &str =
    "multus closed the connection without an answer, and is well: it crashed on this request";

/// How soon the disk is tried again after it refused to note what has been done.
const DISK_RETRY: Duration = Duration::from_secs(5);

/// One sandbox of one pod, for the time of one step.
pub struct Executor<'a, W> {
    /// The neighbours.
    pub world: &'a W,
    /// What is remembered of the pod.
    pub memory: &'a mut Memory,
    /// The pod.
    pub pod: &'a PodIdentity,
    /// The sandbox.
    pub sandbox: &'a SandboxId,
    /// Path of its network namespace.
    pub netns: &'a str,
}

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub error: String,
    /// What would clear it.
    pub cure: Box<Cure>,
    /// See [`crate::memory::Retry::missing_plugin`].
    pub missing_plugin: Option<String>,
    /// It is no failure of a try but a refusal.
    pub rejected: bool,
}

impl Failure {
    /// A failure that only time clears.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            cure: Box::new(Cure::Time),
            missing_plugin: None,
            rejected: false,
        }
    }

    /// The same, cleared by `cure`.
    pub fn with_cure(self, cure: Cure) -> Self {
        Self {
            cure: Box::new(cure),
            ..self
        }
    }
}

impl<W: World> Executor<'_, W> {
    /// Tries `step`, and notes and tells how it went.
    pub async fn run(&mut self, step: &Step) {
        let interface = step.interface();
        let key = self.key(interface);
        let outcome = match step {
            Step::Confirm(_) => self.confirm(interface).await,
            Step::Await { until, .. } => {
                self.memory.wake_at(*until);
                return;
            }
            Step::Bury(_) => self.bury(interface).await,
            Step::Unplug(_) => self.unplug(interface).await,
            Step::Plug { selection, .. } => self.plug(interface, selection).await,
        };
        match outcome {
            Ok(()) => self.memory.succeeded(&key, step),
            Err(failure) => self.note(key, step, failure),
        }
    }

    fn note(&mut self, key: Key, step: &Step, failure: Failure) {
        let network = match step {
            Step::Plug { selection, .. } => Some(selection.network.clone()),
            _ => self.memory.record(&key).map(|record| record.network.clone()),
        };
        let Failure {
            error,
            cure,
            missing_plugin,
            rejected,
        } = failure;
        let failed = Failed {
            step: step.clone(),
            error: error.clone(),
            cure: *cure,
            missing_plugin,
        };
        let repeated = self
            .memory
            .retries
            .get(&key)
            .is_some_and(|retry| retry.step == *step && retry.error == error);
        let interface = key.1.clone();
        let wait = self
            .memory
            .failed(key, failed, self.world.now(), self.world.jitter());
        let Some(network) = network else { return };
        tracing::warn!(pod = %self.pod, %network, %interface, cause = %error, retry_in = ?wait, "step failed");
        let event = match step {
            Step::Plug { .. } if rejected && repeated => return,
            Step::Plug { .. } if rejected => Event::warning(
                Reason::InterfaceAddRejected,
                format!("interface {interface} of network {network}: {error}"),
            ),
            Step::Plug { .. } | Step::Confirm(_) => {
                Event::failed_adding(&interface, &network, &error, Some(wait))
            }
            _ => Event::failed_removing(&interface, &network, &error, Some(wait)),
        };
        self.world.event(self.pod, event);
    }

    /// The answer to an ADD was lost, but libcni's cache has the result.
    async fn confirm(&mut self, interface: &InterfaceName) -> Result<(), Failure> {
        let Some(mut record) = self.memory.record(&self.key(interface)).cloned() else {
            return Ok(());
        };
        let entry = self
            .world
            .cache_entry(&config_name(&record.config), self.sandbox, interface)
            .await;
        let entry = entry.map_err(|error| Failure::new(error.to_string()))?;
        let Some(entry) = entry else { return Ok(()) };
        record.phase = Phase::Plugged { result: entry.result };
        self.plugged(record).await;
        Ok(())
    }

    /// Notes and tells an attachment that is there. When the disk refuses, the intent on it and libcni's cache still tell
    /// the same.
    async fn plugged(&mut self, mut record: AttachmentRecord) {
        record.since = self.world.epoch();
        let addresses = addresses(&record);
        let event = Event::added(&record.interface, &record.network, &addresses);
        tracing::info!(pod = %self.pod, network = %record.network, interface = %record.interface, ?addresses, "plugged");
        self.save(record).await;
        self.world.event(self.pod, event);
    }

    /// Writes a record as far as the disk lets it, and remembers it in any case.
    async fn save(&mut self, record: AttachmentRecord) {
        let key = self.key(&record.interface);
        if let Err(error) = self.world.put_record(self.sandbox, &record).await {
            tracing::error!(pod = %self.pod, interface = %record.interface, %error, "a record could not be written");
            self.memory.unsaved.insert(key);
        } else {
            self.memory.unsaved.remove(&key);
        }
        self.memory.put(self.sandbox, record);
    }

    /// The call for a record. The same bytes go out at ADD and DEL.
    fn call(&self, command: Command, record: &AttachmentRecord) -> Call {
        Call {
            command,
            sandbox: self.sandbox.clone(),
            netns: self.netns.to_owned(),
            interface: record.interface.clone(),
            pod: self.pod.clone(),
            config: record.config.clone(),
            ips: record.ips.clone(),
            mac: record.mac.clone(),
            cni_args: record.cni_args.clone(),
        }
    }

    async fn delegate(&self, call: &Call, record: &AttachmentRecord) -> Answer {
        let late = || {
            let cause = format!(
                "multus has not answered for {} s; waiting",
                patience(LATE).as_secs()
            );
            tracing::warn!(pod = %self.pod, network = %record.network, interface = %record.interface, %cause, "late");
            let event = match call.command {
                Command::Add => Event::failed_adding(&record.interface, &record.network, &cause, None),
                Command::Del => Event::failed_removing(&record.interface, &record.network, &cause, None),
            };
            self.world.event(self.pod, event);
        };
        self.world.delegate(call, &late).await
    }

    fn key(&self, interface: &InterfaceName) -> Key {
        (self.sandbox.clone(), interface.clone())
    }
}

/// Brings the records of a sandbox on the disk to what is remembered, where the disk refused that before.
pub async fn catch_up<W: World>(world: &W, memory: &mut Memory, sandbox: &SandboxId) {
    let unsaved: Vec<Key> = memory
        .unsaved
        .iter()
        .filter(|(of, _)| of == sandbox)
        .cloned()
        .collect();
    for key in unsaved {
        let written = match memory.record(&key) {
            Some(record) => world.put_record(sandbox, record).await,
            None => world.remove_record(sandbox, &key.1).await,
        };
        match written {
            Ok(()) => {
                memory.unsaved.remove(&key);
            }
            Err(error) => {
                tracing::error!(%sandbox, interface = %key.1, %error, "a record is still not as it should be");
                memory.wake_at(world.now() + DISK_RETRY);
            }
        }
    }
}

/// The `name` of a CNI configuration: half of the key of libcni's cache.
pub fn config_name(config: &str) -> String {
    let name = |value: Value| value.get("name")?.as_str().map(str::to_owned);
    serde_json::from_str(config)
        .ok()
        .and_then(name)
        .unwrap_or_default()
}

/// The addresses of a plugged attachment, without prefix.
fn addresses(record: &AttachmentRecord) -> Vec<String> {
    let Phase::Plugged { result } = &record.phase else {
        return Vec::new();
    };
    let Ok(result) = CniResult::parse(result) else {
        return Vec::new();
    };
    status::entries(&record.network, &result)
        .into_iter()
        .flat_map(|entry| entry.ips)
        .collect()
}
