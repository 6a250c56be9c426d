//! The plain-HTTP port for kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    extract::State as Extract,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use shared_process::{DroppedLines, settings::Settings};
use time::OffsetDateTime;

use super::drain::Drain;
use crate::{
    cluster::{State, namespaces::Namespaces, networks::Networks},
    metrics::Metrics,
    tls::CertificateStore,
};

/// What readiness depends on.
#[derive(Clone)]
pub struct Probes {
    /// Not ready without a certificate that clients accept.
    pub certificates: Arc<CertificateStore>,
    /// Not ready before it is listed.
    pub networks: Arc<Networks>,
    /// Not ready before it is listed.
    pub namespaces: Arc<Namespaces>,
    /// Not ready while draining.
    pub drain: Drain,
    /// Served under `/metrics`.
    pub metrics: Metrics,
    /// Shown, with what was refused; readiness does not depend on it.
    pub settings: Settings,
    /// Counted by the log writer, and copied into the metrics when they are read.
    pub dropped_lines: DroppedLines,
}

/// The router of the admin port.
pub fn router(probes: Probes) -> Router {
    Router::new()
        // An answer is proof enough of life: a restart would repair nothing that could be checked
        // here.
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

impl Probes {
    /// Why this replica is not ready; empty when it is.
    fn reasons(&self, now: OffsetDateTime) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain.has_begun() {
            reasons.push("shutting down".to_owned());
        }
        reasons.extend(
            self.certificates
                .unready_reason(now)
                .map(|reason| format!("certificate: {reason}")),
        );
        for (name, state) in [
            ("networks", self.networks.state()),
            ("namespaces", self.namespaces.state()),
        ] {
            // A resource that is not installed leaves nothing to wait for.
            if let State::Waiting(reason) = state {
                reasons.push(format!("cache of {name}: {reason}"));
            }
        }
        reasons
    }
}

async fn ready(Extract(probes): Extract<Probes>, uri: Uri) -> Response {
    let reasons = probes.reasons(OffsetDateTime::now_utc());
    let (status, mut body) = if reasons.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    };
    // Writing into a string does not fail.
    for reason in reasons {
        let _ = writeln!(body, "not ready: {reason}");
    }
    for line in probes.settings.lines(uri.query()) {
        let _ = writeln!(body, "{line}");
    }
    (status, body).into_response()
}

async fn metrics(Extract(probes): Extract<Probes>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    probes.metrics.log_lines_dropped(probes.dropped_lines.count());
    probes.metrics.cache_age("networks", probes.networks.age());
    probes.metrics.cache_age("namespaces", probes.namespaces.age());
    ([(header::CONTENT_TYPE, kind)], probes.metrics.to_text()).into_response()
}

#[cfg(test)]
mod tests;
