//! One pod's worker: carries out the effects that the core asks for, several at once, and reports
//! their outcomes. Reports from watches reach the core at once, whatever is in flight; different
//! pods never wait for each other here.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    rc::Rc,
    time::Duration,
};

use agent_core::{
    delegate::Answer,
    effect::{Action, Count, Effect, EffectId, Now, Outcome},
    identity::SandboxId,
    pod_state::PodState,
    record::SandboxRecords,
    turn::Context,
};
use futures::FutureExt as _;
use shared::names::NetworkName;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
};

use crate::{
    kubernetes::{events::EventSink, networks::Networks},
    metrics::Metrics,
    multus::limiter::{self, DelegateLimiter, Permit},
    node::Node,
};

/// What all workers share.
pub struct WorkerContext {
    /// The node.
    pub node: Node,
    /// What the core shares.
    pub core: Rc<Context>,
    /// Grants permits for calls.
    pub limiter: DelegateLimiter,
    /// The networks that pods list.
    pub networks: Networks,
    /// Where events go.
    pub events: EventSink,
    /// Counts what happens.
    pub metrics: Metrics,
}

/// See the module.
pub struct Worker {
    context: Rc<WorkerContext>,
    state: RefCell<PodState>,
    permits: RefCell<BTreeMap<EffectId, Hold>>,
    outcomes: mpsc::UnboundedSender<(EffectId, Outcome)>,
    changed: Notify,
    broken: Cell<bool>,
    reads_ahead: Cell<bool>,
}

/// A permit that is held, or the wait for it.
enum Hold {
    Waiting(AbortHandle),
    Held(Permit),
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The pod is gone, and nothing of it is left.
    Finished,
    /// It panicked: another worker goes on from the records.
    Panicked,
}

impl Worker {
    /// A worker for the pod with this uid, of which the disk has these records. [`Self::run`] has
    /// to be polled.
    pub fn new(
        context: &Rc<WorkerContext>,
        uid: &str,
        records: BTreeMap<SandboxId, SandboxRecords>,
    ) -> (Rc<Self>, mpsc::UnboundedReceiver<(EffectId, Outcome)>) {
        // As many outcomes as effects, of which the core has a few in flight.
        let (outcomes, arriving) = mpsc::unbounded_channel();
        let worker = Self {
            context: Rc::clone(context),
            state: RefCell::new(PodState::new(uid, Rc::clone(&context.core), records)),
            permits: RefCell::default(),
            outcomes,
            changed: Notify::new(),
            broken: Cell::new(false),
            reads_ahead: Cell::new(false),
        };
        (Rc::new(worker), arriving)
    }

    /// Reads the state.
    pub fn with_state<T>(&self, read: impl FnOnce(&PodState) -> T) -> T {
        read(&self.state.borrow())
    }

    /// Reports something to the core, and begins what it asks for.
    pub fn report(self: &Rc<Self>, report: impl FnOnce(&mut PodState, Now) -> Vec<Action>) {
        if self.broken.get() {
            return;
        }
        let now = self.context.node.now();
        let reported = AssertUnwindSafe(|| report(&mut self.state.borrow_mut(), now));
        match std::panic::catch_unwind(reported) {
            Ok(actions) => {
                for action in actions {
                    self.act(action);
                }
                self.follow_networks();
            }
            Err(_) => self.broken.set(true),
        }
        self.changed.notify_one();
    }

    /// Works until nothing is left to do for the pod.
    pub async fn run(self: Rc<Self>, mut arriving: mpsc::UnboundedReceiver<(EffectId, Outcome)>) -> End {
        loop {
            if self.broken.get() {
                return End::Panicked;
            }
            let (wake, finished) = self.with_state(|state| (state.wake(), state.is_finished()));
            if finished {
                return End::Finished;
            }
            let now = self.context.node.now().monotonic;
            let wait = wake.map(|wake| wake.saturating_sub(now));
            tokio::select! {
                Some((id, outcome)) = arriving.recv() => {
                    self.report(|state, now| state.complete(id, outcome, now));
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {
                    self.report(PodState::wake_up);
                }
            }
        }
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::Start(id, Effect::AcquirePermit { config, namespace }) => {
                self.acquire(id, config, namespace);
            }
            Action::Start(id, effect) => self.start(id, effect),
            Action::Release(id) => {
                if let Some(Hold::Waiting(waiting)) = self.permits.borrow_mut().remove(&id) {
                    waiting.abort();
                    self.context.metrics.queued(-1);
                }
            }
            Action::Late(id) => {
                if let Some(Hold::Held(permit)) = self.permits.borrow().get(&id) {
                    permit.late();
                }
            }
            Action::Event(pod, event) => self.context.events.send(&pod, &event),
            Action::Count(count) => self.count(count),
        }
    }

    fn count(&self, count: Count) {
        let metrics = &self.context.metrics;
        match count {
            Count::StepFailed => metrics.failed(1),
            Count::Late => metrics.late(),
            Count::DelegateFileFailed => metrics.delegate_file_failure(),
            Count::OffsetContradicted => metrics.offset_contradicted(),
            Count::Attached(took) => metrics.attached(took),
            Count::Edit(phases) => metrics.edit(phases),
        }
    }

    pub(super) fn start(self: &Rc<Self>, id: EffectId, effect: Effect) {
        if let Effect::ReadNetwork(network) = &effect {
            self.read_ahead(network.clone());
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let is_call = matches!(effect, Effect::Delegate(_));
            let uid = worker.with_state(|state| state.uid().to_owned());
            let work = AssertUnwindSafe(worker.context.node.carry_out(&uid, effect));
            match work.catch_unwind().await {
                Ok(outcome) => worker.arrive(id, outcome),
                // Whether the call was answered is unknown.
                Err(_) if is_call => {
                    let lost = Answer::Lost("the agent failed while it waited".to_owned());
                    worker.arrive(id, Outcome::Answer(lost));
                }
                Err(_) => {
                    worker.broken.set(true);
                    worker.changed.notify_one();
                }
            }
        });
    }

    /// The ADDs of a sandbox come one after the other; what they need of the API server does not.
    fn read_ahead(self: &Rc<Self>, network: NetworkName) {
        if self.reads_ahead.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let uid = worker.with_state(|state| state.uid().to_owned());
            worker.context.networks.read_ahead(&uid, &network).await;
            worker.reads_ahead.set(false);
        });
    }

    /// The receiver is gone only when the worker has ended.
    fn arrive(&self, id: EffectId, outcome: Outcome) {
        let _ = self.outcomes.send((id, outcome));
    }

    fn acquire(self: &Rc<Self>, id: EffectId, config: String, namespace: String) {
        let worker = Rc::clone(self);
        self.context.metrics.queued(1);
        let waiting = tokio::task::spawn_local(async move {
            let kind = limiter::kind_of(&config);
            let permit = worker.context.limiter.acquire(&kind, &namespace).await;
            worker.context.metrics.queued(-1);
            worker.permits.borrow_mut().insert(id, Hold::Held(permit));
            worker.arrive(id, Outcome::Done);
        });
        self.permits
            .borrow_mut()
            .insert(id, Hold::Waiting(waiting.abort_handle()));
    }

    /// The networks that the pod lists are kept up to date.
    fn follow_networks(&self) {
        let (uid, networks) = self.with_state(|state| {
            let pod = state.pod().pod().filter(|pod| !pod.terminating);
            let list = pod.and_then(|pod| pod.networks.list());
            let elements = list.into_iter().flat_map(|list| &list.elements);
            let networks: BTreeSet<NetworkName> = elements.map(|element| element.network.clone()).collect();
            (state.uid().to_owned(), networks)
        });
        self.context.networks.follow(&uid, networks);
    }
}
