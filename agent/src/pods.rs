//! The pods of this node and their workers: one worker for each pod that has, or had, something to
//! do.

pub mod worker;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use agent_core::{
    effect::Trigger,
    explain::AttachmentCounts,
    identity::SandboxId,
    other_controller::Hold,
    pod::{Annotation, PodObservation},
    pod_state::PodState,
    record::SandboxRecords,
    sandbox::Sandbox,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
};

use crate::{
    cni::cache::{KeptFiles, LookedFor},
    disk::{blocking::blocking, records::Records},
    kubernetes::{pod_object, pod_watch::PodEvent},
};
use worker::{End, Worker, WorkerContext};

/// How long a worker that panicked stays away before another one goes on from the records.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// See the module.
pub struct Pods {
    context: Rc<WorkerContext>,
    entries: RefCell<BTreeMap<String, Entry>>,
    tasks: RefCell<JoinSet<End>>,
    uids: RefCell<BTreeMap<Id, String>>,
    listed: RefCell<BTreeSet<String>>,
    stopping: Cell<bool>,
    held: RefCell<Option<Hold>>,
    hired: Notify,
}

#[derive(Default)]
struct Entry {
    pod: PodObservation,
    worker: Option<Rc<Worker>>,
}

impl Pods {
    /// No pods yet, except those that the disk remembers: their workers begin at once, before any
    /// new work.
    pub fn new(context: Rc<WorkerContext>, remembered: BTreeMap<SandboxId, SandboxRecords>) -> Self {
        let pods = Self {
            context,
            entries: RefCell::default(),
            tasks: RefCell::default(),
            uids: RefCell::default(),
            listed: RefCell::default(),
            stopping: Cell::new(false),
            held: RefCell::default(),
            hired: Notify::new(),
        };
        for (uid, sandboxes) in by_pod(remembered) {
            pods.hire(&uid, sandboxes);
        }
        pods
    }

    /// What the watch reports.
    pub fn apply(&self, event: PodEvent) {
        match event {
            PodEvent::Listing => self.listed.borrow_mut().clear(),
            PodEvent::Listed(object) => {
                self.listed.borrow_mut().extend(object.uid.clone());
                self.update(&object);
            }
            PodEvent::Changed(object) => self.update(&object),
            PodEvent::Deleted(uid) => self.gone(&uid),
            PodEvent::ListEnds => {
                let listed = self.listed.take();
                let entries = self.entries.borrow();
                let unlisted: Vec<String> = entries
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                drop(entries);
                unlisted.iter().for_each(|uid| self.gone(uid));
            }
            PodEvent::Healthy | PodEvent::Unhealthy(_) | PodEvent::Progress => {}
        }
    }

    /// All pods are held, or not any more: see [`PodState::hold`].
    pub fn hold(&self, hold: Option<&Hold>) {
        self.held.replace(hold.cloned());
        for worker in self.workers() {
            let hold = hold.cloned();
            worker.report(|state, now| state.hold(hold, now));
        }
    }

    /// Something that may have cleared the cause of failures.
    pub fn trigger(&self, trigger: &Trigger) {
        for worker in self.workers() {
            worker.report(|state, now| state.trigger(trigger, now));
        }
    }

    /// The same, for these pods only.
    pub fn trigger_pods(&self, uids: &[String], trigger: &Trigger) {
        for uid in uids {
            let worker = self
                .entries
                .borrow()
                .get(uid)
                .and_then(|entry| entry.worker.clone());
            if let Some(worker) = worker {
                worker.report(|state, now| state.trigger(trigger, now));
            }
        }
    }

    /// The sandboxes that have to be followed to their end. Not those that have ended: nothing asks
    /// about them again.
    pub fn followed_sandboxes(&self) -> BTreeSet<SandboxId> {
        let mut followed = BTreeSet::new();
        for worker in self.workers() {
            worker.with_state(|state| {
                let sandboxes = state.sandboxes().values();
                followed.extend(
                    sandboxes
                        .filter(|one| !one.has_ended())
                        .map(|one| one.id().clone()),
                );
            });
        }
        followed
    }

    /// Whether a pod waits for a sandbox that is not known yet.
    pub fn awaits_sandboxes(&self) -> bool {
        self.workers()
            .iter()
            .any(|worker| worker.with_state(PodState::awaits_sandbox))
    }

    /// The node's sandboxes, as listed.
    pub fn observe_sandboxes(&self, listed: &[Sandbox]) {
        let mut of_pods: BTreeMap<&str, Vec<Sandbox>> = BTreeMap::new();
        for sandbox in listed {
            of_pods
                .entry(sandbox.pod.uid())
                .or_default()
                .push(sandbox.clone());
        }
        for worker in self.workers() {
            let (uid, news) = worker.with_state(|state| {
                let sandboxes = of_pods.get(state.uid()).map(Vec::as_slice).unwrap_or_default();
                (
                    state.uid().to_owned(),
                    state.follows_sandboxes() && state.differs(sandboxes),
                )
            });
            if news {
                let sandboxes = of_pods.remove(uid.as_str()).unwrap_or_default();
                worker.report(|state, now| state.observe_sandboxes(sandboxes, now));
            }
        }
    }

    /// What multus and libcni have to keep now, by pod.
    pub fn kept_files(&self) -> KeptFiles {
        let workers = self.workers();
        let of_pods = workers
            .iter()
            .map(|worker| worker.with_state(|state| (state.uid().to_owned(), state.kept_files())));
        of_pods.filter(|(_, files)| !files.is_empty()).collect()
    }

    /// Files were looked for.
    pub fn observe_files(&self, looked: &LookedFor) {
        for (uid, files) in looked {
            let worker = self
                .entries
                .borrow()
                .get(uid)
                .and_then(|entry| entry.worker.clone());
            if let Some(worker) =
                worker.filter(|worker| worker.with_state(|state| state.is_drift_news(files)))
            {
                worker.report(|state, now| state.observe_files(files, now));
            }
        }
    }

    /// The words for `namespace/name`; several pods of that name may have passed here.
    pub fn explain(&self, name: &str) -> Option<String> {
        let now = self.context.node.now().monotonic;
        let mut text = String::new();
        for worker in self.workers() {
            worker.with_state(|state| {
                if state.name() == name {
                    text += &format!("pod {name}, uid {}\n{}", state.uid(), state.explain(now));
                }
            });
        }
        (!text.is_empty()).then_some(text)
    }

    /// The numbers: attachments by state, and pods with a worker.
    pub fn counts(&self) -> (AttachmentCounts, i64) {
        let mut counts = AttachmentCounts::default();
        let workers = self.workers();
        for worker in &workers {
            counts += worker.with_state(PodState::counts);
        }
        (counts, i64::try_from(workers.len()).unwrap_or(i64::MAX))
    }

    /// Takes in workers that have ended, without end. One that panicked is replaced, and counted.
    pub async fn supervise(&self, records: &std::sync::Arc<Records>) {
        loop {
            // An empty set of tasks wakes nothing.
            while self.tasks.borrow().is_empty() {
                self.hired.notified().await;
            }
            let (uid, end) = self.next_end().await;
            let panicked = !matches!(end, Ok(End::Finished));
            if panicked {
                self.context.metrics.panicked();
                tracing::error!(
                    uid,
                    "a pod's worker panicked; another one goes on from the records"
                );
                self.context.networks.forget(&uid);
                tokio::time::sleep(AFTER_PANIC).await;
            }
            let kept = if panicked {
                reload(records, &uid).await
            } else {
                BTreeMap::new()
            };
            self.replace(&uid, kept);
        }
    }

    /// Has every worker finish what runs, and returns when all have.
    pub async fn stop(&self) {
        self.stopping.set(true);
        for worker in self.workers() {
            worker.report(PodState::stop);
        }
        while !self
            .workers()
            .iter()
            .all(|worker| worker.with_state(PodState::is_idle))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn workers(&self) -> Vec<Rc<Worker>> {
        let entries = self.entries.borrow();
        entries
            .values()
            .filter_map(|entry| entry.worker.clone())
            .collect()
    }

    fn update(&self, object: &ObjectMeta) {
        let Some(uid) = object.uid.as_deref() else { return };
        let before = self
            .entries
            .borrow()
            .get(uid)
            .and_then(|entry| entry.pod.pod().cloned());
        let Some(pod) = pod_object::read(object, before.as_deref()) else {
            return;
        };
        let pod = Rc::new(pod);
        let observed = PodObservation::Present(Rc::clone(&pod));
        let worker = {
            let mut entries = self.entries.borrow_mut();
            let entry = entries.entry(uid.to_owned()).or_default();
            entry.pod = observed.clone();
            entry.worker.clone()
        };
        match worker {
            Some(worker) => worker.report(|state, now| state.observe_pod(observed, now)),
            None if pod.networks == Annotation::Absent && !pod.shows_more_networks() => {}
            None => self.hire(uid, BTreeMap::new()),
        }
    }

    fn gone(&self, uid: &str) {
        let worker = {
            let mut entries = self.entries.borrow_mut();
            let Some(entry) = entries.get_mut(uid) else { return };
            entry.pod = PodObservation::Gone;
            entry.worker.clone()
        };
        match worker {
            Some(worker) => worker.report(|state, now| state.observe_pod(PodObservation::Gone, now)),
            None => {
                self.entries.borrow_mut().remove(uid);
            }
        }
    }

    fn hire(&self, uid: &str, records: BTreeMap<SandboxId, SandboxRecords>) {
        if self.stopping.get() {
            return;
        }
        let (worker, arriving) = Worker::new(&self.context, uid, records);
        let pod = {
            let mut entries = self.entries.borrow_mut();
            let entry = entries.entry(uid.to_owned()).or_default();
            entry.worker = Some(Rc::clone(&worker));
            entry.pod.clone()
        };
        let task = self
            .tasks
            .borrow_mut()
            .spawn_local(Rc::clone(&worker).run(arriving));
        self.uids.borrow_mut().insert(task.id(), uid.to_owned());
        self.hired.notify_one();
        let held = self.held.borrow().clone();
        worker.report(|state, now| state.hold(held, now));
        worker.report(|state, now| state.observe_pod(pod, now));
    }

    async fn next_end(&self) -> (String, Result<End, JoinError>) {
        std::future::poll_fn(|context| {
            let ended = self.tasks.borrow_mut().poll_join_next_with_id(context);
            match ended {
                std::task::Poll::Ready(Some(Ok((id, end)))) => {
                    let uid = self.uids.borrow_mut().remove(&id).unwrap_or_default();
                    std::task::Poll::Ready((uid, Ok(end)))
                }
                std::task::Poll::Ready(Some(Err(error))) => {
                    let uid = self.uids.borrow_mut().remove(&error.id()).unwrap_or_default();
                    std::task::Poll::Ready((uid, Err(error)))
                }
                std::task::Poll::Ready(None) | std::task::Poll::Pending => std::task::Poll::Pending,
            }
        })
        .await
    }

    /// The worker of a pod has ended. A pod that exists, or of which records are left, gets another
    /// one.
    fn replace(&self, uid: &str, records: BTreeMap<SandboxId, SandboxRecords>) {
        {
            let mut entries = self.entries.borrow_mut();
            let Some(entry) = entries.get_mut(uid) else { return };
            entry.worker = None;
            if entry.pod.pod().is_none() && records.is_empty() {
                entries.remove(uid);
                self.context.networks.forget(uid);
                return;
            }
        }
        self.hire(uid, records);
    }
}

fn by_pod(
    sandboxes: BTreeMap<SandboxId, SandboxRecords>,
) -> BTreeMap<String, BTreeMap<SandboxId, SandboxRecords>> {
    let mut by_pod: BTreeMap<String, BTreeMap<SandboxId, SandboxRecords>> = BTreeMap::new();
    for (id, records) in sandboxes {
        let uid = records
            .sandbox
            .as_ref()
            .map(|sandbox| sandbox.pod.uid().to_owned())
            .unwrap_or_default();
        by_pod.entry(uid).or_default().insert(id, records);
    }
    by_pod
}

/// The records of one pod as the disk has them.
async fn reload(records: &std::sync::Arc<Records>, uid: &str) -> BTreeMap<SandboxId, SandboxRecords> {
    let records = std::sync::Arc::clone(records);
    match blocking(move || records.load_all()).await {
        Ok(loaded) => by_pod(loaded.sandboxes).remove(uid).unwrap_or_default(),
        Err(error) => {
            tracing::error!(uid, %error, "reading the records of a pod failed");
            BTreeMap::new()
        }
    }
}

#[cfg(test)]
mod tests;
