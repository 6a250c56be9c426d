//! Looks after the neighbours themselves: sees sandboxes end that no watch tells of, and notices when multus or the runtime comes back.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use crate::{
    cni_cache::CniCache,
    cri::Cri,
    health::Health,
    identity::SandboxId,
    mailbox::{Cured, Mailbox},
    memory::Memory,
    metrics::Dependency,
    multus::Multus,
    records::Records,
};

/// How often the sandboxes with records are looked over.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a neighbour that is missing is looked for.
const MISSING: Duration = Duration::from_millis(500);
/// How often a neighbour that is there is looked at.
const PRESENT: Duration = Duration::from_secs(10);

/// The sandboxes that have records, and the mailboxes of their pods.
#[derive(Default)]
pub struct Tracked {
    sandboxes: RefCell<BTreeMap<SandboxId, Rc<Mailbox>>>,
}

impl Tracked {
    /// Tracks exactly the sandboxes in `memory` for `mailbox`.
    pub fn follow(&self, memory: &Memory, mailbox: &Rc<Mailbox>) {
        let mut tracked = self.sandboxes.borrow_mut();
        tracked.retain(|sandbox, of| !Rc::ptr_eq(of, mailbox) || memory.sandboxes.contains_key(sandbox));
        for sandbox in memory.sandboxes.keys() {
            tracked
                .entry(sandbox.clone())
                .or_insert_with(|| Rc::clone(mailbox));
        }
    }
}

/// The neighbours that are looked at.
pub struct Neighbours {
    /// The multus daemon.
    pub multus: Multus,
    /// The container runtime.
    pub cri: Cri,
    /// multus' data directory.
    pub cache: CniCache,
    /// The disk with the records.
    pub records: Arc<Records>,
    /// Where it is noted.
    pub health: Health,
}

impl Neighbours {
    /// Nudges the workers whose sandboxes are ready no longer, for ever.
    pub async fn sweep(&self, tracked: &Tracked) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if tracked.sandboxes.borrow().is_empty() {
                continue;
            }
            let Ok(listed) = self.cri.sandboxes().await else {
                continue;
            };
            let is_ready = |id: &SandboxId| listed.iter().any(|sandbox| sandbox.id == *id && sandbox.ready);
            for (_, mailbox) in tracked
                .sandboxes
                .borrow()
                .iter()
                .filter(|(sandbox, _)| !is_ready(sandbox))
            {
                mailbox.nudge();
            }
        }
    }

    /// Watches over multus, for ever; `back` is called when it can be reached again.
    pub async fn watch_multus(&self, back: impl Fn(Cured)) {
        loop {
            let state = self.multus.healthy().await.map_err(|error| error.to_string());
            let well = state.is_ok();
            if self.health.set(Dependency::Multus, state) && well {
                back(Cured::Multus);
            }
            self.wait(Dependency::Multus).await;
        }
    }

    /// Watches over the runtime and multus' directory, for ever; `back` is called when the runtime can be reached again.
    pub async fn watch_node(&self, back: impl Fn()) {
        loop {
            self.health.set(
                Dependency::CniCache,
                self.cache.check().map_err(|error| error.to_string()),
            );
            let state = self
                .cri
                .version()
                .await
                .map(|_| ())
                .map_err(|error| error.to_string());
            let well = state.is_ok();
            if self.health.set(Dependency::Cri, state) && well {
                back();
            }
            let missing = if self.health.is_unavailable(Dependency::Cri) {
                Dependency::Cri
            } else {
                Dependency::CniCache
            };
            self.wait(missing).await;
        }
    }

    /// Watches over the disk with the records, for ever: a write that failed tells that it is full, but nothing else tells that it is not.
    /// `back` is called when it takes what it has refused here before: what is too large for it alone goes on waiting.
    pub async fn watch_records(&self, back: impl Fn(Cured)) {
        let mut refused = false;
        loop {
            let records = Arc::clone(&self.records);
            let probe = tokio::task::spawn_blocking(move || records.check_writable()).await;
            let state = match probe {
                Ok(written) => written.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let takes = state.is_ok();
            self.health.set(Dependency::Records, state);
            if std::mem::replace(&mut refused, !takes) && takes {
                back(Cured::Anything);
            }
            self.wait(Dependency::Records).await;
        }
    }

    /// A call may find a neighbour missing at any time between two looks at it.
    async fn wait(&self, part: Dependency) {
        let mut waited = Duration::ZERO;
        while waited < PRESENT {
            tokio::time::sleep(MISSING).await;
            waited += MISSING;
            if self.health.is_unavailable(part) {
                return;
            }
        }
    }
}
