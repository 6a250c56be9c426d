//! The admin port: `/livez`, `/readyz`, `/metrics` for the cluster, `/explain/NAMESPACE/POD` for
//! the node itself only, and the command that asks for the last one.

pub mod explain;
mod places;
pub mod reports;
pub mod server;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, Path, State},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};

use shared_process::settings::Settings;

use crate::{health::Health, metrics::Metrics, multus_config::MultusDifferences};
use reports::Reports;

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Readiness.
    pub health: Health,
    /// Metrics.
    pub metrics: Metrics,
    /// The values in use; readiness does not depend on them.
    pub settings: Settings,
    /// Where multus' own configuration differs from them.
    pub differences: MultusDifferences,
    /// Explanations.
    pub reports: Reports,
    /// The watch's last sign of life.
    pub watch: WatchHeartbeat,
}

/// When something last happened.
#[derive(Clone, Debug)]
pub struct WatchHeartbeat(Arc<Mutex<Instant>>);

impl Default for WatchHeartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl WatchHeartbeat {
    /// It happened now.
    pub fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A line of `/readyz`. The agent is ready all the same.
const WRONG_OFFSET: &str = "warning: the delegates of a sandbox contradict interfaceOffset; an event on this agent's pod has the details";

/// The pages. One thread runs everything, so an answer to `/livez` is progress.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/explain/{namespace}/{pod}", get(explain))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>, uri: Uri) -> impl IntoResponse {
    let reasons = admin.health.reasons();
    let (status, mut lines) = if reasons.is_empty() {
        (StatusCode::OK, vec!["ok".to_owned()])
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons)
    };
    if admin.metrics.is_offset_contradicted() {
        lines.push(WRONG_OFFSET.to_owned());
    }
    lines.extend(admin.differences.notices());
    lines.extend(admin.settings.lines(uri.query()));
    (status, lines.join("\n") + "\n")
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let (counts, pods) = admin.reports.counts().await;
    admin.metrics.attachments(counts, pods);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], admin.metrics.render(admin.watch.age()))
}

async fn explain(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((namespace, pod)): Path<(String, String)>,
) -> impl IntoResponse {
    if !peer.ip().to_canonical().is_loopback() {
        return (
            StatusCode::FORBIDDEN,
            "only from the agent's own node\n".to_owned(),
        );
    }
    match admin.reports.explain(format!("{namespace}/{pod}")).await {
        Some(text) => (StatusCode::OK, text),
        None => (
            StatusCode::NOT_FOUND,
            format!(
                "the agent of this node has nothing to do for {namespace}/{pod}: it is on another node, or never had networks\n"
            ),
        ),
    }
}
