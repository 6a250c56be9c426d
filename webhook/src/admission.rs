//! Decides about reviews: a review in, an [`Outcome`] out. The caller does transport and metrics.
//!
//! [`fill`] writes interface names into a pod's annotation, and [`check`] checks it against every
//! rule. `workload` checks pod templates, with warnings only; `network` checks
//! NetworkAttachmentDefinitions, with their [`usage`] when one is deleted. [`review`] reads the
//! envelope. The API server is called only before a refusal that rests on a network, before the
//! warning that a network is missing, and for that usage.

pub mod check;
pub mod fill;
mod network;
pub(crate) mod placement;
pub mod review;
pub mod usage;
mod workload;

use std::{sync::Arc, time::Instant};

use kube::Client;
use shared::{
    config::{Config, Enforcement, InterfaceNames},
    validate::Findings,
    violation::{Rule, shown},
};

pub use review::{Answer, OTHER_OPERATION};

use crate::cluster::{
    namespaces::Namespaces,
    networks::{self, Networks},
};
use check::Target;
use fill::Filled;
use review::{About, Change, Request, Unreadable};
use usage::Usage;

/// Warning for a namespace whose label has an unknown value.
const LABEL_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/interface-names is not fill, reject, warn or off";

/// Warning for the other label with an unknown value.
const ENFORCEMENT_WARNING: &str =
    "the namespace's label dynamic-networks.k8s.cni.cncf.io/enforcement is not enforce or warn";

/// Warning for a readiness gate that nothing opens.
const GATE_WARNING: &str = "the pod never becomes Ready: it has the readiness gate \
    dynamic-networks.k8s.cni.cncf.io/NetworksReady, but no annotation k8s.v1.cni.cncf.io/networks; write '[]' if it \
    needs no networks";

/// Warning for a readiness gate that stays closed.
const HOST_GATE_WARNING: &str = "the pod never becomes Ready: it has the readiness gate \
    dynamic-networks.k8s.cni.cncf.io/NetworksReady, but uses the host's network; remove the gate, or write '[]'";

/// Decides about reviews; cheap to clone.
#[derive(Clone)]
pub struct Admission {
    pub config: Arc<Config>,
    pub networks: Arc<Networks>,
    pub namespaces: Arc<Namespaces>,
    /// For the lookup of a network before a refusal or warning that rests on it; without it, the
    /// cache decides.
    pub client: Option<Client>,
    /// Recent answers about which networks pods use.
    pub usage: Arc<Usage>,
}

/// Which of the registered webhooks the API server calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Fills in interface names.
    Mutate,
    /// Refuses and warns.
    Validate,
    /// Warns about the pod template of a workload.
    Workload,
    /// Refuses and warns about a NetworkAttachmentDefinition.
    Network,
}

impl Endpoint {
    /// As metrics and log name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
            Self::Workload => "workload",
            Self::Network => "network",
        }
    }

    /// Whether an object that cannot be read is refused: pods only. The other checks are a help for
    /// the user, and their pods are checked again.
    fn refuses_unreadable(self) -> bool {
        matches!(self, Self::Mutate | Self::Validate)
    }
}

/// What was decided about a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted without a change.
    Allowed,
    /// Admitted with a patch.
    Filled,
    /// Refused.
    Refused,
    /// The object in the review cannot be read; a pod is refused.
    Unreadable,
    /// Admitted although it breaks a rule: rules only warn here.
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
    /// The answer to the API server.
    pub answer: Answer,
    /// The verdict, for metrics and log.
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

/// A decision without the labels of its review.
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
        let decided = match endpoint {
            Endpoint::Mutate | Endpoint::Validate => self.pod(endpoint, body).await,
            Endpoint::Workload => self.workload(body).await,
            Endpoint::Network => self.network(body).await,
        };
        match decided {
            Ok((about, decision)) => {
                log(endpoint, &about, &decision, started);
                Ok(decision.into_outcome(about.operation))
            }
            Err(Unreadable::Content { uid, cause }) => {
                tracing::warn!(%uid, path = endpoint.label(), %cause, "the object in the review cannot be read");
                let decision = if endpoint.refuses_unreadable() {
                    Decision::unreadable(&uid, &cause)
                } else {
                    Decision::of(Verdict::Unreadable, Answer::allowed(uid))
                };
                Ok(decision.into_outcome(OTHER_OPERATION))
            }
            Err(Unreadable::Review(message)) => {
                tracing::warn!(path = endpoint.label(), %message, "request body is not an AdmissionReview");
                Err(NotAReview(message))
            }
        }
    }

    async fn pod(&self, endpoint: Endpoint, body: &[u8]) -> Result<(About, Decision), Unreadable> {
        let request: Request<'_> = review::read(body)?;
        let decision = match (request.change(), endpoint) {
            (Err(cause), _) => Decision::unreadable(&request.uid, &cause),
            (Ok(None), Endpoint::Validate) if request.creates_a_pod_that_waits_for_nothing() => {
                let mut answer = Answer::allowed(&request.uid);
                answer.warnings.push(GATE_WARNING.to_owned());
                Decision::of(Verdict::Allowed, answer)
            }
            (Ok(None), _) => Decision::of(Verdict::Allowed, Answer::allowed(&request.uid)),
            (Ok(Some(change)), Endpoint::Mutate) => self.fill(&request, &change),
            (Ok(Some(change)), _) => self.check(&request, &change).await,
        };
        Ok((request.about(), decision))
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
        let findings = self.judge(change).await;
        let target = Target::pod(request, change);
        self.decide(&request.uid, target, findings, change.namespace)
    }

    /// The findings of every rule about a change. Networks on which a refusal rests are looked up.
    async fn judge(&self, change: &Change<'_>) -> Findings {
        let (mode, is_readable) = self.mode(change.namespace);
        let parsed = check::parse(change);
        let mut findings = check::judge(change, &parsed, mode, &self.config, &*self.networks);
        if let Some(client) = self.client.as_ref().filter(|_| !findings.rests_on.is_empty()) {
            let confirmed = networks::confirm(&self.networks, &findings.rests_on, client).await;
            findings = check::judge(change, &parsed, mode, &self.config, &confirmed);
        }
        if !is_readable {
            findings.warnings.push(LABEL_WARNING);
        }
        let asks = parsed.as_ref().is_ok_and(|list| !list.elements.is_empty());
        let pod = change.pod;
        if asks && change.old.is_none() && pod.waits_for_networks() && pod.uses_host_network() {
            findings.warnings.push(HOST_GATE_WARNING);
        }
        findings
    }

    /// Refuses or warns, as the label of the namespace or the configuration demands.
    fn decide(&self, uid: &str, target: Target, mut findings: Findings, namespace: &str) -> Decision {
        let (enforcement, is_readable) = self.namespaces.enforcement(namespace).or(self.config.enforcement);
        if !is_readable {
            findings.warnings.push(ENFORCEMENT_WARNING);
        }
        let rules = check::broken_rules(&findings);
        let verdict = match (rules.is_empty(), enforcement) {
            (true, _) => Verdict::Allowed,
            (false, Enforcement::Enforce) => Verdict::Refused,
            (false, Enforcement::Warn) => Verdict::Warned,
        };
        Decision {
            answer: check::answer(uid, target, findings, enforcement),
            verdict,
            rules,
        }
    }

    /// The mode of `namespace`, and whether its label could be read.
    fn mode(&self, namespace: &str) -> (InterfaceNames, bool) {
        self.namespaces.mode(namespace).or(self.config.interface_names)
    }
}

/// One line per review: enough to find it in the API server's audit log, and no content of the
/// object.
fn log(endpoint: Endpoint, about: &About, decision: &Decision, started: Instant) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                uid = %shown(&about.uid),
                path = endpoint.label(),
                operation = about.operation,
                namespace = %shown(&about.namespace),
                name = %shown(&about.name),
                dry_run = about.dry_run,
                verdict = decision.verdict.label(),
                rules = %decision.rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(","),
                micros = started.elapsed().as_micros(),
                "reviewed"
            )
        };
    }
    // With matchConditions most reviews change or refuse something; the others are logged at debug.
    if decision.verdict == Verdict::Allowed {
        line!(debug)
    } else {
        line!(info)
    }
}

#[cfg(test)]
mod tests;
