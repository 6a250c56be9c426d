//! What both programs expose about their configuration.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::Gauge},
    registry::Registry,
};
use shared::config::Entry;

/// The metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct SettingsMetrics {
    config: ConfigInfo,
    refused: Gauge,
}

/// An info metric whose labels are known later than the registry: one per key.
#[derive(Clone, Debug, Default)]
struct ConfigInfo(Arc<OnceLock<Vec<(&'static str, String)>>>);

impl SettingsMetrics {
    /// Adds them to `registry`, under its prefix.
    pub fn register(&self, registry: &mut Registry) {
        let help = "The configuration in use: one label for each key";
        registry.register("config", help, self.config.clone());
        let help = "Whether new settings were refused and the previous ones stay in use (1) or not (0)";
        registry.register("settings_refused", help, self.refused.clone());
    }

    /// These values are in use.
    pub fn loaded(&self, entries: &[Entry]) {
        let labels = entries.iter().map(|entry| (entry.key, entry.value.clone()));
        // They never change while the program runs.
        let _ = self.config.0.set(labels.collect());
    }

    pub(super) fn refused(&self, refused: bool) {
        self.refused.set(i64::from(refused));
    }
}

impl EncodeMetric for ConfigInfo {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.get().map_or(Ok(()), |labels| encoder.encode_info(labels))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Info
    }
}
