//! The watch cache against an API server in a function.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::*;
use crate::testing::{client, failure, not_found, until};

fn namespace(name: &str, label: Option<&str>, version: u32) -> Value {
    let labels: BTreeMap<&str, &str> = label.map(|label| ("l", label)).into_iter().collect();
    let metadata = json!({ "name": name, "resourceVersion": version.to_string(), "labels": labels });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
}

fn list(items: &[Value]) -> (u16, Value) {
    let metadata = json!({ "resourceVersion": "1" });
    (
        200,
        json!({ "apiVersion": "v1", "kind": "NamespaceList", "metadata": metadata, "items": items }),
    )
}

fn label(namespace: &Namespace) -> Option<(String, Option<String>)> {
    let label = namespace
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("l").cloned());
    Some((namespace.metadata.name.clone()?, label))
}

/// A cache that follows `api`.
fn follow(
    api: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> Arc<Cache<String, String>> {
    let cache = Arc::new(Cache::new("test"));
    let following = Arc::clone(&cache);
    tokio::spawn(async move {
        let api: Api<Namespace> = Api::all(client(api));
        following
            .follow(api, watcher::Config::default(), &Metrics::default(), label)
            .await;
    });
    cache
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=")
}

fn sees(cache: &Cache<String, String>, expected: &[(&str, &str)]) -> bool {
    let expected = expected
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    cache
        .with_entries(|entries| *entries == expected)
        .unwrap_or_default()
}

#[test]
fn not_listed_yet_is_not_empty() {
    let cache: Cache<String, String> = Cache::new("test");

    assert!(matches!(cache.state(), State::Waiting(_)));
    assert_eq!(cache.with_entries(BTreeMap::len), None);
}

#[tokio::test(start_paused = true)]
async fn a_list_and_its_changes_are_kept() {
    let event = |kind: &str, object: Value| json!({ "type": kind, "object": object }).to_string();
    let watched = Arc::new(AtomicUsize::new(0));
    let cache = follow(move |_, path| {
        if !is_watch(path) {
            return list(&[
                namespace("a", Some("1"), 1),
                namespace("b", Some("2"), 1),
                namespace("c", None, 1),
            ]);
        }
        // The first watch brings changes, the others nothing.
        if watched.fetch_add(1, Ordering::SeqCst) > 0 {
            return failure();
        }
        let changes = [
            event("MODIFIED", namespace("a", Some("3"), 2)),
            event("MODIFIED", namespace("b", None, 3)),
            event("ADDED", namespace("d", Some("4"), 4)),
            event("ADDED", namespace("e", Some("5"), 5)),
            event("DELETED", namespace("e", None, 6)),
        ];
        (200, Value::String(changes.join("\n") + "\n"))
    });

    until("the changes", || sees(&cache, &[("a", "3"), ("d", "4")])).await;

    assert_eq!(cache.state(), State::Synced);
}

#[tokio::test(start_paused = true)]
async fn notices_a_resource_that_is_installed_later() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let cache = follow(move |_, path| match count.fetch_add(1, Ordering::SeqCst) {
        0..=2 => not_found(),
        _ if is_watch(path) => failure(),
        _ => list(&[namespace("a", Some("1"), 1)]),
    });
    until("the answer", || cache.state() == State::NotInstalled).await;
    assert_eq!(cache.with_entries(BTreeMap::len), Some(0), "none");

    until("the list", || sees(&cache, &[("a", "1")])).await;

    assert!(asked.load(Ordering::SeqCst) >= 4);
}

#[tokio::test(start_paused = true)]
async fn without_permission_the_reason_is_kept() {
    let forbidden = json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no way" });
    let cache = follow(move |_, _| (403, forbidden.clone()));

    until(
        "the reason",
        || matches!(cache.state(), State::Waiting(reason) if reason.contains("no way")),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn keeps_listed_objects_without_an_api_server() {
    let listed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&listed);
    let cache = follow(move |_, _| match count.fetch_add(1, Ordering::SeqCst) {
        0 => list(&[namespace("a", Some("1"), 1)]),
        _ => failure(),
    });
    until("the list", || sees(&cache, &[("a", "1")])).await;

    until("failures", || listed.load(Ordering::SeqCst) > 5).await;

    assert!(sees(&cache, &[("a", "1")]));
}

#[tokio::test(start_paused = true)]
async fn the_age_is_that_of_the_last_good_answer() {
    let cache = Cache::<String, String>::new("test");
    let client = client(|_, path| if path.contains("x") { failure() } else { list(&[]) });
    let client = cache.heard_through(client);
    let ask = async |namespace: &str| {
        tokio::time::advance(Duration::from_secs(100)).await;
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), namespace);
        let _ = api.list_metadata(&kube::api::ListParams::default()).await;
        cache.age()
    };

    assert!(ask("x").await >= Duration::from_secs(100));
    assert!(ask("y").await < Duration::from_secs(1));
}
