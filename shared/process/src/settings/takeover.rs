//! What a content of the files means to a running program. Decides only: no file, no clock.

use std::time::Duration;

use shared::config::{Config, Effective};
use tokio::time::Instant;

use super::SettingsError;

/// The values in use, and what the files say now.
#[derive(Debug)]
pub(super) struct Takeover {
    running: Effective,
    refused: Option<SettingsError>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    config: Config,
    due: Instant,
}

/// What is new.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    None,
    /// The files cannot be used; the values in use stay.
    Refused(String),
    /// Other values, good ones: due after `delay`. `values` are those that differ.
    Accepted {
        values: Vec<String>,
        delay: Duration,
    },
    /// The files have the values in use again.
    Withdrawn,
}

impl Takeover {
    pub(super) fn new(running: Effective) -> Self {
        Self {
            running,
            refused: None,
            pending: None,
        }
    }

    /// Takes note of what the files have `now`.
    pub(super) fn observe(
        &mut self,
        read: Result<Effective, SettingsError>,
        now: Instant,
        delay: impl FnOnce() -> Duration,
    ) -> Change {
        let found = match read {
            Ok(found) => found,
            Err(error) => return self.refuse(error),
        };
        let was_refused = self.refused.take().is_some();
        if found.config == self.running.config {
            // A value may come from another file now.
            self.running = found;
            let was_pending = self.pending.take().is_some();
            return if was_refused || was_pending {
                Change::Withdrawn
            } else {
                Change::None
            };
        }
        match &mut self.pending {
            Some(pending) if pending.config == found.config => Change::None,
            pending => {
                // Edits in a row do not put the restart off.
                let due = pending
                    .as_ref()
                    .map_or_else(|| now + delay(), |pending| pending.due);
                let values = differences(&self.running, &found);
                *pending = Some(Pending {
                    config: found.config,
                    due,
                });
                let delay = due.saturating_duration_since(now);
                Change::Accepted { values, delay }
            }
        }
    }

    fn refuse(&mut self, error: SettingsError) -> Change {
        self.pending = None;
        if self.refused.as_ref() == Some(&error) {
            return Change::None;
        }
        let text = error.to_string();
        self.refused = Some(error);
        Change::Refused(text)
    }

    pub(super) fn running(&self) -> &Effective {
        &self.running
    }

    pub(super) fn refused(&self) -> Option<&SettingsError> {
        self.refused.as_ref()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether it is time to restart.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.due <= now)
    }
}

fn differences(before: &Effective, after: &Effective) -> Vec<String> {
    let (before, after) = (before.entries(), after.entries());
    let pairs = before.iter().zip(&after);
    let changed = pairs.filter(|(before, after)| before.value != after.value);
    changed.map(|(_, after)| after.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(20);
    const SECOND: Duration = Duration::from_secs(1);

    fn effective(settings: &str) -> Effective {
        Effective::merge("{}", Some(settings)).unwrap()
    }

    fn bad(cause: &str) -> SettingsError {
        SettingsError::Unreadable {
            path: "/settings.json".into(),
            cause: cause.to_owned(),
        }
    }

    /// A program that runs with the defaults.
    struct Scene {
        takeover: Takeover,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                takeover: Takeover::new(effective("{}")),
                now: Instant::now(),
            }
        }

        /// A second later, the file has this.
        fn sees(&mut self, settings: &str) -> Change {
            self.reads(Ok(effective(settings)))
        }

        fn reads(&mut self, read: Result<Effective, SettingsError>) -> Change {
            self.now += SECOND;
            self.takeover.observe(read, self.now, || DELAY)
        }

        fn is_due_after(&self, time: Duration) -> bool {
            self.takeover.is_due(self.now + time)
        }
    }

    #[test]
    fn unchanged_files_change_nothing() {
        let mut scene = Scene::new();
        for _ in 0..100 {
            assert_eq!(scene.sees("{}"), Change::None);
        }
        assert!(!scene.is_due_after(DELAY * 100));
    }

    #[test]
    fn good_settings_are_due_after_the_delay() {
        let mut scene = Scene::new();
        let values = vec!["interfaceOffset=1 (settings.json)".to_owned()];
        let delay = DELAY;
        assert_eq!(
            scene.sees(r#"{"interfaceOffset":1}"#),
            Change::Accepted { values, delay }
        );
        assert!(!scene.is_due_after(DELAY - SECOND));
        assert!(scene.is_due_after(DELAY));
        assert_eq!(scene.takeover.running().config, Config::default());
    }

    #[test]
    fn another_edit_does_not_put_the_restart_off() {
        let mut scene = Scene::new();
        scene.sees(r#"{"interfaceOffset":1}"#);
        assert_eq!(scene.sees(r#"{"interfaceOffset":1}"#), Change::None);
        let change = scene.sees(r#"{"interfaceOffset":2}"#);
        assert!(
            matches!(&change, Change::Accepted { delay, .. } if *delay == DELAY - 2 * SECOND),
            "{change:?}"
        );
        assert!(scene.is_due_after(DELAY - 2 * SECOND));
    }

    #[test]
    fn settings_that_come_back_cause_no_restart() {
        let mut scene = Scene::new();
        scene.sees(r#"{"interfaceOffset":1}"#);
        assert_eq!(scene.sees("{}"), Change::Withdrawn);
        assert_eq!(scene.sees("{}"), Change::None);
        assert!(!scene.is_due_after(DELAY * 2));
    }

    #[test]
    fn a_key_with_its_present_value_causes_no_restart() {
        let mut scene = Scene::new();
        assert_eq!(scene.sees(r#"{ "interfaceOffset" : 0 }"#), Change::None);
        assert!(!scene.is_due_after(DELAY * 2));
        let shown = scene.takeover.running().entries();
        assert!(
            shown
                .iter()
                .any(|entry| entry.to_string() == "interfaceOffset=0 (settings.json)")
        );
    }

    #[test]
    fn bad_settings_are_refused_once_and_old_ones_stay() {
        let mut scene = Scene::new();
        let refused = Change::Refused(bad("a").to_string());
        assert_eq!(scene.reads(Err(bad("a"))), refused);
        assert_eq!(scene.reads(Err(bad("a"))), Change::None);
        assert_eq!(scene.reads(Err(bad("b"))), Change::Refused(bad("b").to_string()));
        assert!(!scene.is_due_after(DELAY * 2));
        assert_eq!(scene.takeover.refused(), Some(&bad("b")));
        assert_eq!(scene.takeover.running().config, Config::default());
    }

    #[test]
    fn bad_settings_stop_a_restart_that_is_due() {
        let mut scene = Scene::new();
        scene.sees(r#"{"interfaceOffset":1}"#);
        scene.reads(Err(bad("a")));
        assert!(!scene.is_due_after(DELAY * 2));
    }

    #[test]
    fn corrected_settings_are_taken_over() {
        let mut scene = Scene::new();
        scene.reads(Err(bad("a")));
        let change = scene.sees(r#"{"interfaceOffset":1}"#);
        assert!(matches!(change, Change::Accepted { .. }), "{change:?}");
        assert_eq!(scene.takeover.refused(), None);
        assert!(scene.is_due_after(DELAY));
    }

    #[test]
    fn removed_bad_settings_are_no_longer_refused() {
        let mut scene = Scene::new();
        scene.reads(Err(bad("a")));
        assert_eq!(scene.sees("{}"), Change::Withdrawn);
        assert_eq!(scene.takeover.refused(), None);
    }
}
