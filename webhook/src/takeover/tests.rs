//! Settings that change under a running webhook; time is simulated.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use shared_process::settings::{Files, Settings, SettingsMetrics};
use tempfile::TempDir;

use super::*;
use crate::testing::{self, until};

/// Longer than everything here takes.
const LONG: Duration = Duration::from_secs(600);

struct Fixture {
    place: TempDir,
    /// Method and path of each request.
    requests: Arc<Mutex<Vec<String>>>,
    /// Whether there is another replica, which is not ready.
    has_other: Arc<AtomicBool>,
}

impl Fixture {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("manifest.json"), "{}").unwrap();
        Self {
            place,
            requests: Arc::default(),
            has_other: Arc::default(),
        }
    }

    /// In one step, as the kubelet does.
    fn set(&self, settings: &str) {
        let new = self.place.path().join("new");
        std::fs::write(&new, settings).unwrap();
        std::fs::rename(new, self.place.path().join("settings.json")).unwrap();
    }

    fn client(&self) -> Client {
        let (requests, has_other) = (Arc::clone(&self.requests), Arc::clone(&self.has_other));
        testing::client(move |method, path| {
            requests.lock().unwrap().push(format!("{method} {path}"));
            if method == "POST" {
                return (201, json!({"metadata": {}, "eventTime": null, "regarding": {}}));
            }
            let mut pods = vec![json!({"metadata": {"name": "own"}})];
            if has_other.load(Ordering::SeqCst) {
                pods.push(json!({"metadata": {"name": "other"}}));
            }
            (200, json!({"metadata": {}, "items": pods}))
        })
    }

    /// Runs until this replica is to restart.
    async fn run(&self) {
        let files = Files {
            manifest: self.place.path().join("manifest.json"),
            settings: self.place.path().join("settings.json"),
        };
        let settings = Settings::load(files, SettingsMetrics::default()).await.unwrap();
        let own = OwnPod::new(self.client(), "ns", "own", "uid");
        let replicas = Replicas {
            client: self.client(),
            namespace: "ns".to_owned(),
            service: "webhook".to_owned(),
            own_name: "own".to_owned(),
            admin_port: 1,
        };
        wait_until_due(settings.follower(Duration::ZERO), own, &replicas).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refused_settings_are_an_event_on_the_own_pod() {
    let fixture = Fixture::new();
    let writes = async {
        fixture.set("{}");
        sleep(RETRY).await;
        fixture.set(r#"{"interfaceOffset":"one"}"#);
        until("an event", || !fixture.requests.lock().unwrap().is_empty()).await;
    };
    tokio::select! {
        () = fixture.run() => panic!("it restarts"),
        () = writes => {}
    }
    let requests = fixture.requests.lock().unwrap();
    assert!(
        requests[0].starts_with("POST /apis/events.k8s.io/v1/namespaces/ns/events"),
        "{requests:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn waits_for_another_replica_before_the_restart() {
    let fixture = Fixture::new();
    fixture.has_other.store(true, Ordering::SeqCst);
    let writes = async {
        sleep(RETRY).await;
        fixture.set(r#"{"interfaceOffset":1}"#);
        sleep(LONG).await;
        fixture.has_other.store(false, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let begun = tokio::time::Instant::now();
    tokio::select! {
        () = fixture.run() => {}
        () = writes => {}
    }
    assert!(begun.elapsed() > LONG, "{:?}", begun.elapsed());
}

#[test]
fn a_program_without_a_pod_writes_no_events() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let client = testing::client(|_, _| (500, json!({})));
    assert!(OwnPod::new(client, "ns", "", "").is_none());
}
