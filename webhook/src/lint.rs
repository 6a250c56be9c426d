//! `lint`: what admission would say about manifests, without a cluster.
//!
//! Reads pods, whatever has a pod template, lists of them, and NetworkAttachmentDefinitions. The networks in the files are
//! all that is known: about others there is no opinion, as they may be in the cluster.

mod documents;

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use serde_json::json;
use shared::{
    cni::NetworkConfig,
    config::Config,
    names::NetworkName,
    validate::{self, Findings, Network},
};

use crate::{
    args::Lint,
    mutate,
    networks::{NetworkAttachmentDefinition, Networks},
    review::{self, Change},
    verdict,
};
use documents::{Document, Subject};

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
    let config = match &arguments.config {
        Some(path) => Config::parse(&fs::read_to_string(path).map_err(|error| about(path, &error))?)
            .map_err(|error| about(path, &error))?,
        None => Config::parse("{}").map_err(io::Error::other)?,
    };
    let stdin = [Path::new("-").to_owned()];
    let files = if arguments.files.is_empty() {
        &stdin
    } else {
        &arguments.files[..]
    };
    let mut texts = Vec::new();
    for file in files {
        let mut text = String::new();
        let read = if file == Path::new("-") {
            io::stdin().read_to_string(&mut text)
        } else {
            fs::File::open(file).and_then(|mut opened| opened.read_to_string(&mut text))
        };
        read.map_err(|error| about(file, &error))?;
        texts.push((file.display().to_string(), text));
    }
    judge(&texts, &config, out)
}

fn about(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// Judges texts (each with the name of its file): prints a line or more per pod and network, and gives the outcome.
///
/// # Errors
/// Printing failed.
pub fn judge(texts: &[(String, String)], config: &Config, out: &mut impl Write) -> io::Result<Outcome> {
    let mut outcome = Outcome::Admitted;
    let mut subjects = Vec::new();
    for (file, text) in texts {
        match documents::read(text) {
            Ok(documents) => subjects.extend(documents.into_iter().map(|document| (file, document))),
            Err(error) => {
                writeln!(out, "{file}: unreadable: {error}")?;
                outcome = Outcome::Unreadable;
            }
        }
    }
    let known = Known::of(
        subjects
            .iter()
            .filter_map(|(_, document)| match &document.subject {
                Subject::Network(definition) => Some(&**definition),
                Subject::Pod(_) => None,
            }),
    );
    for (file, document) in &subjects {
        let judged = match &document.subject {
            Subject::Network(definition) => network(definition),
            Subject::Pod(pod) => self::pod(pod, document, config, &known),
        };
        writeln!(out, "{file}: {}: {}", document.title, judged.headline)?;
        for line in &judged.lines {
            writeln!(out, "  {line}")?;
        }
        outcome = outcome.max(judged.outcome);
    }
    Ok(outcome)
}

/// What is said about one object.
struct Judged {
    outcome: Outcome,
    headline: &'static str,
    lines: Vec<String>,
}

fn network(definition: &NetworkAttachmentDefinition) -> Judged {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    match definition
        .config()
        .map(|config| NetworkConfig::parse(config, name))
    {
        Some(Err(error)) => {
            let lines = vec![format!("error: {error}; pods that use it would be refused")];
            Judged {
                outcome: Outcome::Refused,
                headline: "cannot run",
                lines,
            }
        }
        Some(Ok(_)) | None => Judged {
            outcome: Outcome::Admitted,
            headline: "ok",
            lines: Vec::new(),
        },
    }
}

fn pod(pod: &serde_json::Value, document: &Document, config: &Config, known: &Known) -> Judged {
    // The same path as a real review, so that both always say the same.
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "lint",
            "operation": "CREATE",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": document.namespace,
            "object": pod,
        },
    })
    .to_string();
    let unreadable = |cause: String| Judged {
        outcome: Outcome::Unreadable,
        headline: "unreadable",
        lines: vec![format!("error: {cause}")],
    };
    match review::read(review.as_bytes()) {
        Err(error) => unreadable(error.to_string()),
        Ok(request) => match request.change() {
            Err(cause) => unreadable(cause),
            Ok(None) => Judged {
                outcome: Outcome::Admitted,
                headline: "ok, no networks",
                lines: Vec::new(),
            },
            Ok(Some(change)) => admission(&change, config, known),
        },
    }
}

/// Fills in and then judges what was filled in, as an API server lets both webhooks do.
fn admission(change: &Change<'_>, config: &Config, known: &Known) -> Judged {
    let mode = config.interface_names;
    let filled = mutate::filled(change, mode, config);
    let mut lines: Vec<String> = filled.iter().map(|text| format!("filled in: {text}")).collect();
    let annotation = filled.as_deref().unwrap_or(change.annotation);
    let change = Change {
        annotation,
        namespace: change.namespace,
        pod: change.pod,
        old: change.old,
    };
    let Findings {
        violations, warnings, ..
    } = verdict::judge(&change, &verdict::parse(&change), mode, config, known);
    lines.extend(violations.iter().map(|violation| format!("error: {violation}")));
    if violations.unlisted() > 0 {
        lines.push(format!("error: and {} more", violations.unlisted()));
    }
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    let (outcome, headline) = match (violations.is_empty(), filled.is_some()) {
        (false, _) => (Outcome::Refused, "refused"),
        (true, true) => (Outcome::Admitted, "ok, with interface names filled in"),
        (true, false) => (Outcome::Admitted, "ok"),
    };
    Judged {
        outcome,
        headline,
        lines,
    }
}

/// The networks in the files; all others are unknown.
struct Known(Networks);

impl Known {
    fn of<'a>(definitions: impl IntoIterator<Item = &'a NetworkAttachmentDefinition>) -> Self {
        let networks = Networks::default();
        networks.replace(definitions);
        Self(networks)
    }
}

impl validate::Networks for Known {
    fn network(&self, name: &NetworkName) -> Network {
        match self.0.network(name) {
            Network::Missing { .. } => Network::Unknown,
            known => known,
        }
    }
}

#[cfg(test)]
mod tests;
