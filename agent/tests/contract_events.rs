//! The writer of events against an API server whose answers the test gives, one namespace after
//! another. Time is simulated.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{
    kubernetes::events::{Event, EventSink, EventWriter, Reason},
    metrics::Metrics,
};
use agent_core::identity::PodIdentity;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

/// What happens to the events of a namespace.
#[derive(Clone, Copy, Debug)]
enum Script {
    Works,
    Hangs,
    /// This status.
    Refuses(u16),
    /// Each event is there already, with this count.
    Exists(i32),
}

#[derive(Clone, Default)]
struct ScriptedApi {
    scripts: Arc<Mutex<BTreeMap<String, Script>>>,
    /// What has come: method, namespace and body.
    requests: Arc<Mutex<Vec<(Method, String, Value)>>>,
}

impl ScriptedApi {
    fn plays(&self, namespace: &str, script: Script) {
        self.scripts.lock().unwrap().insert(namespace.to_owned(), script);
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        // /api/v1/namespaces/NAMESPACE/events
        let namespace = request.uri().path().split('/').nth(4).unwrap().to_owned();
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let script = self.scripts.lock().unwrap().get(&namespace).copied();
        let request = (method.clone(), namespace, body.clone());
        self.requests.lock().unwrap().push(request);
        let status = match script.unwrap_or(Script::Works) {
            Script::Works => 200,
            Script::Hangs => pending().await,
            Script::Refuses(status) => status,
            Script::Exists(_) if method == Method::POST => 409,
            Script::Exists(count) => {
                body["count"]
                    .take()
                    .is_null()
                    .then(|| body["count"] = count.into());
                200
            }
        };
        if status != 200 {
            body = json!({"kind": "Status", "code": status, "message": "scripted", "reason": "Scripted"});
        }
        if status == 200 && body["involvedObject"].is_null() {
            body["involvedObject"] = json!({});
            body["metadata"] = json!({"name": "e"});
        }
        let answer = Response::builder().status(status);
        answer.body(Body::from(body.to_string().into_bytes())).unwrap()
    }

    fn count(&self, namespace: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(_, of, _)| of == namespace).count()
    }

    /// Returns when a request about this namespace has come.
    async fn asked_about(&self, namespace: &str) {
        while self.count(namespace) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Fixture {
    api: ScriptedApi,
    metrics: Metrics,
    events: EventSink,
    writer: EventWriter,
}

fn fixture() -> Fixture {
    let (api, metrics) = (ScriptedApi::default(), Metrics::new());
    let (events, writer) = EventSink::new(api.client(), "node", metrics.clone());
    Fixture {
        api,
        metrics,
        events,
        writer,
    }
}

fn pod(namespace: &str, name: &str) -> PodIdentity {
    PodIdentity::new(namespace, name, &format!("{namespace}-{name}")).unwrap()
}

fn failure(cause: &str) -> Event {
    Event::warning(Reason::FailedAddingInterface, cause.to_owned())
}

/// Runs the writer until `done`.
async fn until<T>(writer: EventWriter, done: impl Future<Output = T>) -> T {
    tokio::select! {
        reason = writer.run() => panic!("{reason}"),
        done = timeout(Duration::from_secs(3600), done) => done.expect("it never happens"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_hangs_delays_no_other() {
    let Fixture {
        api, events, writer, ..
    } = fixture();
    api.plays("hangs", Script::Hangs);
    for n in 0..100 {
        events.send(&pod("hangs", &n.to_string()), &failure("x"));
    }
    events.send(&pod("other", "p"), &failure("x"));
    let begun = Instant::now();
    until(writer, api.asked_about("other")).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(api.count("hangs"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_refused_with_429_is_no_storm() {
    let Fixture {
        api,
        metrics,
        events,
        writer,
    } = fixture();
    api.plays("limited", Script::Refuses(429));
    for n in 0..100 {
        events.send(&pod("limited", &n.to_string()), &failure("x"));
    }
    until(writer, sleep(Duration::from_secs(60))).await;
    let asked = api.count("limited");
    assert!((3..10).contains(&asked), "{asked} requests in a minute");
    let dropped = format!("events_dropped_total {asked}\n");
    let rendered = metrics.render(Duration::ZERO);
    assert!(rendered.contains(&dropped), "each is dropped: {rendered}");
}

/// As in a namespace that is terminating.
#[tokio::test(start_paused = true)]
async fn a_refused_event_is_not_tried_again() {
    let Fixture {
        api,
        metrics,
        events,
        writer,
    } = fixture();
    api.plays("ends", Script::Refuses(403));
    events.send(&pod("ends", "p"), &failure("x"));
    until(writer, sleep(Duration::from_secs(600))).await;
    assert_eq!(api.count("ends"), 1);
    let failed = r#"events_total{reason="FailedAddingInterface",outcome="failed"} 1"#;
    assert!(metrics.render(Duration::ZERO).contains(failed));
}

#[tokio::test(start_paused = true)]
async fn an_event_of_before_a_restart_is_counted_on() {
    let Fixture {
        api, events, writer, ..
    } = fixture();
    api.plays("old", Script::Exists(7));
    let writes = async {
        events.send(&pod("old", "p"), &failure("x"));
        sleep(Duration::from_secs(30)).await;
        events.send(&pod("old", "p"), &failure("x"));
        sleep(Duration::from_secs(30)).await;
        events.send(&pod("old", "p"), &failure("x"));
        events.close();
    };
    let (ended, ()) = tokio::join!(writer.run(), writes);
    assert!(ended.contains("closed"), "{ended}");
    let requests = api.requests.lock().unwrap();
    let counts: Vec<_> = requests
        .iter()
        .map(|(_, _, body)| body["count"].clone())
        .collect();
    assert_eq!(counts, [json!(1), Value::Null, json!(8), json!(10)]);
}

#[tokio::test(start_paused = true)]
async fn an_absent_api_server_is_asked_twice_a_second() {
    let Fixture {
        api,
        metrics,
        events,
        writer,
    } = fixture();
    let namespaces: Vec<_> = (0..110).map(|n| format!("ns-{n}")).collect();
    for namespace in &namespaces {
        api.plays(namespace, Script::Refuses(503));
        events.send(&pod(namespace, "p"), &failure("x"));
    }
    let asked = || api.requests.lock().unwrap().len();
    until(writer, async {
        sleep(Duration::from_secs(60)).await;
        assert!((100..140).contains(&asked()), "{} requests in a minute", asked());
        for namespace in &namespaces {
            api.plays(namespace, Script::Works);
        }
        let written = r#"events_total{reason="FailedAddingInterface",outcome="written"} 110"#;
        while !metrics.render(Duration::ZERO).contains(written) {
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

/// 60 pods with 64 networks each that do not exist, tried again every minute.
#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded_and_delays_no_other() {
    let Fixture {
        api,
        metrics,
        events,
        writer,
    } = fixture();
    let floods = async {
        for minute in 0..60 {
            for (p, n) in (0..60).flat_map(|p| (0..64).map(move |n| (p, n))) {
                let cause = format!("network {minute}-{n} does not exist");
                events.send(&pod("flood", &p.to_string()), &failure(&cause));
            }
            sleep(Duration::from_secs(60)).await;
        }
    };
    let other = async {
        sleep(Duration::from_millis(10)).await;
        let sent = Instant::now();
        events.send(&pod("other", "p"), &failure("x"));
        api.asked_about("other").await;
        sent.elapsed()
    };
    let ((), took) = until(writer, async { tokio::join!(floods, other) }).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(api.count("flood") <= 60 * (25 + 12), "{}", api.count("flood"));
    let rendered = metrics.render(Duration::ZERO);
    assert!(
        rendered.contains(r#"events_suppressed_total{cause="budget"}"#),
        "{rendered}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_events_are_written_before_the_end() {
    let Fixture {
        api, events, writer, ..
    } = fixture();
    for n in 0..20 {
        events.send(&pod("a", &n.to_string()), &failure("x"));
    }
    events.close();
    let ended = timeout(Duration::from_secs(2), writer.run()).await;
    assert!(ended.is_ok());
    assert_eq!(api.count("a"), 20);
}
