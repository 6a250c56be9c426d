//! The end of a sandbox. Multus tears down what its delegate file lists; what the agent hot-plugged
//! is released once more, because multus may not have been there. Never before the end: a pod that
//! terminates keeps its network.
//!
//! *Ended* is: not ready, no running container, and the path of the network namespace gone. After
//! that nothing in the sandbox can collide. Its attachments are released one at a time all the
//! same, because their calls would wait for each other in multus and the plugins; one that takes
//! long holds up no other.

use std::time::Duration;

use shared::{cni::NetworkConfig, names::NetworkName};

use crate::{
    attachment::{Disk, Verb},
    backoff,
    cni_state::CniState,
    effect::Effect,
    identity::{AttachmentKey, PodIdentity, SandboxId},
    operation::{DelStage, Job, Operation, Removing, Why},
    pod_state::PodState,
    record::{AttachmentRecord, Origin, Phase},
    sandbox_state::{End, Identity},
    teardown::Teardown,
    turn::{Purpose, Turn},
};

/// How often a sandbox that is about to end is asked about, at most.
const END_POLL: Duration = Duration::from_secs(2);
/// A release that takes longer is not waited for.
const SLOW: Duration = Duration::from_secs(2);
/// How soon removing a sandbox's record is tried again.
const REMOVE_RETRY: Duration = Duration::from_secs(5);

impl PodState {
    /// Follows sandboxes that are not ready to their end, and releases those that have ended.
    pub(crate) fn follow_ends(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<SandboxId> = self.sandboxes.keys().cloned().collect();
        for id in ids {
            let Some(sandbox) = self.sandboxes.get_mut(&id) else {
                continue;
            };
            match &mut sandbox.end {
                End::Ready => {}
                End::Ending { asking, next, .. } => {
                    if !*asking && turn.is_due(*next) {
                        *asking = true;
                        let netns = sandbox.netns().to_owned();
                        let effect = Effect::HasEnded {
                            sandbox: id.clone(),
                            netns,
                        };
                        turn.start(Purpose::Ended(id.clone()), effect);
                    }
                }
                End::Ended { .. } => self.release(&id, turn),
                End::Removing(due) => {
                    if due.is_some_and(|due| turn.is_due(due)) {
                        sandbox.end = End::Removing(None);
                        turn.start(
                            Purpose::SandboxRecord(id.clone()),
                            Effect::RemoveSandbox(id.clone()),
                        );
                    }
                }
            }
        }
    }

    pub(crate) fn end_known(&mut self, id: &SandboxId, ended: Result<bool, String>, turn: &mut Turn<'_>) {
        let now = turn.now.monotonic;
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let End::Ending { asking, rounds, next } = &mut sandbox.end else {
            return;
        };
        match ended {
            Ok(true) => {
                sandbox.end = End::Ended {
                    recovered: false,
                    retry: now,
                };
                // Nothing that failed while it lived says that it fails again.
                for attachment in sandbox.attachments.values_mut() {
                    attachment.make_due(now);
                }
                for key in self.waiting_operations(|of| of == id) {
                    self.drop_operation(&key, turn);
                }
            }
            Ok(false) => {
                *asking = false;
                *next = now + backoff::poll_interval(*rounds, END_POLL);
                *rounds = rounds.saturating_add(1);
            }
            Err(cause) => {
                *asking = false;
                *rounds = rounds.saturating_add(1);
                *next = now + backoff::delay(*rounds, turn.now.jitter);
                tracing::warn!(sandbox = %id, %cause, "asking for the end of a sandbox failed; will retry");
            }
        }
    }

    /// Releases what is due of a sandbox that has ended. When nothing is left, its own record goes.
    fn release(&mut self, id: &SandboxId, turn: &mut Turn<'_>) {
        if turn.stopping {
            return;
        }
        self.recover_damaged(id, turn);
        let Some(sandbox) = self.sandboxes.get(id) else {
            return;
        };
        for interface in sandbox.in_order().into_iter().rev() {
            if self.is_releasing(id, turn) {
                break;
            }
            self.release_one(&(id.clone(), interface), turn);
        }
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        sandbox.prune(turn.now.monotonic);
        let recovered =
            matches!(sandbox.end, End::Ended { recovered: true, .. }) && sandbox.damaged.is_empty();
        if sandbox.attachments.is_empty() && recovered && sandbox.newer.is_empty() {
            sandbox.end = End::Removing(None);
            turn.start(
                Purpose::SandboxRecord(id.clone()),
                Effect::RemoveSandbox(id.clone()),
            );
        }
    }

    /// Whether a release of the sandbox is in progress. One that takes long holds up no other:
    /// nothing can collide in a sandbox that has ended.
    fn is_releasing(&self, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let sandbox = self.sandboxes.get(id);
        let attachments = sandbox
            .into_iter()
            .flat_map(|sandbox| sandbox.attachments.values());
        let operations = attachments.filter_map(|attachment| attachment.operation.as_deref());
        let mut releasing = false;
        for operation in operations {
            let Operation::Del(Removing {
                why: Why::Release,
                stage,
                ..
            }) = operation
            else {
                continue;
            };
            releasing |= match stage {
                DelStage::Calling(running) => !turn.is_due(running.since + SLOW),
                _ => true,
            };
        }
        releasing
    }

    /// Attachments whose record was damaged are released with what libcni's cache knows of them.
    fn recover_damaged(&mut self, id: &SandboxId, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let End::Ended {
            recovered: false,
            retry,
        } = sandbox.end
        else {
            return;
        };
        if !turn.is_due(retry) {
            return;
        }
        sandbox.end = End::Ended {
            recovered: true,
            retry,
        };
        if !sandbox.damaged.is_empty() {
            turn.start(Purpose::Damaged(id.clone()), Effect::ReadCniState(id.clone()));
        }
    }

    pub(crate) fn damaged_read(
        &mut self,
        id: &SandboxId,
        state: Result<CniState, String>,
        turn: &mut Turn<'_>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let state = match state {
            Ok(state) => state,
            Err(cause) => {
                tracing::warn!(sandbox = %id, %cause, "reading libcni's cache for damaged records failed; will retry");
                sandbox.end = End::Ended {
                    recovered: false,
                    retry: turn.now.monotonic + backoff::CAP,
                };
                return;
            }
        };
        for entry in state.entries {
            if !sandbox.damaged.remove(&entry.interface) {
                continue;
            }
            // The NAD is not known; the list's own name is what DEL works by.
            let namespace = sandbox
                .record
                .as_ref()
                .map_or("default", |record| record.pod.namespace());
            let name = NetworkName::new(namespace, &entry.config_name.to_lowercase())
                .or_else(|_| NetworkName::new(namespace, "unknown"));
            let Ok(network) = name else { continue };
            let config = String::from_utf8_lossy(&entry.config).into_owned();
            let config = NetworkConfig::parse(&config, network.name()).map_or(config, |list| list.conflist());
            let selection = shared::selection::Selection::new(network);
            let record = AttachmentRecord {
                phase: Phase::Plugged { result: entry.result },
                ..AttachmentRecord::intent(&selection, entry.interface.clone(), config, turn.now.epoch)
            };
            sandbox.adopt(&record);
        }
        sandbox.damaged.clear();
    }

    fn release_one(&mut self, key: &AttachmentKey, turn: &mut Turn<'_>) {
        let grace = turn.context.timing.grace;
        let now = turn.now.monotonic;
        let Some(attachment) = self.attachment_mut(key) else {
            return;
        };
        let Some(record) = attachment.record().cloned() else {
            return;
        };
        if attachment.operation.is_some() || attachment.disk() == Disk::Writing {
            return;
        }
        let verb = if record.phase == Phase::Owed {
            Verb::ReleaseOwed
        } else {
            Verb::Unplug
        };
        let paused = match record.phase {
            // A DEL has been sent; what the lost ADD makes later is released when its time is over.
            Phase::Tombstone => Some(attachment.doubt_ends(now, grace)),
            _ => None,
        };
        let due = attachment.retry(verb).map(|retry| retry.due).max(paused);
        if due.is_some_and(|due| !turn.is_due(due)) {
            return;
        }
        let mut jobs: Vec<Job> = Vec::new();
        let released = attachment.is_gone() || record.phase == Phase::Owed;
        if record.origin == Origin::HotPlugged && !released {
            let failed_add = record.result().is_none() && record.phase != Phase::Tombstone;
            let teardown = Teardown::whole(&record.config, record.result().cloned())
                .of_failed_add(failed_add)
                .after_the_namespace();
            jobs.push(Job::of(&record, teardown, failed_add));
        }
        let owed = attachment.owed_jobs(now);
        jobs.extend(owed.into_iter().map(Job::after_the_namespace));
        if jobs.is_empty() {
            // Multus tears down what it plugged.
            self.at_site(key, turn, |site| {
                site.attachment.forget_record();
                site.save();
            });
            return;
        }
        let Some(pod) = self.identity_of(&key.0, turn) else {
            return;
        };
        self.at_site(key, turn, |site| {
            let operation = site.start_del(Removing::new(Why::Release, jobs, &pod));
            site.attachment.operation = Some(Box::new(operation));
        });
    }

    /// Multus takes a call only in the name of a pod that exists: the pod itself, else its
    /// successor of the same name, else the agent's own.
    fn identity_of(&mut self, id: &SandboxId, turn: &mut Turn<'_>) -> Option<PodIdentity> {
        let exists = self.pod.pod().is_some();
        let sandbox = self.sandboxes.get_mut(id)?;
        let recorded = sandbox.record.as_ref().map(|record| record.pod.clone());
        match &sandbox.identity {
            Identity::Known { pod, .. } => return Some(pod.clone()),
            Identity::Asking => return None,
            Identity::Failed { due, .. } if !turn.is_due(*due) => return None,
            Identity::Unknown if exists => {
                let pod = recorded?;
                sandbox.identity = Identity::Known {
                    pod: pod.clone(),
                    confirmed: false,
                };
                return Some(pod);
            }
            Identity::Unknown | Identity::Doubted | Identity::Failed { .. } => {}
        }
        match recorded {
            Some(pod) => {
                turn.start(Purpose::Identity(id.clone()), Effect::ReadPodUid(pod));
            }
            None => self.identity_read(id, Ok(None), turn),
        }
        if let Some(sandbox) = self.sandboxes.get_mut(id)
            && !matches!(sandbox.identity, Identity::Known { .. } | Identity::Failed { .. })
        {
            sandbox.identity = Identity::Asking;
        }
        None
    }

    pub(crate) fn identity_read(
        &mut self,
        id: &SandboxId,
        uid: Result<Option<String>, String>,
        turn: &mut Turn<'_>,
    ) {
        let own = turn.context.own.clone();
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let recorded = sandbox.record.as_ref().map(|record| record.pod.clone());
        let found = match (uid, recorded) {
            (Ok(Some(uid)), Some(pod)) if uid == pod.uid() => Ok(pod),
            (Ok(Some(_)), Some(pod)) => Ok(pod.without_uid()),
            (Ok(_), _) => own.ok_or_else(|| {
                "the pod is gone, and the agent does not know its own pod (POD_NAMESPACE, POD_NAME, POD_UID)"
                    .to_owned()
            }),
            (Err(cause), _) => Err(cause),
        };
        sandbox.identity = match found {
            Ok(pod) => Identity::Known { pod, confirmed: true },
            Err(cause) => {
                let failures = match sandbox.identity {
                    Identity::Failed { failures, .. } => failures,
                    _ => 0,
                };
                let failures = failures.saturating_add(1);
                tracing::warn!(sandbox = %id, %cause, "releasing a sandbox waits for a pod to call multus for");
                Identity::Failed {
                    failures,
                    due: turn.now.monotonic + backoff::delay(failures.max(3), turn.now.jitter),
                }
            }
        };
    }

    /// Multus does not accept the pod under whose name it was called.
    pub(crate) fn doubt_identity(&mut self, id: &SandboxId, turn: &Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let confirmed = matches!(sandbox.identity, Identity::Known { confirmed: true, .. });
        sandbox.identity = if confirmed {
            Identity::Failed {
                failures: 1,
                due: turn.now.monotonic + backoff::delay(3, turn.now.jitter),
            }
        } else {
            Identity::Doubted
        };
    }

    pub(crate) fn sandbox_removed(
        &mut self,
        id: &SandboxId,
        removed: Result<(), String>,
        turn: &mut Turn<'_>,
    ) {
        match removed {
            Ok(()) => {
                self.sandboxes.remove(id);
            }
            Err(error) => {
                tracing::error!(sandbox = %id, %error, "removing the record of an ended sandbox failed; will retry");
                if let Some(sandbox) = self.sandboxes.get_mut(id) {
                    sandbox.end = End::Removing(Some(turn.now.monotonic + REMOVE_RETRY));
                }
            }
        }
    }
}
