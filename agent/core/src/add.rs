//! The steps of an ADD. [`crate::operation`] has the flow and the guarantees.

use shared::{cni::NetworkConfig, names::NetworkName, selection::Selection};

use crate::{
    attachment::Verb,
    delegate::{Answer, Command, FailedPlugin, Refusal},
    device::{Device, DeviceWish, PodDevices},
    effect::{Count, Effect, Outcome},
    event::Event,
    identity::PodIdentity,
    network::{NetworkDefinition, NetworkError},
    operation::{AddStage, Adding, Flow, Job, Operation, PendingDevice, Removing, Why},
    record::{AttachmentRecord, Phase},
    retry::{Failure, RetryOn},
    site::Site,
    teardown::Teardown,
};

/// Bytes of CNI configuration that the records of one sandbox hold at most: with 250 pods on a node
/// the agent stays below its 64 MiB, whatever NADs say.
pub const MAX_CONFIG_BYTES: usize = 192 * 1024;

/// The text for [`Answer::Crashed`].
pub const CRASHED: &str = "multus is healthy but dropped this request: its handler panicked";

impl Site<'_, '_> {
    /// Begins an ADD: the network is read.
    pub fn begin_add(&mut self, selection: &Selection) -> Operation {
        self.attachment.set_tried(selection);
        self.start(Effect::ReadNetwork(selection.network.clone()));
        Operation::Add(Adding {
            selection: Box::new(selection.clone()),
            config: String::new(),
            version: String::new(),
            pending: None,
            device: None,
            permit: None,
            previous: None,
            intent: None,
            stage: AddStage::Network,
        })
    }

    /// The outcome of the effect that an ADD waited for.
    pub fn add_outcome(&mut self, adding: Adding, outcome: Outcome, pod: &PodIdentity) -> Flow {
        match (adding.stage, outcome) {
            (AddStage::Network, Outcome::Definition(read)) => self.network_read(adding, read, pod),
            (AddStage::Devices, Outcome::Devices(read)) => self.devices_read(adding, read, pod),
            (AddStage::Permit, Outcome::Done) => self.permitted(adding, pod),
            (AddStage::Intent, Outcome::Written(written)) => self.intended(adding, &written),
            (AddStage::Listing, Outcome::Written(listed)) => {
                if let Err(cause) = listed {
                    self.turn.count(Count::DelegateFileFailed);
                    tracing::warn!(
                        sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
                        network = %adding.selection.network, interface = %self.interface, %cause,
                        "listing in multus' delegate file failed; the agent releases the attachment at the pod's end"
                    );
                    self.event(Event::not_listed(self.interface, &cause));
                }
                self.send_add(adding, pod)
            }
            (AddStage::Calling(_), Outcome::Answer(answer)) => self.add_answered(adding, answer, pod),
            (AddStage::Unlisting, _) => self.finish_add(adding),
            (_, outcome) => {
                tracing::error!(?outcome, "an outcome that no ADD waits for");
                self.finish_add(adding)
            }
        }
    }

    fn network_read(
        &mut self,
        mut adding: Adding,
        read: Result<Box<NetworkDefinition>, NetworkError>,
        pod: &PodIdentity,
    ) -> Flow {
        let network = &adding.selection.network;
        let (config, version, resource) = match configuration(network, read) {
            Ok(read) => read,
            Err(failure) => return self.add_failed(adding, failure),
        };
        adding.version = version;
        let id = adding.selection.attributes().device_id.as_deref();
        match DeviceWish::of(&config, resource.as_deref(), id) {
            Ok(None) => self.configured(adding, &config, None, pod),
            Ok(Some(wish)) => {
                self.start(Effect::ReadDevices {
                    pod: pod.clone(),
                    sandbox: self.sandbox.clone(),
                    resource: wish.resource.clone(),
                });
                adding.pending = Some(Box::new(PendingDevice { config, wish }));
                adding.stage = AddStage::Devices;
                Flow::Continue(Box::new(Operation::Add(adding)))
            }
            Err(error) => {
                let failure = refused(&adding, error);
                self.add_failed(adding, failure)
            }
        }
    }

    /// The pod's devices are known: one that is free is given to the attachment.
    fn devices_read(
        &mut self,
        mut adding: Adding,
        read: Result<Box<PodDevices>, String>,
        pod: &PodIdentity,
    ) -> Flow {
        let Some(PendingDevice { config, wish }) = adding.pending.take().map(|pending| *pending) else {
            return self.finish_add(adding);
        };
        let devices = match read {
            Ok(devices) => devices,
            Err(cause) if wish.is_strict() => {
                let error = format!(
                    "it takes a device of {}, and which devices the pod has cannot be found out: {cause}",
                    wish.resource
                );
                return self.add_failed(adding, Failure::new(error));
            }
            Err(cause) => {
                tracing::warn!(
                    sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
                    network = %adding.selection.network, interface = %self.interface, %cause,
                    "reading the pod's devices failed; plugging without a device"
                );
                return self.configured(adding, &config, None, pod);
            }
        };
        let before = self.attachment.record().and_then(|record| record.device.as_ref());
        match wish.choose(&devices, &self.devices, before) {
            Ok(device) => self.configured(adding, &config, device, pod),
            Err(error) => {
                let failure = refused(&adding, error);
                self.add_failed(adding, failure)
            }
        }
    }

    /// The configuration is complete: a permit is awaited.
    fn configured(
        &mut self,
        mut adding: Adding,
        config: &NetworkConfig,
        device: Option<Device>,
        pod: &PodIdentity,
    ) -> Flow {
        let id = device.as_ref().map(|device| device.id.as_str());
        let config = config.conflist_with(adding.selection.attributes(), id);
        if let Err(error) = self.fits(&config) {
            let failure = Failure::new(error).cleared_by(on_network(&adding));
            return self.add_failed(adding, failure);
        }
        adding.permit = Some(self.acquire_permit(config.clone(), pod.namespace()));
        (adding.config, adding.device) = (config, device);
        adding.stage = AddStage::Permit;
        Flow::Continue(Box::new(Operation::Add(adding)))
    }

    /// The records of one sandbox hold a bounded amount of configurations.
    fn fits(&self, config: &str) -> Result<(), String> {
        let bytes = self.config_bytes.saturating_add(config.len());
        if bytes <= MAX_CONFIG_BYTES {
            return Ok(());
        }
        Err(format!(
            "the CNI configurations of the pod's attachments would take {bytes} bytes, {MAX_CONFIG_BYTES} are \
             allowed; attach fewer networks, or networks with shorter configurations"
        ))
    }

    /// A permit is held: what earlier attachments hold is released first, then the intent is
    /// written.
    fn permitted(&mut self, mut adding: Adding, pod: &PodIdentity) -> Flow {
        let jobs = self.attachment.owed_jobs(self.now());
        if !jobs.is_empty() {
            let permit = adding.permit.take();
            let why = Why::BeforeAdd(Box::new(adding));
            let mut removing = Removing::new(why, jobs, pod);
            removing.permit = permit;
            return self.next_del(removing);
        }
        self.intend(adding)
    }

    /// Writes the intent: on the disk before the ADD goes out, also after a power loss.
    pub fn intend(&mut self, mut adding: Adding) -> Flow {
        adding.previous = self.attachment.record().cloned().map(Box::new);
        let previous = adding.previous.as_ref();
        let attempt = if self.attachment.is_lost_add() { 2 } else { 1 };
        let stale_status = if previous.is_some() {
            self.attachment.stale_status()
        } else {
            Vec::new()
        };
        let intent = AttachmentRecord {
            phase: Phase::Plugging { attempt },
            order: self.order,
            device: adding.device.clone(),
            stale_status,
            owed: previous.map(|record| record.owed.clone()).unwrap_or_default(),
            ..AttachmentRecord::intent(
                &adding.selection,
                self.interface.clone(),
                adding.config.clone(),
                self.turn.now.epoch,
            )
        };
        adding.intent = Some(Box::new(intent.clone()));
        self.write(intent, true);
        adding.stage = AddStage::Intent;
        Flow::Continue(Box::new(Operation::Add(adding)))
    }

    fn intended(&mut self, mut adding: Adding, written: &Result<(), String>) -> Flow {
        self.written(written);
        if let Err(error) = written {
            let error = format!("nothing is added without a record: {error}");
            return self.add_failed(adding, Failure::new(error));
        }
        let lost_add = self.attachment.is_lost_add();
        self.attachment.forget_record();
        self.attachment.set_lost_add(lost_add);
        if let Some(intent) = adding.intent.take() {
            self.attachment.set_record(*intent);
        }
        self.start(Effect::ListDelegate {
            sandbox: self.sandbox.clone(),
            network: adding.selection.network.clone(),
            interface: self.interface.clone(),
            config: adding.config.clone(),
            device: adding.device.clone(),
        });
        adding.stage = AddStage::Listing;
        Flow::Continue(Box::new(Operation::Add(adding)))
    }

    fn send_add(&mut self, mut adding: Adding, pod: &PodIdentity) -> Flow {
        if !self.may_add {
            return self.unlist(adding);
        }
        let Some(record) = self.attachment.record().cloned() else {
            return self.finish_add(adding);
        };
        let running = self.call(Command::Add, &record, adding.config.clone(), pod);
        adding.stage = AddStage::Calling(running);
        Flow::Continue(Box::new(Operation::Add(adding)))
    }

    fn add_answered(&mut self, adding: Adding, answer: Answer, pod: &PodIdentity) -> Flow {
        let network = on_network(&adding);
        match answer {
            Answer::Done(result) => {
                self.attached(result);
                self.attachment.set_retry(Verb::Plug, None);
                self.finish_add(adding)
            }
            Answer::NotSent(error) => {
                self.drop_intent(adding, Failure::new(error).cleared_by(RetryOn::Multus))
            }
            Answer::Refused {
                cause: Refusal::AlreadyExists,
                ..
            } if !self.attachment.is_lost_add() => {
                let error = "an interface with this name already exists in the pod and is not managed by the agent; \
                             leaving it unchanged";
                self.drop_intent(adding, Failure::new(error).cleared_by(network))
            }
            Answer::Refused { cause, plugin, text } if cause.nothing_ran(plugin.as_ref()) => {
                self.drop_intent(adding, Failure::new(text).cleared_by(network))
            }
            Answer::Refused { cause, plugin, text } => {
                let failure = Failure::new(text).cleared_by(network);
                self.undo(adding, failure, plugin, &cause, pod)
            }
            Answer::Crashed => {
                let failure = Failure::new(CRASHED).cleared_by(network);
                self.undo(adding, failure, None, &Refusal::Other, pod)
            }
            Answer::Lost(error) => {
                let grace = self.turn.context.timing.grace;
                self.attachment.answer_lost(self.now(), grace);
                let error =
                    format!("multus' answer was lost ({error}); libcni's cache will show what was done");
                let network_name = adding.selection.network.clone();
                self.failed(Verb::Plug, &network_name, Failure::new(error).cleared_by(network));
                self.finish_add(adding)
            }
        }
    }

    /// Notes and reports an attachment. When the disk refuses, its intent and libcni's cache say
    /// the same.
    pub fn attached(&mut self, result: serde_json::Value) {
        let Some(mut record) = self.attachment.record().cloned() else {
            return;
        };
        record.phase = Phase::Plugged { result };
        record.since = self.turn.now.epoch;
        self.attachment.set_record(record.clone());
        self.attachment.set_lost_add(false);
        self.attachment.set_refused_add(None);
        let addresses: Vec<String> = self
            .attachment
            .entries()
            .iter()
            .flat_map(|entry| entry.ips.clone())
            .collect();
        tracing::info!(
            sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display), network = %record.network,
            interface = %self.interface, ?addresses, "plugged"
        );
        self.event(Event::added(self.interface, &record.network, &addresses));
        self.save();
    }

    /// Nothing has run: what was before the intent comes back.
    fn drop_intent(&mut self, adding: Adding, failure: Failure) -> Flow {
        let network = adding.selection.network.clone();
        self.failed(Verb::Plug, &network, failure);
        self.unlist(adding)
    }

    fn unlist(&mut self, mut adding: Adding) -> Flow {
        let network = adding.selection.network.clone();
        self.attachment.call_ended(self.now());
        self.start(Effect::UnlistDelegate {
            sandbox: self.sandbox.clone(),
            network,
            interface: self.interface.clone(),
        });
        adding.stage = AddStage::Unlisting;
        Flow::Continue(Box::new(Operation::Add(adding)))
    }

    /// After an ADD that was refused half-way: DEL of the same configuration, at once, under the
    /// same permit. The record says so first, so that a crash leaves no doubt about the ADD.
    fn undo(
        &mut self,
        mut adding: Adding,
        failure: Failure,
        plugin: Option<FailedPlugin>,
        cause: &Refusal,
        pod: &PodIdentity,
    ) -> Flow {
        let network = adding.selection.network.clone();
        self.failed(Verb::Plug, &network, failure);
        self.attachment.call_ended(self.now());
        self.attachment
            .set_refused_add(Some((plugin.clone(), cause.clone())));
        let Some(mut record) = self.attachment.record().cloned() else {
            return self.finish_add(adding);
        };
        record.phase = Phase::Unplugging {
            attempt: 1,
            result: None,
        };
        record.since = self.turn.now.epoch;
        let teardown = Teardown::undo(&record.config, plugin, cause);
        let job = Job::of(&record, teardown, true);
        let mut removing = Removing::new(Why::Unplug, [job], pod).keeping(&record.owed);
        removing.permit = adding.permit.take();
        self.begin_del(removing, record)
    }

    fn add_failed(&mut self, adding: Adding, failure: Failure) -> Flow {
        let network = adding.selection.network.clone();
        self.failed(Verb::Plug, &network, failure);
        self.finish_add(adding)
    }

    fn finish_add(&mut self, adding: Adding) -> Flow {
        if let Some(permit) = adding.permit {
            self.turn.release(permit);
        }
        if adding.stage == AddStage::Unlisting {
            match adding
                .previous
                .filter(|previous| previous.phase == Phase::Tombstone)
            {
                Some(tombstone) => {
                    self.attachment.set_record(*tombstone);
                    self.save();
                }
                None => self.clear(),
            }
        }
        Flow::Finished
    }
}

fn on_network(adding: &Adding) -> RetryOn {
    RetryOn::Network {
        network: adding.selection.network.clone(),
        version: Some(adding.version.clone()),
    }
}

/// The pod has no device for it: a refusal until one is released, or the network changes.
fn refused(adding: &Adding, error: String) -> Failure {
    Failure {
        rejected: true,
        ..Failure::new(error).cleared_by(RetryOn::Device {
            network: adding.selection.network.clone(),
            version: adding.version.clone(),
        })
    }
}

/// The configuration of a network, its version, and the resource that it names.
fn configuration(
    network: &NetworkName,
    read: Result<Box<NetworkDefinition>, NetworkError>,
) -> Result<(NetworkConfig, String, Option<String>), Failure> {
    let on = |version: Option<String>| RetryOn::Network {
        network: network.clone(),
        version,
    };
    let definition = read.map_err(|error| {
        let failure = Failure::new(error.to_string());
        match error {
            NetworkError::Missing(_) | NetworkError::NoFile { .. } | NetworkError::TooLarge { .. } => {
                failure.cleared_by(on(None))
            }
            NetworkError::NoSuchKind | NetworkError::Api { .. } => failure,
        }
    })?;
    let NetworkDefinition {
        resource_version: version,
        config,
        resource_name,
    } = *definition;
    let config = NetworkConfig::parse(&config, network.name()).map_err(|error| {
        Failure::new(format!("its config cannot run: {error}")).cleared_by(on(Some(version.clone())))
    })?;
    Ok((config, version, resource_name))
}
