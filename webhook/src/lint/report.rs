//! What lint says about an object or a file, and how it is printed.

use std::io::{self, Write};

use shared::{validate::Findings, violation::shortened};

use super::{Outcome, tree::Position};

/// What is said about one object, or about a file as a whole.
pub(super) struct Report {
    pub(super) file: String,
    pub(super) at: Position,
    /// `Kind namespace/name`; empty for the file as a whole.
    pub(super) title: String,
    pub(super) judgement: Judgement,
}

/// What is said about it.
pub(super) struct Judgement {
    pub(super) outcome: Outcome,
    pub(super) headline: String,
    /// The annotation with interface names filled in.
    pub(super) filled: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// One error or warning.
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            message: message.into(),
        }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(message)
        }
    }

    /// As the webhook words them.
    pub(super) fn all(findings: &Findings) -> Vec<Self> {
        let violations = &findings.violations;
        let more = violations.unlisted();
        let mut all: Vec<Self> = violations
            .iter()
            .map(|broken| Self::error(broken.to_string()))
            .collect();
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

/// For people: one line for each object, and one more for each finding.
pub(super) fn write_text(reports: &[Report], out: &mut impl Write) -> io::Result<()> {
    for report in reports {
        let judgement = &report.judgement;
        let mut place = vec![report.file.clone()];
        if report.at != Position::default() {
            place.push(format!("{}:{}", report.at.line, report.at.column));
        }
        let place = place.join(":");
        let mut parts = vec![place.as_str(), &report.title, &judgement.headline];
        parts.retain(|part| !part.is_empty());
        writeln!(out, "{}", one_line(&parts.join(": ")))?;
        if let Some(text) = &judgement.filled {
            writeln!(out, "  {}", one_line(&format!("filled in: {text}")))?;
        }
        for finding in &judgement.findings {
            let text = format!("{}: {}", finding.level.name(), finding.message);
            writeln!(out, "  {}", one_line(&text))?;
        }
    }
    Ok(())
}

/// `text` without what a terminal obeys, and without what the runners of GitHub Actions take for a command: `::` at the beginning of a
/// line, and `##[` anywhere.
fn one_line(text: &str) -> String {
    let printable = shortened(text, usize::MAX - 1).replace("##[", "##\\[");
    match printable.strip_prefix("::") {
        Some(rest) => format!("\\:\\:{rest}"),
        None => printable,
    }
}
