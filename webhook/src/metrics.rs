//! The metrics of the program. Every label has a closed set of values and never names an object.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use shared::violation::Rule;
use shared_process::{ProcessMetrics, settings::SettingsMetrics};

/// What a review was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReviewLabels {
    /// `mutate`, `validate`, `workload` or `network`
    pub path: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE` or `other`
    pub operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    path: &'static str,
    operation: &'static str,
    /// `allowed`, `filled`, `refused`, `unreadable` or `warned`
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    operation: &'static str,
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

/// All metrics of the program, cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    process: ProcessMetrics,
    verdicts: Family<VerdictLabels, Counter>,
    violations: Family<RuleLabels, Counter>,
    latency: Family<ReviewLabels, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    handshakes: Family<OutcomeLabels, Counter>,
    expiry: Gauge<f64, AtomicU64>,
    certificates: Family<OutcomeLabels, Counter>,
    synced: Family<CacheLabels, Gauge>,
    age: Family<CacheLabels, Gauge<f64, AtomicU64>>,
    dropped_lines: Counter,
    settings: SettingsMetrics,
}

/// From 50 µs to 1.6 s.
fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut metrics = Self {
            process: ProcessMetrics::register(&mut registry),
            registry: Arc::default(),
            verdicts: Family::default(),
            violations: Family::default(),
            latency: Family::new_with_constructor(latency_buckets),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            handshakes: Family::default(),
            expiry: Gauge::default(),
            certificates: Family::default(),
            synced: Family::default(),
            age: Family::default(),
            dropped_lines: Counter::default(),
            settings: SettingsMetrics::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("dynamic_networks_webhook"));
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        let build = BuildLabels {
            version: crate::VERSION,
            commit: crate::COMMIT,
        };
        registry.register("build", "Version and commit of this build", Info::new(build));
        let help = "Admission reviews answered, by path, operation and verdict";
        registry.register("verdicts", help, self.verdicts.clone());
        let help = "Rules that refused or warned objects broke, by operation and rule";
        registry.register("violations", help, self.violations.clone());
        let help = "Time from the last byte of a review to its answer";
        registry.register_with_unit("review_duration", help, Unit::Seconds, self.latency.clone());
        registry.register(
            "in_flight",
            "Requests being read or answered",
            self.in_flight.clone(),
        );
        registry.register("connections", "Open TLS connections", self.connections.clone());
        let help = "TLS handshakes, by outcome";
        registry.register("handshakes", help, self.handshakes.clone());
        let help = "Expiry of the serving certificate as a Unix time; 0 without a certificate";
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            self.expiry.clone(),
        );
        let help = "Attempts to load a serving certificate, by outcome; after anything but ok the previous one stays in use";
        registry.register("certificate_loads", help, self.certificates.clone());
        let help = "Whether a watch cache has a complete list (1) or not (0)";
        registry.register("cache_synced", help, self.synced.clone());
        let help = "Time since a watch cache last got an answer from the API server";
        registry.register_with_unit("cache_age", help, Unit::Seconds, self.age.clone());
        let help = "Log lines dropped because standard error was not read fast enough";
        registry.register("log_lines_dropped", help, self.dropped_lines.clone());
        self.settings.register(registry);
    }

    /// A review was answered: `verdict` is `allowed`, `filled`, `refused`, `unreadable` or
    /// `warned`.
    pub fn reviewed(&self, labels: ReviewLabels, verdict: &'static str, took: Duration) {
        let ReviewLabels { path, operation } = labels;
        self.verdicts
            .get_or_create(&VerdictLabels {
                path,
                operation,
                verdict,
            })
            .inc();
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn violated(&self, operation: &'static str, rule: Rule) {
        self.violations
            .get_or_create(&RuleLabels {
                operation,
                rule: rule.name(),
            })
            .inc();
    }

    /// Counts a request that is being read or answered, until the guard is dropped.
    pub fn enter(&self) -> Held {
        Held::one_of(&self.in_flight)
    }

    /// Counts an open connection, until the guard is dropped.
    pub fn connect(&self) -> Held {
        Held::one_of(&self.connections)
    }

    /// A TLS handshake ended: `outcome` is `ok`, `failed` or `timeout`.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// A serving certificate was loaded, or not: `outcome` is `ok` or the kind of the error.
    pub fn certificate(&self, outcome: &'static str) {
        self.certificates.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Sets the expiry of the serving certificate in use.
    pub fn certificate_expires(&self, not_after: time::OffsetDateTime) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole seconds fit an f64 for millions of years"
        )]
        self.expiry.set(not_after.unix_timestamp() as f64);
    }

    /// Whether a watch cache has a complete list.
    pub fn cache_synced(&self, cache: &'static str, synced: bool) {
        self.synced
            .get_or_create(&CacheLabels { cache })
            .set(i64::from(synced));
    }

    /// How long ago a watch cache last got an answer from the API server.
    pub fn cache_age(&self, cache: &'static str, age: Duration) {
        self.age
            .get_or_create(&CacheLabels { cache })
            .set(age.as_secs_f64());
    }

    /// The configuration in use, and whether new settings were refused.
    pub fn settings(&self) -> SettingsMetrics {
        self.settings.clone()
    }

    /// How many log lines were dropped since the start.
    pub fn log_lines_dropped(&self, total: u64) {
        self.dropped_lines.inner().store(total, Ordering::Relaxed);
    }

    /// Everything in the OpenMetrics text format.
    pub fn to_text(&self) -> String {
        self.process.update();
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// Counts as one in a gauge until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    fn one_of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
