//! Watches for another dynamic-networks controller on this node. While there is one, the agent is
//! not ready and holds back. The core decides; here its questions about a pod's spec are answered.

use std::{cell::RefCell, convert::Infallible, time::Duration};

use agent_core::{
    identity::PodIdentity,
    other_controller::{Controllers, Hold, Owner, PodView},
};
use k8s_openapi::{api::core::v1::Pod as ApiPod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    core::{ApiResource, Object},
};
use serde::{Deserialize, de::IgnoredAny};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::Health;
use crate::{
    kubernetes::{
        api_error,
        events::{Event, EventSink},
        pod_watch::PodEvent,
    },
    metrics::Dependency,
};

/// For one request.
const DEADLINE: Duration = Duration::from_secs(10);
/// How soon a controller that was found, or could not be read, is read again: it may have failed
/// for good meanwhile.
const AGAIN: Duration = Duration::from_secs(30);

/// The part of a pod that shows whether it can be a controller.
type Candidate = Object<Spec, Status>;

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    host_path: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
}

/// See the module. `hold` is called with each change.
pub struct SoleController<H> {
    controllers: RefCell<Controllers>,
    own: Option<PodIdentity>,
    client: Client,
    health: Health,
    events: EventSink,
    hold: H,
    reported: RefCell<Option<Hold>>,
    unread: Notify,
}

impl<H: Fn(Option<&Hold>)> SoleController<H> {
    /// Holds from now on until the pods of the node are listed.
    pub fn new(own: Option<PodIdentity>, client: Client, health: Health, events: EventSink, hold: H) -> Self {
        hold(Some(&Hold::Unknown));
        Self {
            controllers: RefCell::new(Controllers::new(own.clone())),
            own,
            client,
            health,
            events,
            hold,
            reported: RefCell::new(Some(Hold::Unknown)),
            unread: Notify::new(),
        }
    }

    /// What the watch reports.
    pub fn observe(&self, event: &PodEvent) {
        {
            let mut controllers = self.controllers.borrow_mut();
            match event {
                PodEvent::Listing => controllers.list_begins(),
                PodEvent::Listed(object) | PodEvent::Changed(object) => controllers.observe(&view(object)),
                PodEvent::ListEnds => controllers.list_ends(),
                PodEvent::Deleted(uid) => controllers.gone(uid),
                PodEvent::Healthy | PodEvent::Unhealthy(_) | PodEvent::Progress => return,
            }
            if !controllers.unread(false).is_empty() {
                self.unread.notify_one();
            }
        }
        self.report();
    }

    /// Reads the candidates, without end. While there are none, nothing is asked.
    pub async fn run(&self) -> Infallible {
        let mut due = Instant::now() + AGAIN;
        loop {
            let again = Instant::now() >= due;
            if again {
                due = Instant::now() + AGAIN;
            }
            let unread = self.controllers.borrow().unread(again);
            for pod in unread {
                let confirms = self.read(&pod).await;
                self.controllers.borrow_mut().spec_read(&pod, confirms);
                self.report();
            }
            let unread = self.unread.notified();
            if self.controllers.borrow().has_doubtful() {
                // The time for the next reading has come, or a new candidate.
                let _ = timeout_at(due, unread).await;
            } else {
                unread.await;
                due = Instant::now() + AGAIN;
            }
        }
    }

    /// Whether the pod runs and mounts something of the node; `None`: not known.
    async fn read(&self, pod: &PodIdentity) -> Option<bool> {
        let resource = ApiResource::erase::<ApiPod>(&());
        let api: Api<Candidate> = Api::namespaced_with(self.client.clone(), pod.namespace(), &resource);
        let failed = |cause: String| {
            tracing::warn!(%pod, cause, "reading a pod with the labels of a dynamic-networks controller failed; will retry");
        };
        match timeout(DEADLINE, api.get_opt(pod.name())).await {
            Ok(Ok(found)) => Some(found.is_some_and(|found| confirms(&found, pod.uid()))),
            Ok(Err(error)) => {
                failed(api_error::text(&error));
                None
            }
            Err(_) => {
                failed(format!("no answer within {} s", DEADLINE.as_secs()));
                None
            }
        }
    }

    fn report(&self) {
        let hold = self.controllers.borrow().hold();
        if self.reported.replace(hold.clone()) == hold {
            return;
        }
        let state = hold.as_ref().map_or(Ok(()), |hold| Err(hold.to_string()));
        self.health.set(Dependency::SoleController, state);
        if let (Some(Hold::Other(text)), Some(own)) = (&hold, &self.own) {
            self.events.send(own, &Event::other_controller(text));
        }
        (self.hold)(hold.as_ref());
    }
}

fn confirms(found: &Candidate, uid: &str) -> bool {
    let phase = found.status.as_ref().map_or("", |status| status.phase.as_str());
    found.metadata.uid.as_deref() == Some(uid)
        && !matches!(phase, "Succeeded" | "Failed")
        && found.spec.volumes.iter().any(|volume| volume.host_path.is_some())
}

fn view(object: &ObjectMeta) -> PodView<'_> {
    let owners = object.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    PodView {
        namespace: object.namespace.as_deref().unwrap_or_default(),
        name: object.name.as_deref().unwrap_or_default(),
        uid: object.uid.as_deref().unwrap_or_default(),
        labels: object.labels.as_ref(),
        owner: owners.next().map(|owner| Owner {
            kind: &owner.kind,
            name: &owner.name,
            uid: &owner.uid,
        }),
        terminating: object.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        rc::Rc,
        sync::{Arc, Mutex},
    };

    use hyper::{Request, Response, body::Bytes};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::Metrics;

    /// The API server's answer to every GET, and what was asked.
    #[derive(Clone)]
    struct Api {
        answer: Arc<Mutex<Value>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Api {
        fn with_volume(volume: &Value) -> Self {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "addons", "name": "dnc", "uid": "u2"},
                "spec": {"volumes": [volume]}, "status": {"phase": "Running"},
            });
            Self {
                answer: Arc::new(Mutex::new(pod)),
                asked: Arc::default(),
            }
        }

        fn client(&self) -> Client {
            let api = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                api.asked.lock().unwrap().push(request.uri().path().to_owned());
                let answer = api.answer.lock().unwrap().to_string();
                async move { Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(answer)))) }
            });
            Client::new(service, "default")
        }
    }

    fn host_path() -> Value {
        json!({"name": "socket", "hostPath": {"path": "/run/multus"}})
    }

    fn pod(namespace: &str, name: &str, uid: &str, owner: &str) -> Box<ObjectMeta> {
        let labels = [("name".to_owned(), "dynamic-networks-controller".to_owned())];
        Box::new(ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            labels: Some(BTreeMap::from(labels)),
            owner_references: Some(vec![OwnerReference {
                kind: "DaemonSet".to_owned(),
                name: owner.to_owned(),
                uid: owner.to_owned(),
                controller: Some(true),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        })
    }

    struct Scene {
        health: Health,
        held: Rc<RefCell<Vec<Option<Hold>>>>,
        changes: Rc<Notify>,
    }

    impl Scene {
        /// The readiness line.
        fn line(&self) -> Option<String> {
            let lines = self.health.reasons();
            lines
                .into_iter()
                .find(|line| line.starts_with("sole-controller: "))
        }

        async fn until(&self, wanted: impl Fn(&Option<Hold>) -> bool) {
            let reached = async {
                while !self.held.borrow().last().is_some_and(&wanted) {
                    self.changes.notified().await;
                }
            };
            let waited = timeout(Duration::from_secs(120), reached).await;
            assert!(waited.is_ok(), "{:?}", self.held.borrow());
        }
    }

    /// The agent's own pod and `dnc` are listed; `test` follows while candidates are read.
    async fn beside(api: &Api, test: impl AsyncFnOnce(&Scene, &dyn Fn(&PodEvent))) {
        let metrics = Metrics::new();
        let scene = Scene {
            health: Health::new(metrics.clone()),
            held: Rc::default(),
            changes: Rc::default(),
        };
        let own = PodIdentity::new("kube-system", "own", "u1").unwrap();
        let (events, _writer) = EventSink::new(api.client(), "node", metrics);
        let (held, changes) = (Rc::clone(&scene.held), Rc::clone(&scene.changes));
        let sole = SoleController::new(
            Some(own),
            api.client(),
            scene.health.clone(),
            events,
            move |hold| {
                held.borrow_mut().push(hold.cloned());
                changes.notify_one();
            },
        );
        sole.observe(&PodEvent::Listing);
        sole.observe(&PodEvent::Listed(pod("kube-system", "own", "u1", "ours")));
        sole.observe(&PodEvent::Listed(pod("addons", "dnc", "u2", "theirs")));
        sole.observe(&PodEvent::ListEnds);
        let observe = |event: &PodEvent| sole.observe(event);
        tokio::select! {
            never = sole.run() => match never {},
            () = test(&scene, &observe) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_not_ready_beside_another_controller() {
        let api = Api::with_volume(&host_path());
        beside(&api, async |scene, observe| {
            scene.until(|hold| matches!(hold, Some(Hold::Other(_)))).await;
            let line = scene.line().unwrap();
            assert!(line.contains("pod addons/dnc of DaemonSet theirs;"), "{line}");
            observe(&PodEvent::Deleted("u2".to_owned()));
            scene.until(Option::is_none).await;
            assert_eq!(scene.line(), None);
        })
        .await;
        assert_eq!(*api.asked.lock().unwrap(), ["/api/v1/namespaces/addons/pods/dnc"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_only_has_the_labels_holds_nothing() {
        let api = Api::with_volume(&json!({"name": "scratch", "emptyDir": {}}));
        beside(&api, async |scene, _| {
            scene.until(Option::is_none).await;
            assert_eq!(scene.line(), None);
        })
        .await;
    }

    /// The watch shows metadata only.
    #[tokio::test(start_paused = true)]
    async fn notices_that_the_other_controller_has_failed() {
        let api = Api::with_volume(&host_path());
        beside(&api, async |scene, _| {
            scene.until(|hold| matches!(hold, Some(Hold::Other(_)))).await;
            api.answer.lock().unwrap()["status"]["phase"] = json!("Failed");
            scene.until(Option::is_none).await;
        })
        .await;
    }
}
