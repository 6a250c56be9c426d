//! What the agent counts. Every label set is closed: verbs, outcomes, states; never a name or a text.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    events::Reason,
    health::Part,
    multus::{Answer, Command},
};

/// The metrics, shared.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    operations: Family<Operation, Histogram>,
    late: Counter,
    running: Gauge,
    queued: Gauge,
    failures: Counter,
    attachments: Family<State, Gauge>,
    pods: Gauge,
    status_patches: Family<Outcome, Counter>,
    events: Family<EventLabels, Counter>,
    events_dropped: Counter,
    set_aside: Counter,
    neighbours: Family<Neighbour, Gauge>,
    watch_age: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    reason: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Neighbour {
    neighbour: &'static str,
}

/// How many attachments are in each state; the keys are metric labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachmentCounts {
    /// Plugged.
    pub plugged: i64,
    /// An ADD without an answer.
    pub in_doubt: i64,
    /// A try to plug failed and is repeated.
    pub failing: i64,
    /// A DEL is outstanding.
    pub unplugging: i64,
    /// In a sandbox that has ended, and not released yet: what it holds is leaked for now.
    pub unreleased: i64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("dynamic_networks_agent");
        let buckets = || {
            Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
            ])
        };
        let operations = Family::<Operation, Histogram>::new_with_constructor(buckets as fn() -> Histogram);
        let mut inner = Inner {
            registry: Registry::default(),
            operations,
            ..Inner::unregistered()
        };
        registry.register_with_unit(
            "operation",
            "Calls to multus, by verb and outcome, from sending to the answer",
            Unit::Seconds,
            inner.operations.clone(),
        );
        registry.register(
            "late",
            "Calls to multus that took longer than 30 s",
            inner.late.clone(),
        );
        registry.register(
            "operations_running",
            "Calls to multus that run and are not late",
            inner.running.clone(),
        );
        registry.register(
            "operations_queued",
            "Calls to multus that wait for a free slot",
            inner.queued.clone(),
        );
        registry.register(
            "step_failures",
            "Steps that failed and are tried again",
            inner.failures.clone(),
        );
        registry.register(
            "attachments",
            "Attachments that have a record or are wanted, by state",
            inner.attachments.clone(),
        );
        registry.register(
            "pods",
            "Pods of this node that are looked after",
            inner.pods.clone(),
        );
        registry.register(
            "status_patches",
            "Patches of network-status, by outcome",
            inner.status_patches.clone(),
        );
        registry.register("events", "Events, by reason and outcome", inner.events.clone());
        registry.register(
            "events_dropped",
            "Events that were dropped because too many waited",
            inner.events_dropped.clone(),
        );
        registry.register(
            "records_set_aside",
            "Records that could not be read and were moved away",
            inner.set_aside.clone(),
        );
        registry.register(
            "neighbour_up",
            "Whether a neighbour is as it must be (1) or not (0)",
            inner.neighbours.clone(),
        );
        registry.register_with_unit(
            "watch_age",
            "Time since the pod watch last brought something",
            Unit::Seconds,
            inner.watch_age.clone(),
        );
        inner.registry = registry;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The text that `/metrics` serves.
    pub fn render(&self, watch_age: Duration) -> String {
        self.inner.watch_age.set(watch_age.as_secs_f64());
        let mut text = String::new();
        if encode(&mut text, &self.inner.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }

    /// A call to multus has been answered.
    pub fn operation(&self, command: Command, answer: &Answer, took: Duration) {
        let verb = match command {
            Command::Add => "add",
            Command::Del => "del",
        };
        let outcome = match answer {
            Answer::Done(_) => "done",
            Answer::Refused { .. } => "refused",
            Answer::Crashed => "crashed",
            Answer::NotSent(_) => "not_sent",
            Answer::Lost(_) => "lost",
        };
        self.inner
            .operations
            .get_or_create(&Operation { verb, outcome })
            .observe(took.as_secs_f64());
    }

    /// A call to multus is late.
    pub fn late(&self) {
        self.inner.late.inc();
    }

    /// Calls that wait for a slot change by `change`.
    pub fn queued(&self, change: i64) {
        self.inner.queued.inc_by(change);
    }

    /// Calls that hold a slot change by `change`.
    pub fn running(&self, change: i64) {
        self.inner.running.inc_by(change);
    }

    /// So many steps failed.
    pub fn failed(&self, steps: u64) {
        self.inner.failures.inc_by(steps);
    }

    /// The states of all attachments.
    pub fn attachments(&self, counts: AttachmentCounts, pods: i64) {
        let AttachmentCounts {
            plugged,
            in_doubt,
            failing,
            unplugging,
            unreleased,
        } = counts;
        for (state, count) in [
            ("plugged", plugged),
            ("in_doubt", in_doubt),
            ("failing", failing),
            ("unplugging", unplugging),
            ("unreleased", unreleased),
        ] {
            self.inner.attachments.get_or_create(&State { state }).set(count);
        }
        self.inner.pods.set(pods);
    }

    /// A patch of network-status: `written`, `conflict`, `gone` or `failed`.
    pub fn status_patch(&self, outcome: &'static str) {
        self.inner
            .status_patches
            .get_or_create(&Outcome { outcome })
            .inc();
    }

    /// An event was written, or could not be.
    pub fn event(&self, reason: Reason, written: bool) {
        let outcome = if written { "written" } else { "failed" };
        self.inner
            .events
            .get_or_create(&EventLabels {
                reason: reason.as_str(),
                outcome,
            })
            .inc();
    }

    /// An event found no place in the queue.
    pub fn event_dropped(&self) {
        self.inner.events_dropped.inc();
    }

    /// So many records were set aside.
    pub fn set_aside(&self, records: u64) {
        self.inner.set_aside.inc_by(records);
    }

    /// A neighbour is, or is not, as it must be.
    pub fn neighbour(&self, part: Part, up: bool) {
        self.inner
            .neighbours
            .get_or_create(&Neighbour {
                neighbour: part.as_str(),
            })
            .set(i64::from(up));
    }
}

impl Inner {
    fn unregistered() -> Self {
        Self {
            registry: Registry::default(),
            operations: Family::new_with_constructor((|| Histogram::new([])) as fn() -> Histogram),
            late: Counter::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
            failures: Counter::default(),
            attachments: Family::default(),
            pods: Gauge::default(),
            status_patches: Family::default(),
            events: Family::default(),
            events_dropped: Counter::default(),
            set_aside: Counter::default(),
            neighbours: Family::default(),
            watch_age: Gauge::default(),
        }
    }
}

#[cfg(test)]
mod tests;
