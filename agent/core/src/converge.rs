//! Brings a sandbox to what the annotation asks for: observe, plan, report, start one step. While a
//! sandbox lives its calls go out one at a time (CNI spec 1.1, section 2: no parallel operations on
//! one container).

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use crate::{
    attachment::{Attachment, Disk, Lookup, Verb},
    backoff,
    delegate::Refusal,
    edit_times::EditPhase,
    effect::{Count, Effect},
    event::Event,
    identity::{AttachmentKey, SandboxId},
    operation::{Operation, Removing, Why},
    plan::{self, Plan, Problem, Step, desired::Desired, observed::Observed},
    pod::Pod,
    pod_state::PodState,
    record::Phase,
    sandbox_state::Sight,
    turn::{Purpose, Turn},
};

/// How often libcni's cache is read again for a call in doubt, at most.
const DOUBT_POLL: Duration = Duration::from_secs(2);
/// How often it is read again for a tombstone, and for a call that counts as lost, at most.
pub(crate) const LONGEST_POLL: Duration = Duration::from_secs(30);

impl PodState {
    /// Starts the next step of the plan. Whether another decision may follow at once.
    pub(crate) fn converge(&mut self, pod: &Rc<Pod>, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let ready = self
            .sandboxes
            .get(id)
            .is_some_and(|sandbox| sandbox.is_adopted() && sandbox.sight == Sight::Seen);
        if !ready || !self.look_up(id, turn) {
            return false;
        }
        let Some(plan) = self.plan_for(pod, id, turn) else {
            return false;
        };
        if plan.blocked_until.is_none() {
            self.report(pod, &plan.problems, turn);
        }
        self.note_attached(&plan, id, turn);
        self.forget_retries(id, &plan, turn.now.monotonic);
        self.judge_planned(pod, id, &plan, turn);
        if let Some(until) = plan.blocked_until {
            turn.wake_at(until);
        }
        let busy = self.sandboxes.get(id).is_some_and(|sandbox| sandbox.is_busy());
        if busy || turn.stopping {
            return false;
        }
        match self.next_step(&plan, id, turn) {
            Some(step) => self.start_step(pod, id, step, turn),
            None => false,
        }
    }

    /// Reads libcni's cache where the state of an attachment depends on it. `false`: something is
    /// still being read.
    fn look_up(&mut self, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return false;
        };
        let grace = turn.context.timing.grace;
        let mut known = true;
        for (interface, attachment) in &mut sandbox.attachments {
            if !attachment.is_doubtful() || attachment.operation.is_some() {
                continue;
            }
            let certain = turn.now.monotonic >= attachment.doubt_ends(turn.now.monotonic, grace);
            let record = attachment.record();
            if certain && record.is_some_and(|record| matches!(record.phase, Phase::Unplugging { .. })) {
                // A DEL follows in any case.
                continue;
            }
            let again = attachment.lookup_due(certain, turn.now);
            if matches!(attachment.lookup(), Lookup::Known(_) | Lookup::Failed) && !turn.is_due(again) {
                continue;
            }
            known = false;
            if *attachment.lookup() == Lookup::Reading {
                continue;
            }
            let Some(record) = attachment.record() else {
                continue;
            };
            let effect = Effect::ReadCniEntry {
                config_name: record.config_name(),
                sandbox: id.clone(),
                interface: interface.clone(),
            };
            attachment.begin_lookup(turn.now);
            turn.start(Purpose::Lookup((id.clone(), interface.clone())), effect);
        }
        known
    }

    /// The plan for a sandbox as everything is now.
    fn plan_for(&mut self, pod: &Rc<Pod>, id: &SandboxId, turn: &Turn<'_>) -> Option<Plan> {
        let (now, grace) = (turn.now.monotonic, turn.context.timing.grace);
        let sandbox = self.sandboxes.get_mut(id)?;
        let mut observed = Observed {
            foreign: sandbox.foreign(),
            ..Observed::default()
        };
        for interface in sandbox.in_order() {
            let attachment = sandbox.attachments.get_mut(&interface);
            observed
                .attachments
                .extend(attachment.and_then(|attachment| attachment.observe(now, grace)));
        }
        let taken: BTreeSet<_> = observed
            .foreign
            .keys()
            .chain(observed.attachments.iter().map(|there| &there.interface))
            .cloned()
            .collect();
        let desired = Desired::of(pod, &turn.context.config, &taken);
        Some(plan::plan(&desired, &observed))
    }

    /// Whether the step that an operation waits for a permit for is still what the plan says.
    pub(crate) fn is_still_planned(&mut self, (id, interface): &AttachmentKey, turn: &mut Turn<'_>) -> bool {
        let Some(sandbox) = self.sandboxes.get(id) else {
            return false;
        };
        if turn.stopping {
            return false;
        }
        let held = self.held().is_some();
        let operation = sandbox
            .attachments
            .get(interface)
            .and_then(|attachment| attachment.operation.as_deref());
        let release = matches!(
            operation,
            Some(Operation::Del(Removing {
                why: Why::Release,
                ..
            }))
        );
        if sandbox.has_ended() || release || held {
            return release;
        }
        let step = sandbox.step.clone();
        let Some(pod) = self.pod.pod().filter(|pod| !pod.terminating).cloned() else {
            return false;
        };
        let plan = self.plan_for(&pod, id, turn);
        plan.zip(step)
            .is_some_and(|(plan, step)| plan.steps.contains(&step))
    }

    /// Reports what is new, and forgets what is no longer true, so that it is reported again should
    /// it come back.
    fn report(&mut self, pod: &Rc<Pod>, problems: &[Problem], turn: &mut Turn<'_>) {
        for problem in problems {
            if !self.reported.contains(problem) {
                turn.event(&pod.identity, Event::problem(problem));
            }
        }
        self.reported = problems.iter().cloned().collect();
    }

    /// Measures how long an edit took until everything that it asks for was attached.
    fn note_attached(&mut self, plan: &Plan, id: &SandboxId, turn: &mut Turn<'_>) {
        let busy = self.sandboxes.get(id).is_some_and(|sandbox| sandbox.is_busy());
        let open = |step: &Step| !matches!(step, Step::ReleaseOwed(_));
        if busy || plan.blocked_until.is_some() || plan.steps.iter().any(open) {
            return;
        }
        let attached = self.edit.as_mut().filter(|_| plan.problems.is_empty());
        if let Some(took) = attached.and_then(|edit| edit.attached(turn.now.monotonic)) {
            turn.count(Count::Attached(took));
        }
    }

    /// A retry of a step that is not planned any more says nothing about the next one of its kind.
    fn forget_retries(&mut self, id: &SandboxId, plan: &Plan, now: Duration) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        if plan.blocked_until.is_some() {
            return;
        }
        for (interface, attachment) in &mut sandbox.attachments {
            let steps = plan.steps.iter().filter(|step| step.interface() == interface);
            let planned = steps.clone().count() > 0;
            let other = |step: &Step| matches!(step, Step::Plug { selection, .. } if attachment.tried() != Some(selection));
            if attachment.operation.is_none() && steps.clone().any(other) {
                attachment.set_retry(Verb::Plug, None);
            }
            if !planned && attachment.operation.is_none() {
                for verb in [Verb::Plug, Verb::Unplug, Verb::ReleaseOwed] {
                    attachment.set_retry(verb, None);
                }
            }
        }
        sandbox.prune(now);
    }

    /// The first step that may be tried now. An interface whose removal has to wait is not plugged
    /// meanwhile.
    fn next_step(&mut self, plan: &Plan, id: &SandboxId, turn: &mut Turn<'_>) -> Option<Step> {
        let sandbox = self.sandboxes.get(id)?;
        let mut held = BTreeSet::new();
        for step in &plan.steps {
            let interface = step.interface();
            if held.contains(interface) {
                continue;
            }
            let attachment = sandbox.attachments.get(interface);
            let writing = attachment.is_some_and(|attachment| attachment.disk() == Disk::Writing);
            let due = attachment.and_then(|attachment| attachment.due(verb_of(step)));
            if !writing && due.is_none_or(|due| turn.is_due(due)) {
                return Some(step.clone());
            }
            held.insert(interface.clone());
        }
        None
    }

    fn start_step(&mut self, pod: &Rc<Pod>, id: &SandboxId, step: Step, turn: &mut Turn<'_>) -> bool {
        let key = (id.clone(), step.interface().clone());
        let owner = pod.identity.clone();
        let began = self.at_site(&key, turn, |site| {
            let record = site.attachment.record().cloned();
            let operation = match (&step, record) {
                (Step::RecoverResult(_), _) => {
                    if let Lookup::Known(Some(entry)) = site.attachment.lookup().clone() {
                        site.attached(entry.result);
                    }
                    return true;
                }
                (Step::Plug { selection, .. }, _) => site.begin_add(selection),
                (Step::Unplug(_), Some(record)) => {
                    if record.phase == Phase::Tombstone {
                        site.attachment.note_removal(site.turn.now.monotonic);
                    }
                    let job = site.job_of(&record);
                    site.start_del(Removing::new(Why::Unplug, [job], &owner).keeping(&record.owed))
                }
                (Step::CleanUpLostAdd(_), Some(record)) => {
                    site.attachment.set_refused_add(Some((None, Refusal::Other)));
                    let job = site.job_of(&record);
                    site.start_del(Removing::new(Why::LostAdd, [job], &owner).keeping(&record.owed))
                }
                (Step::ReleaseOwed(_), Some(_)) => {
                    let jobs = site.attachment.owed_jobs(site.turn.now.monotonic);
                    site.start_del(Removing::new(Why::Owed, jobs, &owner))
                }
                (Step::Unplug(_) | Step::CleanUpLostAdd(_) | Step::ReleaseOwed(_), None) => return false,
            };
            site.attachment.operation = Some(Box::new(operation));
            false
        });
        if began == Some(true) {
            self.publication.records_changed();
            return true;
        }
        self.phase_ended(EditPhase::Planned, turn.now.monotonic);
        if let Some(sandbox) = self.sandboxes.get_mut(id) {
            sandbox.step = Some(step);
        }
        false
    }
}

fn verb_of(step: &Step) -> Verb {
    match step {
        Step::Plug { .. } => Verb::Plug,
        Step::ReleaseOwed(_) => Verb::ReleaseOwed,
        Step::RecoverResult(_) | Step::CleanUpLostAdd(_) | Step::Unplug(_) => Verb::Unplug,
    }
}

impl Attachment {
    /// When libcni's cache is read again for it. `certain`: no call without an answer can run any
    /// more.
    fn lookup_due(&self, certain: bool, now: crate::effect::Now) -> Duration {
        let tombstone = self
            .record()
            .is_some_and(|record| record.phase == Phase::Tombstone);
        let (rounds, last) = self.lookups();
        let pause = if tombstone || certain {
            backoff::delay(rounds, now.jitter).min(LONGEST_POLL)
        } else {
            backoff::poll_interval(rounds, DOUBT_POLL)
        };
        last + pause
    }

    fn begin_lookup(&mut self, now: crate::effect::Now) {
        self.note_lookup(now.monotonic);
        self.set_lookup(Lookup::Reading);
    }
}
