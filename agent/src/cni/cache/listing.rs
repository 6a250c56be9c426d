//! Which files of libcni's results directory may be about which sandbox. multus 4.3.0 leaves
//! entries of dead sandboxes behind, so the directory can be long, and many sandboxes are asked
//! about in one moment: at the agent's start, and after a node's reboot.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::{CacheError, unreachable_dir};
use agent_core::identity::SandboxId;

type Answer = Result<Vec<PathBuf>, CacheError>;

/// Who waits for an answer about a sandbox.
type Waiting = (SandboxId, oneshot::Sender<Answer>);

/// Passes over the directory.
///
/// Guarantees: one pass at a time; everyone who asks while one runs shares the next, so any number
/// of questions of one moment costs two. A pass begins after each question that it answers, so it
/// sees every file that was there then.
#[derive(Debug)]
pub(super) struct Listing {
    dir: PathBuf,
    waiting: Mutex<Vec<Waiting>>,
    passing: tokio::sync::Mutex<()>,
    #[cfg(test)]
    passes: std::sync::atomic::AtomicU32,
}

impl Listing {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            waiting: Mutex::default(),
            passing: tokio::sync::Mutex::default(),
            #[cfg(test)]
            passes: std::sync::atomic::AtomicU32::new(0),
        }
    }

    /// The files whose name has `sandbox` in it. A directory that is missing has none.
    pub(super) async fn paths(&self, sandbox: &SandboxId) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.lock().push((sandbox.clone(), answer));
        {
            let _passing = self.passing.lock().await;
            let batch = std::mem::take(&mut *self.lock());
            if !batch.is_empty() {
                #[cfg(test)]
                self.passes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let dir = self.dir.clone();
                // The pass answers by itself: the others have their answer also when this future is
                // dropped. Its end is waited for, so that the next pass begins after it.
                let _ = tokio::task::spawn_blocking(move || pass(dir, batch)).await;
            }
        }
        let lost = |_| Err(unreachable_dir(&self.dir, io::Error::other("the listing failed")));
        answered.await.unwrap_or_else(lost)
    }

    #[cfg(test)]
    pub(super) fn passes(&self) -> u32 {
        self.passes.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it runs on a thread of its own")]
fn pass(dir: PathBuf, batch: Vec<Waiting>) {
    let mut found: HashMap<String, Vec<PathBuf>> = batch
        .iter()
        .map(|(sandbox, _)| (sandbox.as_str().to_owned(), Vec::new()))
        .collect();
    let outcome = collect(&dir, &mut found);
    for (sandbox, answer) in batch {
        let paths = match &outcome {
            Ok(()) => Ok(found.get(sandbox.as_str()).cloned().unwrap_or_default()),
            Err(error) => {
                let source = io::Error::new(error.kind(), error.to_string());
                Err(unreachable_dir(&dir, source))
            }
        };
        // Who does not wait any more needs no answer.
        let _ = answer.send(paths);
    }
}

/// Keeps of the directory what is asked for: its length costs time, not memory.
fn collect(dir: &Path, found: &mut HashMap<String, Vec<PathBuf>>) -> io::Result<()> {
    // An id with a hyphen is not one part of a name.
    let hyphenated: Vec<String> = found.keys().filter(|id| id.contains('-')).cloned().collect();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Names that are not UTF-8 are not libcni's.
        let Some(name) = name.to_str() else { continue };
        let parts = hyphenated.iter().map(String::as_str);
        for id in name.split('-').chain(parts.filter(|id| name.contains(id))) {
            if let Some(paths) = found.get_mut(id)
                && paths.last().is_none_or(|last| !last.ends_with(name))
            {
                paths.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SandboxId {
        SandboxId::parse(text).unwrap()
    }

    #[tokio::test]
    async fn many_questions_of_one_moment_share_two_passes() {
        let dir = tempfile::tempdir().unwrap();
        let sandboxes: Vec<_> = (0..250).map(|sandbox| id(&format!("s{sandbox}"))).collect();
        for sandbox in &sandboxes {
            fs::write(dir.path().join(format!("blue-{sandbox}-net1")), "").unwrap();
        }
        let listing = Listing::new(dir.path().to_owned());
        let mut asked: Vec<_> = sandboxes
            .iter()
            .map(|sandbox| Box::pin(listing.paths(sandbox)))
            .collect();
        // All ask while another pass runs.
        let passing = listing.passing.lock().await;
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(
                asked
                    .iter_mut()
                    .all(|one| one.as_mut().poll(context).is_pending()),
            )
        });
        assert!(polled.await);
        drop(passing);
        for answer in asked {
            assert_eq!(answer.await.unwrap().len(), 1);
        }
        let passes = listing.passes();
        assert!(passes <= 2, "{passes} passes");
    }

    #[tokio::test]
    async fn who_goes_away_takes_no_answer_with_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("blue-b-net1"), "").unwrap();
        let listing = Listing::new(dir.path().to_owned());
        // The first to ask leads the pass, and is dropped in it.
        let (a, b) = (id("a"), id("b"));
        let mut leader = Box::pin(listing.paths(&a));
        let mut follower = Box::pin(listing.paths(&b));
        let polled = std::future::poll_fn(|context| {
            let _ = leader.as_mut().poll(context);
            std::task::Poll::Ready(follower.as_mut().poll(context).is_pending())
        });
        assert!(polled.await);
        drop(leader);
        assert_eq!(follower.await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn finds_an_id_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-b-77-net1", "77-5a9d-net1", "x-my-id-net1", "5a9d77-1-net1"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let listing = Listing::new(dir.path().to_owned());
        for (sandbox, found) in [("77", 2), ("5a9d", 1), ("my-id", 1), ("b", 1), ("none", 0)] {
            assert_eq!(
                listing.paths(&id(sandbox)).await.unwrap().len(),
                found,
                "{sandbox}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_where_the_directory_belongs_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results");
        fs::write(&file, "").unwrap();
        let found = Listing::new(file).paths(&id("a")).await;
        assert!(matches!(found, Err(CacheError::Directory { .. })), "{found:?}");
    }
}
