//! ADD: intent on the disk, call, outcome on the disk. An ADD that failed half-way is undone at once.

use shared::{
    cni::{DeviceNeed, NetworkConfig},
    names::InterfaceName,
    selection::Selection,
};

use super::{CRASHED, Executor, Failure};
use crate::{
    memory::Cure,
    multus::{Answer, Command, Refusal},
    records::{AttachmentRecord, Origin, Phase},
    world::{NetworkError, World},
};

impl<W: World> Executor<'_, W> {
    /// Plugs what `selection` asks for.
    pub(super) async fn plug(
        &mut self,
        interface: &InterfaceName,
        selection: &Selection,
    ) -> Result<(), Failure> {
        let (config, version) = self.configure(selection).await?;
        let key = self.key(interface);
        let previous = self.memory.record(&key).cloned();
        let attempt = match previous.as_ref().map(|record| &record.phase) {
            Some(Phase::Tombstone) => 2,
            _ => 1,
        };
        let asked = selection.attributes();
        let record = AttachmentRecord {
            network: selection.network.clone(),
            interface: interface.clone(),
            origin: Origin::HotPlugged,
            phase: Phase::Plugging { attempt },
            since: self.world.epoch(),
            order: self.memory.next_order(self.sandbox),
            config,
            ips: asked.ips.clone(),
            mac: asked.mac.clone(),
            cni_args: asked.cni_args.clone(),
            unpublish: previous
                .as_ref()
                .map(super::unplug::unpublished)
                .unwrap_or_default(),
            unknown: serde_json::Map::new(),
        };
        let written = self.world.put_record(self.sandbox, &record).await;
        written.map_err(|error| Failure::new(format!("nothing is added without a record: {error}")))?;
        self.memory.put(self.sandbox, record.clone());
        self.memory.unsaved.remove(&key);
        self.memory.unplugged.remove(&key);
        self.memory.doubt_from(&key, self.world.now());

        let answer = self.delegate(&self.call(Command::Add, &record), &record).await;
        let cure = Cure::Network {
            network: selection.network.clone(),
            version: Some(version),
        };
        self.added(record, attempt, previous, answer)
            .await
            .map_err(|failure| match *failure.cure {
                Cure::Time => failure.with_cure(cure),
                _ => failure,
            })
    }

    /// The configuration to send, and the version of the network that it comes from.
    async fn configure(&self, selection: &Selection) -> Result<(String, String), Failure> {
        let network = &selection.network;
        let definition = self.world.network(network).await.map_err(|error| {
            let cure = Cure::Network {
                network: network.clone(),
                version: None,
            };
            let failure = Failure::new(error.to_string());
            if error == NetworkError::Missing(network.clone()) {
                failure.with_cure(cure)
            } else {
                failure
            }
        })?;
        let version = definition.resource_version;
        let cure = Cure::Network {
            network: network.clone(),
            version: Some(version.clone()),
        };
        let config = NetworkConfig::parse(&definition.config, network.name()).map_err(|error| {
            Failure::new(format!("its config cannot run: {error}")).with_cure(cure.clone())
        })?;
        let resource = definition.resource_name.as_deref();
        if DeviceNeed::of(resource, Some(&config)) == DeviceNeed::Required {
            let error = format!(
                "its plugin requires a device of {:?}, and devices are given out only when a pod is created",
                resource.unwrap_or_default()
            );
            return Err(Failure {
                rejected: true,
                ..Failure::new(error).with_cure(cure)
            });
        }
        Ok((config.conflist_for(selection.attributes()), version))
    }

    async fn added(
        &mut self,
        mut record: AttachmentRecord,
        attempt: u32,
        previous: Option<AttachmentRecord>,
        answer: Answer,
    ) -> Result<(), Failure> {
        match answer {
            Answer::Done(result) => {
                record.phase = Phase::Plugged { result };
                self.plugged(record).await;
                Ok(())
            }
            Answer::NotSent(error) => {
                self.drop_intent(&record, previous).await;
                Err(Failure::new(error).with_cure(Cure::Multus))
            }
            Answer::Refused {
                cause: Refusal::AlreadyExists,
                ..
            } if attempt == 1 => {
                self.drop_intent(&record, previous).await;
                Err(Failure::new(
                    "the pod has an interface of that name already, which the agent did not make; it is left alone",
                ))
            }
            Answer::Refused { cause, text, .. } if nothing_ran(&cause) => {
                self.drop_intent(&record, previous).await;
                Err(Failure::new(text))
            }
            Answer::Refused { cause, text, .. } => {
                self.undo(record, attempt, cause != Refusal::NamespaceGone).await;
                Err(Failure::new(text))
            }
            Answer::Crashed => {
                self.undo(record, attempt, true).await;
                Err(Failure::new(CRASHED))
            }
            Answer::Lost(error) => Err(Failure::new(format!(
                "multus' answer was lost ({error}); its CNI cache will tell what it did"
            ))),
        }
    }

    /// Nothing has run: the intent goes, what was before it comes back.
    async fn drop_intent(&mut self, record: &AttachmentRecord, previous: Option<AttachmentRecord>) {
        match previous {
            Some(previous) if previous.phase == Phase::Tombstone => self.save(previous).await,
            _ => self.erase(record).await,
        }
    }

    /// After an ADD that failed: DEL of the same. The record says so first, so that a crash here leaves no doubt about the ADD.
    async fn undo(&mut self, mut record: AttachmentRecord, attempt: u32, now: bool) {
        // The ADD has ended; only a DEL that is sent could still leave something open.
        let key = self.key(&record.interface);
        self.memory.doubt_no_more(&key, self.world.now());
        record.phase = Phase::Unplugging {
            attempt: 1,
            result: None,
        };
        record.since = self.world.epoch();
        self.save(record.clone()).await;
        if !now {
            return;
        }
        let answer = self.send_del(&record, record.config.clone()).await;
        if !matches!(answer, Answer::Done(_)) {
            tracing::warn!(pod = %self.pod, interface = %record.interface, ?answer, "cleaning up after a failed ADD failed");
            return;
        }
        if attempt == 1 {
            self.erase(&record).await;
        } else {
            record.phase = Phase::Tombstone;
            self.save(record).await;
        }
    }
}

/// Multus refused before any plugin was called.
fn nothing_ran(cause: &Refusal) -> bool {
    matches!(
        cause,
        Refusal::PodNotFound | Refusal::PodUidMismatch | Refusal::InvalidConfig | Refusal::NoDelegateApi
    )
}
