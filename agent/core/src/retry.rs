//! When a failed step is tried again.

use std::time::Duration;

use shared::names::NetworkName;

use crate::{
    backoff,
    effect::{Now, Trigger},
};

/// A step that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Consecutive failures.
    pub failures: u32,
    /// When the first of them happened.
    pub since: Duration,
    /// When it is tried again.
    pub due: Duration,
    /// The latest cause.
    pub error: String,
    /// What makes it due earlier.
    pub on: RetryOn,
}

/// What can be seen to clear a failure.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RetryOn {
    /// Only time.
    #[default]
    Time,
    /// Multus can be reached again.
    Multus,
    /// The network is created, or becomes another version than this.
    Network {
        /// The network.
        network: NetworkName,
        /// The version that was tried; `None`: there was none.
        version: Option<String>,
    },
    /// A device of the pod is released, or the network becomes another version than this.
    Device {
        /// The network.
        network: NetworkName,
        /// The version that was tried.
        version: String,
    },
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub error: String,
    /// What would clear it.
    pub on: RetryOn,
    /// A refusal of ours rather than a failed try.
    pub rejected: bool,
}

impl Failure {
    /// A failure that only time clears.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            on: RetryOn::Time,
            rejected: false,
        }
    }

    /// The same, cleared by `on`.
    #[must_use]
    pub fn cleared_by(self, on: RetryOn) -> Self {
        Self { on, ..self }
    }
}

impl Retry {
    /// One more failure after those in `before`.
    pub fn after(before: Option<&Self>, failure: Failure, now: Now) -> Self {
        let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
        Self {
            failures,
            since: before.map_or(now.monotonic, |retry| retry.since),
            due: now.monotonic + backoff::delay(failures, now.jitter),
            error: failure.error,
            on: failure.on,
        }
    }

    /// Makes it due when `trigger` may have cleared it.
    pub fn trigger(&mut self, trigger: &Trigger, now: Duration) {
        let cleared = match (&self.on, trigger) {
            (_, Trigger::Anything) | (RetryOn::Multus, Trigger::Multus) => true,
            (RetryOn::Network { network, version }, Trigger::Network(name, present)) => {
                network == name && version != present
            }
            (RetryOn::Device { network, version }, Trigger::Network(name, present)) => {
                network == name && present.as_ref() != Some(version)
            }
            _ => false,
        };
        if cleared {
            self.due = self.due.min(now);
        }
    }
}
