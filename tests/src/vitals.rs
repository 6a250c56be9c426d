//! What a program of the node holds while a test does something to it: its memory and its open files, looked at several times a second.

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

/// The most that a program held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Memory of its own, in KiB: its resident set without the pages of files. The pages of the program itself are left out because a build
    /// for tests has several times those of the image's.
    pub memory: u64,
    /// Open files.
    pub files: u64,
}

/// Looks at a program until it is dropped.
pub struct Vitals {
    most: Arc<Mutex<Held>>,
    // Ended when dropped.
    _monitor: Child,
}

/// One line every fifth of a second: KiB and open files.
const WATCH: &str = r#"while [ -d "/proc/$1/fd" ]; do
    memory=$(awk '/^Rss(Anon|Shmem):/ { sum += $2 } END { print sum }' "/proc/$1/status")
    echo "$memory $(ls "/proc/$1/fd" | wc -l)"
    sleep 0.2
done"#;

impl Node {
    /// Looks at the process with this id, as the node counts. Returns when the first look is taken.
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
    /// The most so far.
    pub fn most(&self) -> Held {
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins again: what was before does not count any more.
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
