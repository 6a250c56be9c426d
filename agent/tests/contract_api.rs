//! The client of the API server against a scripted one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use agent::kubernetes::client::calls::AT_ONCE;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use support::{
    api::{Kind, Order, ScriptedApi, Verb, pod},
    soon,
};

const CALLS: usize = 100;

#[tokio::test]
async fn sends_a_burst_of_calls_over_few_connections() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", ""));
    server.ordered(Kind::Pod, Verb::Get, Order::Slow(Duration::from_millis(5)));
    let client = server.client().await.calls;
    let pods: Api<Pod> = Api::namespaced(client, "ns");

    let answers = soon(join_all((0..CALLS).map(|_| pods.get("p")))).await;
    assert!(answers.iter().all(Result::is_ok));
    let counts = server.counts();
    assert_eq!(server.count(Kind::Pod, Verb::Get), CALLS);
    assert_eq!(counts.at_once.1, AT_ONCE);
    assert!(counts.connections.0 <= 2 * AT_ONCE, "{:?}", counts.connections);
}

#[tokio::test]
async fn frees_the_place_of_a_call_that_is_given_up() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", ""));
    server.ordered(Kind::Pod, Verb::Get, Order::Silence);
    let pods: Api<Pod> = Api::namespaced(server.client().await.calls, "ns");

    let given_up = join_all((0..AT_ONCE).map(|_| pods.get("p")));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), given_up)
            .await
            .is_err()
    );
    server.obeys();
    assert!(soon(pods.get("p")).await.is_ok());
}

#[tokio::test]
async fn sends_a_refused_call_again_after_the_told_time() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", ""));
    server.ordered(Kind::Pod, Verb::Patch, Order::Refusal(429, Some(1)));
    let pods: Api<Pod> = Api::namespaced(server.client().await.calls, "ns");
    let patch = Patch::Merge(json!({"metadata": {}}));
    let params = PatchParams::default();
    let began = Instant::now();
    let patched = async {
        let patched = pods.patch_status("p", &params, &patch).await;
        (patched, began.elapsed())
    };
    let helped = async {
        while server.count(Kind::Pod, Verb::Patch) < 2 {
            tokio::task::yield_now().await;
        }
        server.obeys();
    };
    let ((patched, took), ()) = soon(async { tokio::join!(patched, helped) }).await;
    assert!(patched.is_ok(), "{patched:?}");
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!(server.count(Kind::Pod, Verb::Patch), 3);
}

/// Without a time to wait it is for the caller to decide when.
#[tokio::test]
async fn tells_its_caller_of_any_other_refusal() {
    let server = ScriptedApi::start().await;
    server.ordered(Kind::Pod, Verb::Get, Order::Refusal(503, None));
    let pods: Api<Pod> = Api::namespaced(server.client().await.calls, "ns");
    assert!(soon(pods.get("p")).await.is_err());
    assert_eq!(server.count(Kind::Pod, Verb::Get), 1);
}
