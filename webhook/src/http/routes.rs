//! The paths that the API server calls: `/mutate`, `/validate`, `/workload`, `/network`. Each request is read, handed to
//! [`Admission`], counted and answered; what the answer says is decided there.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::body::Bodies;
use crate::{
    admission::{Admission, Answer, Endpoint, OTHER_OPERATION, Outcome, Verdict},
    metrics::{Metrics, ReviewLabels},
};

/// What all paths need.
#[derive(Clone)]
pub struct App {
    /// What decides.
    pub admission: Admission,
    /// What is counted.
    pub metrics: Metrics,
    /// How much may be read at once, and how fast it must come.
    pub bodies: Bodies,
}

/// The router of the TLS port.
pub fn router(app: App) -> Router {
    Router::new()
        .route(
            "/mutate",
            post(async |State(app): State<Arc<App>>, request| app.handle(Endpoint::Mutate, request).await),
        )
        .route(
            "/validate",
            post(async |State(app): State<Arc<App>>, request| app.handle(Endpoint::Validate, request).await),
        )
        .route(
            "/workload",
            post(async |State(app): State<Arc<App>>, request| app.handle(Endpoint::Workload, request).await),
        )
        .route(
            "/network",
            post(async |State(app): State<Arc<App>>, request| app.handle(Endpoint::Network, request).await),
        )
        .with_state(Arc::new(app))
}

impl App {
    async fn handle(&self, endpoint: Endpoint, request: Request) -> Response {
        let _in_flight = self.metrics.enter();
        let body = match self.bodies.read(request).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into_response(),
        };
        let started = Instant::now();
        let (response, operation, verdict) = match self.admission.review(endpoint, &body).await {
            Ok(outcome) => {
                self.count_rules(&outcome);
                (respond(&outcome.answer), outcome.operation, outcome.verdict)
            }
            Err(error) => {
                let response = (StatusCode::BAD_REQUEST, error.to_string()).into_response();
                (response, OTHER_OPERATION, Verdict::Unreadable)
            }
        };
        let labels = ReviewLabels {
            path: endpoint.label(),
            operation,
        };
        self.metrics.reviewed(labels, verdict.label(), started.elapsed());
        response
    }

    fn count_rules(&self, outcome: &Outcome) {
        for &rule in &outcome.rules {
            self.metrics.violated(outcome.operation, rule);
        }
    }
}

fn respond(answer: &Answer) -> Response {
    match answer.to_json() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], Bytes::from(json)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
