//! One line for each metric: make it, register it, return it.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

pub(super) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    registered(registry, name, help, Counter::default())
}

pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    registered(registry, name, help, Gauge::default())
}

pub(super) fn counters<L: Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter> {
    registered(registry, name, help, Family::default())
}

pub(super) fn gauges<L: Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Gauge> {
    registered(registry, name, help, Family::default())
}

/// In seconds.
pub(super) fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let metric = seconds();
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// In seconds.
pub(super) fn histograms<L: Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Histogram> {
    let metric = Family::new_with_constructor(seconds as fn() -> Histogram);
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// From a plug on an idle node to a plugin that hangs.
fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    ])
}

/// What a label set has to be.
pub(super) trait Labels:
    EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static
{
}

impl<L> Labels for L where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static
{
}
