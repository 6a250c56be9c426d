//! How reports are printed: for people, and for the programs that pipelines have.

use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shared::violation::{Rule, shortened};

use super::{
    Outcome,
    args::Output,
    report::{Finding, Level, Report},
    tree::Position,
};

/// What findings have as their rule in SARIF that break none of the rule book.
const NO_RULE: (&str, &str) = ("lint", "Manifests are readable, and say what they seem to say.");

/// All but what is harmless in the path of a URI.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');

/// Prints everything.
pub(super) fn write(
    output: Output,
    reports: &[Report],
    outcome: Outcome,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Text => text(reports, out),
        Output::Json => json_line(&json!({ "outcome": outcome, "reports": reports }), out),
        Output::Sarif => json_line(&sarif(reports), out),
        Output::Github => github(reports, out),
    }
}

fn json_line(value: &Value, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// One line for each object, and one more for each finding.
pub(super) fn text(reports: &[Report], out: &mut impl Write) -> io::Result<()> {
    for report in reports {
        let judgement = &report.judgement;
        let mut place = vec![report.file.clone()];
        if report.at != Position::default() {
            place.push(format!("{}:{}", report.at.line, report.at.column));
        }
        let line = format!("{}: {}", place.join(":"), titled(report));
        writeln!(out, "{}", one_line(&line))?;
        if let Some(text) = &judgement.filled {
            writeln!(out, "  {}", one_line(&format!("filled in: {text}")))?;
        }
        for finding in &judgement.findings {
            let place = match finding
                .at
                .filter(|at| *at != report.at && *at != Position::default())
            {
                Some(Position { line, column }) => format!(" at {line}:{column}"),
                None => String::new(),
            };
            let text = format!("{}{place}: {}", finding.level.name(), finding.message);
            writeln!(out, "  {}", one_line(&text))?;
        }
    }
    Ok(())
}

/// `text` without what a terminal obeys, and without what the runners of GitHub Actions take for a
/// command: `::` at the beginning of a line, and `##[` anywhere.
pub(super) fn one_line(text: &str) -> String {
    let printable = shortened(text, usize::MAX - 1).replace("##[", "##\\[");
    match printable.strip_prefix("::") {
        Some(rest) => format!("\\:\\:{rest}"),
        None => printable,
    }
}

/// One command for each finding; what is well says nothing.
fn github(reports: &[Report], out: &mut impl Write) -> io::Result<()> {
    for report in reports {
        let file = property(&report.file);
        for finding in &report.judgement.findings {
            let place = match finding.at.unwrap_or(report.at) {
                Position { line: 0, .. } => String::new(),
                Position { line, column } => format!(",line={line},col={column}"),
            };
            let title = property(&titled(report));
            let message = data(&finding.message);
            let level = match finding.level {
                Level::Note => "notice",
                level => level.name(),
            };
            writeln!(out, "::{level} file={file}{place},title={title}::{message}")?;
        }
    }
    Ok(())
}

fn titled(report: &Report) -> String {
    let headline = &report.judgement.headline;
    if report.title.is_empty() {
        headline.clone()
    } else {
        format!("{}: {headline}", report.title)
    }
}

/// The text of a command.
fn data(text: &str) -> String {
    shortened(text, usize::MAX - 1).replace('%', "%25")
}

/// A property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>
fn sarif(reports: &[Report]) -> Value {
    let known = Rule::ALL.iter().map(|rule| (rule.name(), rule.description()));
    let rules: Vec<Value> = known
        .chain([NO_RULE])
        .map(|(name, description)| json!({ "id": name, "shortDescription": { "text": description } }))
        .collect();
    let results: Vec<Value> = reports
        .iter()
        .flat_map(|report| {
            let findings = report.judgement.findings.iter();
            findings.map(|finding| result(report, finding))
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "dynamic-networks-webhook",
                "version": crate::VERSION,
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(report: &Report, finding: &Finding) -> Value {
    let uri = utf8_percent_encode(&report.file, IN_PATH).to_string();
    let mut place = json!({ "artifactLocation": { "uri": uri } });
    let at = finding.at.unwrap_or(report.at);
    if let (Position { line: 1.., .. }, Some(place)) = (at, place.as_object_mut()) {
        let region = json!({ "startLine": at.line, "startColumn": at.column });
        place.insert("region".to_owned(), region);
    }
    let title = titled(report);
    json!({
        "ruleId": finding.rule.unwrap_or(NO_RULE.0),
        "level": finding.level.name(),
        "message": { "text": format!("{title}: {}", finding.message) },
        "locations": [{ "physicalLocation": place }],
    })
}
