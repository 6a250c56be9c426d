//! What the workers of the node's pods do together. Nothing that they ask answers.

use std::{
    convert::Infallible,
    future::pending,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    effect::{Effect, EffectId, Outcome, Timing},
    identity::PodIdentity,
    record::SandboxRecord,
    turn::Context,
};
use hyper::{Request, Response};
use kube::{Client, client::Body};
use shared::{annotations::NETWORKS, config::Config, names::NetworkName};
use tokio::{task::LocalSet, time::timeout};

use super::*;
use crate::{
    cni::cache::CniCache,
    cri::{Cri, Listing},
    devices::{Devices, PodResources},
    health::Health,
    kubernetes::{client::ApiServer, events::EventSink, networks::Networks},
    metrics::Metrics,
    multus::{Multus, limiter::DelegateLimiter},
    node::Node,
};

const NOWHERE: &str = "/nowhere";

/// The context of workers on a node of which only the disk works.
fn context(records: &Arc<Records>, metrics: &Metrics) -> Rc<WorkerContext> {
    context_asking(records, metrics, |_| {})
}

/// The same, and `asked` is given the path of each request to the API server.
fn context_asking(
    records: &Arc<Records>,
    metrics: &Metrics,
    asked: impl Fn(&str) + Clone + Send + 'static,
) -> Rc<WorkerContext> {
    let silent = tower::service_fn(move |request: Request<Body>| {
        asked(request.uri().path());
        pending::<Result<Response<Body>, Infallible>>()
    });
    let client = Client::new(silent, "default");
    let server = ApiServer {
        calls: client.clone(),
        watches: client.clone(),
        address: String::new(),
    };
    let cri = Cri::new(PathBuf::from(NOWHERE));
    let networks = Networks::new(&server, PathBuf::from(NOWHERE), Duration::ZERO);
    let (events, _) = EventSink::new(client.clone(), "node", metrics.clone());
    Rc::new(WorkerContext {
        node: Node {
            started: Instant::now(),
            devices: Devices {
                kubelet: PodResources::new(PathBuf::from(NOWHERE)),
                client: client.clone(),
                node: "node".to_owned(),
                host_run: PathBuf::from(NOWHERE),
            },
            client,
            multus: Multus::new(vec![PathBuf::from(NOWHERE)]),
            listing: Rc::new(Listing::new(&cri)),
            cri,
            host_run: PathBuf::from(NOWHERE),
            cache: CniCache::new(PathBuf::from(NOWHERE)),
            cni_dir: PathBuf::from(NOWHERE),
            records: Arc::clone(records),
            networks: networks.clone(),
            health: Health::new(metrics.clone()),
            metrics: metrics.clone(),
        },
        core: Rc::new(Context {
            config: Rc::new(Config::parse("{}").unwrap()),
            own: None,
            timing: Timing::default(),
        }),
        limiter: DelegateLimiter::default(),
        networks,
        events,
        metrics: metrics.clone(),
    })
}

fn pod(uid: &str) -> PodEvent {
    PodEvent::Changed(Box::new(ObjectMeta {
        namespace: Some("default".to_owned()),
        name: Some("p".to_owned()),
        uid: Some(uid.to_owned()),
        annotations: Some([(NETWORKS.to_owned(), "a@net1".to_owned())].into()),
        ..ObjectMeta::default()
    }))
}

fn worker_of(pods: &Pods, uid: &str) -> Option<Rc<Worker>> {
    pods.entries.borrow().get(uid)?.worker.clone()
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_worker_and_is_counted() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
    let records = Arc::new(Records::open(dir.path()).unwrap());
    let pods = Pods::new(context(&records, &metrics), BTreeMap::new());
    let test = async {
        pods.apply(pod("u1"));
        pods.apply(pod("u2"));
        let (broken, other) = (worker_of(&pods, "u1").unwrap(), worker_of(&pods, "u2").unwrap());
        broken.report(|_, _| panic!("planted by a test"));
        let replaced = async {
            while worker_of(&pods, "u1").is_none_or(|worker| Rc::ptr_eq(&worker, &broken)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let replaced = timeout(AFTER_PANIC * 2, replaced);
        tokio::select! {
            () = pods.supervise(&records) => panic!("the supervision ended"),
            replaced = replaced => replaced.expect("another worker goes on"),
        }
        assert!(Rc::ptr_eq(&worker_of(&pods, "u2").unwrap(), &other));
        let page = metrics.render(Duration::ZERO);
        assert!(page.contains("dynamic_networks_agent_panics_total 1\n"), "{page}");
    };
    LocalSet::new().run_until(test).await;
}

/// The runtime is asked for the whole node once a second as long as a sandbox is followed.
#[tokio::test]
async fn asks_no_more_about_a_sandbox_that_has_ended() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
    let records = Arc::new(Records::open(dir.path()).unwrap());
    let (id, pod) = (
        SandboxId::parse("5a9d").unwrap(),
        PodIdentity::new("default", "p", "u1").unwrap(),
    );
    let remembered = SandboxRecords {
        sandbox: Some(SandboxRecord::new(pod, String::new())),
        // Its release has to wait, so that the sandbox stays known.
        newer: [shared::names::InterfaceName::net(1)].into(),
        ..SandboxRecords::default()
    };
    let test = async {
        let remembered = BTreeMap::from([(id.clone(), remembered)]);
        let pods = Pods::new(context(&records, &metrics), remembered);
        let worker = worker_of(&pods, "u1").unwrap();
        assert_eq!(pods.followed_sandboxes(), [id.clone()].into());
        let outcomes = [Outcome::Sandboxes(Ok(Vec::new())), Outcome::Ended(Ok(true))];
        for (effect, outcome) in (0..).zip(outcomes) {
            worker.report(|state, now| state.complete(EffectId(effect), outcome, now));
        }
        assert!(worker.with_state(|state| state.sandboxes().contains_key(&id)));
        assert_eq!(pods.followed_sandboxes(), BTreeSet::new());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_add_has_the_pods_other_networks_read() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
    let records = Arc::new(Records::open(dir.path()).unwrap());
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let paths = Arc::clone(&asked);
    let context = context_asking(&records, &metrics, move |path| {
        paths.lock().unwrap().push(path.to_owned());
    });
    let names = ["default/a", "default/b", "default/c"].map(|name| NetworkName::parse(name).unwrap());
    let test = async {
        let (worker, _arriving) = Worker::new(&context, "u1", BTreeMap::new());
        context.networks.follow("u1", names.clone().into());
        worker.start(EffectId(1), Effect::ReadNetwork(names[0].clone()));
        let all = async {
            while asked.lock().unwrap().len() < names.len() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), all)
            .await
            .expect("all three are read");
    };
    LocalSet::new().run_until(test).await;
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    for (path, name) in asked.iter().zip(&names) {
        assert!(path.ends_with(&format!("/{}", name.name())), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_while_others_are_held_is_held() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
    let records = Arc::new(Records::open(dir.path()).unwrap());
    let test = async {
        let pods = Pods::new(context(&records, &metrics), BTreeMap::new());
        pods.hold(Some(&Hold::Unknown));
        pods.apply(pod("u1"));
        let worker = worker_of(&pods, "u1").unwrap();
        assert!(worker.with_state(|state| state.held().is_some()));
        pods.hold(None);
        assert!(worker.with_state(|state| state.held().is_none()));
    };
    LocalSet::new().run_until(test).await;
}
