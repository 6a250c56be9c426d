//! What each worker is at, for `/metrics` and for `dynamic-networks-agent explain`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use shared::{
    names::InterfaceName,
    selection::{Selection, SelectionList},
};

use crate::{
    events::Event,
    mailbox::Known,
    memory::Memory,
    metrics::AttachmentCounts,
    plan::{Plan, Step},
    records::{AttachmentRecord, Origin, Phase},
};

/// Shared between the workers and the admin server.
#[derive(Clone, Debug, Default)]
pub struct Board {
    reports: Arc<Mutex<BTreeMap<String, (Instant, Report)>>>,
}

/// One pod's state, in words.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `namespace/name`; empty when only records are left.
    pod: String,
    wanted: Vec<String>,
    lines: Vec<Line>,
    counts: AttachmentCounts,
}

/// A line that is true when the report is made, and tells the right time whenever it is read.
#[derive(Clone, Debug)]
enum Line {
    Plain(String),
    /// Followed by how long it has been so.
    Since(String, Duration),
    /// Followed by how long it will be so.
    Until(String, Duration),
}

impl Board {
    /// Replaces what is shown of a pod.
    pub fn show(&self, uid: &str, report: Report) {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid.to_owned(), (Instant::now(), report));
    }

    /// Replaces what a pod is known to want. Its worker may be waiting for a plugin, and shows the rest later.
    pub fn know(&self, uid: &str, known: &Known) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, report)) = reports.get_mut(uid) {
            report.wanted = wanted(known);
        }
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
        for (uid, (made, report)) in reports.iter().filter(|(_, (_, report))| report.pod == pod) {
            let _ = writeln!(text, "pod {pod}, uid {uid}");
            for line in &report.wanted {
                let _ = writeln!(text, "  {line}");
            }
            for line in &report.lines {
                let _ = writeln!(text, "  {}", line.after(made.elapsed()));
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
        } in reports.values().map(|(_, report)| report.counts)
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
            wanted: wanted(known),
            ..Self::default()
        };
        report.observed(memory);
        report.failures(memory, now);
        let running = memory.running.as_ref();
        if let Some((step, since)) = running {
            let text = format!("doing: {}", in_words(step));
            report.lines.push(Line::Since(text, now.saturating_sub(*since)));
        }
        let steps = plan.into_iter().flat_map(|plan| &plan.steps);
        for step in steps.filter(|step| running.is_none_or(|(running, _)| running != *step)) {
            report.say(format!("to do: {}", in_words(step)));
        }
        report
    }

    fn say(&mut self, text: String) {
        self.lines.push(Line::Plain(text));
    }

    fn observed(&mut self, memory: &Memory) {
        for (sandbox, records) in &memory.sandboxes {
            let ended = memory.ended.contains(sandbox);
            self.say(format!(
                "sandbox {sandbox}{}",
                if ended { ", which has ended" } else { "" }
            ));
            for record in records.attachments.values() {
                let state = self.count(record, ended);
                self.say(format!(
                    "observed: {} on {}: {state}",
                    record.interface, record.network
                ));
            }
            for interface in records.sandbox.iter().flat_map(|sandbox| &sandbox.foreign) {
                self.say(format!("observed: {interface}: foreign, left alone"));
            }
        }
    }

    /// What is left of a sandbox that has ended counts as leaked until it is released, however far it had come.
    fn count(&mut self, record: &AttachmentRecord, ended: bool) -> &'static str {
        let counts = &mut self.counts;
        let (count, state) = match (&record.phase, record.origin) {
            (Phase::Tombstone, _) => return "unplugged after an ADD without an answer; watched",
            (_, Origin::ColdPlugged) if ended => return "left to multus, which plugged it",
            (_, Origin::HotPlugged) if ended => (&mut counts.unreleased, "not released yet"),
            (Phase::Plugged { .. }, _) => (&mut counts.plugged, "plugged"),
            (Phase::Plugging { .. }, _) => (&mut counts.in_doubt, "an ADD has no answer yet"),
            (Phase::Unplugging { .. }, _) => (&mut counts.unplugging, "to be unplugged"),
        };
        *count += 1;
        state
    }

    fn failures(&mut self, memory: &Memory, now: Duration) {
        if let Some(cause) = &memory.trouble {
            self.say(format!("waiting: {cause}"));
        }
        for complaint in &memory.complained {
            self.say(Event::complaint(complaint).text);
        }
        for ((_, interface), retry) in &memory.retries {
            if matches!(retry.step, Step::Plug { .. }) {
                self.counts.failing += 1;
            }
            self.lines.push(Line::Until(
                format!(
                    "failed {}: {interface}: {}; next try",
                    times(retry.failures),
                    retry.error
                ),
                retry.due.saturating_sub(now),
            ));
        }
        if let Some(retry) = &memory.status_retry {
            self.lines.push(Line::Until(
                format!("network-status could not be written: {}; next try", retry.error),
                retry.due.saturating_sub(now),
            ));
        }
    }
}

impl Line {
    /// The line as it reads so long after it was made.
    fn after(&self, elapsed: Duration) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Since(text, age) => format!("{text}, for {:.1} s", (*age + elapsed).as_secs_f64()),
            Self::Until(text, wait) => match wait.saturating_sub(elapsed) {
                Duration::ZERO => format!("{text} now"),
                left => format!("{text} in {:.1} s", left.as_secs_f64()),
            },
        }
    }
}

fn wanted(known: &Known) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let pod = match known {
        Known::Present(pod) if pod.terminating => {
            return one("the pod is terminating: nothing is added or removed any more");
        }
        Known::Present(pod) => pod,
        Known::Gone => return one("the pod is gone"),
        Known::Unknown => return one("the pods of this node have not been listed yet"),
    };
    let element = |element: &Selection| {
        let interface = element.interface.as_ref();
        let interface = interface.map_or("an interface without a name", InterfaceName::as_str);
        format!("wanted: {interface} on {}", element.network)
    };
    match SelectionList::parse(pod.networks.as_deref(), pod.identity.namespace()) {
        Ok(list) if list.elements.is_empty() => one("wanted: nothing"),
        Ok(list) => list.elements.iter().map(element).collect(),
        // The plan complains about it, and says why.
        Err(_) => one("wanted: unknown, the networks annotation cannot be read"),
    }
}

fn times(count: u32) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
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

#[cfg(test)]
mod tests {
    use shared::names::NetworkName;

    use super::*;
    use crate::{
        identity::SandboxId,
        memory::{Cure, Failed, Key},
        records::SandboxRecords,
    };

    const NOW: Duration = Duration::from_secs(100);

    fn key() -> Key {
        (
            SandboxId::parse("s1").unwrap(),
            InterfaceName::parse("net1").unwrap(),
        )
    }

    fn memory(origin: Origin, phase: Phase) -> Memory {
        let (sandbox, interface) = key();
        let record = AttachmentRecord {
            network: NetworkName::new("default", "blue").unwrap(),
            interface: interface.clone(),
            origin,
            phase,
            since: 0,
            order: 0,
            config: String::new(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
            unpublish: Vec::new(),
            unknown: serde_json::Map::new(),
        };
        let records = SandboxRecords {
            attachments: [(interface, record)].into(),
            ..SandboxRecords::default()
        };
        Memory::new("uid-1", [(sandbox, records)].into())
    }

    fn plugged() -> Phase {
        Phase::Plugged {
            result: serde_json::Value::Null,
        }
    }

    fn lines(memory: &Memory, later: f64) -> Vec<String> {
        let report = Report::new(&Known::Gone, memory, None, NOW);
        let later = Duration::from_secs_f64(later);
        report.lines.iter().map(|line| line.after(later)).collect()
    }

    #[test]
    fn what_is_left_of_a_sandbox_that_has_ended_counts_as_unreleased() {
        let mut memory = memory(Origin::HotPlugged, plugged());
        assert_eq!(Report::new(&Known::Gone, &memory, None, NOW).counts.plugged, 1);
        memory.end(&key().0, NOW);
        let counts = Report::new(&Known::Gone, &memory, None, NOW).counts;
        let unreleased = AttachmentCounts {
            unreleased: 1,
            ..AttachmentCounts::default()
        };
        assert_eq!(counts, unreleased);
        assert_eq!(
            lines(&memory, 0.0),
            [
                "sandbox s1, which has ended",
                "observed: net1 on default/blue: not released yet"
            ]
        );
    }

    #[test]
    fn what_multus_releases_itself_is_no_leak() {
        let mut memory = memory(Origin::ColdPlugged, plugged());
        memory.end(&key().0, NOW);
        assert_eq!(
            Report::new(&Known::Gone, &memory, None, NOW).counts,
            AttachmentCounts::default()
        );
    }

    #[test]
    fn tells_how_long_a_step_runs_and_when_the_next_try_is_at_the_time_of_reading() {
        let mut memory = memory(Origin::HotPlugged, Phase::Plugging { attempt: 1 });
        let selection = Selection::new(NetworkName::new("default", "blue").unwrap());
        let step = Step::Plug {
            interface: key().1,
            selection: Box::new(selection),
        };
        let failed = Failed {
            step: step.clone(),
            error: "no address".to_owned(),
            cure: Cure::Time,
            missing_plugin: None,
        };
        memory.failed(key(), failed, NOW, 0.0);
        memory.running = Some((step, NOW - Duration::from_secs(3)));
        let now = lines(&memory, 0.2);
        assert!(
            now.contains(&"failed once: net1: no address; next try in 0.3 s".to_owned()),
            "{now:?}"
        );
        assert!(
            now.contains(&"doing: add net1 to default/blue, for 3.2 s".to_owned()),
            "{now:?}"
        );
        let later = lines(&memory, 9.0);
        assert!(
            later.contains(&"failed once: net1: no address; next try now".to_owned()),
            "{later:?}"
        );
    }
}
