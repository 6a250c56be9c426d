//! `lint`: what admission would say about manifests without a cluster, or about what a cluster has.
//!
//! Reads pods, whatever has a pod template, virtual machines, lists of them, and
//! NetworkAttachmentDefinitions. Namespaces and the webhook's ConfigMaps in the files decide as
//! they do in a cluster. A network that is not in the files may be in the cluster: at most a
//! warning.

mod args;
mod cluster;
mod definitions;
mod documents;
mod fix;
mod judge;
mod known;
mod notation;
mod output;
mod places;
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
use fix::Edit;
use known::Known;
use report::{Finding, Judgement, Level, Report};
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
        fix: arguments.fix,
    };
    if arguments.cluster {
        return lint_cluster(arguments, &settings, out);
    }
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

fn lint_cluster(arguments: &Arguments, settings: &Settings, out: &mut impl Write) -> io::Result<Outcome> {
    // Fails where a provider is installed already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (groups, context) = runtime
        .block_on(async {
            let (api_server, context) = cluster::connect(arguments.context.as_deref()).await?;
            Ok::<_, String>((cluster::judged(&api_server, settings).await, context))
        })
        .map_err(io::Error::other)?;
    let outcome = groups.outcome(arguments.strict);
    match arguments.output {
        Output::Text => groups.text(out)?,
        output => output::write(output, &groups.reports(&context), outcome, out)?,
    }
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
    /// Whether missing interface names are written into the files.
    fix: bool,
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
    let known = Known::of(&all, settings);
    let mut edits: HashMap<&str, Vec<(usize, Edit)>> = HashMap::new();
    for (source, document) in &documents {
        let Some(mut judgement) = judge::document(document, stored.get(&document.key()), &known) else {
            continue;
        };
        if let (Some(scalar), Ok(text)) = (&document.scalar, &source.text) {
            places::locate(&mut judgement.findings, text, scalar);
        }
        if let Some(edit) = edit(document, &judgement).filter(|_| settings.fix) {
            let of_file = edits.entry(&source.name).or_default();
            of_file.push((reports.len(), edit));
        }
        reports.push(Report {
            judgement,
            file: source.name.clone(),
            at: document.at,
            title: document.title.clone(),
        });
    }
    for source in files {
        if let (Some(edits), Ok(text)) = (edits.get(source.name.as_str()), &source.text) {
            write_names(source, text, edits, &mut reports);
        }
    }
    reports
}

/// The names to write for a document that would be admitted with them.
fn edit(document: &Document, judgement: &Judgement) -> Option<Edit> {
    let is_admitted = judgement.outcome == Outcome::Admitted;
    Some(Edit {
        annotation: document.scalar.clone()?,
        namespace: document.namespace.clone(),
        filled: judgement.filled.clone().filter(|_| is_admitted)?,
    })
}

/// Writes names into a file, and says so in the reports of its documents.
fn write_names(source: &Source, text: &str, edits: &[(usize, Edit)], reports: &mut [Report]) {
    let (places, edits): (Vec<usize>, Vec<Edit>) = edits.iter().cloned().unzip();
    let written = fix::apply(source.path.as_deref(), text, &edits);
    for place in places {
        let Some(Report { judgement, .. }) = reports.get_mut(place) else {
            continue;
        };
        match &written {
            Ok(()) => "ok, interface names written into the file".clone_into(&mut judgement.headline),
            Err(cause) => {
                let finding = Finding::warning(format!("{} is not changed: {cause}", source.name));
                judgement.findings.push(finding);
            }
        }
    }
}

/// The documents of all sources, each with its source; reports what cannot be judged.
fn read<'a>(
    sources: &'a [Source],
    settings: &Settings,
    reports: &mut Vec<Report>,
) -> Vec<(&'a Source, Document)> {
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
        documents.extend(found.map(|document| (source, document)));
    }
    documents
}

fn pods(documents: Vec<(&Source, Document)>) -> HashMap<(String, String), Value> {
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
