//! The watch of this node's pods against a scripted API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use agent::kubernetes::pod_watch::{PodEvent, pod_events};
use agent_core::identity::PodIdentity;
use futures::{Stream, StreamExt as _, stream::LocalBoxStream};
use support::{
    api::{Kind, Order, ScriptedApi, Verb, pod},
    soon,
};

async fn watched(server: &ScriptedApi, own: Option<&PodIdentity>) -> LocalBoxStream<'static, PodEvent> {
    pod_events(&server.client().await, "n", own).boxed_local()
}

/// What comes until `last` has come, progress left out.
async fn until(
    events: &mut (impl Stream<Item = PodEvent> + Unpin),
    last: impl Fn(&PodEvent) -> bool,
) -> Vec<PodEvent> {
    let mut seen = Vec::new();
    loop {
        let event = soon(events.next()).await.expect("it never ends");
        let is_last = last(&event);
        if event != PodEvent::Progress {
            seen.push(event);
        }
        if is_last {
            return seen;
        }
    }
}

async fn until_healthy(events: &mut (impl Stream<Item = PodEvent> + Unpin)) -> Vec<PodEvent> {
    until(events, |event| *event == PodEvent::Healthy).await
}

fn is_unhealthy(event: &PodEvent) -> bool {
    matches!(event, PodEvent::Unhealthy(_))
}

/// The uids in events, in order.
fn uids(events: &[PodEvent]) -> Vec<&str> {
    let uids = events.iter().filter_map(|event| match event {
        PodEvent::Listed(pod) | PodEvent::Changed(pod) => pod.uid.as_deref(),
        PodEvent::Deleted(uid) => Some(uid.as_str()),
        _ => None,
    });
    uids.collect()
}

/// The limits of the lists, in order.
fn limits(server: &ScriptedApi) -> Vec<String> {
    let requests = server.counts().requests;
    let lists = requests.iter().filter(|(_, verb, _)| *verb == Verb::List);
    let limit = |uri: &str| {
        let pairs = uri.split(['?', '&']);
        pairs.filter_map(|pair| pair.strip_prefix("limit=")).collect()
    };
    lists.map(|(_, _, uri)| limit(uri)).collect()
}

#[tokio::test]
async fn lists_in_pages_and_then_watches() {
    let server = ScriptedApi::start().await;
    for n in 0..120 {
        server.put(
            Kind::Pod,
            pod("ns", &format!("p{n:03}"), &format!("u{n:03}"), "a"),
        );
    }
    let mut events = watched(&server, None).await;
    let seen = until_healthy(&mut events).await;
    assert_eq!(seen.first(), Some(&PodEvent::Listing));
    assert_eq!(uids(&seen).len(), 120);
    assert_eq!(seen.get(seen.len() - 2), Some(&PodEvent::ListEnds));
    assert_eq!(limits(&server), ["50", "50", "50"]);

    server.put(Kind::Pod, pod("ns", "p000", "u000", "b"));
    server.delete(Kind::Pod, "ns", "p001");
    let seen = until(&mut events, |event| matches!(event, PodEvent::Deleted(_))).await;
    assert_eq!(uids(&seen), ["u000", "u001"]);
    assert_eq!(server.count(Kind::Pod, Verb::Watch), 1);
}

#[tokio::test]
async fn asks_for_smaller_pages_of_large_pods() {
    let server = ScriptedApi::start().await;
    for n in 0..40 {
        server.put(
            Kind::Pod,
            pod(
                "ns",
                &format!("p{n:02}"),
                &format!("u{n:02}"),
                &"x".repeat(250_000),
            ),
        );
    }
    let mut events = watched(&server, None).await;
    let seen = until_healthy(&mut events).await;
    assert_eq!(uids(&seen).len(), 40);
    assert_eq!(limits(&server), ["50", "12", "12", "12", "12"]);
}

#[tokio::test]
async fn resumes_after_a_cut_without_a_list() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "a"));
    let mut events = watched(&server, None).await;
    until_healthy(&mut events).await;

    server.cuts(false);
    until(&mut events, is_unhealthy).await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "b"));
    server.put(Kind::Pod, pod("ns", "q", "u2", "a"));
    server.opens();
    let seen = until(
        &mut events,
        |event| matches!(event, PodEvent::Changed(pod) if pod.uid.as_deref() == Some("u2")),
    )
    .await;
    assert!(seen.contains(&PodEvent::Healthy));
    assert_eq!(uids(&seen), ["u1", "u2"]);
    assert_eq!(server.count(Kind::Pod, Verb::List), 1);
}

#[tokio::test]
async fn continues_at_the_version_of_a_bookmark() {
    let server = ScriptedApi::start().await;
    let mut events = watched(&server, None).await;
    until_healthy(&mut events).await;
    server.bookmark(Kind::Pod);
    until(&mut events, |event| *event == PodEvent::Progress).await;
    server.ends_watches();
    until_healthy(&mut events).await;
    let requests = server.counts().requests;
    let (_, _, last) = requests.last().unwrap();
    assert!(last.ends_with("resourceVersion=1"), "{last}");
}

#[tokio::test]
async fn says_nothing_when_a_watch_ends_at_its_time() {
    let server = ScriptedApi::start().await;
    let mut events = watched(&server, None).await;
    until_healthy(&mut events).await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "a"));
    until(&mut events, |event| matches!(event, PodEvent::Changed(_))).await;
    server.ends_watches();
    assert_eq!(until_healthy(&mut events).await, [PodEvent::Healthy]);
}

#[tokio::test]
async fn lists_again_what_a_forgotten_version_hides() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "a"));
    server.put(Kind::Pod, pod("ns", "q", "u2", "a"));
    let mut events = watched(&server, None).await;
    until_healthy(&mut events).await;
    server.cuts(false);
    until(&mut events, is_unhealthy).await;
    server.delete(Kind::Pod, "ns", "q");
    server.expires();
    server.opens();
    let seen = until_healthy(&mut events).await;
    assert!(seen.contains(&PodEvent::Listing));
    assert_eq!(uids(&seen), ["u1"]);
    assert_eq!(server.count(Kind::Pod, Verb::List), 2);
}

#[tokio::test]
async fn asks_more_and_more_slowly_while_it_fails() {
    for order in [
        Order::Hangup,
        Order::Expired,
        Order::Status(410, "too old"),
        Order::Refusal(503, None),
    ] {
        let server = ScriptedApi::start().await;
        server.ordered(Kind::Pod, Verb::Watch, order.clone());
        let mut events = watched(&server, None).await;
        let began = Instant::now();
        for _ in 0..4 {
            until(&mut events, is_unhealthy).await;
        }
        // Three pauses, each at least half of 250, 500 and 1,000 ms.
        assert!(
            began.elapsed() >= Duration::from_millis(875),
            "{order:?}: {:?}",
            began.elapsed()
        );
        server.obeys();
        until_healthy(&mut events).await;
    }
}

#[tokio::test]
async fn comes_back_when_the_server_says() {
    let server = ScriptedApi::start().await;
    server.ordered(Kind::Pod, Verb::List, Order::Refusal(429, Some(1)));
    let mut events = watched(&server, None).await;
    let seen = until(&mut events, is_unhealthy).await;
    let Some(PodEvent::Unhealthy(text)) = seen.last() else {
        panic!("{seen:?}");
    };
    assert!(
        text.ends_with("Too many requests, please try again later. (429)"),
        "{text}"
    );
    let refused = Instant::now();
    server.obeys();
    until_healthy(&mut events).await;
    assert!(
        refused.elapsed() >= Duration::from_secs(1),
        "{:?}",
        refused.elapsed()
    );
}

#[tokio::test]
async fn is_unhealthy_until_it_sees_its_own_pod() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "a"));
    let own = PodIdentity::new("kube-system", "agent", "own").unwrap();
    let mut events = watched(&server, Some(&own)).await;
    let seen = until(&mut events, is_unhealthy).await;
    let Some(PodEvent::Unhealthy(text)) = seen.last() else {
        panic!("{seen:?}");
    };
    assert!(
        text.contains("kube-system/agent is not among them; is n the node"),
        "{text}"
    );
    server.put(Kind::Pod, pod("kube-system", "agent", "own", ""));
    until_healthy(&mut events).await;
}

/// As after a restart of the API server, which remembers nothing of before.
#[tokio::test]
async fn lists_soon_after_an_outage_that_a_version_outlived() {
    let server = ScriptedApi::start().await;
    server.put(Kind::Pod, pod("ns", "p", "u1", "a"));
    let mut events = watched(&server, None).await;
    until_healthy(&mut events).await;
    server.cuts(false);
    for _ in 0..5 {
        until(&mut events, is_unhealthy).await;
    }
    server.ordered(Kind::Pod, Verb::Watch, Order::Expired);
    server.opens();
    let expired = until(
        &mut events,
        |event| matches!(event, PodEvent::Unhealthy(text) if text.contains("too old")),
    )
    .await;
    // A watch whose only event is that it cannot go on has not been open.
    assert!(!expired.contains(&PodEvent::Healthy), "{expired:?}");
    let began = Instant::now();
    server.obeys();
    assert_eq!(uids(&until_healthy(&mut events).await), ["u1"]);
    // Not the two seconds and more that the next pause of the outage would be.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
