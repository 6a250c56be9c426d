//! DEL: with the configuration that the ADD used, until it succeeds.

use shared::{
    cni::{CniResult, NetworkConfig},
    names::{InterfaceName, NetworkName},
    status,
};

use super::{CRASHED, Executor, Failure};
use crate::{
    events::Event,
    memory::{Cure, Retry},
    multus::{Answer, Call, Command, Refusal},
    records::{AttachmentRecord, Phase},
    world::World,
};

/// After so many failures for a missing binary, a DEL goes on without that plugin.
const PATIENCE: u32 = 3;

impl<W: World> Executor<'_, W> {
    /// Unplugs an attachment.
    pub(super) async fn unplug(&mut self, interface: &InterfaceName) -> Result<(), Failure> {
        let key = self.key(interface);
        let Some(mut record) = self.memory.record(&key).cloned() else {
            return Ok(());
        };
        let buried = record.phase == Phase::Tombstone;
        record.phase = match record.phase {
            Phase::Plugged { result } => Phase::Unplugging {
                attempt: 1,
                result: Some(result),
            },
            Phase::Unplugging { attempt, result } => Phase::Unplugging {
                attempt: attempt.saturating_add(1),
                result,
            },
            other => other,
        };
        self.begin_del(&mut record).await;
        self.del(&record).await?;
        if buried {
            return Ok(());
        }
        let was_plugged = matches!(record.phase, Phase::Unplugging { result: Some(_), .. });
        if was_plugged {
            tracing::info!(pod = %self.pod, network = %record.network, %interface, "unplugged");
            self.world
                .event(self.pod, Event::removed(interface, &record.network));
            self.memory.removed(&key, self.world.now());
            self.memory.unplugged.insert(key);
        } else {
            self.erase(&record).await;
        }
        Ok(())
    }

    /// Unplugs what an ADD without an answer may have left. More of it may appear later, so the record stays.
    pub(super) async fn bury(&mut self, interface: &InterfaceName) -> Result<(), Failure> {
        let Some(mut record) = self.memory.record(&self.key(interface)).cloned() else {
            return Ok(());
        };
        self.begin_del(&mut record).await;
        self.del(&record).await?;
        record.phase = Phase::Tombstone;
        record.since = self.world.epoch();
        // The ADD may have been confirmed and published by an agent that could not write that down.
        record
            .unpublish
            .push((record.network.clone(), vec![interface.clone()]));
        self.save(record).await;
        Ok(())
    }

    /// Notes when the DEL begins: should the agent die before its end, the next one gives the plugin its time. A disk that refuses
    /// forbids no DEL.
    async fn begin_del(&mut self, record: &mut AttachmentRecord) {
        record.since = self.world.epoch();
        if self.memory.record(&self.key(&record.interface)) != Some(record) {
            self.save(record.clone()).await;
        }
    }

    async fn del(&mut self, record: &AttachmentRecord) -> Result<(), Failure> {
        let retry = self.memory.retries.get(&self.key(&record.interface));
        let config = unplug_config(record, retry);
        failure_of(self.send_del(record, config).await)
    }

    /// Sends a DEL. Until it is certain that its plugins have ended, nothing else may run in the sandbox.
    pub(super) async fn send_del(&mut self, record: &AttachmentRecord, config: String) -> Answer {
        let key = self.key(&record.interface);
        let call = Call {
            config,
            ..self.call(Command::Del, record)
        };
        self.memory.doubt_from(&key, self.world.now());
        let answer = self.delegate(&call, record).await;
        let ended = match &answer {
            Answer::Done(_) | Answer::Refused { .. } | Answer::NotSent(_) | Answer::Crashed => true,
            Answer::Lost(_) => false,
        };
        if ended {
            self.memory.doubt_no_more(&key, self.world.now());
        }
        answer
    }

    /// Removes a record, unless network-status has yet to forget what was there before it.
    pub(super) async fn erase(&mut self, record: &AttachmentRecord) {
        let key = self.key(&record.interface);
        if !record.unpublish.is_empty() {
            let mut record = record.clone();
            record.phase = Phase::Unplugging {
                attempt: 1,
                result: None,
            };
            self.save(record).await;
            self.memory.unplugged.insert(key);
            return;
        }
        self.memory.forget(&key);
        if let Err(error) = self.world.remove_record(self.sandbox, &record.interface).await {
            tracing::error!(pod = %self.pod, interface = %record.interface, %error, "a record could not be removed");
            self.memory.unsaved.insert(key);
        } else {
            self.memory.unsaved.remove(&key);
        }
    }
}

/// What a DEL's answer means.
///
/// # Errors
/// It did not succeed.
pub fn failure_of(answer: Answer) -> Result<(), Failure> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Refused {
            cause: Refusal::PluginMissing { plugin },
            text,
            ..
        } => Err(Failure {
            missing_plugin: Some(plugin),
            ..Failure::new(text)
        }),
        Answer::Refused { text, .. } => Err(Failure::new(text)),
        Answer::NotSent(error) => Err(Failure::new(error).with_cure(Cure::Multus)),
        Answer::Crashed => Err(Failure::new(CRASHED)),
        Answer::Lost(error) => Err(Failure::new(format!("multus' answer was lost: {error}"))),
    }
}

/// The configuration for a DEL: the ADD's. When it keeps failing because a plugin's binary is gone, that plugin is left out of the
/// chain, or its `ipam` when it is the IPAM plugin that is gone: otherwise it would block the others for good.
pub fn unplug_config(record: &AttachmentRecord, retry: Option<&Retry>) -> String {
    let missing = retry
        .filter(|retry| retry.failures >= PATIENCE)
        .and_then(|retry| retry.missing_plugin.as_deref());
    missing
        .and_then(|missing| without(&record.config, missing))
        .unwrap_or_else(|| record.config.clone())
}

fn without(config: &str, missing: &str) -> Option<String> {
    let config = NetworkConfig::parse(config, "").ok()?;
    let named =
        |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str) == Some(missing);
    let plugin = config.plugins.iter().position(|plugin| named(plugin.get("type")));
    let ipam = config
        .plugins
        .iter()
        .position(|plugin| named(plugin.get("ipam").and_then(|ipam| ipam.get("type"))));
    let rest = match (plugin, ipam) {
        (Some(index), _) => config.without_plugin(index),
        (None, Some(index)) => config.without_ipam(index),
        (None, None) => None,
    };
    rest.map(|config| config.conflist())
}

/// What network-status has to forget when this attachment is gone.
pub fn unpublished(record: &AttachmentRecord) -> Vec<(NetworkName, Vec<InterfaceName>)> {
    let mut all = record.unpublish.clone();
    let result = match &record.phase {
        Phase::Plugged { result } => Some(result),
        Phase::Unplugging { result, .. } => result.as_ref(),
        Phase::Plugging { .. } | Phase::Tombstone => None,
    };
    let Some(result) = result else { return all };
    let entries = CniResult::parse(result)
        .map(|result| status::entries(&record.network, &result))
        .unwrap_or_default();
    let mut interfaces: Vec<_> = entries
        .iter()
        .filter_map(|entry| InterfaceName::parse(&entry.interface).ok())
        .collect();
    if !interfaces.contains(&record.interface) {
        interfaces.push(record.interface.clone());
    }
    if entries.iter().any(|entry| entry.interface.is_empty()) {
        all.push((record.network.clone(), Vec::new()));
    }
    all.push((record.network.clone(), interfaces));
    all
}
