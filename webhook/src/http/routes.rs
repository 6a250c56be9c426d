//! The paths that the API server calls: `/mutate`, `/validate`, `/workload`, `/network`. Reads each
//! request, passes it to [`Admission`], counts and answers.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{
    body::{Bodies, Share},
    connection::UnderWay,
};
use crate::{
    admission::{Admission, Answer, Endpoint, OTHER_OPERATION, Outcome, Verdict},
    metrics::{Metrics, ReviewLabels},
};

/// The state of all routes.
#[derive(Clone)]
pub struct App {
    pub admission: Admission,
    pub metrics: Metrics,
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
    async fn handle(&self, endpoint: Endpoint, mut request: Request) -> Response {
        let _in_flight = self.metrics.enter();
        let under_way = request.extensions_mut().remove();
        let (body, share) = match self.bodies.read(request).await {
            Ok(read) => read,
            Err(refusal) => return refusal.into_response(),
        };
        let started = Instant::now();
        let reviewed = self.admission.review(endpoint, &body).await;
        drop(body);
        let (response, operation, verdict) = match reviewed {
            Ok(outcome) => {
                self.count_rules(&outcome);
                let response = respond(&outcome.answer, share, under_way);
                (response, outcome.operation, outcome.verdict)
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

/// An answer, which keeps what its request holds until its last byte is written: a client that
/// reads no answers gets no more of them than fit into the budget, and is cut off.
struct Unwritten {
    json: Vec<u8>,
    _share: Share,
    _under_way: Option<Arc<UnderWay>>,
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

fn respond(answer: &Answer, share: Share, under_way: Option<Arc<UnderWay>>) -> Response {
    let unwritten = |json| Unwritten {
        json,
        _share: share,
        _under_way: under_way,
    };
    match answer.to_json() {
        Ok(json) => {
            let body = Bytes::from_owner(unwritten(json));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::{app, create, know, pod, post};

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_it_is_written() {
        let app = app(&json!({}));
        know(&app, &[]);
        let request = post("/mutate", create(&pod("a")).to_string()).map(Body::new);

        let response = router(app.clone()).oneshot(request).await.unwrap();
        assert!(!app.bodies.is_empty());

        drop(response);
        assert!(app.bodies.is_empty());
    }
}
