//! Keeps our entries of network-status equal to the records. Entries of other writers stay
//! byte-equal and in place; a patch names the pod's uid and version, so that no other write is
//! overwritten.
//!
//! Flow: compare → patch → on a conflict, or after a patch that failed: read the pod, then list the
//! sandboxes, because multus writes the whole annotation for a new sandbox before that one is
//! ready. A patch is in flight while the next step already runs; changes that come meanwhile are
//! coalesced into the next patch. While an operation runs, a change waits a little for the next
//! one: one edit of several networks is one patch, or a few.

use std::{rc::Rc, time::Duration};

use shared::{
    annotations::NETWORK_STATUS,
    status::{self, StatusChange},
};

use crate::{
    attachment::Disk,
    effect::{Effect, Outcome, PatchOutcome, StatusView},
    identity::SandboxId,
    pod::{Pod, is_newer},
    pod_state::PodState,
    publication::Fresh,
    record::{AttachmentRecord, Origin, Phase},
    retry::{Failure, Retry},
    sandbox_state::Sight,
    turn::{Purpose, Turn},
};

/// The API server's limit for the sum of all annotations of an object.
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// A write waits so long for the other operations of the same edit, so that they are told together.
const TOGETHER: Duration = Duration::from_millis(100);
/// So many times in a row another writer may be faster before the next try waits.
const CONFLICTS: u32 = 5;

impl PodState {
    /// Compares network-status with the records, and starts what brings it in line; then the
    /// condition. Whether another decision may follow at once.
    pub(crate) fn publish(&mut self, pod: &Rc<Pod>, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let seen = |sandbox: &crate::sandbox_state::SandboxState| sandbox.sight == Sight::Seen;
        let compare = !self.publication.in_flight
            && self.publication.dirty
            && self.sandboxes.get(id).is_some_and(seen)
            && self
                .publication
                .retry
                .as_ref()
                .is_none_or(|retry| turn.is_due(retry.due))
            && self.has_waited_for_others(id, turn);
        let again = compare && self.publish_status(pod, id, turn);
        self.publish_condition(pod, turn);
        again
    }

    /// No operation is in progress, or there is something to compare for [`TOGETHER`].
    fn has_waited_for_others(&mut self, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let busy = self.sandboxes.get(id).is_some_and(|sandbox| sandbox.is_busy());
        if !busy {
            self.publication.waits_since = None;
            return true;
        }
        let since = *self.publication.waits_since.get_or_insert(turn.now.monotonic);
        let waited = turn.is_due(since + TOGETHER);
        if waited {
            self.publication.waits_since = None;
        }
        waited
    }

    fn publish_status(&mut self, pod: &Rc<Pod>, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let change = self.change_for(id);
        if change == StatusChange::default() {
            self.publication.has_nothing_to_say();
            return self.forget_published(id, turn);
        }
        let view = match self.known_status(pod) {
            Known::View(view) => view,
            Known::ReadFirst => {
                self.publication.in_flight = true;
                turn.start(Purpose::Status, Effect::ReadStatus(pod.identity.clone()));
                return false;
            }
            Known::ListFirst => {
                let begun = self.publication.fresh.as_ref().is_some_and(|fresh| fresh.listing);
                if self.publication.fresh.is_some() && !begun {
                    self.listing.stale = true;
                    self.list_sandboxes(turn);
                }
                return false;
            }
            Known::NotOurs => return false,
        };
        match status::splice(view.status.as_deref(), &change) {
            Ok(None) => {
                self.publication.is_in_line(view);
                self.forget_published(id, turn)
            }
            Ok(Some(new)) => {
                self.patch(pod, view, new, turn);
                false
            }
            Err(error) => {
                self.status_failed(error.to_string(), turn);
                false
            }
        }
    }

    fn patch(&mut self, pod: &Rc<Pod>, view: StatusView, new: String, turn: &mut Turn<'_>) {
        if let Err(error) = check_size(&view, &new) {
            self.status_failed(error, turn);
            return;
        }
        if !self.publication.records_changed {
            // Nothing of ours has changed: another writer took something out. Two that disagree
            // must not race.
            if self
                .publication
                .restores
                .next()
                .is_some_and(|next| !turn.is_due(next))
            {
                return;
            }
            self.publication.restores.note(turn.now.monotonic);
        }
        self.publication.in_flight = true;
        self.publication.dirty = false;
        self.publication.records_changed = false;
        let effect = Effect::PatchStatus {
            pod: pod.identity.clone(),
            old: Box::new(view),
            new: Some(new),
            condition: self.condition.send_along(turn).map(Box::new),
        };
        turn.start(Purpose::Status, effect);
    }

    /// The present network-status, or what has to be read before it is known.
    fn known_status(&mut self, pod: &Rc<Pod>) -> Known {
        match &self.publication.fresh {
            Some(fresh) if !fresh.confirmed => return Known::ListFirst,
            Some(fresh) if fresh.view.uid != pod.identity.uid() => return Known::NotOurs,
            Some(fresh) => return Known::View(fresh.view.clone()),
            None => {}
        }
        if self.publication.doubted {
            return Known::ReadFirst;
        }
        if self.listing.stale || self.listing.reading {
            return Known::ListFirst;
        }
        Known::View(self.newest_view(pod))
    }

    /// The newest view of the pod: the answer to the last patch, or what the watch shows.
    pub(crate) fn newest_view(&self, pod: &Pod) -> StatusView {
        let written = self.publication.written.as_ref();
        let newest = written.filter(|view| is_newer(&view.version, &pod.resource_version));
        newest.cloned().unwrap_or_else(|| StatusView {
            uid: pod.identity.uid().to_owned(),
            version: pod.resource_version.clone(),
            status: pod.status.clone(),
            annotation_bytes: pod.annotation_bytes,
        })
    }

    pub(crate) fn status_outcome(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        self.publication.in_flight = false;
        self.publication.dirty = true;
        if let Outcome::Patched(outcome) = &outcome {
            self.note_condition(outcome, true, turn);
        }
        match outcome {
            Outcome::Status(Ok(Some(view))) => {
                self.publication.fresh = Some(Fresh {
                    view,
                    listing: false,
                    confirmed: false,
                });
            }
            Outcome::Status(Ok(None)) | Outcome::Patched(PatchOutcome::Gone) => {
                // The watch will say so.
                self.publication.dirty = false;
            }
            Outcome::Status(Err(error)) => self.status_failed(error, turn),
            Outcome::Patched(PatchOutcome::Written(view)) => self.publication.believe(view),
            Outcome::Patched(PatchOutcome::Conflict) => {
                self.publication.records_changed = true;
                self.publication.fresh = None;
                self.publication.doubted = true;
                self.publication.conflicts += 1;
                if self.publication.conflicts >= CONFLICTS {
                    self.publication.conflicts = 0;
                    let error = format!("others wrote to the pod {CONFLICTS} times in a row");
                    self.status_failed(error, turn);
                }
            }
            Outcome::Patched(PatchOutcome::Failed(error)) => {
                self.publication.records_changed = true;
                self.status_failed(error, turn);
            }
            outcome => tracing::error!(?outcome, "an outcome that no status write waits for"),
        }
    }

    fn status_failed(&mut self, error: String, turn: &mut Turn<'_>) {
        let publication = &mut self.publication;
        publication.fresh = None;
        publication.doubted = true;
        tracing::warn!(uid = %self.uid, pod = self.pod.pod().map(|pod| tracing::field::display(&pod.identity)),
            cause = %error, "writing network-status failed; will retry");
        let retry = Retry::after(publication.retry.as_ref(), Failure::new(error), turn.now);
        let due = retry.due;
        publication.retry = Some(retry);
        turn.wake_at(due);
    }

    /// What the records say about network-status. What multus wrote for a cold-plugged attachment
    /// stays as multus wrote it, and comes back when another writer took it out.
    fn change_for(&self, id: &SandboxId) -> StatusChange {
        let mut change = StatusChange::default();
        let Some(sandbox) = self.sandboxes.get(id) else {
            return change;
        };
        for interface in sandbox.in_order() {
            let Some(attachment) = sandbox.attachments.get(&interface) else {
                continue;
            };
            let Some(record) = attachment.record() else {
                continue;
            };
            match &record.phase {
                Phase::Plugged { .. } => {
                    change.remove.extend(record.stale_status.clone());
                    let entries = attachment.entries().to_vec();
                    match record.origin {
                        Origin::HotPlugged => change.put.extend(entries),
                        Origin::ColdPlugged => change.restore.extend(entries),
                    }
                }
                _ if attachment.is_gone() => change.remove.extend(attachment.stale_status()),
                _ => change.remove.extend(record.stale_status.clone()),
            }
        }
        for (network, interfaces) in &mut change.remove {
            let put = |name: &str| {
                change
                    .put
                    .iter()
                    .any(|entry| entry.interface == name && entry.name == network.to_string())
            };
            interfaces.retain(|interface| !put(interface.as_str()));
        }
        change
    }

    /// Network-status is in line: records that were kept only for that go.
    fn forget_published(&mut self, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let Some(sandbox) = self.sandboxes.get(id) else {
            return false;
        };
        let settled = |attachment: &&crate::attachment::Attachment| {
            attachment.operation.is_none() && attachment.disk() != Disk::Writing
        };
        let waiting = sandbox
            .attachments
            .iter()
            .filter(|(_, attachment)| settled(attachment));
        let due: Vec<_> = waiting
            .filter(|(_, attachment)| {
                let stale = |record: &AttachmentRecord| !record.stale_status.is_empty();
                attachment.is_gone() || attachment.record().is_some_and(stale)
            })
            .map(|(interface, _)| (id.clone(), interface.clone()))
            .collect();
        let any = !due.is_empty();
        for key in due {
            self.at_site(&key, turn, |site| {
                let Some(record) = site.attachment.record().cloned() else {
                    return;
                };
                site.attachment.set_record(AttachmentRecord {
                    stale_status: Vec::new(),
                    ..record
                });
                if site.attachment.is_gone() {
                    site.clear();
                } else {
                    site.save();
                }
            });
        }
        if any {
            // Attachments that were busy are looked at again.
            self.publication.dirty = true;
        }
        any
    }
}

enum Known {
    View(StatusView),
    ReadFirst,
    ListFirst,
    NotOurs,
}

fn check_size(view: &StatusView, new: &str) -> Result<(), String> {
    let old = view
        .status
        .as_ref()
        .map_or(0, |status| status.len() + NETWORK_STATUS.len());
    let bytes = view.annotation_bytes.saturating_sub(old) + new.len() + NETWORK_STATUS.len();
    if bytes > MAX_ANNOTATION_BYTES {
        return Err(format!(
            "the pod's annotations would be {bytes} bytes long, {MAX_ANNOTATION_BYTES} are allowed"
        ));
    }
    Ok(())
}
