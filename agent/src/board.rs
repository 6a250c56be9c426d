//! What each worker is at, for `/metrics` and for `dynamic-networks-agent explain`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    mailbox::Known,
    memory::{Memory, Retry},
    metrics::AttachmentCounts,
    plan::{Plan, Step},
    records::Phase,
};

/// Shared between the workers and the admin server.
#[derive(Clone, Debug, Default)]
pub struct Board {
    reports: Arc<Mutex<BTreeMap<String, Report>>>,
}

/// One pod's state, in words.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `namespace/name`; empty when only records are left.
    pod: String,
    lines: Vec<String>,
    counts: AttachmentCounts,
}

impl Board {
    /// Replaces what is shown of a pod.
    pub fn show(&self, uid: &str, report: Report) {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid.to_owned(), report);
    }

    /// Shows nothing more of a pod.
    pub fn remove(&self, uid: &str) {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// The text for `namespace/name`; several pods of that name may have passed here.
    pub fn explain(&self, pod: &str) -> Option<String> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (uid, report) in reports.iter().filter(|(_, report)| report.pod == pod) {
            let _ = writeln!(text, "pod {pod}, uid {uid}");
            for line in &report.lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// The sums, and the number of pods.
    pub fn counts(&self) -> (AttachmentCounts, i64) {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = AttachmentCounts::default();
        for AttachmentCounts {
            plugged,
            in_doubt,
            failing,
            unplugging,
            unreleased,
        } in reports.values().map(|report| report.counts)
        {
            sum.plugged += plugged;
            sum.in_doubt += in_doubt;
            sum.failing += failing;
            sum.unplugging += unplugging;
            sum.unreleased += unreleased;
        }
        (sum, i64::try_from(reports.len()).unwrap_or(i64::MAX))
    }
}

impl Report {
    /// Puts a worker's memory into words.
    pub fn new(known: &Known, memory: &Memory, plan: Option<&Plan>, now: Duration) -> Self {
        let recorded = memory
            .sandboxes
            .values()
            .find_map(|records| records.sandbox.as_ref());
        let mut report = Self {
            pod: match known {
                Known::Present(pod) => pod.identity.to_string(),
                _ => recorded
                    .map(|sandbox| sandbox.pod.to_string())
                    .unwrap_or_default(),
            },
            ..Self::default()
        };
        report.wanted(known);
        report.observed(memory);
        report.failures(memory, now);
        if let Some(plan) = plan {
            report
                .lines
                .extend(plan.steps.iter().map(|step| format!("to do: {}", in_words(step))));
        }
        report
    }

    fn wanted(&mut self, known: &Known) {
        self.lines.push(match known {
            Known::Present(pod) if pod.terminating => {
                "the pod is terminating: nothing is added or removed any more".to_owned()
            }
            Known::Present(pod) => format!(
                "wanted: {}",
                pod.networks
                    .as_deref()
                    .map_or("nothing".to_owned(), shared::violation::shown)
            ),
            Known::Gone => "the pod is gone".to_owned(),
            Known::Unknown => "the pods of this node have not been listed yet".to_owned(),
        });
    }

    fn observed(&mut self, memory: &Memory) {
        for (sandbox, records) in &memory.sandboxes {
            let unreleased = records.sandbox.is_some()
                && memory
                    .retries
                    .iter()
                    .any(|((of, _), retry)| of == sandbox && is_release(retry));
            self.lines.push(format!("sandbox {sandbox}"));
            for record in records.attachments.values() {
                let state = match record.phase {
                    Phase::Plugged { .. } => "plugged",
                    Phase::Plugging { .. } => "an ADD has no answer yet",
                    Phase::Unplugging { .. } => "to be unplugged",
                    Phase::Tombstone => "unplugged after an ADD without an answer; watched",
                };
                match record.phase {
                    Phase::Plugged { .. } => self.counts.plugged += 1,
                    Phase::Plugging { .. } => self.counts.in_doubt += 1,
                    Phase::Unplugging { .. } if unreleased => self.counts.unreleased += 1,
                    Phase::Unplugging { .. } => self.counts.unplugging += 1,
                    Phase::Tombstone => {}
                }
                self.lines.push(format!(
                    "observed: {} on {}: {state}",
                    record.interface, record.network
                ));
            }
            let foreign = records.sandbox.iter().flat_map(|sandbox| &sandbox.foreign);
            self.lines
                .extend(foreign.map(|interface| format!("observed: {interface}: foreign, left alone")));
        }
    }

    fn failures(&mut self, memory: &Memory, now: Duration) {
        self.lines
            .extend(memory.trouble.iter().map(|cause| format!("waiting: {cause}")));
        self.lines.extend(
            memory
                .complained
                .iter()
                .map(|complaint| crate::events::Event::complaint(complaint).text),
        );
        for ((_, interface), retry) in &memory.retries {
            if matches!(retry.step, Step::Plug { .. }) {
                self.counts.failing += 1;
            }
            let next = retry.due.saturating_sub(now).as_secs_f64();
            self.lines.push(format!(
                "failed {} times: {interface}: {}; next try in {next:.1} s",
                retry.failures, retry.error
            ));
        }
        if let Some(retry) = &memory.status_retry {
            let next = retry.due.saturating_sub(now).as_secs_f64();
            self.lines.push(format!(
                "network-status could not be written: {}; next try in {next:.1} s",
                retry.error
            ));
        }
    }
}

fn is_release(retry: &Retry) -> bool {
    matches!(retry.step, Step::Unplug(_))
}

fn in_words(step: &Step) -> String {
    match step {
        Step::Confirm(interface) => format!("take the result of {interface} from libcni's cache"),
        Step::Await { interface, .. } => format!("wait for a plugin that may still run for {interface}"),
        Step::Bury(interface) => format!("clean up after the lost ADD of {interface}"),
        Step::Unplug(interface) => format!("remove {interface}"),
        Step::Plug { interface, selection } => format!("add {interface} to {}", selection.network),
    }
}
