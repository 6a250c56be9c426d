//! What the webhook decides: a review in, an [`Outcome`] out. Transport and metrics are the caller's.
//!
//! [`fill`] writes interface names into the annotation, [`check`] holds it against every rule, and
//! [`review`] is the envelope around both. The API server is asked only before a refusal that rests
//! on a network, and before the warning that there is no such network.

pub mod check;
pub mod fill;
pub mod review;

use std::{sync::Arc, time::Instant};

use kube::Client;
use shared::{
    config::{Config, Enforcement, InterfaceNames},
    violation::{Rule, shown},
};

pub use review::{Answer, OTHER_OPERATION};

use crate::cluster::{
    namespaces::Namespaces,
    networks::{self, Networks},
};
use fill::Filled;
use review::{Change, Request, Unreadable};

/// Warning for a namespace whose label has an unknown value.
const LABEL_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/interface-names is not fill, reject, warn or off";

/// The same, for the other label.
const ENFORCEMENT_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/enforcement is not enforce or warn";

/// Decides about reviews of pods.
#[derive(Clone)]
pub struct Admission {
    /// The configuration file.
    pub config: Arc<Config>,
    /// Which networks exist.
    pub networks: Arc<Networks>,
    /// What namespaces ask for.
    pub namespaces: Arc<Namespaces>,
    /// For the lookup of a network before a refusal or warning that rests on it; without it, the
    /// cache is believed.
    pub client: Option<Client>,
}

/// Which of the registered webhooks the API server calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Fills in interface names.
    Mutate,
    /// Refuses and warns.
    Validate,
}

impl Endpoint {
    /// As metrics and log name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// What was decided about a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on, unchanged.
    Allowed,
    /// Goes on with a patch.
    Filled,
    /// Does not go on.
    Refused,
    /// Does not go on: what is in the review cannot be read.
    Unreadable,
    /// Would not go on if its rules were enforced.
    Warned,
}

impl Verdict {
    /// As metrics and log name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Filled => "filled",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Warned => "warned",
        }
    }
}

/// The decision about one review, for the answer, the metrics and the log.
#[derive(Debug)]
pub struct Outcome {
    /// What goes back to the API server.
    pub answer: Answer,
    /// In one word.
    pub verdict: Verdict,
    /// `CREATE`, `UPDATE` or [`OTHER_OPERATION`].
    pub operation: &'static str,
    /// Rules that the object breaks, each once.
    pub rules: Vec<Rule>,
}

/// The request body is not an AdmissionReview that can be answered: it has no uid to answer to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAReview(String);

/// A decision, before it is known what the review was about.
struct Decision {
    answer: Answer,
    verdict: Verdict,
    rules: Vec<Rule>,
}

impl Decision {
    fn of(verdict: Verdict, answer: Answer) -> Self {
        Self {
            answer,
            verdict,
            rules: Vec::new(),
        }
    }

    fn unreadable(uid: &str, cause: &str) -> Self {
        Self::of(Verdict::Unreadable, check::unreadable(uid, cause))
    }

    fn into_outcome(self, operation: &'static str) -> Outcome {
        let Self {
            answer,
            verdict,
            rules,
        } = self;
        Outcome {
            answer,
            verdict,
            operation,
            rules,
        }
    }
}

impl Admission {
    /// Decides about the review in `body`, and logs the decision.
    ///
    /// # Errors
    /// The body is not an AdmissionReview, so that no answer can name its uid.
    pub async fn review(&self, endpoint: Endpoint, body: &[u8]) -> Result<Outcome, NotAReview> {
        let started = Instant::now();
        match review::read(body) {
            Ok(request) => {
                let decision = self.decide(endpoint, &request).await;
                log(endpoint, &request, &decision, started);
                Ok(decision.into_outcome(request.operation_label()))
            }
            Err(Unreadable::Content { uid, cause }) => {
                tracing::warn!(%uid, path = endpoint.label(), %cause, "the object in the review cannot be read");
                Ok(Decision::unreadable(&uid, &cause).into_outcome(OTHER_OPERATION))
            }
            Err(Unreadable::Review(message)) => {
                tracing::warn!(path = endpoint.label(), %message, "request body is not an AdmissionReview");
                Err(NotAReview(message))
            }
        }
    }

    async fn decide(&self, endpoint: Endpoint, request: &Request<'_>) -> Decision {
        match (request.change(), endpoint) {
            (Err(cause), _) => Decision::unreadable(&request.uid, &cause),
            (Ok(None), _) => Decision::of(Verdict::Allowed, Answer::allowed(&request.uid)),
            (Ok(Some(change)), Endpoint::Mutate) => self.fill(request, &change),
            (Ok(Some(change)), Endpoint::Validate) => self.check(request, &change).await,
        }
    }

    fn fill(&self, request: &Request<'_>, change: &Change<'_>) -> Decision {
        let mut answer = Answer::allowed(&request.uid);
        match fill::fill(change, self.mode(change.namespace).0, &self.config) {
            Some(Filled { patch, names }) => {
                answer.audit("filled", &names);
                Decision::of(Verdict::Filled, answer.with_patch(&patch))
            }
            None => Decision::of(Verdict::Allowed, answer),
        }
    }

    async fn check(&self, request: &Request<'_>, change: &Change<'_>) -> Decision {
        let (mode, label_is_readable) = self.mode(change.namespace);
        let (enforcement, enforcement_is_readable) = self
            .namespaces
            .enforcement(change.namespace)
            .or(self.config.enforcement);
        let parsed = check::parse(change);
        let mut findings = check::judge(change, &parsed, mode, &self.config, &*self.networks);
        if let Some(client) = self.client.as_ref().filter(|_| !findings.rests_on.is_empty()) {
            let confirmed = networks::confirm(&self.networks, &findings.rests_on, client).await;
            findings = check::judge(change, &parsed, mode, &self.config, &confirmed);
        }
        if !label_is_readable {
            findings.warnings.push(LABEL_WARNING);
        }
        if !enforcement_is_readable {
            findings.warnings.push(ENFORCEMENT_WARNING);
        }
        let rules = check::broken_rules(&findings);
        let verdict = match (rules.is_empty(), enforcement) {
            (true, _) => Verdict::Allowed,
            (false, Enforcement::Enforce) => Verdict::Refused,
            (false, Enforcement::Warn) => Verdict::Warned,
        };
        Decision {
            answer: check::answer(request, change, findings, enforcement),
            verdict,
            rules,
        }
    }

    /// The mode that holds in `namespace`, and whether its label could be read.
    fn mode(&self, namespace: &str) -> (InterfaceNames, bool) {
        self.namespaces.mode(namespace).or(self.config.interface_names)
    }
}

/// One line per review: enough to find it in the API server's audit log, nothing of what is in the
/// pod.
fn log(endpoint: Endpoint, request: &Request<'_>, decision: &Decision, started: Instant) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                uid = %shown(&request.uid),
                path = endpoint.label(),
                operation = request.operation_label(),
                namespace = %shown(request.namespace.as_deref().unwrap_or_default()),
                name = %shown(&request.display_name()),
                dry_run = request.dry_run.unwrap_or_default(),
                verdict = decision.verdict.label(),
                rules = %decision.rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(","),
                micros = started.elapsed().as_micros(),
                "reviewed"
            )
        };
    }
    // With matchConditions in place most reviews change or refuse something; the rest is noise.
    if decision.verdict == Verdict::Allowed {
        line!(debug)
    } else {
        line!(info)
    }
}

#[cfg(test)]
mod tests;
