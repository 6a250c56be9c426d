//! The oracle: what multus and the network-attachment-definition-client themselves make of an
//! input. See `tests/oracle/`.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Command, Stdio},
    thread,
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{Error, Result, repository::go_program};

/// What the oracle said to one question.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// What was read, as written: it may be nested deeper than our own readers go; `null` when it
    /// was refused.
    pub value: Box<RawValue>,
    /// Why it was refused; empty when it was not.
    #[serde(default)]
    pub error: String,
    /// The code under question crashed.
    #[serde(default)]
    pub panic: bool,
}

impl Answer {
    /// What was read; null when it is nested deeper than 128 levels.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.value.get()).unwrap_or_default()
    }
}

/// Asks all questions, each one JSON value, and returns the answers in their order.
///
/// # Errors
/// The oracle cannot be built or run, or did not answer every question.
pub fn ask(questions: &[Value]) -> Result<Vec<Answer>> {
    let mut oracle = Command::new(go_program("oracle")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Error::Unexpected(format!("the oracle does not start: {e}")))?;
    let (Some(stdin), Some(stdout)) = (oracle.stdin.take(), oracle.stdout.take()) else {
        return Err(Error::Unexpected("the oracle has no pipes".to_owned()));
    };
    let answers = thread::scope(|scope| {
        scope.spawn(move || {
            let mut stdin = BufWriter::new(stdin);
            // A broken pipe shows as missing answers.
            let _ = questions
                .iter()
                .try_for_each(|question| writeln!(stdin, "{question}"));
        });
        let lines = BufReader::new(stdout).lines();
        lines
            .map(|line| answer(line?.as_str()))
            .collect::<std::io::Result<Vec<_>>>()
    })
    .map_err(|e| Error::Unexpected(format!("the oracle's answers: {e}")))?;
    // It has ended: its output has.
    let _ = oracle.wait();
    if answers.len() == questions.len() {
        Ok(answers)
    } else {
        Err(Error::Unexpected(format!(
            "the oracle answered {} of {} questions",
            answers.len(),
            questions.len()
        )))
    }
}

fn answer(line: &str) -> std::io::Result<Answer> {
    Ok(serde_json::from_str(line)?)
}
