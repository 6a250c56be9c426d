//! What the agent counts. Every label set is closed: verbs, outcomes, states; never a name or a
//! text.

mod dependency;
mod register;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use agent_core::{
    delegate::{Answer, Command},
    edit_times::EditPhase,
    event::Reason,
    explain::AttachmentCounts,
};

pub use dependency::Dependency;
use register::{counter, counters, gauge, gauges, histogram, histograms};
use shared_process::{ProcessMetrics, settings::SettingsMetrics};

/// The metrics, shared.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    calls: Calls,
    pods: Pods,
    events: Events,
    node: Node,
    process: ProcessMetrics,
    settings: SettingsMetrics,
    registry: Registry,
}

/// Calls to multus.
#[derive(Debug)]
struct Calls {
    operations: Family<OperationLabels, Histogram>,
    late: Counter,
    running: Gauge,
    queued: Gauge,
}

/// Attachments and their pods.
#[derive(Debug)]
struct Pods {
    step_failures: Counter,
    attachments: Family<StateLabels, Gauge>,
    owed_releases: Gauge,
    drifted: Family<KindLabels, Gauge>,
    pods: Gauge,
    edit_to_attached: Histogram,
    edit_phases: Family<PhaseLabels, Histogram>,
    status_patches: Family<OutcomeLabels, Counter>,
}

/// Events on pods.
#[derive(Debug)]
struct Events {
    events: Family<EventLabels, Counter>,
    suppressed: Family<SuppressedLabels, Counter>,
    dropped: Counter,
}

/// The node and the agent itself.
#[derive(Debug)]
struct Node {
    set_aside: Counter,
    cri_calls: Counter,
    delegate_file_failures: Counter,
    offset_contradicted: Gauge,
    multus_config_differences: Gauge,
    dependencies: Family<DependencyLabels, Gauge>,
    watch_age: Gauge<f64, AtomicU64>,
    panics: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    reason: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SuppressedLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabels {
    dependency: &'static str,
}

/// Why an event is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// It says what was said a short while ago.
    Repeated,
    /// Its pod has spent its budget.
    Budget,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut root = Registry::default();
        let process = ProcessMetrics::register(&mut root);
        let ours = root.sub_registry_with_prefix("dynamic_networks_agent");
        let build = BuildLabels {
            version: crate::VERSION,
            commit: crate::COMMIT,
        };
        ours.register("build", "Version and commit of this build", Info::new(build));
        let settings = SettingsMetrics::default();
        settings.register(ours);
        let inner = Inner {
            calls: Calls::register(ours),
            pods: Pods::register(ours),
            events: Events::register(ours),
            node: Node::register(ours),
            process,
            settings,
            registry: root,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The text that `/metrics` serves.
    pub fn render(&self, watch_age: Duration) -> String {
        self.inner.node.watch_age.set(watch_age.as_secs_f64());
        self.inner.process.update();
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.inner.registry) {
            tracing::error!(%error, "metrics cannot be encoded");
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
            .calls
            .operations
            .get_or_create(&OperationLabels { verb, outcome })
            .observe(took.as_secs_f64());
    }

    /// A call to multus is late.
    pub fn late(&self) {
        self.inner.calls.late.inc();
    }

    /// The number of calls that wait for a permit changes by `change`.
    pub fn queued(&self, change: i64) {
        self.inner.calls.queued.inc_by(change);
    }

    /// The number of calls that hold a permit changes by `change`.
    pub fn running(&self, change: i64) {
        self.inner.calls.running.inc_by(change);
    }

    /// Whether a call to multus runs or waits for a permit.
    pub fn is_calling(&self) -> bool {
        self.inner.calls.running.get() + self.inner.calls.queued.get() > 0
    }

    /// So many steps failed.
    pub fn failed(&self, steps: u64) {
        self.inner.pods.step_failures.inc_by(steps);
    }

    /// The states of all attachments.
    pub fn attachments(&self, counts: AttachmentCounts, pods: i64) {
        let AttachmentCounts {
            plugged,
            in_doubt,
            failing,
            unplugging,
            unreleased,
            owed,
            lost_results,
            lost_delegates,
        } = counts;
        for (state, count) in [
            ("plugged", plugged),
            ("in_doubt", in_doubt),
            ("failing", failing),
            ("unplugging", unplugging),
            ("unreleased", unreleased),
        ] {
            self.inner
                .pods
                .attachments
                .get_or_create(&StateLabels { state })
                .set(count);
        }
        for (kind, count) in [("result", lost_results), ("delegate_file", lost_delegates)] {
            self.inner
                .pods
                .drifted
                .get_or_create(&KindLabels { kind })
                .set(count);
        }
        self.inner.pods.pods.set(pods);
        self.inner.pods.owed_releases.set(owed);
    }

    /// An attachment is complete, so long after the edit that asked for it was seen.
    pub fn attached(&self, after_edit: Duration) {
        self.inner.pods.edit_to_attached.observe(after_edit.as_secs_f64());
    }

    /// An edit is complete; its phases took so long, in the order of [`EditPhase::ALL`].
    pub fn edit(&self, phases: [Duration; 4]) {
        for (phase, took) in EditPhase::ALL.into_iter().zip(phases) {
            let labels = PhaseLabels {
                phase: phase.as_str(),
            };
            self.inner
                .pods
                .edit_phases
                .get_or_create(&labels)
                .observe(took.as_secs_f64());
        }
    }

    /// A patch of network-status: `written`, `conflict`, `gone` or `failed`.
    pub fn status_patch(&self, outcome: &'static str) {
        self.inner
            .pods
            .status_patches
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    /// An event was written, or could not be.
    pub fn event(&self, reason: Reason, written: bool) {
        let outcome = if written { "written" } else { "failed" };
        let reason = reason.as_str();
        self.inner
            .events
            .events
            .get_or_create(&EventLabels { reason, outcome })
            .inc();
    }

    /// An event is not written, by the rules for events.
    pub fn event_suppressed(&self, cause: Suppressed) {
        let cause = match cause {
            Suppressed::Repeated => "repeated",
            Suppressed::Budget => "budget",
        };
        self.inner
            .events
            .suppressed
            .get_or_create(&SuppressedLabels { cause })
            .inc();
    }

    /// An event found no place in the queue, or the API server asked for fewer.
    pub fn event_dropped(&self) {
        self.inner.events.dropped.inc();
    }

    /// So many records were set aside.
    pub fn set_aside(&self, records: u64) {
        self.inner.node.set_aside.inc_by(records);
    }

    /// Counts calls to the container runtime.
    pub fn cri_calls(&self) -> Counter {
        self.inner.node.cri_calls.clone()
    }

    /// An entry could not be written into multus' delegate file, or taken out of it.
    pub fn delegate_file_failure(&self) {
        self.inner.node.delegate_file_failures.inc();
    }

    /// The delegates of a sandbox contradict `interfaceOffset`.
    pub fn offset_contradicted(&self) {
        self.inner.node.offset_contradicted.set(1);
    }

    /// Whether delegates contradict `interfaceOffset`.
    pub fn is_offset_contradicted(&self) -> bool {
        self.inner.node.offset_contradicted.get() != 0
    }

    /// So many settings differ from multus' own configuration.
    pub fn multus_config_differences(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.inner.node.multus_config_differences.set(count);
    }

    /// The configuration in use, and whether new settings were refused.
    pub fn settings(&self) -> SettingsMetrics {
        self.inner.settings.clone()
    }

    /// A dependency is, or is not, healthy.
    pub fn dependency(&self, dependency: Dependency, up: bool) {
        let dependency = dependency.as_str();
        self.inner
            .node
            .dependencies
            .get_or_create(&DependencyLabels { dependency })
            .set(i64::from(up));
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.inner.node.panics.inc();
    }
}

impl Calls {
    fn register(to: &mut Registry) -> Self {
        let operation = "Calls to multus, by verb and outcome, from sending to the answer";
        let late = "Calls to multus that took longer than 30 s";
        let running = "Calls to multus that run and are not late";
        let queued = "Calls to multus that wait for a permit";
        Self {
            operations: histograms(to, "operation", operation),
            late: counter(to, "late", late),
            running: gauge(to, "operations_running", running),
            queued: gauge(to, "operations_queued", queued),
        }
    }
}

impl Pods {
    fn register(to: &mut Registry) -> Self {
        let failures = "Steps that failed and are tried again";
        let attachments = "Attachments that have a record or are wanted, by state";
        let owed = "Releases that are owed: what a failed ADD left behind, or an ended sandbox still holds";
        let drifted = "Plugged attachments of which multus or libcni has lost what it keeps, by kind";
        let pods = "Pods of this node that have networks or attachments";
        let attached = "Time from the watch event of an edit to the complete attachment";
        let phases =
            "Phases of an edit that made calls to multus, from the watch event to the written status";
        let patches = "Patches of network-status, by outcome";
        Self {
            step_failures: counter(to, "step_failures", failures),
            attachments: gauges(to, "attachments", attachments),
            owed_releases: gauge(to, "owed_releases", owed),
            drifted: gauges(to, "attachments_drifted", drifted),
            pods: gauge(to, "pods", pods),
            edit_to_attached: histogram(to, "edit_to_attached", attached),
            edit_phases: histograms(to, "edit_phase", phases),
            status_patches: counters(to, "status_patches", patches),
        }
    }
}

impl Events {
    fn register(to: &mut Registry) -> Self {
        let suppressed = "Events that were not written, by cause";
        let dropped = "Events that were dropped: too many waited, or the API server asked for fewer";
        Self {
            events: counters(to, "events", "Events, by reason and outcome"),
            suppressed: counters(to, "events_suppressed", suppressed),
            dropped: counter(to, "events_dropped", dropped),
        }
    }
}

impl Node {
    fn register(to: &mut Registry) -> Self {
        let aside = "Records that could not be read and were moved away";
        let delegates = "Entries that could not be written into multus' delegate file or taken out of it";
        let offset = "Whether the delegates of a sandbox contradict interfaceOffset";
        let multus = "Settings that differ from multus' own configuration, where its ConfigMap is mounted";
        let dependency = "Whether a dependency is healthy (1) or not (0)";
        let watch_age = Gauge::default();
        to.register_with_unit(
            "watch_age",
            "Time since the pod watch last returned something",
            Unit::Seconds,
            watch_age.clone(),
        );
        Self {
            set_aside: counter(to, "records_set_aside", aside),
            cri_calls: counter(to, "cri_calls", "Calls to the container runtime"),
            delegate_file_failures: counter(to, "delegate_file_failures", delegates),
            offset_contradicted: gauge(to, "interface_offset_contradicted", offset),
            multus_config_differences: gauge(to, "multus_config_differences", multus),
            dependencies: gauges(to, "dependency_up", dependency),
            watch_age,
            panics: counter(to, "panics", "Panics that were caught; the agent runs on"),
        }
    }
}

#[cfg(test)]
mod tests;
