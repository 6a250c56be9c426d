//! Drift: what multus and libcni keep about an attachment has gone from the node's disk, although
//! no DEL of the agent removed it. It is reported and counted; nothing is changed, because what is
//! left in the pod is not known.
//!
//! Flow: the shell looks for [`PodState::kept_files`] every few seconds and reports what is there.
//! The first miss has the sandboxes listed: multus removes the files of one that has ended. A file
//! that is missing again in a sandbox that is still ready is gone.
//!
//! A link that vanishes inside the pod cannot be seen without entering its namespace.

use shared::names::{InterfaceName, NetworkName};

use crate::{
    attachment::Attachment,
    effect::{Action, Now},
    event::Event,
    kept_file::{KeptFile, Presence},
    pod_state::PodState,
    record::Phase,
    sandbox_state::{End, SandboxState, Sight},
};

impl PodState {
    /// What has to be on the disk now. Nothing while another controller may change it.
    pub fn kept_files(&self) -> Vec<KeptFile> {
        let watched = self
            .sandboxes()
            .values()
            .filter(|sandbox| self.is_watched(sandbox));
        let mut kept = Vec::new();
        for sandbox in watched {
            let results = sandbox
                .attachments()
                .iter()
                .filter_map(|(interface, attachment)| {
                    Some(KeptFile::Result {
                        config_name: plugged(attachment)?,
                        sandbox: sandbox.id().clone(),
                        interface: interface.clone(),
                    })
                });
            let before = kept.len();
            kept.extend(results);
            if kept.len() > before {
                kept.push(KeptFile::Delegates(sandbox.id().clone()));
            }
        }
        kept
    }

    /// Whether the report changes anything.
    pub fn is_drift_news(&self, looked: &[(KeptFile, bool)]) -> bool {
        let change = |(file, there): &(KeptFile, bool)| self.presence_after(file, *there);
        looked
            .iter()
            .filter_map(change)
            .any(|(before, after)| before != after)
    }

    /// The shell has looked for files of [`Self::kept_files`].
    pub fn observe_files(&mut self, looked: &[(KeptFile, bool)], now: Now) -> Vec<Action> {
        let mut events = Vec::new();
        for (file, there) in looked {
            let Some((before, after)) = self.presence_after(file, *there) else {
                continue;
            };
            self.set_presence(file, after);
            match (before, after) {
                (Presence::Missed, Presence::Gone) => events.extend(self.drift_event(file)),
                (Presence::Unknown | Presence::Present, Presence::Missed) => self.listing.stale = true,
                _ => {}
            }
        }
        self.report_drift(events, now)
    }

    /// What is wrong, one line for each attachment or sandbox.
    pub fn drift(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for sandbox in self.sandboxes().values().filter(|sandbox| !sandbox.has_ended()) {
            for (interface, attachment) in sandbox.attachments() {
                if let Some(record) = attachment.record().filter(|_| attachment.is_drifted()) {
                    lines.push(lost_result(interface, &record.network));
                }
            }
            if sandbox.has_lost_delegates() {
                lines.push(LOST_DELEGATES.to_owned());
            }
        }
        lines
    }

    fn drift_event(&self, file: &KeptFile) -> Option<Event> {
        let text = match file {
            KeptFile::Result {
                sandbox, interface, ..
            } => {
                let attachment = self.sandboxes().get(sandbox)?.attachments().get(interface)?;
                lost_result(interface, &attachment.record()?.network)
            }
            KeptFile::Delegates(_) => LOST_DELEGATES.to_owned(),
        };
        Some(Event::drifted(text))
    }

    fn is_watched(&self, sandbox: &SandboxState) -> bool {
        let lives = self.pod().pod().is_some_and(|pod| !pod.terminating);
        lives && self.held().is_none() && sandbox.sight == Sight::Seen && sandbox.end == End::Ready
    }

    /// Before and after a file was looked for; `None`: it is not expected any more.
    fn presence_after(&self, file: &KeptFile, there: bool) -> Option<(Presence, Presence)> {
        let before = self.presence(file)?;
        let after = before.after(file, there);
        // The list that the first miss asked for has not come.
        let waits = self.listing.stale || self.listing.reading;
        let is_loss = (before, after) == (Presence::Missed, Presence::Gone);
        Some((before, if is_loss && waits { before } else { after }))
    }

    /// `None`: the file is not expected any more.
    fn presence(&self, file: &KeptFile) -> Option<Presence> {
        let (KeptFile::Result { sandbox, .. } | KeptFile::Delegates(sandbox)) = file;
        let sandbox = self.sandboxes().get(sandbox).filter(|one| self.is_watched(one))?;
        match file {
            KeptFile::Result {
                config_name,
                interface,
                ..
            } => {
                let attachment = sandbox.attachments().get(interface)?;
                plugged(attachment)
                    .is_some_and(|name| name == *config_name)
                    .then(|| attachment.result_file())
            }
            KeptFile::Delegates(_) => Some(sandbox.delegate_file),
        }
    }

    fn set_presence(&mut self, file: &KeptFile, presence: Presence) {
        let (KeptFile::Result { sandbox, .. } | KeptFile::Delegates(sandbox)) = file;
        let Some(sandbox) = self.sandboxes.get_mut(sandbox) else {
            return;
        };
        match file {
            KeptFile::Result { interface, .. } => {
                if let Some(attachment) = sandbox.attachments.get_mut(interface) {
                    attachment.set_result_file(presence);
                }
            }
            KeptFile::Delegates(_) => sandbox.delegate_file = presence,
        }
    }
}

const LOST_DELEGATES: &str = "multus' delegate file of the pod's sandbox has gone from the node: multus tears nothing \
                              of it down when the pod ends; the agent releases what it added itself";

fn lost_result(interface: &InterfaceName, network: &NetworkName) -> String {
    format!(
        "libcni's result of interface {interface} on network {network} has gone from the node, so the interface may be gone \
         too; the agent changes nothing by itself: to attach it again, remove the element from the networks annotation and \
         add it again"
    )
}

/// The name of its configuration, while nothing is being done to a plugged attachment.
fn plugged(attachment: &Attachment) -> Option<String> {
    let record = attachment
        .record()
        .filter(|record| matches!(record.phase, Phase::Plugged { .. }))?;
    attachment.operation.is_none().then(|| record.config_name())
}
