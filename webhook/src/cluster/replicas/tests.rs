//! When a replica may restart, with replicas that answer on the loopback.

use std::net::{IpAddr, Ipv4Addr};

use axum::{Router, routing::get};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::testing;

const OWN: &str = "webhook-a";

/// A replica that answers `/readyz` with this status.
async fn replica(status: StatusCode) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/readyz", get(move || async move { status }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn pod(name: &str, ready: &str, ip: IpAddr) -> Value {
    json!({"metadata": {"name": name}, "status": {
        "phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}],
    }})
}

/// The replica `OWN` of those in `pods`, which answer probes at `port`.
fn replicas(port: u16, pods: Value) -> Replicas {
    let client = testing::client(move |_, path| {
        assert!(
            path.starts_with("/api/v1/namespaces/ns/pods?")
                && path.contains("labelSelector=app.kubernetes.io%2Fname%3Dwebhook"),
            "{path}"
        );
        (
            200,
            json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods}),
        )
    });
    Replicas {
        client,
        namespace: "ns".to_owned(),
        service: "webhook".to_owned(),
        own_name: OWN.to_owned(),
        admin_port: port,
    }
}

#[rstest]
#[case::ready("True", StatusCode::OK, true)]
#[case::about_to_restart("True", StatusCode::SERVICE_UNAVAILABLE, false)]
#[case::not_ready("False", StatusCode::OK, false)]
#[tokio::test]
async fn restarts_only_while_another_is_ready(
    #[case] ready: &str,
    #[case] answer: StatusCode,
    #[case] expected: bool,
) {
    let other = replica(answer).await;
    let pods = json!([pod(OWN, "True", other.ip()), pod("webhook-b", ready, other.ip())]);

    let may = replicas(other.port(), pods).may_restart().await;

    assert_eq!(may.is_ok(), expected, "{may:?}");
}

#[tokio::test]
async fn a_replica_that_refuses_connections_is_not_ready() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pods = json!([
        pod(OWN, "True", address.ip()),
        pod("webhook-b", "True", address.ip())
    ]);

    assert!(replicas(address.port(), pods).may_restart().await.is_err());
}

#[test]
fn a_replica_that_cannot_be_reached_counts_as_listed() {
    for error in [ErrorKind::TimedOut, ErrorKind::HostUnreachable] {
        assert!(counts_unreached(error), "{error}");
    }
}

#[tokio::test]
async fn replicas_that_end_are_not_waited_for() {
    let ip = Ipv4Addr::LOCALHOST.into();
    let mut deleted = pod("webhook-b", "True", ip);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut evicted = pod("webhook-c", "False", ip);
    evicted["status"]["phase"] = json!("Failed");

    let alone = replicas(1, json!([pod(OWN, "True", ip), deleted, evicted]));

    assert_eq!(alone.may_restart().await, Ok(()));
}

#[rstest]
#[case::own_pod_is_not_listed(200, json!([pod("webhook-b", "False", Ipv4Addr::LOCALHOST.into())]))]
#[case::forbidden(403, json!([]))]
#[tokio::test]
async fn an_unknown_set_of_replicas_is_not_waited_for(#[case] status: u16, #[case] pods: Value) {
    let mut replicas = replicas(1, pods.clone());
    if status != 200 {
        replicas.client = testing::client(move |_, _| {
            let denied = json!({"kind": "Status", "apiVersion": "v1", "code": status, "status": "Failure",
                "reason": "Forbidden", "message": "pods is forbidden"});
            (status, denied)
        });
    }
    assert_eq!(replicas.may_restart().await, Ok(()));
}
