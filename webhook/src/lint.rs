//! `lint`: what admission would say about manifests, without a cluster.
//!
//! Reads pods, whatever has a pod template, virtual machines, lists of them, and
//! NetworkAttachmentDefinitions. Namespaces and the webhook's ConfigMaps in the files decide as
//! they do in a cluster. A network that is not in the files may be in the cluster: at most a
//! warning.

mod args;
mod documents;
mod judge;
mod known;
mod output;
mod report;
mod sources;
mod templates;
mod tree;

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde::Serialize;
use serde_json::Value;
use shared::config::Config;

pub use args::{Arguments, Output};
use documents::{Document, Subject};
use known::Known;
use report::{Judgement, Level, Report};
use sources::Source;
use tree::Position;

/// What was found, worst last: it makes the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything would be admitted.
    Admitted,
    /// Something would be refused.
    Refused,
    /// Something could not be read.
    Unreadable,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Admitted => 0,
            Outcome::Refused => 1,
            Outcome::Unreadable => 2,
        })
    }
}

/// Reads the files, prints what admission would say, and gives the exit status.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut out = io::stdout().lock();
    match lint(arguments, &mut out) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("dynamic-networks-webhook lint: {error}");
            Outcome::Unreadable.into()
        }
    }
}

fn lint(arguments: &Arguments, out: &mut impl Write) -> io::Result<Outcome> {
    let config = arguments.config.as_deref().map(|path| {
        let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
        Config::parse(&text).map_err(|error| about(path, &error))
    });
    let settings = Settings {
        config: config.transpose()?,
        namespace: arguments.namespace.clone(),
        webhook_namespace: arguments.webhook_namespace.clone(),
    };
    let files = sources::collect(&arguments.files, arguments.recursive);
    let stored = match arguments.old.as_slice() {
        [] => Vec::new(),
        old => sources::collect(old, arguments.recursive),
    };
    let reports = judge(&files, &stored, &settings);
    let outcome = worst(&reports, arguments.strict);
    output::write(arguments.output, &reports, outcome, out)?;
    Ok(outcome)
}

fn about(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// What the files are judged by.
struct Settings {
    /// Wins over what the files say.
    config: Option<Config>,
    /// Of objects that name none.
    namespace: String,
    /// The webhook leaves its own namespace alone.
    webhook_namespace: String,
}

fn worst(reports: &[Report], strict: bool) -> Outcome {
    let judgements = reports.iter().map(|report| &report.judgement);
    let outcomes = judgements.map(|judgement| {
        let mut findings = judgement.findings.iter();
        let is_warned_of = findings.any(|finding| finding.level == Level::Warning);
        match judgement.outcome {
            Outcome::Admitted if strict && is_warned_of => Outcome::Refused,
            outcome => outcome,
        }
    });
    outcomes.max().unwrap_or(Outcome::Admitted)
}

/// Judges all files together: what one says about networks holds for the pods of all. Pods that are
/// among the `stored` ones are updated.
fn judge(files: &[Source], stored: &[Source], settings: &Settings) -> Vec<Report> {
    let mut reports = Vec::new();
    let documents = read(files, settings, &mut reports);
    let stored = pods(read(stored, settings, &mut reports));
    let all: Vec<&Document> = documents.iter().map(|(_, document)| document).collect();
    let known = Known::of(&all, settings.config.as_ref(), &settings.webhook_namespace);
    let judged = documents.iter().filter_map(|(file, document)| {
        Some(Report {
            judgement: judge::document(document, stored.get(&document.key()), &known)?,
            file: (*file).to_owned(),
            at: document.at,
            title: document.title.clone(),
        })
    });
    reports.extend(judged);
    reports
}

/// The documents of all sources with the names of their files; reports what cannot be judged.
fn read<'a>(
    sources: &'a [Source],
    settings: &Settings,
    reports: &mut Vec<Report>,
) -> Vec<(&'a str, Document)> {
    let mut documents = Vec::new();
    for source in sources {
        let mut report = |at, judgement| {
            reports.push(Report {
                file: source.name.clone(),
                at,
                title: String::new(),
                judgement,
            });
        };
        let contents = match &source.text {
            Ok(text) => documents::read(text, &settings.namespace),
            Err(cause) => {
                report(Position::default(), Judgement::unreadable(cause));
                continue;
            }
        };
        for error in contents.errors {
            report(error.at, Judgement::unreadable(error.message));
        }
        if contents.without_kind > 0 {
            let headline = format!("documents without a kind, not judged: {}", contents.without_kind);
            report(Position::default(), Judgement::ok(headline));
        }
        let found = contents.documents.into_iter();
        documents.extend(found.map(|document| (source.name.as_str(), document)));
    }
    documents
}

fn pods(documents: Vec<(&str, Document)>) -> HashMap<(String, String), Value> {
    let pods = documents.into_iter().filter_map(|(_, document)| {
        let key = document.key();
        match document.subject {
            Subject::Pod(pod) => Some((key, pod)),
            _ => None,
        }
    });
    pods.collect()
}

#[cfg(test)]
mod tests;
