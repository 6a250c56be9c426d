//! Memory and open files of a process on the node, sampled several times a second.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
};

use crate::{
    error::{Error, Result},
    node::Node,
    wait::{PLUG, eventually},
};

/// The maximum of all samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Anonymous and shared memory in KiB: the resident set without the pages of files, because a
    /// test build has several times the code pages of the image.
    pub memory: u64,
    /// Open file descriptors.
    pub files: u64,
}

/// Samples a process until it is dropped.
pub struct Vitals {
    most: Arc<Mutex<Held>>,
    // Ended when dropped.
    _monitor: Child,
}

/// Prints KiB and open files five times a second.
const WATCH: &str = r#"while [ -d "/proc/$1/fd" ]; do
    memory=$(awk '/^Rss(Anon|Shmem):/ { sum += $2 } END { print sum }' "/proc/$1/status")
    echo "$memory $(ls "/proc/$1/fd" | wc -l)"
    sleep 0.2
done"#;

impl Node {
    /// Samples the process with this id of the node. Returns after the first sample.
    ///
    /// # Errors
    /// [`Error::Deadline`] when there is no such process.
    pub async fn vitals(&self, pid: &str) -> Result<Vitals> {
        let mut monitor = self
            .command(&["sh", "-c", WATCH, "sh", pid])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::Unexpected(format!("looking at process {pid}: {e}")))?;
        let most = Arc::<Mutex<Held>>::default();
        if let Some(out) = monitor.stdout.take() {
            tokio::spawn(follow(out, Arc::clone(&most)));
        }
        let vitals = Vitals {
            most,
            _monitor: monitor,
        };
        eventually(PLUG, format!("process {pid} is seen"), async || {
            let seen = vitals.most() != Held::default();
            seen.then_some(())
                .ok_or_else(|| Error::Unexpected("nothing".to_owned()))
        })
        .await?;
        Ok(vitals)
    }
}

impl Vitals {
    /// The maximum so far.
    pub fn most(&self) -> Held {
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the samples so far.
    pub fn forget(&self) {
        *self.most.lock().unwrap_or_else(PoisonError::into_inner) = Held::default();
    }
}

async fn follow(out: impl AsyncRead + Unpin, most: Arc<Mutex<Held>>) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        if let (Some(Some(memory)), Some(Some(files))) = (numbers.next(), numbers.next()) {
            let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
            most.memory = most.memory.max(memory);
            most.files = most.files.max(files);
        }
    }
}
