//! The two paths that the API server calls: `/mutate` and `/validate`. Thin: read, decide, answer, count, log.

mod body;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{Request as HttpRequest, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use kube::Client;
use shared::{
    config::{Config, Enforcement, InterfaceNames},
    violation::{Rule, shown},
};

pub use body::{Bodies, MAX_BODY};

use crate::{
    metrics::{Metrics, ReviewLabels},
    mutate::{self, Filled},
    namespaces::Namespaces,
    networks::{self, Networks},
    review::{self, Answer, Change, Request, Unreadable},
    verdict,
};

/// What both paths decide with.
#[derive(Clone)]
pub struct Gate {
    /// The configuration file.
    pub config: Arc<Config>,
    /// Which networks exist.
    pub networks: Arc<Networks>,
    /// What namespaces ask for.
    pub namespaces: Arc<Namespaces>,
    /// For the look at a network before a refusal that rests on it; without it, the cache is
    /// believed.
    pub client: Option<Client>,
    /// What is counted.
    pub metrics: Metrics,
    /// How much may be read at once, and how fast it must come.
    pub bodies: Bodies,
}

/// Shown where a namespace's label has an unknown value.
const LABEL_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/interface-names is not fill, reject, warn or off";

/// The same, for the other label.
const ENFORCEMENT_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/enforcement is not enforce or warn";

/// The router of the TLS port.
pub fn router(gate: Gate) -> Router {
    Router::new()
        .route(
            "/mutate",
            post(async |State(gate): State<Arc<Gate>>, http| gate.handle(Path::Mutate, http).await),
        )
        .route(
            "/validate",
            post(async |State(gate): State<Arc<Gate>>, http| gate.handle(Path::Validate, http).await),
        )
        .with_state(Arc::new(gate))
}

/// Which of the two webhooks is asked.
#[derive(Clone, Copy)]
enum Path {
    Mutate,
    Validate,
}

impl Path {
    /// As the metrics and the log name it.
    fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// What was decided about one review, for the answer, the metrics and the log.
struct Decision {
    answer: Answer,
    verdict: &'static str,
    rules: Vec<Rule>,
}

impl Decision {
    fn of(verdict: &'static str, answer: Answer) -> Self {
        Self {
            answer,
            verdict,
            rules: Vec::new(),
        }
    }

    fn unreadable(uid: &str, cause: &str) -> Self {
        Self::of("unreadable", verdict::unreadable(uid, cause))
    }
}

impl Gate {
    async fn handle(&self, path: Path, http: HttpRequest) -> Response {
        let _in_flight = self.metrics.enter();
        let body = match self.bodies.read(http).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into_response(),
        };
        let started = Instant::now();
        let (decision, operation) = match review::read(&body) {
            Ok(request) => {
                let decision = self.decide(path, &request).await;
                log(path, &request, &decision, started);
                (decision, operation(&request))
            }
            Err(Unreadable::Content { uid, cause }) => {
                tracing::warn!(%uid, path = path.label(), %cause, "a review cannot be read");
                (Decision::unreadable(&uid, &cause), "other")
            }
            Err(Unreadable::Review(message)) => {
                tracing::warn!(path = path.label(), %message, "a request is no review");
                let labels = ReviewLabels {
                    path: path.label(),
                    operation: "other",
                };
                self.metrics.reviewed(labels, "unreadable", started.elapsed());
                return (StatusCode::BAD_REQUEST, message).into_response();
            }
        };
        for &rule in &decision.rules {
            self.metrics.violated(operation, rule);
        }
        let response = respond(&decision.answer);
        self.metrics.reviewed(
            ReviewLabels {
                path: path.label(),
                operation,
            },
            decision.verdict,
            started.elapsed(),
        );
        response
    }

    async fn decide(&self, path: Path, request: &Request<'_>) -> Decision {
        match (request.change(), path) {
            (Err(cause), _) => Decision::unreadable(&request.uid, &cause),
            (Ok(None), _) => Decision::of("allowed", Answer::allowed(&request.uid)),
            (Ok(Some(change)), Path::Mutate) => self.fill(request, &change),
            (Ok(Some(change)), Path::Validate) => self.judge(request, &change).await,
        }
    }

    fn fill(&self, request: &Request<'_>, change: &Change<'_>) -> Decision {
        let mut answer = Answer::allowed(&request.uid);
        match mutate::fill(change, self.mode(change.namespace).0, &self.config) {
            Some(Filled { patch, names }) => {
                answer.audit("filled", &names);
                Decision::of("filled", answer.with_patch(patch))
            }
            None => Decision::of("allowed", answer),
        }
    }

    async fn judge(&self, request: &Request<'_>, change: &Change<'_>) -> Decision {
        let (mode, label_is_readable) = self.mode(change.namespace);
        let (enforcement, enforcement_is_readable) = self
            .namespaces
            .enforcement(change.namespace)
            .or(self.config.enforcement);
        let parsed = verdict::parse(change);
        let mut findings = verdict::judge(change, &parsed, mode, &self.config, &*self.networks);
        if let Some(client) = self.client.as_ref().filter(|_| !findings.rests_on.is_empty()) {
            let confirmed = networks::confirm(&self.networks, &findings.rests_on, client).await;
            findings = verdict::judge(change, &parsed, mode, &self.config, &confirmed);
        }
        if !label_is_readable {
            findings.warnings.push(LABEL_WARNING);
        }
        if !enforcement_is_readable {
            findings.warnings.push(ENFORCEMENT_WARNING);
        }
        let rules = verdict::broken_rules(&findings);
        let verdict = match (rules.is_empty(), enforcement) {
            (true, _) => "allowed",
            (false, Enforcement::Enforce) => "refused",
            (false, Enforcement::Warn) => "warned",
        };
        Decision {
            answer: verdict::answer(request, change, findings, enforcement),
            verdict,
            rules,
        }
    }

    /// The mode that holds in `namespace`, and whether its label could be read.
    fn mode(&self, namespace: &str) -> (InterfaceNames, bool) {
        self.namespaces.mode(namespace).or(self.config.interface_names)
    }
}

/// As the metrics name it.
fn operation(request: &Request<'_>) -> &'static str {
    match &*request.operation {
        "CREATE" => "CREATE",
        "UPDATE" => "UPDATE",
        _ => "other",
    }
}

/// One line per review: enough to find it in the API server's audit log, nothing of what is in the pod.
fn log(path: Path, request: &Request<'_>, decision: &Decision, started: Instant) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                uid = %shown(&request.uid),
                path = path.label(),
                operation = operation(request),
                namespace = %shown(request.namespace.as_deref().unwrap_or_default()),
                name = %shown(&request.display_name()),
                dry_run = request.dry_run.unwrap_or_default(),
                verdict = decision.verdict,
                rules = %decision.rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(","),
                micros = started.elapsed().as_micros(),
                "reviewed"
            )
        };
    }
    // With matchConditions in place most reviews change or refuse something; the rest is noise.
    if decision.verdict == "allowed" {
        line!(debug)
    } else {
        line!(info)
    }
}

fn respond(answer: &Answer) -> Response {
    match answer.to_json() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
