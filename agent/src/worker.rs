//! One pod's worker: one look at a time, the next one when there is news or when the last one said so. Different pods never wait for
//! each other here.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use shared::config::Config;

use crate::{
    board::{Board, Report},
    identity::{PodIdentity, SandboxId},
    live::Live,
    mailbox::{Known, Mailbox},
    memory::Memory,
    metrics::Metrics,
    networks::NetworkWatches,
    plan::Plan,
    reconcile::Reconciler,
    sandbox_poller::NodeView,
    world::World,
};

/// What all workers share.
pub struct Shop {
    /// The neighbours.
    pub world: Live,
    /// The configuration.
    pub config: Config,
    /// The agent's own pod.
    pub own: Option<PodIdentity>,
    /// Where each worker shows its state.
    pub board: Board,
    /// The watches of networks that are waited for.
    pub networks: NetworkWatches,
    /// The sandboxes that have records.
    pub tracked: Tracked,
    /// Counts failures.
    pub metrics: Metrics,
    /// The agent is to stop: no worker begins another look.
    pub stopping: Cell<bool>,
}

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

    /// The sandboxes.
    pub fn ids(&self) -> BTreeSet<SandboxId> {
        self.sandboxes.borrow().keys().cloned().collect()
    }

    /// Nudges the workers whose sandboxes are not ready.
    pub fn nudge(&self, view: &NodeView) {
        let tracked = self.sandboxes.borrow();
        let ended = tracked.iter().filter(|(sandbox, _)| !view.is_ready(sandbox));
        ended.for_each(|(_, mailbox)| mailbox.nudge());
    }
}

/// Works for one pod until it is gone and nothing of it is left; answers its uid.
pub async fn work(shop: Rc<Shop>, mailbox: Rc<Mailbox>, mut memory: Memory) -> String {
    let reconciler = Reconciler {
        world: &shop.world,
        config: &shop.config,
        own: shop.own.as_ref(),
    };
    let show = |memory: &Memory, plan: Option<&Plan>| {
        let report = Report::new(&mailbox.known(), memory, plan, shop.world.now());
        shop.board.show(&memory.uid, report);
    };
    loop {
        let before: u64 = failures(&memory);
        reconciler.look(&mut memory, &mailbox, &show).await;
        shop.metrics.failed(failures(&memory).saturating_sub(before));
        shop.networks.follow(&memory, &mailbox);
        shop.tracked.follow(&memory, &mailbox);
        if shop.stopping.get() || (mailbox.known() == Known::Gone && memory.sandboxes.is_empty()) {
            shop.board.remove(&memory.uid);
            return memory.uid;
        }
        if mailbox.has_news() {
            continue;
        }
        match memory.wake {
            Some(wake) => {
                let wait = wake.saturating_sub(shop.world.now());
                tokio::select! {
                    () = mailbox.wait() => {}
                    () = shop.world.sleep(wait) => {}
                }
            }
            None => mailbox.wait().await,
        }
        if shop.stopping.get() {
            return memory.uid;
        }
    }
}

fn failures(memory: &Memory) -> u64 {
    memory
        .retries
        .values()
        .map(|retry| u64::from(retry.failures))
        .sum()
}
