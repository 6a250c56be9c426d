//! The client of the container runtime against a scripted one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashMap;

use agent::{
    cri::{CALL_DEADLINE, Cri, CriError, Network, Sandbox, ready_sandbox},
    identity::SandboxId,
};
use proto::runtime_v1::{
    ContainerState::{ContainerExited, ContainerRunning},
    PodSandboxState::{SandboxNotready, SandboxReady},
};
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
async fn a_pods_sandboxes_are_found_by_its_uid() {
    let runtime = ScriptedRuntime::start(Runtime {
        sandboxes: vec![
            sandbox("a", "u1", SandboxNotready, 3),
            sandbox("b", "u1", SandboxReady, 1),
            sandbox("c", "u1", SandboxReady, 2),
            sandbox("d", "u2", SandboxReady, 9),
        ],
        ..Runtime::default()
    });
    let cri = Cri::new(runtime.socket());
    let sandboxes = soon(cri.sandboxes_of("u1")).await.unwrap();
    assert_eq!(ids(&sandboxes), ["a", "b", "c"]);
    assert_eq!(
        ready_sandbox(&sandboxes).map(|sandbox| sandbox.id.as_str()),
        Some("c")
    );
    assert_eq!(ids(&soon(cri.sandboxes()).await.unwrap()), ["a", "b", "c", "d"]);
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

#[tokio::test]
async fn a_sandbox_that_is_gone_is_no_error() {
    let runtime = ScriptedRuntime::start(Runtime::default());
    assert_eq!(
        soon(Cri::new(runtime.socket()).sandbox(&id("a"))).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn only_running_containers_of_the_sandbox_count() {
    let runtime = ScriptedRuntime::start(Runtime {
        containers: vec![
            container("a", ContainerExited),
            container("b", ContainerRunning),
            container("b", ContainerExited),
        ],
        ..Runtime::default()
    });
    let cri = Cri::new(runtime.socket());
    assert!(!soon(cri.has_running_containers(&id("a"))).await.unwrap());
    assert!(soon(cri.has_running_containers(&id("b"))).await.unwrap());
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
async fn a_missing_socket_is_named() {
    let error = soon(Cri::new("/nowhere/cri.sock".into()).version())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the container runtime cannot be reached: there is no socket at /nowhere/cri.sock"
    );
}
