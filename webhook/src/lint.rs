//! `lint`: what admission would say about manifests, without a cluster.
//!
//! Reads pods, whatever has a pod template, lists of them, and NetworkAttachmentDefinitions. The networks in the files are
//! all that is known: about others there is no opinion, as they may be in the cluster.

mod documents;
mod judge;
mod known;

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use shared::config::Config;

use crate::args::Lint;
use documents::Subject;
use known::Known;

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
            Subject::Network(definition) => judge::network(definition),
            Subject::Pod(pod) => judge::pod(pod, document, config, &known),
        };
        writeln!(out, "{file}: {}: {}", document.title, judged.headline)?;
        for line in &judged.lines {
            writeln!(out, "  {line}")?;
        }
        outcome = outcome.max(judged.outcome);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests;
