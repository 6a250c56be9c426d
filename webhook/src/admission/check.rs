//! Checks a change against every rule, and reports all violations in one answer.

use shared::{
    annotations,
    config::{Config, Enforcement, InterfaceNames},
    history::History,
    selection::SelectionList,
    status,
    validate::{self, Findings, Networks, Operation, PodContext, Warnings},
    violation::{Rule, Violation, Violations, shortened},
};

use crate::admission::review::{Answer, Cause, Change, Details, Refusal, Request};

/// The budget of all causes of a refusal, in bytes of JSON; the others are counted. It keeps the
/// whole answer below 16 KiB.
const CAUSES: usize = 8 * 1024;
/// The budget of its message, which repeats the causes in one line.
const MESSAGE: usize = 2 * 1024;
/// Characters of the longest object name.
pub const MAX_NAME: usize = 253;

/// The parsed networks annotation of a change, or why it cannot be parsed.
pub type Parsed = Result<SelectionList, Violations>;

/// Reads the annotation that would be stored.
pub fn parse(change: &Change<'_>) -> Parsed {
    SelectionList::parse(Some(change.annotation), change.namespace)
}

/// Judges a change whose annotation was read by [`parse`].
pub fn judge(
    change: &Change<'_>,
    parsed: &Parsed,
    mode: InterfaceNames,
    config: &Config,
    networks: &dyn Networks,
) -> Findings {
    let list = match parsed {
        Ok(list) => list,
        Err(violations) => {
            return Findings {
                violations: violations.clone(),
                ..Findings::default()
            };
        }
    };
    let old = change
        .old
        .map(|old| (old, SelectionList::parse(old.networks(), change.namespace).ok()));
    let status = old
        .as_ref()
        .map(|(old, _)| status::read(old.network_status()))
        .unwrap_or_default();
    let operation = match &old {
        None => Operation::Create,
        Some((old, list)) => Operation::Update {
            history: History {
                old: list.as_ref(),
                status: &status,
            },
            running: old.is_running(),
        },
    };
    // A pod's resources hardly change, and never those of devices.
    let devices = change.pod.devices();
    let context = PodContext {
        namespace: change.namespace,
        host_network: change.pod.uses_host_network(),
        virt_launcher: change.pod.is_virt_launcher(),
        interface_names: mode,
        devices: &devices,
        operation,
        list,
    };
    validate::validate(&context, config, networks)
}

/// The object that an answer is about.
#[derive(Debug)]
pub struct Target {
    /// As the API server names it.
    pub kind: &'static str,
    /// The object and the judged part of it, for the message.
    pub place: String,
    pub name: String,
    /// Path to what was judged.
    pub field: String,
}

impl Target {
    /// The networks annotation of a pod.
    pub fn pod(request: &Request<'_>, change: &Change<'_>) -> Self {
        let name = shortened(&request.display_name(), MAX_NAME);
        let namespace = shortened(change.namespace, MAX_NAME);
        Self {
            kind: "Pod",
            place: format!("pod {namespace}/{name}: annotation {}", annotations::NETWORKS),
            name,
            field: format!("metadata.annotations[{}]", annotations::NETWORKS),
        }
    }
}

/// The answer that reports `findings`.
pub fn answer(uid: &str, target: Target, findings: Findings, enforcement: Enforcement) -> Answer {
    let rules = broken_rules(&findings);
    let Findings {
        violations, warnings, ..
    } = findings;
    let refuses = enforcement == Enforcement::Enforce && !violations.is_empty();
    let mut answer = if refuses {
        Answer::refused(uid, refusal(target, &violations))
    } else {
        Answer::allowed(uid)
    };
    answer.audit_rules(&rules);
    answer.warnings = if refuses {
        warnings.into_texts()
    } else {
        // The texts of the refusal, first.
        let all: Warnings = violations.texts().chain(warnings.into_texts()).collect();
        all.into_texts()
    };
    answer
}

/// A refusal in the form of the API server's own for an invalid object: `kubectl` prints one line
/// per cause, and `kubectl edit` reopens the text with the causes above it.
fn refusal(target: Target, violations: &Violations) -> Refusal {
    let Target {
        kind,
        place,
        name,
        field,
    } = target;
    let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let count = texts.len() + violations.unlisted();
    let message = format!("{place}: {}", within(MESSAGE, &texts, count, 0).join("; "));
    let causes = within(CAUSES, &texts, count, field.len() + 64)
        .into_iter()
        .map(|message| Cause {
            reason: "FieldValueInvalid",
            message,
            field: field.clone(),
        })
        .collect();
    let details = Details { name, kind, causes };
    Refusal {
        code: 422,
        reason: "Invalid",
        message,
        details: Some(details),
    }
}

/// As many of `texts` as fit into `budget` bytes of JSON, each with `envelope` bytes around it, at
/// least the first; and how many of the `count` are left out.
fn within(budget: usize, texts: &[String], count: usize, envelope: usize) -> Vec<String> {
    // Escapes make a text longer: count each character at its longest in JSON.
    let size = |text: &String| {
        let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        text.len() + escaped + envelope
    };
    let mut left = budget;
    let fits = |text: &&String| {
        let room = left.checked_sub(size(text));
        left = room.unwrap_or_default();
        room.is_some()
    };
    let mut listed: Vec<String> = texts.iter().take_while(fits).cloned().collect();
    if listed.is_empty() {
        listed.extend(texts.first().cloned());
    }
    if count > listed.len() {
        listed.push(format!("and {} more", count - listed.len()));
    }
    listed
}

/// The refusal of a review whose content could not be read.
pub fn unreadable(uid: &str, cause: &str) -> Answer {
    let message = format!("the object in the admission review cannot be read: {cause}");
    Answer::refused(
        uid,
        Refusal {
            code: 400,
            reason: "BadRequest",
            message,
            details: None,
        },
    )
}

/// The rules that `findings` say are broken, each once.
pub fn broken_rules(findings: &Findings) -> Vec<Rule> {
    let mut rules: Vec<Rule> = findings
        .violations
        .iter()
        .map(|violation| violation.rule)
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}
