//! Compares multus' own configuration with ours, where its ConfigMap is mounted: what differs is
//! logged, counted, shown on `/readyz` and written as an event. The agent stays ready.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_core::multus_config;
use shared::config::Config;
use shared_process::read_text;
use tokio::time::sleep;

use crate::{disk::blocking::blocking, metrics::Metrics};

/// Between two reads.
const INTERVAL: Duration = Duration::from_secs(10);

/// What differs at present. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MultusDifferences(Arc<Mutex<Vec<String>>>);

impl MultusDifferences {
    /// Lines for `/readyz`.
    pub fn notices(&self) -> Vec<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().map(|text| format!("warning: {text}")).collect()
    }

    fn set(&self, found: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// Reads `path` without end. `report` is called with each difference that is new.
pub async fn follow(
    path: PathBuf,
    ours: Config,
    metrics: Metrics,
    shown: MultusDifferences,
    report: impl Fn(&str),
) {
    let mut last = None;
    loop {
        let read = read(&path).await;
        if last.as_ref() != Some(&read) {
            let found = judge(&path, &read, &ours);
            metrics.multus_config_differences(found.len());
            let before = shown.notices();
            shown.set(found.clone());
            if !before.is_empty() && found.is_empty() {
                tracing::info!(path = %path.display(), "multus' configuration no longer differs from ours");
            }
            for text in found
                .iter()
                .filter(|text| !before.contains(&format!("warning: {text}")))
            {
                tracing::warn!(path = %path.display(), difference = %text, "multus' configuration differs from ours");
                report(text);
            }
            last = Some(read);
        }
        sleep(INTERVAL).await;
    }
}

/// `None`: there is no such file, so nothing is known.
async fn read(path: &Path) -> Result<Option<String>, String> {
    let path = path.to_owned();
    blocking(move || match read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    })
    .await
}

fn judge(path: &Path, read: &Result<Option<String>, String>, ours: &Config) -> Vec<String> {
    let cause = match read {
        Ok(None) => return Vec::new(),
        Ok(Some(text)) => match multus_config::differences(text, ours) {
            Ok(found) => return found.iter().map(ToString::to_string).collect(),
            Err(error) => error.to_string(),
        },
        Err(error) => error.clone(),
    };
    let path = path.display();
    vec![format!("cannot compare multus' configuration {path}: {cause}")]
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs};

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    struct Fixture {
        place: TempDir,
        metrics: Metrics,
        shown: MultusDifferences,
        reported: RefCell<Vec<String>>,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                place: tempfile::tempdir().unwrap(),
                metrics: Metrics::new(),
                shown: MultusDifferences::default(),
                reported: RefCell::default(),
            }
        }

        fn path(&self) -> PathBuf {
            self.place.path().join("daemon-config.json")
        }

        /// Follows the file while it has each of these in turn. It is replaced in one step, as by
        /// the kubelet.
        async fn sees(&self, contents: &[&str]) {
            let write = async {
                for content in contents {
                    let new = self.place.path().join("new");
                    fs::write(&new, content).unwrap();
                    fs::rename(new, self.path()).unwrap();
                    sleep(INTERVAL * 3).await;
                }
            };
            let (metrics, shown) = (self.metrics.clone(), self.shown.clone());
            let report = |text: &str| self.reported.borrow_mut().push(text.to_owned());
            let follow = follow(self.path(), Config::default(), metrics, shown, report);
            tokio::select! {
                () = follow => {}
                () = write => {}
            }
        }

        fn differences(&self) -> String {
            let page = self.metrics.render(Duration::ZERO);
            let name = "dynamic_networks_agent_multus_config_differences ";
            let line = page.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or("none").to_owned()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_difference_is_reported_once_and_shown_until_corrected() {
        let fixture = Fixture::new();
        fixture.sees(&["{}", r#"{"namespaceIsolation":true}"#]).await;
        assert_eq!(fixture.reported.borrow().len(), 1, "{:?}", fixture.reported);
        assert_eq!(fixture.differences(), "1");
        let notices = fixture.shown.notices();
        assert!(
            notices[0].starts_with("warning: namespaceIsolation is false"),
            "{notices:?}"
        );

        fixture.sees(&["{}"]).await;
        assert_eq!(fixture.differences(), "0");
        assert_eq!(fixture.shown.notices(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn an_absent_file_says_nothing() {
        let fixture = Fixture::new();
        let report = |text: &str| panic!("{text}");
        let (metrics, shown) = (fixture.metrics.clone(), fixture.shown.clone());
        let follow = follow(fixture.path(), Config::default(), metrics, shown, report);
        assert!(timeout(INTERVAL * 10, follow).await.is_err());
        assert_eq!(fixture.differences(), "0");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_file_is_reported_with_its_name() {
        let fixture = Fixture::new();
        fixture.sees(&["{"]).await;
        let reported = fixture.reported.borrow();
        assert!(
            reported[0].contains("daemon-config.json") && reported[0].contains("not a JSON object"),
            "{reported:?}"
        );
    }
}
