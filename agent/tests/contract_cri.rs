//! The client of the container runtime against a scripted one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    cell::Cell,
    collections::HashMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{
    cni::{
        cache::CniCache,
        sandbox_network::{self, NetworkError},
    },
    cri::{CALL_DEADLINE, Cri, CriError, Listing},
};
use agent_core::{
    identity::SandboxId,
    sandbox::{Network, Sandbox, newest_ready},
};
use futures::future::join_all;
use proto::runtime_v1::{
    ContainerState::{ContainerExited, ContainerRunning},
    PodSandboxState::{SandboxNotready, SandboxReady},
};
use rstest::rstest;
use serde_json::json;
use support::{
    cri::{Runtime, ScriptedRuntime, container, sandbox},
    soon,
};
use tonic::Status;

fn id(text: &str) -> SandboxId {
    SandboxId::parse(text).unwrap()
}

fn ids(sandboxes: &[Sandbox]) -> Vec<&str> {
    sandboxes.iter().map(|sandbox| sandbox.id.as_str()).collect()
}

fn info(json: &str) -> HashMap<String, String> {
    HashMap::from([("info".to_owned(), json.to_owned())])
}

#[tokio::test]
async fn the_newest_ready_sandbox_is_the_pods() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![
            sandbox("a", "u1", SandboxNotready, 3),
            sandbox("b", "u1", SandboxReady, 1),
            sandbox("c", "u1", SandboxReady, 2),
        ],
        ..Runtime::default()
    });
    let sandboxes = soon(Cri::new(runtime.socket()).sandboxes()).await.unwrap();
    assert_eq!(ids(&sandboxes), ["a", "b", "c"]);
    assert_eq!(
        newest_ready(&sandboxes).map(|sandbox| sandbox.id.as_str()),
        Some("c")
    );
}

/// Its clients are 110 pods that have ended, or as many edits at once.
#[tokio::test]
async fn callers_at_the_same_time_share_a_listing() {
    let runtime = Runtime {
        sandboxes: vec![sandbox("a", "u", SandboxReady, 1)],
        containers: vec![container("a", ContainerRunning)],
        ..Runtime::default()
    };
    let calls = Arc::clone(&runtime.calls);
    let runtime = ScriptedRuntime::start(runtime);
    let listing = Listing::new(&Cri::new(runtime.socket()));
    let asked = (0..110).map(async |_| {
        let sandboxes = listing.sandboxes().await.unwrap();
        assert_eq!(ids(&sandboxes), ["a"]);
        assert!(listing.running_sandboxes().await.unwrap().contains(&id("a")));
    });
    soon(join_all(asked)).await;
    let calls = calls.lock().unwrap().clone();
    assert!(calls.len() <= 6, "{calls:?}");
}

/// With the runtime away, as many as like may ask.
#[tokio::test(start_paused = true)]
async fn an_absent_runtime_is_asked_less_than_once_a_second() {
    let asked = Cell::new(0);
    let listing = Listing::new(&Cri::new("/nowhere/cri.sock".into()));
    let ask = async {
        loop {
            assert!(listing.sandboxes().await.is_err());
            asked.set(asked.get() + 1);
            assert!(asked.get() < 60, "it never waits");
        }
    };
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, ask).await.is_err());
    assert!((29..60).contains(&asked.get()), "{asked:?}");
}

#[tokio::test]
async fn a_sandbox_with_an_impossible_name_is_left_out() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![
            sandbox("../a", "u", SandboxReady, 1),
            sandbox("b", "u", SandboxReady, 1),
        ],
        ..Runtime::default()
    });
    assert_eq!(
        ids(&soon(Cri::new(runtime.socket()).sandboxes()).await.unwrap()),
        ["b"]
    );
}

/// The node is listed once a second.
#[tokio::test]
async fn a_foreign_sandbox_is_warned_of_once() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![sandbox("../a", "u", SandboxReady, 1)],
        ..Runtime::default()
    });
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let cri = Cri::new(runtime.socket());
    for _ in 0..3 {
        soon(cri.sandboxes()).await.unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("not Kubernetes'").count(), 1, "{log}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sandbox_tells_its_network() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![sandbox("a", "u", SandboxReady, 1)],
        info: info(r#"{"sandboxMetadata":{"Metadata":{"NetNSPath":"/var/run/netns/cni-1"}}}"#),
        ..Runtime::default()
    });
    let (sandbox, network) = soon(Cri::new(runtime.socket()).sandbox(&id("a")))
        .await
        .unwrap()
        .unwrap();
    assert!(sandbox.ready);
    assert_eq!(sandbox.pod.to_string(), "default/p");
    assert_eq!(network, Network::Namespace("/var/run/netns/cni-1".into()));
}

/// libcni's entry of an attachment, as it is when a runtime passes this uid, or none.
fn entry(dir: &Path, config_name: &str, interface: &str, netns: &str, uid: Option<&str>) {
    let arguments: Vec<_> = uid.map(|uid| ["K8S_POD_UID", uid]).into_iter().collect();
    let entry = json!({
        "kind": "cniCacheV1", "containerId": "a", "config": "e30=", "ifName": interface,
        "networkName": config_name, "netns": netns, "cniArgs": arguments, "result": {},
    });
    let path = dir.join("results");
    fs::create_dir_all(&path).unwrap();
    fs::write(
        path.join(format!("{config_name}-a-{interface}")),
        entry.to_string(),
    )
    .unwrap();
}

/// The network of sandbox "a" of a pod "u", for a runtime that reports this about it.
async fn network(info: HashMap<String, String>, dir: &Path) -> Network {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![sandbox("a", "u", SandboxReady, 1)],
        info,
        ..Runtime::default()
    });
    let (cri, cache) = (Cri::new(runtime.socket()), CniCache::new(dir.to_owned()));
    let network = soon(sandbox_network::read(&cri, &cache, &id("a"))).await;
    network.unwrap().expect("the runtime knows the sandbox")
}

#[rstest]
#[case::cri_dockerd(HashMap::new(), "/proc/4711/ns/net", None)]
#[case::virtual_machine(info(r#"{"runtimeSpec":{"linux":{}}}"#), "/run/netns/cni-1", Some("u"))]
#[tokio::test]
async fn libcni_tells_the_namespace_when_the_runtime_does_not(
    #[case] info: HashMap<String, String>,
    #[case] netns: &str,
    #[case] uid: Option<&str>,
) {
    let dir = tempfile::tempdir().unwrap();
    entry(dir.path(), "podnet", "eth0", netns, uid);
    entry(dir.path(), "blue", "net1", "/run/netns/other", uid);
    assert_eq!(network(info, dir.path()).await, Network::Namespace(netns.into()));
}

#[tokio::test]
async fn the_runtime_is_believed_before_libcni() {
    let dir = tempfile::tempdir().unwrap();
    entry(dir.path(), "podnet", "eth0", "/run/netns/cni-2", Some("u"));
    let told = info(r#"{"sandboxMetadata":{"Metadata":{"NetNSPath":"/run/netns/cni-1"}}}"#);
    let network = network(told, dir.path()).await;
    assert_eq!(network, Network::Namespace("/run/netns/cni-1".into()));
}

#[rstest]
#[case::no_entry(&[], "no entry of eth0")]
#[case::another_pod(&[("podnet", "/run/netns/cni-1", "other")], "no entry of eth0")]
#[case::contradiction(&[("podnet", "/run/netns/cni-1", "u"), ("old", "/run/netns/cni-2", "u")], "cni-2")]
#[case::no_path(&[("podnet", "", "u")], "no absolute path")]
#[case::climbing(&[("podnet", "/run/netns/../x", "u")], "no absolute path")]
#[tokio::test]
async fn an_unusable_entry_leaves_the_namespace_unknown(
    #[case] entries: &[(&str, &str, &str)],
    #[case] words: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    for (config_name, netns, uid) in entries {
        entry(dir.path(), config_name, "eth0", netns, Some(uid));
    }
    let network = network(HashMap::new(), dir.path()).await;
    let Network::Unknown(reason) = network else {
        panic!("{network:?}");
    };
    assert!(
        reason.contains("cri-dockerd") && reason.contains(words),
        "{reason}"
    );
}

/// libcni does not write atomically: another look a moment later finds the entry whole.
#[tokio::test]
async fn a_half_written_entry_is_an_error() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![sandbox("a", "u", SandboxReady, 1)],
        ..Runtime::default()
    });
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("results")).unwrap();
    fs::write(dir.path().join("results/podnet-a-eth0"), r#"{"kind":"cni"#).unwrap();
    let cache = CniCache::new(dir.path().to_owned());
    let read = soon(sandbox_network::read(
        &Cri::new(runtime.socket()),
        &cache,
        &id("a"),
    ))
    .await;
    assert!(matches!(read, Err(NetworkError::Cache(_))), "{read:?}");
}

#[tokio::test]
async fn a_sandbox_that_is_gone_is_no_error() {
    let runtime = ScriptedRuntime::start(Runtime::default());
    assert_eq!(
        soon(Cri::new(runtime.socket()).sandbox(&id("a"))).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn only_running_containers_count() {
    let runtime = ScriptedRuntime::start(Runtime {
        containers: vec![
            container("a", ContainerExited),
            container("b", ContainerRunning),
            container("b", ContainerExited),
            container("../c", ContainerRunning),
        ],
        ..Runtime::default()
    });
    let running = soon(Cri::new(runtime.socket()).running_sandboxes()).await;
    assert_eq!(running, Ok([id("b")].into()));
}

#[tokio::test]
async fn a_list_of_more_than_four_mebibytes_is_read() {
    let many = (0..40_000).map(|n| {
        sandbox(
            &format!("{n:0>64}"),
            "0b0b0b0b-0b0b-4b0b-8b0b-0b0b0b0b0b0b",
            SandboxReady,
            1,
        )
    });
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: many.collect(),
        ..Runtime::default()
    });
    assert_eq!(
        soon(Cri::new(runtime.socket()).sandboxes()).await.unwrap().len(),
        40_000
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_runtime_is_given_up_after_the_deadline() {
    let runtime = ScriptedRuntime::start(Runtime {
        silent: true,
        ..Runtime::default()
    });
    let cri = Cri::new(runtime.socket());
    let asked = tokio::time::timeout(CALL_DEADLINE * 2, cri.version())
        .await
        .expect("it has a deadline");
    assert!(
        matches!(&asked, Err(CriError::TimedOut { call: "Version" })),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_runtime_without_cri_v1_is_named_as_such() {
    let failure = Some(Status::unimplemented("unknown service runtime.v1.RuntimeService"));
    let runtime = ScriptedRuntime::start(Runtime {
        failure,
        ..Runtime::default()
    });
    let asked = soon(Cri::new(runtime.socket()).version()).await;
    assert!(matches!(&asked, Err(CriError::Unsupported(_))), "{asked:?}");
}

#[tokio::test]
async fn a_failed_call_keeps_the_runtimes_words() {
    let failure = Some(Status::internal("the disk is on fire"));
    let runtime = ScriptedRuntime::start(Runtime {
        failure,
        ..Runtime::default()
    });
    let error = soon(Cri::new(runtime.socket()).sandboxes()).await.unwrap_err();
    assert_eq!(error.to_string(), "ListPodSandbox failed: the disk is on fire");
}

#[tokio::test]
async fn a_runtime_that_starts_is_unavailable() {
    let failure = Some(Status::unavailable("server is not initialized yet"));
    let runtime = ScriptedRuntime::start(Runtime {
        failure,
        ..Runtime::default()
    });
    let error = soon(Cri::new(runtime.socket()).sandboxes()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn a_missing_socket_is_named() {
    let error = soon(Cri::new("/nowhere/cri.sock".into()).version())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the container runtime cannot be reached: there is no socket at /nowhere/cri.sock"
    );
}
