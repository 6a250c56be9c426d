//! The client of the kubelet's PodResources API against a scripted kubelet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::devices::{Allocation, CALL_DEADLINE, ClaimDevice, KubeletError, PodResources};
use agent_core::identity::PodIdentity;
use futures::future::join_all;
use rstest::rstest;
use support::{
    kubelet::{Kubelet, ScriptedKubelet, claiming, pod},
    soon,
};
use tokio::{io::AsyncWriteExt as _, net::UnixListener, time::Instant};
use tonic::Status;

const VF: &str = "vendor.example/vf";

type Calls = Arc<Mutex<Vec<(&'static str, Instant)>>>;

fn identity(name: &str) -> PodIdentity {
    PodIdentity::new("default", name, "uid").unwrap()
}

fn two_pods() -> Vec<proto::pod_resources_v1::PodResources> {
    vec![
        pod("other", &[(VF, "0000:aa:00.3")]),
        pod("p", &[(VF, "0000:aa:00.2"), (VF, "0000:aa:00.1"), ("x/gpu", "7")]),
    ]
}

async fn ask(kubelet: &ScriptedKubelet) -> Result<Allocation, KubeletError> {
    soon(PodResources::new(kubelet.socket()).of_pod(&identity("p"))).await
}

fn names(calls: &Calls) -> Vec<&'static str> {
    calls.lock().unwrap().iter().map(|(name, _)| *name).collect()
}

fn disabled() -> Status {
    Status::unknown("PodResources API Get method disabled")
}

#[rstest]
#[case::get(None, &["Get"])]
#[case::disabled(Some(disabled()), &["Get", "List"])]
#[case::older_than_get(Some(Status::unimplemented("unknown method Get")), &["Get", "List"])]
#[tokio::test]
async fn the_pods_own_devices_are_found(#[case] get_fails: Option<Status>, #[case] calls: &[&str]) {
    let kubelet = Kubelet {
        pods: two_pods(),
        get_fails,
        ..Kubelet::default()
    };
    let seen = Arc::clone(&kubelet.calls);
    let kubelet = ScriptedKubelet::start(kubelet);
    let allocation = ask(&kubelet).await.unwrap();
    let devices: Vec<String> = allocation.devices_of(VF).into_iter().collect();
    assert_eq!(devices, ["0000:aa:00.1", "0000:aa:00.2"]);
    assert!(allocation.devices_of("x/none").is_empty());
    assert_eq!(names(&seen), calls);
}

#[tokio::test]
async fn devices_of_claims_are_told_apart() {
    let mut pod = pod("p", &[]);
    pod.containers.push(claiming("vf.example", "pool", "d1"));
    let kubelet = ScriptedKubelet::start(Kubelet {
        pods: vec![pod],
        ..Kubelet::default()
    });
    let claimed = ClaimDevice {
        driver: "vf.example".to_owned(),
        pool: "pool".to_owned(),
        device: "d1".to_owned(),
    };
    assert_eq!(ask(&kubelet).await.unwrap().claims, [claimed].into());
}

#[rstest]
#[case::get(
    None,
    "Get of the kubelet's PodResources API failed: pod p in namespace default not found"
)]
#[case::list(Some(disabled()), "the kubelet does not list the pod default/p")]
#[tokio::test]
async fn a_pod_that_is_not_listed_has_no_empty_answer(
    #[case] get_fails: Option<Status>,
    #[case] message: &str,
) {
    let kubelet = ScriptedKubelet::start(Kubelet {
        pods: vec![pod("other", &[])],
        get_fails,
        ..Kubelet::default()
    });
    let error = ask(&kubelet).await.unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[tokio::test]
async fn a_kubelet_without_the_api_is_named_as_such() {
    let failure = Some(Status::unimplemented("unknown service v1.PodResourcesLister"));
    let kubelet = ScriptedKubelet::start(Kubelet {
        get_fails: failure.clone(),
        list_fails: failure,
        ..Kubelet::default()
    });
    let error = ask(&kubelet).await.unwrap_err();
    assert!(matches!(&error, KubeletError::Unsupported(_)), "{error:?}");
    assert!(
        error.to_string().contains("does not serve the PodResources API"),
        "{error}"
    );
}

#[tokio::test]
async fn a_rate_limit_keeps_the_kubelets_words() {
    let kubelet = ScriptedKubelet::start(Kubelet {
        get_fails: Some(Status::resource_exhausted("rejected by rate limit")),
        ..Kubelet::default()
    });
    let error = ask(&kubelet).await.unwrap_err().to_string();
    assert!(error.contains("rejected by rate limit"), "{error}");
}

#[tokio::test]
async fn a_missing_socket_says_what_to_mount() {
    let kubelet = PodResources::new("/nowhere/kubelet.sock".into());
    let error = soon(kubelet.of_pod(&identity("p")))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("there is no socket at /nowhere/kubelet.sock"),
        "{error}"
    );
    assert!(
        error.contains("/var/lib/kubelet/pod-resources mounted"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_kubelet_is_given_up_after_the_deadline() {
    let kubelet = ScriptedKubelet::start(Kubelet {
        silent: true,
        ..Kubelet::default()
    });
    let client = PodResources::new(kubelet.socket());
    // A hundred pods do not wait for one deadline each.
    let asked = join_all((0..100).map(|_| async { client.of_pod(&identity("p")).await }));
    let answers = tokio::time::timeout(CALL_DEADLINE * 2, asked).await;
    for answer in answers.expect("they share a deadline") {
        assert_eq!(answer, Err(KubeletError::TimedOut { call: "Get" }));
    }
}

#[tokio::test]
async fn garbage_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.0 418 I am a teapot\r\n\r\n").await.ok();
        }
    });
    let answer = soon(PodResources::new(socket).of_pod(&identity("p"))).await;
    assert!(answer.is_err(), "{answer:?}");
    server.abort();
}

#[tokio::test]
async fn an_answer_of_any_size_is_a_failure() {
    let huge: Vec<(&str, String)> = (0..20).map(|_| (VF, "x".repeat(1024 * 1024))).collect();
    let huge: Vec<(&str, &str)> = huge.iter().map(|(of, id)| (*of, id.as_str())).collect();
    let kubelet = ScriptedKubelet::start(Kubelet {
        pods: vec![pod("p", &huge)],
        ..Kubelet::default()
    });
    let error = ask(&kubelet).await.unwrap_err();
    assert!(
        matches!(&error, KubeletError::Failed { call: "Get", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_restarted_kubelet_is_found_again() {
    let old = Kubelet {
        pods: vec![pod("p", &[])],
        ..Kubelet::default()
    };
    let mut kubelet = ScriptedKubelet::start(old);
    let client = PodResources::new(kubelet.socket());
    let before = soon(client.of_pod(&identity("p"))).await.unwrap();
    assert!(before.devices_of(VF).is_empty());
    kubelet.restart(Kubelet {
        pods: two_pods(),
        ..Kubelet::default()
    });
    let after = soon(client.of_pod(&identity("p"))).await.unwrap();
    assert_eq!(after.devices_of(VF).len(), 2);
}

/// The kubelet refuses more than ten calls at once, and more than 100 a second.
#[tokio::test(start_paused = true)]
async fn many_pods_stay_below_the_kubelets_limit() {
    let kubelet = Kubelet {
        pods: two_pods(),
        ..Kubelet::default()
    };
    let calls = Arc::clone(&kubelet.calls);
    let kubelet = ScriptedKubelet::start(kubelet);
    let client = PodResources::new(kubelet.socket());
    let answers = join_all((0..110).map(|_| async { client.of_pod(&identity("p")).await })).await;
    assert!(answers.iter().all(Result::is_ok));
    let calls = calls.lock().unwrap().clone();
    let fastest = calls.windows(12).map(|twelve| twelve[11].1 - twelve[0].1).min();
    assert!(fastest.unwrap() >= Duration::from_millis(100), "{fastest:?}");
}
