//! What lint says about an object or a file: a place and a judgement.

use serde::Serialize;
use shared::{validate::Findings, violation::Violation};

use super::{Outcome, tree::Position};

/// What is said about one object, or about a file as a whole.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    #[serde(flatten)]
    pub(super) at: Position,
    /// `Kind namespace/name`; empty for the file as a whole.
    #[serde(rename = "object")]
    pub(super) title: String,
    #[serde(flatten)]
    pub(super) judgement: Judgement,
}

/// What is said about it.
#[derive(Serialize)]
pub(super) struct Judgement {
    pub(super) outcome: Outcome,
    #[serde(rename = "summary")]
    pub(super) headline: String,
    /// The annotation with interface names filled in.
    pub(super) filled: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// One error or warning.
#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The rule that is broken.
    pub(super) rule: Option<&'static str>,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warning,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Finding {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            rule: None,
            message: message.into(),
        }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(message)
        }
    }

    fn broken(violation: &Violation) -> Self {
        Self {
            rule: Some(violation.rule.name()),
            ..Self::error(violation.to_string())
        }
    }

    /// As the webhook words them.
    pub(super) fn all(findings: &Findings) -> Vec<Self> {
        let violations = &findings.violations;
        let more = violations.unlisted();
        let mut all: Vec<Self> = violations.iter().map(Self::broken).collect();
        all.extend((more > 0).then(|| Self::error(format!("and {more} more"))));
        all.extend(findings.warnings.iter().map(Self::warning));
        all
    }
}

impl Judgement {
    pub(super) fn ok(headline: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Admitted,
            headline: headline.into(),
            filled: None,
            findings: Vec::new(),
        }
    }

    pub(super) fn refused(headline: &str, findings: Vec<Finding>) -> Self {
        Self {
            outcome: Outcome::Refused,
            findings,
            ..Self::ok(headline)
        }
    }

    pub(super) fn unreadable(cause: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Unreadable,
            findings: vec![Finding::error(cause)],
            ..Self::ok("unreadable")
        }
    }
}
