//! An agent on a simulated node: what a worker does between two sleeps, crashes, and coming to rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use shared::config::Config;

use super::{
    Bug, Crash, Crashes, Disturbance, Effect, Happening, Node, Prints, Simulated, TICK, UID,
    fingerprint::fingerprint, sandbox_id,
};
use crate::{
    backoff,
    identity::PodIdentity,
    mailbox::{Cured, Known, Mailbox},
    memory::{Cure, Memory},
    plan::observed::GRACE,
    reconcile::Reconciler,
    world::World as _,
};

/// So many looks in a row without sleep are no rest.
const RESTLESS: u32 = 100;

/// I5: once nothing fails any more, all is done within the cap of the backoff and the time that a plugin in doubt is given, and
/// one tick for either, because the simulated clock wakes late.
pub const LONGEST: u64 = (backoff::CAP.as_secs() + GRACE.as_secs()) / TICK.as_secs() + 2;

/// What a rest that comes after so many ticks breaks.
pub fn too_late(ticks: u64) -> Option<String> {
    (ticks > LONGEST).then(|| format!("I5: it took {ticks} ticks until nothing was left to do"))
}

/// An agent on a simulated node.
pub struct Rig {
    /// The node.
    pub world: Simulated,
    pub(super) memory: Memory,
    config: Config,
    own: PodIdentity,
}

/// A node and an agent that sleeps, or that has just started and has not looked yet.
#[derive(Clone)]
pub struct Snapshot {
    node: Node,
    /// `None`: the agent has just started.
    agent: Option<(Memory, Known)>,
}

impl Snapshot {
    /// The agent has not looked yet.
    pub fn has_just_started(&self) -> bool {
        self.agent.is_none()
    }

    /// A neighbour is away, or the disk is full.
    pub fn has_outage(&self) -> bool {
        let node = &self.node;
        node.disk_full || node.multus_away || node.api_away || node.runtime_away
    }

    /// See [`Node::can`].
    pub fn can(&self, happening: Happening) -> bool {
        self.node.can(happening)
    }

    /// The node, and an agent that is to start on it.
    pub fn of_start(node: &Node) -> Self {
        let mut node = node.clone();
        node.calls.clear();
        node.events.clear();
        Self { node, agent: None }
    }
}

impl Rig {
    /// A running pod that multus has given nothing but the cluster's network, and networks `a`, `b`, `c` and `d`.
    pub fn new() -> Self {
        let rig = Self {
            world: Simulated::new(),
            memory: Memory::new(UID, BTreeMap::new()),
            config: Config::parse("{}").unwrap(),
            own: PodIdentity::new("kube-system", "agent", "uid-agent").unwrap(),
        };
        for name in ["a", "b", "c", "d"] {
            rig.world.node.borrow_mut().define(name, false);
        }
        rig.start_sandbox("s1");
        rig
    }

    /// A pod that does not run yet, on a node where multus attaches a network of its own to every sandbox.
    pub fn before_start() -> Self {
        let rig = Self::new();
        {
            let mut node = rig.world.node.borrow_mut();
            node.default_network = true;
            node.sandboxes.clear();
            node.running.clear();
            node.namespaces.clear();
            node.delegates.clear();
        }
        rig
    }

    /// The same pod, running without networks of its own, and seen by the agent.
    pub fn running() -> Self {
        let mut rig = Self::before_start();
        rig.happen(Happening::Edit(Some("[]")));
        rig.happen(Happening::SandboxStarts);
        rig.look();
        rig
    }

    /// Plants a mistake.
    pub fn plant(&mut self, bug: Option<Bug>) {
        self.world.bug = bug;
    }

    /// Something happens.
    pub fn happen(&self, happening: Happening) {
        self.world.happen(happening);
        if happening == Happening::Pass {
            self.sweep();
        }
    }

    /// In the next look, `disturbance` comes just before effect number `effect`.
    pub fn disturb(&self, effect: u32, disturbance: Disturbance) {
        self.world.script.borrow_mut().push((effect, disturbance));
    }

    /// In the next look, the agent dies just before effect number `effect`.
    pub fn crash_before(&self, effect: u32) {
        self.world.fuse.set(Some(effect));
    }

    /// The runtime has a sandbox, ready and running.
    pub fn start_sandbox(&self, id: &str) {
        let mut node = self.world.node.borrow_mut();
        let created_at = i64::try_from(self.world.epoch_of(&node)).unwrap() * 1_000_000_000;
        node.start_sandbox(&sandbox_id(id), created_at);
    }

    /// Multus attaches `network@interface` at the start of the sandbox.
    pub fn cold_plug(&self, id: &str, attachments: &[(&str, &str)]) {
        for (name, given) in attachments {
            self.world
                .node
                .borrow_mut()
                .cold_plug(&sandbox_id(id), name, given);
        }
    }

    /// A controller before this one has attached `network@interface` to the running sandbox.
    pub fn hot_plug_before(&self, id: &str, name: &str, given: &str) {
        let mut node = self.world.node.borrow_mut();
        let delegates = node.delegates.get(&sandbox_id(id)).cloned().unwrap_or_default();
        node.cold_plug(&sandbox_id(id), name, given);
        node.delegates.insert(sandbox_id(id), delegates);
    }

    /// The agent dies, and starts anew from what is on the disk.
    pub fn restart(&mut self) {
        let records = BTreeMap::clone(&self.world.node.borrow().records);
        self.world.mailbox = Rc::default();
        self.world.heard.replace(Known::Unknown);
        // The worker of a pod that the disk remembers begins before the first list of pods has come.
        if !records.is_empty() {
            self.world.mailbox.tell(Known::Unknown);
        }
        self.memory = Memory::new(UID, records);
    }

    /// The agent does what there is to do now, until it sleeps. `false`: it died on the way and has been started again.
    pub fn look(&mut self) -> bool {
        self.world.trace.borrow_mut().clear();
        let mut due = self
            .memory
            .wake
            .is_some_and(|wake| wake <= self.world.node.borrow().now);
        let mut looks = 0;
        loop {
            if !due && !self.world.mailbox.has_news() {
                self.world.hear();
                self.watch_networks();
                if !self.world.mailbox.has_news() {
                    break;
                }
            }
            due = false;
            looks += 1;
            if looks > RESTLESS {
                self.world
                    .node
                    .borrow_mut()
                    .break_rule("the agent does not come to rest".to_owned());
                break;
            }
            if !self.look_once() {
                self.world.fuse.set(None);
                self.world.script.borrow_mut().clear();
                self.restart();
                return false;
            }
        }
        self.world.fuse.set(None);
        self.world.script.borrow_mut().clear();
        true
    }

    fn look_once(&mut self) -> bool {
        if self.world.bug == Some(Bug::DoesNotWait) {
            let now = self.world.node.borrow().now;
            self.memory.doubts.values_mut().for_each(|ends| *ends = now);
        }
        let terminates = matches!(&*self.world.heard.borrow(), Known::Present(pod) if pod.terminating);
        self.world.told_to_leave_alone.set(terminates);
        let reconciler = Reconciler {
            world: &self.world,
            config: &self.config,
            own: Some(&self.own),
        };
        let look = pin!(reconciler.look(&mut self.memory, &self.world.mailbox, &|_, _| {}));
        let done = look.poll(&mut Context::from_waker(Waker::noop()));
        matches!(done, Poll::Ready(()))
    }

    /// The watches of the networks that are waited for tell of those that are not as they were.
    fn watch_networks(&self) {
        let node = self.world.node.borrow();
        if node.api_away {
            return;
        }
        for retry in self.memory.retries.values().filter(|retry| retry.due > node.now) {
            let Cure::Network { network, version } = &retry.cure else {
                continue;
            };
            let present = node
                .networks
                .get(network)
                .map(|definition| definition.resource_version.clone());
            if present.is_some() && present != *version {
                self.world.mailbox.cure(Cured::Network(network.clone(), present));
            }
        }
    }

    /// The sweep over the runtime's list sees what ended; no watch tells of that.
    fn sweep(&self) {
        let node = self.world.node.borrow();
        let is_ready = |id: &_| {
            node.sandboxes
                .iter()
                .any(|sandbox| sandbox.id == *id && sandbox.ready)
        };
        if !node.runtime_away && !self.memory.sandboxes.keys().all(is_ready) {
            self.world.mailbox.nudge();
        }
    }

    /// The clock goes on until the agent has something to do. `false`: it never will.
    pub fn wait(&mut self) -> bool {
        loop {
            let due = self
                .memory
                .wake
                .is_some_and(|wake| wake <= self.world.node.borrow().now);
            if due || self.world.mailbox.has_news() {
                return true;
            }
            let waits = self.memory.wake.is_some() || !self.world.node.borrow().unfinished.is_empty();
            let before = self.memory.sandboxes.len();
            self.happen(Happening::Pass);
            if !waits && before == self.memory.sandboxes.len() && !self.world.mailbox.has_news() {
                return false;
            }
        }
    }

    /// Every outage ends.
    pub fn calm(&self) {
        for back in [
            Happening::DiskFree,
            Happening::RuntimeBack,
            Happening::ApiBack,
            Happening::MultusBack,
        ] {
            self.happen(back);
        }
    }

    /// Every outage ends, and the agent works on until nothing changes any more. What is wrong then, if anything.
    pub fn settle(&mut self) -> Option<String> {
        self.calm();
        let (mut passed, mut last_change) = (BTreeSet::new(), 0);
        let begin = self.ticks();
        loop {
            if self.look_changes() {
                last_change = self.ticks() - begin;
            }
            if !passed.insert(self.fingerprint()) || !self.wait() {
                return self.breach().or_else(|| too_late(last_change));
            }
        }
    }

    /// The agent does what there is to do now; whether people see anything of it.
    pub fn look_changes(&mut self) -> bool {
        let before = self.world.node.borrow().results;
        self.look();
        self.world.node.borrow().results != before
    }

    /// What waits on although it could be seen that it need not, now that this has happened.
    pub fn oversleeps(&self, happening: Happening) -> Option<String> {
        let node = self.world.node.borrow();
        let waits = |cured: &dyn Fn(&Cure) -> bool| {
            let mut waiting = self.memory.retries.values().filter(|retry| cured(&retry.cure));
            waiting.any(|retry| retry.due > node.now)
        };
        let overslept = match happening {
            Happening::MultusBack => waits(&|cure| *cure == Cure::Multus),
            Happening::NetworkCreated(name) if !node.api_away => waits(
                &|cure| matches!(cure, Cure::Network { network, version: None } if network.name() == name),
            ),
            _ => false,
        };
        overslept.then(|| format!("I5: something still waits after {happening:?}"))
    }

    /// The node as it is, and the agent as it sleeps.
    pub fn snapshot(&self) -> Snapshot {
        let mut node = self.world.node.borrow().clone();
        node.calls.clear();
        node.events.clear();
        let fresh = *self.world.heard.borrow() == Known::Unknown;
        let agent = (!fresh).then(|| (self.memory.clone(), self.world.heard.borrow().clone()));
        Snapshot { node, agent }
    }

    /// Goes on from there.
    pub fn resume(&mut self, from: &Snapshot) {
        self.world.node.replace(from.node.clone());
        self.world.script.borrow_mut().clear();
        self.world.fuse.set(None);
        match &from.agent {
            None => self.restart(),
            Some((memory, heard)) => {
                self.memory = memory.clone();
                self.world.heard.replace(heard.clone());
                let mailbox = Mailbox::default();
                mailbox.tell(heard.clone());
                mailbox.take();
                self.world.mailbox = Rc::new(mailbox);
            }
        }
    }

    /// Notes every point of the next look at which a crash would find the node changed, and what it would leave, unless that is `known`.
    pub fn note_crashes(&self, known: &Prints) {
        self.world.crashes.replace(Some(Crashes {
            known: Rc::clone(known),
            found: Vec::new(),
        }));
    }

    /// What was noted.
    pub fn crashes(&self) -> Vec<Crash> {
        self.world
            .crashes
            .take()
            .map(|crashes| crashes.found)
            .unwrap_or_default()
    }

    /// The effects of the last look.
    pub fn effects(&self) -> Vec<Effect> {
        self.world.trace.borrow().clone()
    }

    /// Everything that decides what happens next, as one number.
    pub fn fingerprint(&self) -> u64 {
        let heard = self.world.heard.borrow();
        let news = self.world.mailbox.has_news();
        fingerprint(&self.world.node.borrow(), Some(&self.memory), &heard, news)
    }

    /// The ticks of the clock so far.
    pub fn ticks(&self) -> u64 {
        self.world.now().as_secs() / TICK.as_secs()
    }
}
