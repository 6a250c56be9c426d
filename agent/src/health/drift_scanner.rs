//! Looks every few seconds for what multus and libcni keep about attachments. The core decides what
//! its absence means.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep};

use crate::cni::cache::{CniCache, KeptFiles, LookedFor};

/// The pause between two scans. Two scans find a loss, so it is reported within ten seconds.
const INTERVAL: Duration = Duration::from_secs(4);
/// On a slow disk, a scan takes at most this part of the time.
const SHARE: u32 = 50;

/// Scans multus' data directory.
pub struct DriftScanner {
    /// The directory.
    pub cache: CniCache,
}

impl DriftScanner {
    /// Scans without end for what `kept` names, and tells `looked` what is there. While nothing is
    /// kept, the disk is not touched.
    pub async fn run(&self, kept: impl Fn() -> KeptFiles, looked: impl Fn(&LookedFor)) -> Infallible {
        let mut pause = INTERVAL;
        loop {
            sleep(pause).await;
            let files = kept();
            pause = INTERVAL;
            if files.is_empty() {
                continue;
            }
            let begun = Instant::now();
            match self.cache.look_for(files).await {
                Ok(found) => looked(&found),
                // Unknown is not gone. The probe of the directory reports it.
                Err(error) => tracing::debug!(%error, "looking for libcni's results failed; will retry"),
            }
            pause = INTERVAL.max(begun.elapsed() * SHARE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        fs,
    };

    use agent_core::{identity::SandboxId, kept_file::KeptFile};
    use shared::names::InterfaceName;
    use tokio::time::timeout;

    use super::*;

    fn result_of(config_name: &str) -> KeptFile {
        KeptFile::Result {
            config_name: config_name.to_owned(),
            sandbox: SandboxId::parse("5a9d").unwrap(),
            interface: InterfaceName::net(1),
        }
    }

    #[tokio::test]
    async fn finds_what_is_there_and_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("results")).unwrap();
        fs::write(dir.path().join("results/blue-5a9d-net1"), "{}").unwrap();
        let delegates = KeptFile::Delegates(SandboxId::parse("5a9d").unwrap());
        let kept = vec![result_of("blue"), result_of("red"), delegates, result_of("../x")];
        let cache = CniCache::new(dir.path().to_owned());
        let found = cache.look_for(vec![("u1".to_owned(), kept)]).await.unwrap();
        let there: Vec<bool> = found[0].1.iter().map(|(_, there)| *there).collect();
        assert_eq!(there, [true, false, false], "no name leads out of the directory");
    }

    #[tokio::test]
    async fn a_directory_that_is_away_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CniCache::new(dir.path().join("away"));
        let kept = vec![("u1".to_owned(), vec![result_of("blue")])];
        assert!(cache.look_for(kept).await.is_err());
    }

    #[tokio::test]
    async fn scans_twice_within_ten_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let scanner = DriftScanner {
            cache: CniCache::new(dir.path().to_owned()),
        };
        tokio::time::pause();
        let (begun, times) = (Instant::now(), RefCell::new(Vec::new()));
        let done = tokio::sync::Notify::new();
        let run = scanner.run(
            || vec![("u1".to_owned(), vec![result_of("blue")])],
            |_| {
                times.borrow_mut().push(begun.elapsed());
                if times.borrow().len() == 2 {
                    done.notify_one();
                }
            },
        );
        tokio::select! {
            never = run => match never {},
            () = done.notified() => {}
        }
        assert!(times.borrow()[1] < Duration::from_secs(9), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn touches_no_disk_while_nothing_is_kept() {
        let scanner = DriftScanner {
            cache: CniCache::new("/nowhere".into()),
        };
        let asked = Cell::new(0);
        let kept = || {
            asked.set(asked.get() + 1);
            Vec::new()
        };
        let run = scanner.run(kept, |_| panic!("nothing was looked for"));
        assert!(timeout(INTERVAL * 3, run).await.is_err());
        assert!(asked.get() >= 2);
    }
}
