//! The verdict on a change: every rule of the rule book at once, told in one answer that teaches.

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

/// What all causes of a refusal take of the answer, in bytes of JSON; the rest is counted. The
/// whole answer stays below 16 KiB.
const CAUSES: usize = 8 * 1024;
/// What its message takes, which says the same in one line.
const MESSAGE: usize = 2 * 1024;
/// Characters of the longest name that an object has.
pub const MAX_NAME: usize = 253;

/// The networks annotation of a change, as far as it can be read.
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
    let context = PodContext {
        namespace: change.namespace,
        host_network: change.pod.uses_host_network(),
        virt_launcher: change.pod.is_virt_launcher(),
        interface_names: mode,
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
    /// The object and the part of it that was judged, for a person.
    pub place: String,
    /// The object's name.
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

/// The answer that tells `findings`.
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
        // The same words, first.
        let unlisted = violations.unlisted();
        let more = (unlisted > 0).then(|| format!("and {unlisted} more violations"));
        let words = violations.iter().map(Violation::to_string).chain(more);
        let all: Warnings = words.chain(warnings.into_texts()).collect();
        all.into_texts()
    };
    answer
}

/// A refusal as the API server itself would word an invalid object: `kubectl` prints one line per cause, and `kubectl edit`
/// opens the text again with the causes above it.
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

/// As many of `texts` as fit into `budget` bytes of JSON, each with `envelope` bytes around it, and
/// how many more there are of the `count`. Always the first.
fn within(budget: usize, texts: &[String], count: usize, envelope: usize) -> Vec<String> {
    // Escapes make a text longer: each character counts as what JSON makes of it at most.
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
    let mut told: Vec<String> = texts.iter().take_while(fits).cloned().collect();
    if told.is_empty() {
        told.extend(texts.first().cloned());
    }
    if count > told.len() {
        told.push(format!("and {} more", count - told.len()));
    }
    told
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
