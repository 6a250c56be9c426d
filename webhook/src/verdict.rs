//! The verdict on a change: every rule of the rule book at once, told in one answer that teaches.

use shared::{
    annotations,
    config::{Config, InterfaceNames},
    selection::SelectionList,
    status,
    validate::{self, Findings, Networks, Operation, Subject},
    violation::{Rule, Violation},
};

use crate::review::{Answer, Cause, Change, Details, Refusal, Request};

/// The networks annotation of a change, as far as it can be read.
pub type Parsed = Result<SelectionList, Vec<Violation>>;

/// Reads the annotation that would be stored.
pub fn parse(change: &Change<'_>) -> Parsed {
    SelectionList::parse(Some(change.annotation), change.namespace)
}

/// Judges a change whose annotation was read by [`parse`].
pub fn judge(
    change: &Change<'_>,
    parsed: Parsed,
    mode: InterfaceNames,
    config: &Config,
    networks: &dyn Networks,
) -> Findings {
    let list = match parsed {
        Ok(list) => list,
        Err(violations) => {
            return Findings {
                violations,
                warnings: Vec::new(),
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
            old: list.as_ref(),
            status: &status,
            running: old.is_running(),
        },
    };
    let subject = Subject {
        namespace: change.namespace,
        host_network: change.pod.uses_host_network(),
        virt_launcher: change.pod.is_virt_launcher(),
        interface_names: mode,
        operation,
        list: &list,
    };
    validate::validate(&subject, config, networks)
}

/// The answer that tells `findings`.
pub fn answer(request: &Request<'_>, change: &Change<'_>, findings: Findings) -> Answer {
    let Findings { violations, warnings } = findings;
    let mut answer = if violations.is_empty() {
        Answer::allowed(request.uid.clone())
    } else {
        Answer::refused(request.uid.clone(), refusal(request, change, &violations))
    };
    answer.warnings = warnings;
    answer
}

/// A refusal as the API server itself would word an invalid pod: `kubectl` prints one line per cause, and `kubectl edit`
/// opens the text again with the causes above it.
fn refusal(request: &Request<'_>, change: &Change<'_>, violations: &[Violation]) -> Refusal {
    let name = request.display_name();
    let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let message = format!(
        "pod {}/{name}: annotation {}: {}",
        change.namespace,
        annotations::NETWORKS,
        texts.join("; ")
    );
    let field = format!("metadata.annotations[{}]", annotations::NETWORKS);
    let causes = texts
        .into_iter()
        .map(|message| Cause {
            reason: "FieldValueInvalid",
            message,
            field: field.clone(),
        })
        .collect();
    let details = Details {
        name: name.into_owned(),
        kind: "Pod",
        causes,
    };
    Refusal {
        code: 422,
        reason: "Invalid",
        message,
        details: Some(details),
    }
}

/// The refusal of a review whose content could not be read.
pub fn unreadable(uid: &str, cause: &str) -> Answer {
    let message = format!("the pod in the admission review cannot be read: {cause}");
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
