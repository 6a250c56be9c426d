//! Judges a pod: is everything that its annotation asks for attached?

use std::rc::Rc;

use super::{ConditionState, Verdict};
use crate::{
    attachment::Verb,
    event::Event,
    identity::SandboxId,
    plan::{Plan, Problem, Step},
    pod::Pod,
    pod_state::PodState,
    sandbox_state::{SandboxState, Sight},
    turn::Turn,
};

impl PodState {
    /// What is known of the condition `NetworksReady`.
    pub fn condition(&self) -> &ConditionState {
        &self.condition
    }

    /// Judges a pod that never asked for a network: no sandbox has to be seen.
    pub(crate) fn judge_without_networks(&mut self, pod: &Rc<Pod>, turn: &mut Turn<'_>) {
        self.condition.judge(&Verdict::Complete(0), None, turn);
        self.publish_condition(pod, turn);
    }

    /// Judges a sandbox of which no plan can be made.
    pub(crate) fn judge_unplanned(&mut self, pod: &Rc<Pod>, id: &SandboxId, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get(id) else {
            return;
        };
        let verdict = match (&sandbox.sight, &self.blocked) {
            (Sight::Seen, _) => return,
            (Sight::Host, _) if pod.networks.is_empty() => Verdict::Complete(0),
            (Sight::Host, _) => Verdict::Failing("HostNetwork", Event::host_network().text),
            (_, Some(blocked)) => Verdict::Failing("Blocked", Event::blocked(&blocked.error).text),
            (_, None) => return,
        };
        self.condition.judge(&verdict, Some(id), turn);
    }

    /// Judges a sandbox by the plan for it.
    pub(crate) fn judge_planned(&mut self, pod: &Rc<Pod>, id: &SandboxId, plan: &Plan, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get(id) else {
            return;
        };
        // What has a record was asked for, even when the agent never saw the annotation.
        let recorded = sandbox
            .attachments
            .values()
            .any(|attachment| attachment.record().is_some());
        let verdict = verdict(pod, sandbox, plan);
        self.condition.concerned |= recorded;
        self.condition.judge(&verdict, Some(id), turn);
    }
}

fn verdict(pod: &Pod, sandbox: &SandboxState, plan: &Plan) -> Verdict {
    let failing = failures(pod, sandbox);
    let problem = |problem: &Problem| Verdict::Failing(reason_of(problem), Event::problem(problem).text);
    if let Some(unreadable) = plan
        .problems
        .iter()
        .find(|problem| matches!(problem, Problem::Unreadable(_)))
    {
        return problem(unreadable);
    }
    if let Some((reason, text)) = failing.first() {
        let more = match failing.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        return Verdict::Failing(reason, format!("{text}{more}"));
    }
    if let Some(first) = plan.problems.first() {
        return problem(first);
    }
    let is_open = |step: &Step| !matches!(step, Step::ReleaseOwed(_));
    if sandbox.has_open_operation() || plan.blocked_until.is_some() || plan.steps.iter().any(is_open) {
        return Verdict::InProgress;
    }
    if let Some(network) = plan.unmatched.first() {
        let text = format!("the element of network {network} has no interface name, and no interface is its");
        return Verdict::Failing("InterfaceNameMissing", text);
    }
    Verdict::Complete(pod.networks.list().map_or(0, |list| list.elements.len()))
}

fn reason_of(problem: &Problem) -> &'static str {
    match problem {
        Problem::Unreadable(_) => "AnnotationUnreadable",
        Problem::Unnamed { .. } => "InterfaceNameMissing",
        Problem::Rejected { .. } => "InterfaceRejected",
    }
}

/// What failed and is still to be done: reason and words.
fn failures(pod: &Pod, sandbox: &SandboxState) -> Vec<(&'static str, String)> {
    let mut failures = Vec::new();
    for (interface, attachment) in &sandbox.attachments {
        let wanted = |network| {
            let list = pod.networks.list();
            let mut elements = list.into_iter().flat_map(|list| &list.elements);
            elements
                .any(|element| element.interface.as_ref() == Some(interface) && element.network == network)
        };
        let tried = attachment.tried().map(|tried| tried.network.clone());
        // A step that an edit made needless fails no more.
        if let (Some(retry), Some(network)) = (
            attachment.retry(Verb::Plug),
            tried.filter(|tried| wanted(tried.clone())),
        ) {
            let event = Event::failed_adding(interface, &network, &retry.error, None);
            failures.push(("AttachFailed", event.text));
        } else if let (Some(retry), Some(record)) = (attachment.retry(Verb::Unplug), attachment.record()) {
            let event = Event::failed_removing(interface, &record.network, &retry.error, None);
            failures.push(("DetachFailed", event.text));
        }
    }
    failures
}
