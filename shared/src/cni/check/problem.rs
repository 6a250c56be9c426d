//! What is wrong with a config, and where.

use std::fmt::{self, Write};

use crate::{spanned_json::Node, violation::shown};

/// Further problems of a config are left out.
const MAX_PROBLEMS: usize = 20;

/// What a problem means for a pod that names the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// multus, libcni or the plugin refuses it at ADD.
    CannotRun,
    /// It runs, but not as meant.
    Warning,
}

/// One problem of a config: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Whether the network can run with it.
    pub severity: Severity,
    /// The way to the value, as in `plugins[0].ipam.subnet`; empty: the config as a whole.
    pub path: String,
    /// 1-based line in the config.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// The value as written, shortened and printable.
    pub value: Option<String>,
    /// What is wrong and what to do; one sentence without a full stop.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    /// `PATH, value VALUE: MESSAGE (line 1, column 2)`; parts that are absent are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(value) = &self.value {
            write!(f, ", value {value}")?;
        }
        if !self.path.is_empty() || self.value.is_some() {
            f.write_str(": ")?;
        }
        write!(f, "{} (line {}, column {})", self.message, self.line, self.column)
    }
}

/// One step of the way to a value.
#[derive(Clone, Copy)]
pub(super) enum Step<'n> {
    Key(&'n str),
    Index(usize),
}

/// The problems found so far, and the way to the value that is judged now.
pub(super) struct Findings<'n> {
    source: &'n str,
    path: Vec<Step<'n>>,
    problems: Vec<ConfigProblem>,
}

impl<'n> Findings<'n> {
    pub fn of(source: &'n str) -> Self {
        Self {
            source,
            path: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub fn into_problems(self) -> Vec<ConfigProblem> {
        self.problems
    }

    /// Whether further problems are left out. Those with which the network cannot run are not
    /// crowded out by warnings, of which a config has few.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Judges what lies one step deeper.
    pub fn within(&mut self, step: Step<'n>, judge: impl FnOnce(&mut Self)) {
        self.path.push(step);
        judge(self);
        self.path.pop();
    }

    /// A problem at byte `start` with which the network cannot run.
    pub fn cannot_run(&mut self, start: usize, value: Option<&Node<'_>>, message: impl Into<String>) {
        self.push(Severity::CannotRun, start, value, message.into());
    }

    /// As [`Self::cannot_run`], with this value.
    pub fn refuse(&mut self, value: &Node<'_>, message: impl Into<String>) {
        self.push(Severity::CannotRun, value.start, Some(value), message.into());
    }

    pub fn warn(&mut self, value: &Node<'_>, message: impl Into<String>) {
        self.push(Severity::Warning, value.start, Some(value), message.into());
    }

    pub fn push(&mut self, severity: Severity, start: usize, value: Option<&Node<'_>>, message: String) {
        if self.is_full() {
            return;
        }
        let before = self.source.get(..start).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let problem = ConfigProblem {
            severity,
            path: self.path(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            value: value.map(|node| shown(node.raw)),
            message,
        };
        self.problems.push(problem);
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(&shown(key)),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(&shown(key));
                }
                Step::Index(index) => {
                    // Writing to a String does not fail.
                    let _infallible = write!(path, "[{index}]");
                }
            }
        }
        path
    }
}
