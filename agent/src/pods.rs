//! Watches the metadata of this node's pods, and keeps one worker for each pod that has, or had, something to do.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt as _, TryStreamExt as _, stream::LocalBoxStream};
use k8s_openapi::{api::core::v1::Pod as ApiPod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinSet;

use crate::{
    admin::Pulse,
    api::{self, ApiServer},
    health::Health,
    identity::SandboxId,
    mailbox::{Cured, Known, Mailbox},
    memory::Memory,
    metrics::Dependency,
    pod::Pod,
    records::SandboxRecords,
    worker::{Shop, work},
};

/// The pods of this node and their workers.
pub struct Pods {
    shop: Rc<Shop>,
    slots: RefCell<BTreeMap<String, Slot>>,
    workers: RefCell<JoinSet<String>>,
}

#[derive(Default)]
struct Slot {
    known: Known,
    mailbox: Option<Rc<Mailbox>>,
}

type Event = watcher::Event<PartialObjectMeta<ApiPod>>;
type Events = LocalBoxStream<'static, Result<Event, watcher::Error>>;

impl Pods {
    /// No pods yet, but for those that the disk remembers: their workers begin at once, before any new work.
    pub fn new(shop: Rc<Shop>, remembered: BTreeMap<SandboxId, SandboxRecords>) -> Self {
        let pods = Self {
            shop,
            slots: RefCell::default(),
            workers: RefCell::default(),
        };
        let mut by_pod: BTreeMap<String, BTreeMap<SandboxId, SandboxRecords>> = BTreeMap::new();
        for (id, records) in remembered {
            let uid = records
                .sandbox
                .as_ref()
                .map(|sandbox| sandbox.pod.uid().to_owned())
                .unwrap_or_default();
            by_pod.entry(uid).or_default().insert(id, records);
        }
        for (uid, sandboxes) in by_pod {
            pods.hire(&uid, Memory::new(&uid, sandboxes));
        }
        pods
    }

    /// Follows the watch of `node`'s pods at `server`, for ever; an error only when a worker fell over.
    ///
    /// # Errors
    /// A worker panicked.
    pub async fn run(
        &self,
        server: ApiServer,
        node: &str,
        health: &Health,
        pulse: &Pulse,
    ) -> Result<(), tokio::task::JoinError> {
        let api: Api<PartialObjectMeta<ApiPod>> = Api::all(server.watches);
        let fields = format!("spec.nodeName={node}");
        let mut events = watch(&api, &fields);
        let mut listed = BTreeSet::new();
        let mut failed = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        pulse.beat();
                        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                            failed = false;
                            if health.set(Dependency::Pods, Ok(())) {
                                self.cure(&Cured::Anything);
                            }
                        }
                        self.apply(event, &mut listed);
                    }
                    Some(Err(error)) => {
                        failed = true;
                        let cause = watch_error(&error);
                        let text = format!("watching the pods of {node} at the API server {}: {cause}", server.address);
                        health.set(Dependency::Pods, Err(text));
                    }
                    None => return Ok(()),
                },
                // By itself the watch would wait longer, and tell nothing before a pod changes.
                () = lists_again(&api, &fields), if failed => {
                    failed = false;
                    events = watch(&api, &fields);
                }
                uid = self.next_done() => self.dismiss(&uid?),
            }
        }
    }

    /// Tells every worker.
    pub fn cure(&self, cured: &Cured) {
        for mailbox in self
            .slots
            .borrow()
            .values()
            .filter_map(|slot| slot.mailbox.as_ref())
        {
            mailbox.cure(cured.clone());
        }
    }

    /// Has every worker look again.
    pub fn nudge(&self) {
        for mailbox in self
            .slots
            .borrow()
            .values()
            .filter_map(|slot| slot.mailbox.as_ref())
        {
            mailbox.nudge();
        }
    }

    /// Lets every worker finish its look, and returns when all have.
    pub async fn stop(&self) {
        self.shop.stopping.set(true);
        self.nudge();
        let mut workers = self.workers.take();
        while workers.join_next().await.is_some() {}
    }

    fn apply(&self, event: Event, listed: &mut BTreeSet<String>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                listed.extend(object.metadata.uid.clone());
                self.update(&object.metadata);
            }
            watcher::Event::Apply(object) => self.update(&object.metadata),
            watcher::Event::Delete(object) => self.gone(object.metadata.uid.as_deref().unwrap_or_default()),
            watcher::Event::InitDone => {
                let unlisted: Vec<String> = self
                    .slots
                    .borrow()
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in unlisted {
                    self.gone(&uid);
                }
            }
        }
    }

    fn update(&self, metadata: &ObjectMeta) {
        let Some(uid) = metadata.uid.as_deref() else {
            return;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let before = match self.slots.borrow().get(uid).map(|slot| &slot.known) {
            Some(Known::Present(pod)) => Some(Rc::clone(pod)),
            _ => None,
        };
        let Some(pod) = Pod::read(metadata, before.as_deref(), now) else {
            return;
        };
        let idle = pod.never_had_networks();
        let known = Known::Present(Rc::new(pod));
        self.shop.board.know(uid, &known);
        let mailbox = {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.entry(uid.to_owned()).or_default();
            slot.known = known.clone();
            slot.mailbox.clone()
        };
        match mailbox {
            Some(mailbox) => mailbox.tell(known),
            None if idle => {}
            None => self.hire(uid, Memory::new(uid, BTreeMap::new())),
        }
    }

    fn gone(&self, uid: &str) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(uid) else { return };
        slot.known = Known::Gone;
        self.shop.board.know(uid, &slot.known);
        match &slot.mailbox {
            Some(mailbox) => mailbox.tell(Known::Gone),
            None => {
                slots.remove(uid);
            }
        }
    }

    fn hire(&self, uid: &str, memory: Memory) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(uid.to_owned()).or_default();
        let mailbox = Rc::new(Mailbox::default());
        mailbox.tell(slot.known.clone());
        slot.mailbox = Some(Rc::clone(&mailbox));
        self.workers
            .borrow_mut()
            .spawn_local(work(Rc::clone(&self.shop), mailbox, memory));
    }

    async fn next_done(&self) -> Result<String, tokio::task::JoinError> {
        std::future::poll_fn(
            |context| match self.workers.borrow_mut().poll_join_next(context) {
                std::task::Poll::Ready(Some(done)) => std::task::Poll::Ready(done),
                _ => std::task::Poll::Pending,
            },
        )
        .await
    }

    /// A worker has gone home. News that came since is work for another one.
    fn dismiss(&self, uid: &str) {
        let present = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(uid) else { return };
            slot.mailbox = None;
            let present = matches!(slot.known, Known::Present(_));
            if !present {
                slots.remove(uid);
            }
            present
        };
        if present {
            self.hire(uid, Memory::new(uid, BTreeMap::new()));
        }
    }
}

/// Lists the pods with these fields, then tells every change of them.
fn watch(api: &Api<PartialObjectMeta<ApiPod>>, fields: &str) -> Events {
    watcher(api.clone(), api::watch(fields))
        .default_backoff()
        .map_ok(|event| event.modify(strip))
        .boxed_local()
}

/// Returns when the API server lists pods. Asks about once a second, not on all nodes at the same time.
async fn lists_again(api: &Api<PartialObjectMeta<ApiPod>>, fields: &str) {
    const DEADLINE: Duration = Duration::from_secs(5);
    let one = ListParams::default().fields(fields).limit(1);
    loop {
        tokio::time::sleep(Duration::from_secs_f64(0.5 + fastrand::f64())).await;
        if matches!(tokio::time::timeout(DEADLINE, api.list(&one)).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// Most of a pod's metadata is of no use here.
fn strip(object: &mut PartialObjectMeta<ApiPod>) {
    object.metadata.managed_fields = None;
    object.metadata.owner_references = None;
}

fn watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::api_error::text(error),
        other => other.to_string(),
    }
}
