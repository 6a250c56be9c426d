//! The steps of a DEL. [`crate::operation`] has the flow and the guarantees.

use crate::{
    add::CRASHED,
    attachment::Verb,
    delegate::{Answer, Command, FailedPlugin, Refusal},
    effect::{Effect, Outcome},
    event::Event,
    operation::{DelStage, Flow, Job, MAX_OWED, Operation, PATIENCE, Removing, Why},
    record::{AttachmentRecord, Phase},
    retry::{Failure, RetryOn},
    site::Site,
    teardown::{Teardown, Verdict},
};

impl Site<'_, '_> {
    /// Begins a DEL: a permit is awaited.
    pub fn start_del(&mut self, mut removing: Removing) -> Operation {
        let config = removing.next_config().unwrap_or_default();
        removing.permit = Some(self.acquire_permit(config, removing.pod.namespace()));
        Operation::Del(removing)
    }

    /// What a record's own list needs.
    pub fn job_of(&self, record: &AttachmentRecord) -> Job {
        let failed_add = record.result().is_none();
        let teardown = match self.attachment.refused_add().filter(|_| failed_add) {
            Some((plugin, cause)) => Teardown::undo(&record.config, plugin.clone(), cause),
            None => Teardown::whole(&record.config, record.result().cloned()).of_failed_add(failed_add),
        };
        Job::of(record, teardown, failed_add)
    }

    /// The outcome of the effect that a DEL waited for.
    pub fn del_outcome(&mut self, removing: Removing, outcome: Outcome) -> Flow {
        match (removing.stage, outcome) {
            (DelStage::Permit, Outcome::Done) => self.del_permitted(removing),
            (DelStage::Recording, Outcome::Written(written)) => {
                // A disk that refuses forbids no DEL.
                self.written(&written);
                self.next_del(removing)
            }
            (DelStage::RecordingOwed, Outcome::Written(written)) => {
                self.written(&written);
                match written {
                    Ok(()) => self.next_del(removing),
                    Err(error) => {
                        let error =
                            format!("no list is taken apart before it is recorded what is owed: {error}");
                        self.del_failed(removing, Failure::new(error))
                    }
                }
            }
            (DelStage::Calling(_), Outcome::Answer(answer)) => self.del_answered(removing, answer),
            (DelStage::Unlisting, _) => self.finish_del(removing),
            (_, outcome) => {
                tracing::error!(?outcome, "an outcome that no DEL waits for");
                self.end_del(removing)
            }
        }
    }

    fn del_permitted(&mut self, removing: Removing) -> Flow {
        let Some(mut record) = self.attachment.record().cloned() else {
            return self.end_del(removing);
        };
        if matches!(removing.why, Why::Unplug) {
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
        }
        self.begin_del(removing, record)
    }

    /// Records that a DEL begins: should the agent die before its end, the next one gives the
    /// plugin its time.
    pub fn begin_del(&mut self, mut removing: Removing, mut record: AttachmentRecord) -> Flow {
        if !matches!(removing.why, Why::Unplug | Why::LostAdd) || self.attachment.record() == Some(&record) {
            return self.next_del(removing);
        }
        record.since = self.turn.now.epoch;
        self.attachment.set_record(record.clone());
        self.write(record, false);
        removing.stage = DelStage::Recording;
        Flow::Continue(Box::new(Operation::Del(removing)))
    }

    /// Sends the next configuration, or ends the operation.
    pub fn next_del(&mut self, mut removing: Removing) -> Flow {
        let (Some(config), Some(record)) = (removing.next_config(), self.attachment.record().cloned()) else {
            return self.released(removing);
        };
        let pod = removing.pod.clone();
        let running = self.call(Command::Del, &record, config, &pod);
        removing.stage = DelStage::Calling(running);
        Flow::Continue(Box::new(Operation::Del(removing)))
    }

    fn del_answered(&mut self, mut removing: Removing, answer: Answer) -> Flow {
        // After the end of a sandbox its calls may overlap: an ADD without an answer has not ended
        // with this DEL.
        if !matches!(answer, Answer::Lost(_)) && !matches!(removing.why, Why::Release) {
            self.attachment.call_ended(self.now());
        }
        match answer {
            Answer::Done(_) => {
                if let Some(job) = removing.jobs.front_mut() {
                    job.teardown.succeeded();
                }
                self.next_del(removing)
            }
            Answer::Refused {
                cause: Refusal::PodNotFound | Refusal::PodUidMismatch,
                ..
            } if matches!(removing.why, Why::Release) => {
                self.end_del(removing);
                Flow::UnknownPod
            }
            Answer::Refused { cause, plugin, text } => {
                self.del_refused(removing, &cause, plugin.as_ref(), text)
            }
            Answer::NotSent(error) => {
                self.del_failed(removing, Failure::new(error).cleared_by(RetryOn::Multus))
            }
            Answer::Crashed => self.del_refused(removing, &Refusal::Other, None, CRASHED.to_owned()),
            Answer::Lost(error) => {
                let grace = self.turn.context.timing.grace;
                self.attachment.answer_lost(self.now(), grace);
                self.del_failed(
                    removing,
                    Failure::new(format!("multus' answer was lost: {error}")),
                )
            }
        }
    }

    fn del_refused(
        &mut self,
        mut removing: Removing,
        cause: &Refusal,
        plugin: Option<&FailedPlugin>,
        text: String,
    ) -> Flow {
        let (now, unplugging) = (self.now(), matches!(removing.why, Why::Unplug));
        let failing = self.attachment.retry(Verb::Unplug);
        let long = failing.is_some_and(|retry| now >= retry.since + PATIENCE);
        let Some(job) = removing.jobs.front_mut() else {
            return self.released(removing);
        };
        if job.teardown.refused(cause, plugin) == Verdict::GoOn {
            removing.refused.get_or_insert(text);
            return self.next_del(removing);
        }
        let gone = *cause == Refusal::InterfaceGone;
        let may_split = !unplugging || job.failed_add || long || gone;
        if !may_split || !job.teardown.take_apart(plugin) {
            return self.del_failed(removing, Failure::new(text));
        }
        removing.refused = Some(text);
        self.record_owed(removing)
    }

    /// What will be owed is on the disk before the first part of a list goes out.
    fn record_owed(&mut self, mut removing: Removing) -> Flow {
        let Some(mut record) = self.attachment.record().cloned() else {
            return self.end_del(removing);
        };
        record.owed = removing.owed_now();
        self.attachment.set_record(record.clone());
        self.write(record, false);
        removing.stage = DelStage::RecordingOwed;
        Flow::Continue(Box::new(Operation::Del(removing)))
    }

    /// Every list was tried: what refused is owed, the rest is released.
    fn released(&mut self, mut removing: Removing) -> Flow {
        let Some(mut record) = self.attachment.record().cloned() else {
            return self.end_del(removing);
        };
        for given_up in removing.given_up() {
            tracing::error!(
                sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
                network = %given_up.network, interface = %self.interface,
                "more than {MAX_OWED} releases are owed for this interface name; giving up the oldest: \
                 its address may stay allocated on the node"
            );
        }
        record.owed = removing.owed_now();
        self.attachment.set_record(record.clone());
        match &removing.why {
            Why::Unplug | Why::LostAdd => {
                self.start(Effect::UnlistDelegate {
                    sandbox: self.sandbox.clone(),
                    network: record.network,
                    interface: self.interface.clone(),
                });
                removing.stage = DelStage::Unlisting;
                Flow::Continue(Box::new(Operation::Del(removing)))
            }
            Why::Owed | Why::BeforeAdd(_) | Why::Release => self.finish_del(removing),
        }
    }

    fn finish_del(&mut self, mut removing: Removing) -> Flow {
        let Some(record) = self.attachment.record().cloned() else {
            return self.end_del(removing);
        };
        self.attachment.set_retry(Verb::Unplug, None);
        self.note_owed(&record, removing.refused.take());
        match removing.why {
            Why::Unplug => self.unplugged(record),
            Why::LostAdd => self.leave_tombstone(record, true),
            // Network-status has to forget it first.
            Why::Owed if self.attachment.is_gone() => self.save(),
            Why::Owed => self.clear(),
            Why::BeforeAdd(mut adding) => {
                adding.permit = removing.permit.take();
                return self.intend(*adding);
            }
            Why::Release => self.released_with_its_sandbox(record),
        }
        self.end_del(removing)
    }

    fn note_owed(&mut self, record: &AttachmentRecord, refused: Option<String>) {
        let was_owed = self.attachment.retry(Verb::ReleaseOwed).is_some();
        if let Some(cause) = refused.as_ref().filter(|_| was_owed && record.owed.is_empty()) {
            self.note_given_up(record, cause);
        }
        match refused.filter(|_| !record.owed.is_empty()) {
            Some(error) => {
                let network = record
                    .owed
                    .first()
                    .map_or(&record.network, |owed| &owed.network)
                    .clone();
                self.failed(Verb::ReleaseOwed, &network, Failure::new(error));
            }
            None => self.attachment.set_retry(Verb::ReleaseOwed, None),
        }
    }

    /// A plugin that is missing for long never ran: nothing is owed any more, though no DEL
    /// succeeded.
    fn note_given_up(&self, record: &AttachmentRecord, cause: &str) {
        tracing::warn!(
            sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display), network = %record.network,
            interface = %self.interface, %cause,
            "giving up an owed release: the plugin is not on the node, or nothing is left to release"
        );
    }

    fn unplugged(&mut self, record: AttachmentRecord) {
        self.attachment.set_refused_add(None);
        if self.attachment.is_lost_add() {
            self.leave_tombstone(record, false);
            return;
        }
        if record.result().is_some() {
            tracing::info!(
                sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
                network = %record.network, interface = %self.interface, "unplugged"
            );
            self.event(Event::removed(self.interface, &record.network));
            let now = self.now();
            self.attachment.note_removal(now);
            self.attachment.set_gone();
            self.save();
        } else {
            self.clear();
        }
    }

    /// More of a lost ADD may appear: the record stays, and libcni's cache is read again from time
    /// to time.
    fn leave_tombstone(&mut self, mut record: AttachmentRecord, lost_now: bool) {
        record.phase = Phase::Tombstone;
        record.since = self.turn.now.epoch;
        if lost_now {
            // An agent that could not write it down may have confirmed and published the ADD.
            let published = (record.network.clone(), vec![self.interface.clone()]);
            if !record.stale_status.contains(&published) {
                record.stale_status.push(published);
            }
        }
        self.attachment.set_lost_add(true);
        let now = self.now();
        self.attachment.buried(lost_now, now);
        self.attachment.set_record(record);
        self.save();
    }

    /// A call may still run: then it is released once more when that is over.
    fn released_with_its_sandbox(&mut self, record: AttachmentRecord) {
        let grace = self.turn.context.timing.grace;
        let now = self.now();
        let doubtful = matches!(record.phase, Phase::Plugging { .. } | Phase::Tombstone);
        if doubtful && now < self.attachment.doubt_ends(now, grace) {
            self.attachment.set_record(AttachmentRecord {
                phase: Phase::Tombstone,
                ..record
            });
            self.save();
            return;
        }
        tracing::info!(
            sandbox = %self.sandbox, pod = self.pod.map(tracing::field::display),
            network = %record.network, interface = %self.interface, "released"
        );
        if record.owed.is_empty() {
            self.attachment.forget_record();
        } else {
            self.attachment.set_record(AttachmentRecord {
                phase: Phase::Owed,
                ..record
            });
        }
        self.save();
    }

    fn del_failed(&mut self, removing: Removing, failure: Failure) -> Flow {
        let verb = match removing.why {
            Why::Unplug | Why::LostAdd | Why::Release => Verb::Unplug,
            Why::Owed | Why::BeforeAdd(_) => Verb::ReleaseOwed,
        };
        let network = removing
            .jobs
            .front()
            .map(|job| job.network.clone())
            .or_else(|| self.attachment.record().map(|record| record.network.clone()));
        if let Some(network) = network {
            self.failed(verb, &network, failure.clone());
        }
        if let Why::BeforeAdd(adding) = &removing.why {
            self.failed(Verb::Plug, &adding.selection.network.clone(), failure);
        }
        self.end_del(removing)
    }

    fn end_del(&mut self, mut removing: Removing) -> Flow {
        if let Some(permit) = removing.permit.take() {
            self.turn.release(permit);
        }
        Flow::Finished
    }
}
