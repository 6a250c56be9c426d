//! What lint says about an object or a file: a place and a judgement.

use serde::Serialize;
use shared::{
    cni::{ConfigProblem, Severity},
    config::Enforcement,
    validate::Findings,
    violation::{Rule, Violation},
};

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

/// One error, warning or note.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The rule that is broken.
    pub(super) rule: Option<&'static str>,
    pub(super) message: String,
    /// Its own place, where it has one besides that of the object.
    #[serde(flatten)]
    pub(super) at: Option<Position>,
    /// The part of the judged text that it is about.
    #[serde(skip)]
    pub(super) part: Option<Part>,
}

/// A part of an annotation or a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An element of the annotation, by its index.
    Element(usize),
    /// What begins at this place inside the text.
    Inside(Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warning,
    /// Worth knowing, nothing wrong.
    Note,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    const fn of_violations(enforcement: Enforcement) -> Self {
        match enforcement {
            Enforcement::Enforce => Self::Error,
            Enforcement::Warn => Self::Warning,
        }
    }
}

impl Finding {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            rule: None,
            message: message.into(),
            at: None,
            part: None,
        }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(message)
        }
    }

    pub(super) fn note(message: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            ..Self::error(message)
        }
    }

    /// The same, at a place of its own.
    pub(super) fn at(self, at: Position) -> Self {
        let at = Some(at);
        Self { at, ..self }
    }

    fn broken(violation: &Violation, level: Level) -> Self {
        Self {
            level,
            rule: Some(violation.rule.name()),
            part: violation
                .element
                .map(Part::Element)
                .or_else(|| syntax_error(violation).map(Part::Inside)),
            ..Self::error(violation.to_string())
        }
    }

    /// A problem of a network's config, as the webhook words it.
    pub(super) fn of_config(problem: &ConfigProblem, enforcement: Enforcement) -> Self {
        let finding = match problem.severity {
            Severity::CannotRun => {
                let message = format!("the config cannot run: {problem}");
                let violation = Violation::of_list(Rule::NetworkConfig, message);
                Self::broken(&violation, Level::of_violations(enforcement))
            }
            Severity::Warning => Self::warning(problem.to_string()),
        };
        let place = |number| u64::try_from(number).unwrap_or_default();
        Self {
            part: Some(Part::Inside(Position {
                line: place(problem.line),
                column: place(problem.column),
            })),
            ..finding
        }
    }

    /// As the webhook words them: violations are errors, or warnings where it only warns.
    pub(super) fn all(findings: &Findings, enforcement: Enforcement) -> Vec<Self> {
        let level = Level::of_violations(enforcement);
        let violations = &findings.violations;
        let more = violations.unlisted();
        let mut all: Vec<Self> = violations.iter().map(|one| Self::broken(one, level)).collect();
        all.extend((more > 0).then(|| Self {
            level,
            ..Self::error(format!("and {more} more"))
        }));
        all.extend(findings.warnings.iter().map(|text| Self {
            part: element_of(text).map(Part::Element),
            ..Self::warning(text)
        }));
        all
    }

    /// The same, about an element of the annotation.
    pub(super) fn of_element(self, element: usize) -> Self {
        let part = Some(Part::Element(element));
        Self { part, ..self }
    }
}

/// The place that the rule json-syntax names: `… is expected at line 1, column 2; …`.
fn syntax_error(violation: &Violation) -> Option<Position> {
    let (_, place) = violation.message.split_once(" is expected at line ")?;
    let (line, rest) = place.split_once(", column ")?;
    let (column, _) = rest.split_once(';')?;
    Some(Position {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

/// The element that a warning of the rule book names first: `element 1 (default/a): …`.
fn element_of(warning: &str) -> Option<usize> {
    let (index, _) = warning.strip_prefix("element ")?.split_once([' ', ':', ','])?;
    index.parse().ok()
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
