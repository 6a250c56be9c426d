//! Which dependencies are healthy, and what probes them. An unhealthy one makes the agent not
//! ready, and never restarts it.

pub mod drift_scanner;
pub mod probes;
pub mod sandbox_poller;
pub mod sole_controller;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::metrics::{Dependency, Metrics};

/// The state of every dependency; unavailable until it was found healthy once.
#[derive(Clone, Debug)]
pub struct Health {
    unavailable: Arc<Mutex<BTreeMap<Dependency, String>>>,
    changed: Arc<Notify>,
    metrics: Metrics,
}

impl Health {
    /// Nothing has been probed yet.
    pub fn new(metrics: Metrics) -> Self {
        let unavailable = Dependency::ALL
            .into_iter()
            .map(|dependency| (dependency, "not probed yet".to_owned()))
            .collect();
        for dependency in Dependency::ALL {
            metrics.dependency(dependency, false);
        }
        Self {
            unavailable: Arc::new(Mutex::new(unavailable)),
            changed: Arc::default(),
            metrics,
        }
    }

    /// Notes the state of a dependency, and returns whether it was unavailable before. A change is
    /// logged once.
    pub fn set(&self, dependency: Dependency, state: Result<(), String>) -> bool {
        let mut unavailable = self.unavailable.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.dependency(dependency, state.is_ok());
        let name = dependency.as_str();
        match state {
            Ok(()) => {
                let was_unavailable = unavailable.remove(&dependency).is_some();
                if was_unavailable {
                    tracing::info!(dependency = name, "dependency available");
                }
                was_unavailable
            }
            Err(cause) => {
                let before = unavailable.insert(dependency, cause.clone());
                if before.as_ref() != Some(&cause) {
                    tracing::warn!(dependency = name, %cause, "dependency unavailable");
                }
                if before.is_none() {
                    self.changed.notify_waiters();
                }
                before.is_some()
            }
        }
    }

    /// Whether a dependency is unavailable.
    pub fn is_unavailable(&self, dependency: Dependency) -> bool {
        self.unavailable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&dependency)
    }

    /// Returns when a dependency is unavailable.
    pub async fn wait_unavailable(&self, dependency: Dependency) {
        loop {
            let changed = self.changed.notified();
            if self.is_unavailable(dependency) {
                return;
            }
            changed.await;
        }
    }

    /// What is unavailable and why, one line each; empty: ready.
    pub fn reasons(&self) -> Vec<String> {
        let unavailable = self.unavailable.lock().unwrap_or_else(PoisonError::into_inner);
        unavailable
            .iter()
            .map(|(dependency, cause)| format!("{}: {cause}", dependency.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_once_every_dependency_was_available() {
        let health = Health::new(Metrics::new());
        for dependency in Dependency::ALL {
            let name = dependency.as_str();
            assert!(health.reasons().iter().any(|line| line.starts_with(name)));
            assert!(health.set(dependency, Ok(())));
        }
        assert_eq!(health.reasons(), Vec::<String>::new());
        health.set(Dependency::Multus, Err("there is no socket".to_owned()));
        assert_eq!(health.reasons(), ["multus: there is no socket"]);
    }
}
