//! Probes multus, the runtime, multus' data directory and the disk with the records, and reports
//! the ones that return: what failed because of them can be tried again.

use std::{cell::Cell, convert::Infallible, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::Health;
use crate::{
    cni::cache::CniCache,
    cri::Cri,
    disk::{blocking::blocking, records::Records},
    metrics::Dependency,
    multus::Multus,
};

/// How often an unavailable dependency is probed.
const UNAVAILABLE: Duration = Duration::from_millis(500);
/// How often an available one is probed.
const AVAILABLE: Duration = Duration::from_secs(10);

/// What is probed.
pub struct Probes {
    /// The multus daemon.
    pub multus: Multus,
    /// The container runtime.
    pub cri: Cri,
    /// multus' data directory.
    pub cache: CniCache,
    /// The disk with the records.
    pub records: Arc<Records>,
    /// Where the results are noted.
    pub health: Health,
}

impl Probes {
    /// Probes without end. `returned` is called with each dependency that was unavailable and is
    /// available again. For this, others may note in [`Health`] that a dependency is unavailable,
    /// but not that it is available.
    pub async fn run(&self, returned: impl Fn(Dependency)) -> Infallible {
        let text = |error: &dyn ToString| error.to_string();
        let multus = async || self.multus.healthy().await.map_err(|error| text(&error));
        let cri = async || self.cri.check(AVAILABLE).await.map_err(|error| text(&error));
        let cache = async || self.cache.check().map_err(|error| text(&error));
        // A record that alone is too large fails, and the disk is fine. Only what the probe itself
        // found counts as a return.
        let refused = Cell::new(false);
        let records = async || {
            let written = self.check_records().await;
            refused.set(written.is_err() || refused.get());
            written
        };
        let records_returned = |dependency| {
            if refused.take() {
                returned(dependency);
            }
        };
        let health = &self.health;
        let (never, ..) = tokio::join!(
            watch(health, Dependency::Multus, multus, &returned),
            watch(health, Dependency::Cri, cri, &returned),
            watch(health, Dependency::CniCache, cache, &returned),
            watch(health, Dependency::Records, records, &records_returned),
        );
        never
    }

    async fn check_records(&self) -> Result<(), String> {
        let records = Arc::clone(&self.records);
        blocking(move || records.check_writable()).await
    }
}

async fn watch(
    health: &Health,
    dependency: Dependency,
    probe: impl AsyncFn() -> Result<(), String>,
    returned: impl Fn(Dependency),
) -> Infallible {
    loop {
        let state = probe().await;
        let is_available = state.is_ok();
        let was_unavailable = health.set(dependency, state);
        if is_available && was_unavailable {
            returned(dependency);
        }
        if is_available {
            // A call may find it unavailable at any time.
            let _ = timeout(AVAILABLE, health.wait_unavailable(dependency)).await;
        }
        if health.is_unavailable(dependency) {
            sleep(UNAVAILABLE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;
    use crate::metrics::Metrics;

    /// A dependency that is probed.
    struct Probed {
        health: Health,
        is_up: Cell<bool>,
        probes: Cell<u32>,
        returns: Cell<u32>,
    }

    impl Probed {
        fn new() -> Self {
            Self {
                health: Health::new(Metrics::new()),
                is_up: Cell::new(true),
                probes: Cell::new(0),
                returns: Cell::new(0),
            }
        }

        async fn run_for(&self, time: Duration) {
            let probe = async || {
                self.probes.set(self.probes.get() + 1);
                let up = self.is_up.get();
                up.then_some(()).ok_or_else(|| "down".to_owned())
            };
            let returned = |_| self.returns.set(self.returns.get() + 1);
            let watched = watch(&self.health, Dependency::Multus, probe, returned);
            assert!(timeout(time, watched).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn probes_an_available_dependency_every_ten_seconds() {
        let probed = Probed::new();
        probed.run_for(Duration::from_secs(59)).await;
        assert_eq!((probed.probes.get(), probed.returns.get()), (6, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn reports_each_return_once() {
        let probed = Probed::new();
        probed.run_for(Duration::from_secs(1)).await;
        probed.is_up.set(false);
        probed.run_for(Duration::from_secs(10)).await;
        assert!((20..23).contains(&probed.probes.get()), "{}", probed.probes.get());
        probed.is_up.set(true);
        probed.run_for(Duration::from_secs(10)).await;
        assert_eq!(probed.returns.get(), 2);
    }

    /// The call that noted it fails again at once, each time.
    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_calls_find_unavailable_is_probed_soon() {
        let probed = Probed::new();
        probed.run_for(Duration::from_secs(1)).await;
        let finds = async {
            for _ in 0..20 {
                probed.health.set(Dependency::Multus, Err("refused".to_owned()));
                sleep(UNAVAILABLE / 10).await;
            }
        };
        tokio::join!(finds, probed.run_for(Duration::from_secs(2)));
        assert!((3..=6).contains(&probed.probes.get()), "{}", probed.probes.get());
        assert!(probed.returns.get() > 1);
    }

    fn probes(dir: &TempDir) -> Probes {
        Probes {
            multus: Multus::new(vec![dir.path().join("multus.sock")]),
            cri: Cri::new(dir.path().join("cri.sock")),
            cache: CniCache::new(dir.path().join("cni")),
            records: Arc::new(Records::open(dir.path()).unwrap()),
            health: Health::new(Metrics::new()),
        }
    }

    /// Pods wait for it that were first seen while it was away.
    #[tokio::test(start_paused = true)]
    async fn the_return_of_multus_directory_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let probes = probes(&dir);
        let (returned, is_back) = (Cell::new(None), tokio::sync::Notify::new());
        let run = probes.run(|dependency| {
            if dependency == Dependency::CniCache {
                returned.set(Some(Instant::now()));
                is_back.notify_one();
            }
        });
        let begun = Instant::now();
        let make = async {
            sleep(AVAILABLE).await;
            assert_eq!(returned.get(), None);
            std::fs::create_dir_all(dir.path().join("cni/results")).unwrap();
            let told = timeout(AVAILABLE, is_back.notified()).await;
            assert!(told.is_ok(), "its return is not reported");
        };
        tokio::select! {
            never = run => match never {},
            () = make => {}
        }
        assert!(
            begun.elapsed() <= AVAILABLE + UNAVAILABLE,
            "{:?}",
            begun.elapsed()
        );
    }
}
