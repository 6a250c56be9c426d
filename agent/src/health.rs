//! Which neighbours are as they must be. A missing one is a reason not to be ready, never one to restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::metrics::Metrics;

/// What the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The multus daemon.
    Multus,
    /// The container runtime.
    Cri,
    /// The records on the disk, held by this agent alone.
    Records,
    /// multus' data directory.
    CniCache,
    /// The watch of this node's pods.
    Pods,
}

/// See the module. Every part is missing until it was seen once.
#[derive(Clone, Debug)]
pub struct Health {
    missing: Arc<Mutex<BTreeMap<Part, String>>>,
    metrics: Metrics,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Multus, Self::Cri, Self::Records, Self::CniCache, Self::Pods];

    /// The metric label, and the first word of the line in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Multus => "multus",
            Self::Cri => "cri",
            Self::Records => "records",
            Self::CniCache => "cni-cache",
            Self::Pods => "pods",
        }
    }
}

impl Health {
    /// Nothing has been seen yet.
    pub fn new(metrics: Metrics) -> Self {
        let missing = Part::ALL
            .into_iter()
            .map(|part| (part, "not looked at yet".to_owned()))
            .collect();
        for part in Part::ALL {
            metrics.neighbour(part, false);
        }
        Self {
            missing: Arc::new(Mutex::new(missing)),
            metrics,
        }
    }

    /// Notes how a part is; the answer is whether it was missing before. A change is logged once.
    pub fn set(&self, part: Part, state: Result<(), String>) -> bool {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.neighbour(part, state.is_ok());
        let before = match state {
            Ok(()) => missing.remove(&part),
            Err(cause) => {
                let before = missing.insert(part, cause.clone());
                if before.as_ref() != Some(&cause) {
                    tracing::warn!(neighbour = part.as_str(), %cause, "not ready");
                }
                return before.is_some();
            }
        };
        if before.is_some() {
            tracing::info!(neighbour = part.as_str(), "ready");
        }
        before.is_some()
    }

    /// Whether a part is missing.
    pub fn is_missing(&self, part: Part) -> bool {
        self.missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&part)
    }

    /// What is missing, one line each; empty: ready.
    pub fn reasons(&self) -> Vec<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing
            .iter()
            .map(|(part, cause)| format!("{}: {cause}", part.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_only_when_every_part_was_seen() {
        let health = Health::new(Metrics::new());
        for part in Part::ALL {
            assert!(
                health
                    .reasons()
                    .iter()
                    .any(|line| line.starts_with(part.as_str()))
            );
            assert!(health.set(part, Ok(())));
        }
        assert_eq!(health.reasons(), Vec::<String>::new());
        health.set(Part::Multus, Err("there is no socket".to_owned()));
        assert_eq!(health.reasons(), ["multus: there is no socket"]);
    }
}
