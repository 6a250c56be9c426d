//! Keeps our entries of network-status as the records are. Everybody else's entries stay byte-equal; a write is a JSON patch that
//! tests the pod's uid and the old value, so nobody's work is overwritten.

use std::time::Duration;

use shared::{
    annotations::NETWORK_STATUS,
    cni::CniResult,
    status::{self, StatusChange},
};

use crate::{
    backoff, cri,
    execute::unpublished,
    identity::SandboxId,
    memory::{Memory, StatusRetry},
    pod::Pod,
    records::{AttachmentRecord, Origin, Phase},
    world::{PatchOutcome, StatusView, World},
};

/// The API server's limit for the sum of all annotations of an object.
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// So many writers in a row may be faster than we before we step back.
const CONFLICTS: u32 = 5;

/// Brings network-status in line with the records of `sandbox`, which is the pod's present one, and lets go of the records whose
/// attachments are gone from both. A failure is noted for another try and stops nothing else.
pub async fn publish<W: World>(world: &W, memory: &mut Memory, sandbox: &SandboxId, pod: &Pod) {
    if let Some(retry) = &memory.status_retry
        && retry.due > world.now()
    {
        memory.wake_at(retry.due);
        return;
    }
    let change = change_for(memory, sandbox);
    if change == StatusChange::default() {
        return;
    }
    match write(world, memory, sandbox, pod, &change).await {
        Ok(Outcome::InLine) => {
            memory.status_retry = None;
            settle(world, memory, sandbox).await;
        }
        Ok(Outcome::NotOurs) => memory.look_again(world.now()),
        Err(error) => {
            let failures = memory
                .status_retry
                .as_ref()
                .map_or(0, |retry| retry.failures)
                .saturating_add(1);
            let due = world.now() + backoff::delay(failures, world.jitter());
            tracing::warn!(pod = %pod.identity, cause = %error, "network-status could not be written");
            memory.status_retry = Some(StatusRetry { failures, due, error });
            memory.wake_at(due);
        }
    }
}

/// What the records say about network-status. What multus wrote for a cold-plugged attachment stays as multus wrote it, and comes back
/// when somebody took it out.
fn change_for(memory: &Memory, sandbox: &SandboxId) -> StatusChange {
    let mut change = StatusChange::default();
    for interface in memory.interfaces(sandbox) {
        let key = (sandbox.clone(), interface);
        let Some(record) = memory.record(&key) else {
            continue;
        };
        match &record.phase {
            Phase::Plugged { result } => {
                change.remove.extend(record.unpublish.clone());
                let entries = CniResult::parse(result)
                    .map(|result| status::entries(&record.network, &result))
                    .unwrap_or_default();
                match record.origin {
                    Origin::HotPlugged => change.put.extend(entries),
                    Origin::ColdPlugged => change.restore.extend(entries),
                }
            }
            Phase::Unplugging { .. } if memory.unplugged.contains(&key) => {
                change.remove.extend(unpublished(record))
            }
            _ => change.remove.extend(record.unpublish.clone()),
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

enum Outcome {
    /// Network-status is as the records are.
    InLine,
    /// The pod, or its sandbox, is another one by now: network-status is no longer about these records.
    NotOurs,
}

async fn write<W: World>(
    world: &W,
    memory: &mut Memory,
    sandbox: &SandboxId,
    pod: &Pod,
    change: &StatusChange,
) -> Result<Outcome, String> {
    let mut view = match known(memory, pod) {
        Some(view) => view,
        None => match reread(world, sandbox, pod).await? {
            Some(fresh) => fresh,
            None => return Ok(Outcome::NotOurs),
        },
    };
    for _ in 0..CONFLICTS {
        let new = status::splice(view.status.as_deref(), change).map_err(|error| error.to_string())?;
        let Some(new) = new else {
            memory.written = Some((pod.resource_version.clone(), view));
            return Ok(Outcome::InLine);
        };
        check_size(&view, &new)?;
        match world.patch_status(&pod.identity, &view, &new).await {
            PatchOutcome::Written(view) => {
                memory.written = Some((pod.resource_version.clone(), view));
                return Ok(Outcome::InLine);
            }
            PatchOutcome::Gone => return Ok(Outcome::NotOurs),
            PatchOutcome::Failed(error) => return Err(error),
            PatchOutcome::Conflict => match reread(world, sandbox, pod).await? {
                Some(fresh) => view = fresh,
                None => return Ok(Outcome::NotOurs),
            },
        }
    }
    Err(format!("others wrote to the pod {CONFLICTS} times in a row"))
}

/// What network-status is as far as is known. `None`: a patch has failed since, which may have been done all the same, and the watch need
/// not have told of it.
fn known(memory: &mut Memory, pod: &Pod) -> Option<StatusView> {
    let ours = memory
        .written
        .take()
        .filter(|(version, _)| *version == pod.resource_version);
    if memory.status_retry.is_some() {
        return None;
    }
    let told = || StatusView {
        uid: pod.identity.uid().to_owned(),
        status: pod.status.clone(),
        annotation_bytes: pod.annotation_bytes,
    };
    Some(ours.map_or_else(told, |(_, view)| view))
}

/// Reads again. Multus writes the whole annotation when it makes a new sandbox, before that one is ready: so what is read counts only
/// when the sandbox is still the pod's *after* that. `None`: it is not.
async fn reread<W: World>(world: &W, sandbox: &SandboxId, pod: &Pod) -> Result<Option<StatusView>, String> {
    let fresh = world
        .read_status(&pod.identity)
        .await?
        .filter(|fresh| fresh.uid == pod.identity.uid());
    let listed = world
        .sandboxes_of(pod.identity.uid())
        .await
        .map_err(|error| error.to_string())?;
    Ok(fresh.filter(|_| cri::ready_sandbox(&listed).is_some_and(|ready| ready.id == *sandbox)))
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

/// Network-status is in line: lets go of what only waited for that.
async fn settle<W: World>(world: &W, memory: &mut Memory, sandbox: &SandboxId) {
    for interface in memory.interfaces(sandbox) {
        let key = (sandbox.clone(), interface);
        if memory.unplugged.contains(&key) {
            match world.remove_record(sandbox, &key.1).await {
                Ok(()) => memory.forget(&key),
                Err(error) => {
                    tracing::error!(interface = %key.1, %error, "a record could not be removed");
                    memory.wake_at(world.now() + Duration::from_secs(5));
                }
            }
            continue;
        }
        let Some(record) = memory.record(&key).filter(|record| !record.unpublish.is_empty()) else {
            continue;
        };
        let record = AttachmentRecord {
            unpublish: Vec::new(),
            ..record.clone()
        };
        if world.put_record(sandbox, &record).await.is_ok() {
            memory.put(sandbox, record);
        }
    }
}
