//! The answer to the API server.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use shared::violation::{Rule, shortened};

use super::{API_VERSION, KIND};

/// Characters of an audit annotation.
const MAX_AUDIT: usize = 1000;

/// The `response` of a review.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub uid: String,
    /// Whether the request is admitted.
    pub allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Refusal>,
    /// Shown by kubectl; each at most 256 characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// For the API server's audit log, which puts the webhook's name before each key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

impl Answer {
    /// Admitted without a change.
    pub fn allowed(uid: impl Into<String>) -> Self {
        Self {
            uid: uid.into(),
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
            patch_type: None,
            patch: None,
        }
    }

    /// Refused.
    pub fn refused(uid: impl Into<String>, refusal: Refusal) -> Self {
        Self {
            allowed: false,
            status: Some(refusal),
            ..Self::allowed(uid)
        }
    }

    /// With a JSON patch.
    #[must_use]
    pub fn with_patch(self, patch: &[u8]) -> Self {
        Self {
            patch_type: Some("JSONPatch"),
            patch: Some(BASE64_STANDARD.encode(patch)),
            ..self
        }
    }

    /// Adds the audit annotation that names broken rules, if there are any.
    pub fn audit_rules(&mut self, rules: &[Rule]) {
        if !rules.is_empty() {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
            self.audit("rule", &names.join(","));
        }
    }

    /// Adds an audit annotation, truncated to a length that every audit backend takes.
    pub fn audit(&mut self, key: &'static str, value: &str) {
        self.audit_annotations.insert(key, shortened(value, MAX_AUDIT));
    }

    /// The whole envelope as JSON.
    ///
    /// # Errors
    /// Never in practice: strings and booleans always serialise.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: &'a Answer,
        }
        let envelope = Envelope {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        };
        serde_json::to_vec(&envelope)
    }
}

/// The status of a refusal, as `metav1.Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// HTTP status that the client sees.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    pub message: String,
    /// One entry per broken rule: what `kubectl` prints line by line, and `kubectl edit` puts above
    /// the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    pub name: String,
    pub kind: &'static str,
    /// In the order of the annotation.
    pub causes: Vec<Cause>,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
    /// Path into the object.
    pub field: String,
}
