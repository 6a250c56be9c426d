//! `lint`: what admission would say about manifests, without a cluster.
//!
//! Reads pods, whatever has a pod template, virtual machines, lists of them, and NetworkAttachmentDefinitions. Namespaces and
//! the webhook's ConfigMaps in the files decide as they do in a cluster. A network that is not in the files may be in the
//! cluster: at most a warning.

mod documents;
mod judge;
mod known;
mod report;
mod templates;
mod tree;

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use shared::config::Config;

use crate::args::Lint;
use documents::Document;
use known::Known;
use report::{Judgement, Report};
use tree::Position;

/// What was found, worst last: it makes the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
pub fn run(arguments: &Lint) -> ExitCode {
    let mut out = io::stdout().lock();
    match lint(arguments, &mut out) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("dynamic-networks-webhook lint: {error}");
            Outcome::Unreadable.into()
        }
    }
}

fn lint(arguments: &Lint, out: &mut impl Write) -> io::Result<Outcome> {
    let config = arguments.config.as_deref().map(|path| {
        let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
        Config::parse(&text).map_err(|error| about(path, &error))
    });
    let settings = Settings {
        config: config.transpose()?,
        namespace: arguments.namespace.clone(),
        webhook_namespace: arguments.webhook_namespace.clone(),
    };
    let stdin = [Path::new("-").to_owned()];
    let files = if arguments.files.is_empty() {
        &stdin
    } else {
        &arguments.files[..]
    };
    let sources = files.iter().map(|file| Source {
        name: file.display().to_string(),
        text: read(file).map_err(|error| error.to_string()),
    });
    let reports = judge(&sources.collect::<Vec<_>>(), &settings);
    report::write_text(&reports, out)?;
    Ok(worst(&reports))
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text)?;
    } else {
        fs::File::open(file)?.read_to_string(&mut text)?;
    }
    Ok(text)
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

/// A file, and its text or why there is none.
struct Source {
    name: String,
    text: Result<String, String>,
}

fn worst(reports: &[Report]) -> Outcome {
    let outcomes = reports.iter().map(|report| report.judgement.outcome);
    outcomes.max().unwrap_or(Outcome::Admitted)
}

/// Judges all files together: what one says about networks holds for the pods of all.
fn judge(sources: &[Source], settings: &Settings) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut subjects = Vec::new();
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
        subjects.extend(contents.documents.into_iter().map(|document| (source, document)));
    }
    let documents: Vec<&Document> = subjects.iter().map(|(_, document)| document).collect();
    let known = Known::of(&documents, settings.config.as_ref(), &settings.webhook_namespace);
    let judged = subjects.iter().filter_map(|(source, document)| {
        Some(Report {
            judgement: judge::document(document, &known)?,
            file: source.name.clone(),
            at: document.at,
            title: document.title.clone(),
        })
    });
    reports.extend(judged);
    reports
}

#[cfg(test)]
mod tests;
