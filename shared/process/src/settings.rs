//! The configuration of a running program: what holds, and how new settings are taken over.
//!
//! Flow: both files are read at start, where a bad one is an error. Then a [`Follower`] reads them
//! again and again, because the kubelet swaps a link beside the files of a ConfigMap volume. Good
//! new values are due after a delay; the program then restarts, since most of what depends on them
//! is made once. Bad ones are refused: the old ones stay in use, and the program stays ready.
//!
//! Guarantees: the values in use never change while the program runs. Files that change back before
//! the delay is over, or turn bad, cause no restart.

mod files;
mod metrics;
mod takeover;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared::config::{Config, Effective};
use tokio::time::{Instant, sleep};

pub use files::{Files, SettingsError};
pub use metrics::SettingsMetrics;
use takeover::{Change, Takeover};

/// Between two reads.
const INTERVAL: Duration = Duration::from_secs(2);

/// What holds, for everything that shows it. Clones share it.
#[derive(Clone, Debug)]
pub struct Settings {
    files: Files,
    metrics: SettingsMetrics,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug)]
struct Shown {
    effective: Effective,
    /// Why the present content of the files is not in use.
    refused: Option<String>,
    is_pending: bool,
}

/// What a [`Follower`] waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// New settings were refused, for this reason.
    Refused(String),
    /// Good new settings are due: the program is to restart.
    Due,
}

/// Reads the files again and again.
#[derive(Debug)]
pub struct Follower {
    settings: Settings,
    takeover: Takeover,
    interval: Duration,
    /// New settings are due after a random part of this.
    spread: Duration,
}

impl Settings {
    /// Reads `files`, and shows them in the log and in `metrics`.
    ///
    /// # Errors
    /// A file cannot be read or is bad: see [`SettingsError`].
    pub async fn load(files: Files, metrics: SettingsMetrics) -> Result<Self, SettingsError> {
        let effective = files.read().await?;
        let entries = effective.entries();
        let values: Vec<_> = entries.iter().map(ToString::to_string).collect();
        tracing::info!(
            manifest = %files.manifest.display(),
            settings = %files.settings.display(),
            values = values.join(", "),
            "effective configuration"
        );
        metrics.loaded(&entries);
        let shown = Shown {
            effective,
            refused: None,
            is_pending: false,
        };
        Ok(Self {
            files,
            metrics,
            shown: Arc::new(Mutex::new(shown)),
        })
    }

    /// The values in use.
    pub fn config(&self) -> Config {
        self.with(|shown| shown.effective.config.clone())
    }

    /// Lines for `/readyz`; the program is ready all the same.
    pub fn notices(&self) -> Vec<String> {
        self.with(|shown| {
            let refused = shown.refused.as_ref();
            let refused = refused.map(|cause| {
                format!("warning: new settings are refused, the previous ones stay in use: {cause}")
            });
            let pending = "new settings are valid; the program restarts soon to use them";
            let pending = shown.is_pending.then(|| pending.to_owned());
            refused.into_iter().chain(pending).collect()
        })
    }

    /// What `/readyz` says about the settings: [`Self::notices`], and with `verbose` in the query
    /// also [`Self::values`].
    pub fn lines(&self, query: Option<&str>) -> Vec<String> {
        let mut lines = self.notices();
        let names = query.unwrap_or_default().split('&');
        let mut names = names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        if names.any(|name| name == "verbose") {
            lines.extend(self.values());
        }
        lines
    }

    /// Every key with its value and its file, one line each.
    pub fn values(&self) -> Vec<String> {
        self.with(|shown| {
            let entries = shown.effective.entries();
            entries.iter().map(ToString::to_string).collect()
        })
    }

    /// Follows the files; new settings are due after a random part of `spread`.
    pub fn follower(&self, spread: Duration) -> Follower {
        Follower {
            settings: self.clone(),
            takeover: Takeover::new(self.with(|shown| shown.effective.clone())),
            interval: INTERVAL,
            spread,
        }
    }

    fn with<T>(&self, read: impl FnOnce(&mut Shown) -> T) -> T {
        read(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Follower {
    /// The next thing to do. A refusal is reported once; what is due stays due with every call,
    /// until the files say otherwise.
    pub async fn next(&mut self) -> News {
        loop {
            let read = self.settings.files.read().await;
            let now = Instant::now();
            let delay = || self.spread.mul_f64(fastrand::f64());
            let change = self.takeover.observe(read, now, delay);
            self.show();
            match change {
                Change::None => {}
                Change::Accepted { values, delay } => {
                    tracing::info!(
                        values = values.join(", "),
                        delay_seconds = delay.as_secs(),
                        "new settings accepted; restarting after the delay"
                    );
                }
                Change::Withdrawn => {
                    tracing::info!("the settings in use are back; no restart");
                }
                Change::Refused(cause) => {
                    tracing::error!(cause, "new settings refused; the previous ones stay in use");
                    return News::Refused(cause);
                }
            }
            if self.takeover.is_due(now) {
                return News::Due;
            }
            sleep(self.interval).await;
        }
    }

    fn show(&self) {
        let takeover = &self.takeover;
        self.settings.metrics.refused(takeover.refused().is_some());
        self.settings.with(|shown| {
            shown.effective.clone_from(takeover.running());
            shown.refused = takeover.refused().map(ToString::to_string);
            shown.is_pending = takeover.is_pending();
        });
    }
}

#[cfg(test)]
mod tests;
