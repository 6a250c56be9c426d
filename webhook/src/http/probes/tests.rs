//! When a replica is ready, and why not.

use axum::body::Body;
use certs::Authority;
use http_body_util::BodyExt;
use shared_process::settings::{Files, SettingsMetrics};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;

struct Fixture {
    probes: Probes,
    begun: CancellationToken,
    place: TempDir,
}

async fn starting() -> Fixture {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("manifest.json"), r#"{"interfaceOffset":1}"#).unwrap();
    let files = Files {
        manifest: place.path().join("manifest.json"),
        settings: place.path().join("settings.json"),
    };
    let settings = Settings::load(files, SettingsMetrics::default()).await.unwrap();
    let metrics = Metrics::default();
    let begun = CancellationToken::new();
    let probes = Probes {
        certificates: Arc::new(CertificateStore::new(metrics.clone())),
        networks: Arc::default(),
        namespaces: Arc::default(),
        drain: Drain::new(begun.clone()),
        metrics,
        settings,
        dropped_lines: DroppedLines::default(),
    };
    Fixture { probes, begun, place }
}

async fn started() -> Fixture {
    let fixture = starting().await;
    fixture.probes.networks.replace([]);
    fixture.probes.namespaces.replace([]);
    let now = OffsetDateTime::now_utc();
    fixture.probes.certificates.install(
        Authority::generate(now)
            .unwrap()
            .sign(&["a.b.svc".to_owned()], now)
            .unwrap(),
    );
    fixture
}

async fn get_path(fixture: &Fixture, path: &str) -> (StatusCode, String) {
    let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
    let response = router(fixture.probes.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_starting_replica_is_alive_and_names_unready_reasons() {
    let fixture = starting().await;

    assert_eq!(get_path(&fixture, "/livez").await.0, StatusCode::OK);
    let (status, body) = get_path(&fixture, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    for reason in ["certificate: ", "cache of networks: ", "cache of namespaces: "] {
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn ready_with_certificate_and_caches_until_draining() {
    let fixture = started().await;
    assert_eq!(
        get_path(&fixture, "/readyz").await,
        (StatusCode::OK, "ok\n".to_owned())
    );

    fixture.begun.cancel();

    let (status, body) = get_path(&fixture, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n")
    );
}

#[tokio::test]
async fn an_expired_certificate_is_no_certificate() {
    let fixture = started().await;
    let late = OffsetDateTime::now_utc() + certs::SERVING_LIFETIME * 2;

    assert!(fixture.probes.reasons(late)[0].contains("expired"));
}

#[tokio::test]
async fn metrics_are_in_the_openmetrics_format() {
    let (status, body) = get_path(&started().await, "/metrics").await;

    assert_eq!(status, StatusCode::OK);
    assert!(
        body.contains("dynamic_networks_webhook_build_info{version="),
        "{body}"
    );
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn verbose_readiness_shows_every_effective_value() {
    let fixture = started().await;

    let (status, body) = get_path(&fixture, "/readyz?verbose").await;

    assert_eq!(status, StatusCode::OK);
    let lines: Vec<_> = body.lines().collect();
    assert_eq!((lines[0], lines.len()), ("ok", 13), "{body}");
    assert!(
        lines.contains(&"interfaceOffset=1 (dynamic-networks-config.json)"),
        "{body}"
    );
}

#[tokio::test]
async fn refused_settings_leave_a_replica_ready_with_a_warning() {
    let fixture = started().await;
    std::fs::write(fixture.place.path().join("settings.json"), "[]").unwrap();
    fixture
        .probes
        .settings
        .follower(std::time::Duration::ZERO)
        .next()
        .await;

    let (status, body) = get_path(&fixture, "/readyz").await;

    assert_eq!(status, StatusCode::OK);
    assert!(
        body.starts_with("ok\nwarning: new settings are refused") && body.contains("settings.json"),
        "{body}"
    );
}
