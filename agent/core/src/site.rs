//! Where an operation runs: one attachment of one sandbox, for the time of one turn. What ADD and
//! DEL share.

use std::time::Duration;

use shared::names::{InterfaceName, NetworkName};

use crate::{
    attachment::{Attachment, Disk, Verb},
    delegate::{Call, Command},
    device::RecordedDevices,
    effect::{Action, Count, Effect, EffectId},
    event::{Event, Reason},
    identity::{AttachmentKey, PodIdentity, SandboxId},
    operation::Running,
    record::{AttachmentRecord, Phase},
    retry::{Failure, Retry},
    turn::{Purpose, Turn},
};

/// See the module.
pub struct Site<'a, 't> {
    /// The sandbox.
    pub sandbox: &'a SandboxId,
    /// The interface.
    pub interface: &'a InterfaceName,
    /// The attachment.
    pub attachment: &'a mut Attachment,
    /// The pod that events are written on; `None`: it does not exist any more.
    pub pod: Option<&'a PodIdentity>,
    /// The pod and the sandbox live, and the agent is neither held nor to stop: an ADD may be sent.
    pub may_add: bool,
    /// The path of the network namespace; empty after the sandbox has ended.
    pub netns: &'a str,
    /// The next place in the sandbox's order of plugging.
    pub order: u64,
    /// Bytes of CNI configuration that the sandbox's records hold, without this attachment's own.
    pub config_bytes: usize,
    /// The devices that the sandbox's records name.
    pub devices: RecordedDevices,
    /// The turn.
    pub turn: &'a mut Turn<'t>,
}

impl Site<'_, '_> {
    /// The time.
    pub fn now(&self) -> Duration {
        self.turn.now.monotonic
    }

    fn key(&self) -> AttachmentKey {
        (self.sandbox.clone(), self.interface.clone())
    }

    /// Starts the next effect of the operation.
    pub fn start(&mut self, effect: Effect) -> EffectId {
        let purpose = Purpose::Operation(self.key());
        self.turn.start(purpose, effect)
    }

    /// Waits for a permit to run `config`.
    pub fn acquire_permit(&mut self, config: String, namespace: &str) -> EffectId {
        self.start(Effect::AcquirePermit {
            config,
            namespace: namespace.to_owned(),
        })
    }

    /// Writes `record` as a step of the operation.
    pub fn write(&mut self, record: AttachmentRecord, durable: bool) {
        self.attachment.set_disk(Disk::Writing);
        self.start(Effect::PutRecord {
            sandbox: self.sandbox.clone(),
            record: Box::new(record),
            durable,
        });
    }

    /// A write of the operation has ended. A refused one is repeated beside operations.
    pub fn written(&mut self, outcome: &Result<(), String>) {
        let disk = match outcome {
            Ok(()) => Disk::Clean,
            Err(error) => {
                tracing::error!(
                    sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
                    interface = %self.interface, %error, "writing a record failed; will retry"
                );
                Disk::Refused {
                    retry: self.now() + crate::attachment::DISK_RETRY,
                }
            }
        };
        self.attachment.set_disk(disk);
    }

    /// Writes the record, or removes it where there is none, beside operations. The operation is
    /// over by then.
    pub fn save(&mut self) {
        self.attachment.set_disk(Disk::Writing);
        let effect = match self.attachment.record() {
            Some(record) => Effect::PutRecord {
                sandbox: self.sandbox.clone(),
                record: Box::new(record.clone()),
                durable: false,
            },
            None => Effect::RemoveRecord(self.sandbox.clone(), self.interface.clone()),
        };
        let purpose = Purpose::Record(self.key());
        self.turn.start(purpose, effect);
    }

    /// Sends a call. The same bytes go out at ADD and DEL.
    pub fn call(
        &mut self,
        command: Command,
        record: &AttachmentRecord,
        config: String,
        pod: &PodIdentity,
    ) -> Running {
        let del = command == Command::Del;
        self.start(Effect::Delegate(Box::new(Call {
            command,
            sandbox: self.sandbox.clone(),
            netns: self.netns.to_owned(),
            interface: self.interface.clone(),
            pod: pod.clone(),
            config,
            ips: if del { Vec::new() } else { record.ips.clone() },
            mac: record.mac.clone().filter(|_| !del),
            cni_args: record.cni_args.clone().filter(|_| !del),
        })));
        Running {
            since: self.now(),
            late: false,
        }
    }

    /// Has an event written on the pod, if it exists.
    pub fn event(&mut self, event: Event) {
        if let Some(pod) = self.pod {
            self.turn.actions.push(Action::Event(pod.clone(), event));
        }
    }

    /// Notes a failure of `verb`, and tells the pod.
    pub fn failed(&mut self, verb: Verb, network: &NetworkName, failure: Failure) {
        let before = self.attachment.retry(verb);
        let repeated = before.is_some_and(|retry| retry.error == failure.error);
        let retry = Retry::after(before, failure.clone(), self.turn.now);
        let wait = retry.due - self.now();
        let now = self.now();
        self.attachment.set_failed(verb, retry, now);
        self.turn.count(Count::StepFailed);
        let Failure { error, rejected, .. } = failure;
        tracing::warn!(
            sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display), %network,
            interface = %self.interface, cause = %error, retry_in = ?wait, "{}",
            match verb {
                Verb::Plug => "plugging failed; will retry",
                Verb::Unplug => "unplugging failed; will retry",
                Verb::ReleaseOwed => "an owed release failed; will retry",
            }
        );
        let event = match verb {
            Verb::Plug if rejected && repeated => return,
            Verb::Plug if rejected => Event::warning(
                Reason::InterfaceAddRejected,
                format!("interface {} of network {network}: {error}", self.interface),
            ),
            Verb::Plug => Event::failed_adding(self.interface, network, &error, Some(wait)),
            Verb::Unplug => Event::failed_removing(self.interface, network, &error, Some(wait)),
            Verb::ReleaseOwed => Event::release_owed(self.interface, network, &error, Some(wait)),
        };
        self.event(event);
    }

    /// A call takes too long: its place is given to another one, and the pod is told. The call goes
    /// on.
    pub fn exceeded(&mut self, command: Command, network: &NetworkName, permit: Option<EffectId>) {
        let cause = format!(
            "multus has not answered for {} s; still waiting",
            self.turn.context.timing.late.as_secs()
        );
        tracing::warn!(
            sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display), %network,
            interface = %self.interface, %cause, "multus call is late"
        );
        self.turn.count(Count::Late);
        if let Some(permit) = permit {
            self.turn.actions.push(Action::Late(permit));
        }
        let event = match command {
            Command::Add => Event::failed_adding(self.interface, network, &cause, None),
            Command::Del => Event::failed_removing(self.interface, network, &cause, None),
        };
        self.event(event);
    }

    /// Nothing is attached under this name any more: what remains is owed, or still in
    /// network-status, or nothing.
    pub fn clear(&mut self) {
        let Some(record) = self.attachment.record().cloned() else {
            return;
        };
        if !record.stale_status.is_empty() {
            self.attachment.set_record(AttachmentRecord {
                phase: Phase::Unplugging {
                    attempt: 1,
                    result: None,
                },
                ..record
            });
            self.attachment.set_gone();
        } else if record.owed.is_empty() {
            self.attachment.forget_record();
        } else {
            self.attachment.set_record(AttachmentRecord {
                phase: Phase::Owed,
                ..record
            });
            self.attachment.set_forgotten();
        }
        self.save();
    }
}
