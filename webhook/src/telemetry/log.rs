//! How the program logs: lines on standard error, which a thread of their own writes, many at once. A reader of them that is slow or
//! stuck holds up no review; and a line per review costs no system call per review.

use std::{
    io::{self, IsTerminal, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// How long lines wait for others, to be written together.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes that wait; what comes on top of them is lost, and counted.
const MOST_WAITING: usize = 1024 * 1024;
/// The end of the program waits this long for the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// From now on everything that `level` lets through is logged, to the end of what this returns. Once per process.
///
/// # Errors
/// The level or filter cannot be read, or logging has been started already.
pub fn start(level: &str, format: LogFormat) -> Result<Logging, String> {
    // Kube's client logs every failed request as an error, without saying of whom; here whoever asks tells what failed.
    let filter = EnvFilter::try_new(format!("kube_client=off,{level}"))
        .map_err(|error| format!("cannot use the log level {level:?}: {error}"))?;
    let lines = Arc::new(Lines::default());
    let (put, write) = (Arc::clone(&lines), Arc::clone(&lines));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Line(Arc::clone(&put)))
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    }
    .map_err(|error| format!("cannot log: {error}"))?;
    let writer = thread::Builder::new().name("log".to_owned());
    writer
        .spawn(move || write.write_to(io::stderr(), GATHER))
        .map_err(|error| format!("cannot log: {error}"))?;
    Ok(Logging(lines))
}

/// Logging that goes on until this is dropped, which waits for the last lines.
#[derive(Debug)]
pub struct Logging(Arc<Lines>);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.finish(FAREWELL);
    }
}

/// Lines between those who log and the one who writes.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no place since the last write.
    lost: usize,
    /// A batch is being written.
    writing: bool,
    finishing: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > MOST_WAITING {
            state.lost += 1;
            return;
        }
        // With others there, the writer knows.
        if state.waiting.is_empty() {
            self.changed.notify_all();
        }
        state.waiting.extend_from_slice(line);
    }

    /// Writes what is put, batch by batch, until the end.
    fn write_to(&self, mut out: impl Write, gather: Duration) {
        let mut batch = Vec::new();
        loop {
            let idle = self.state();
            let state = self
                .changed
                .wait_while(idle, |state| state.waiting.is_empty() && !state.finishing);
            let finishing = state.unwrap_or_else(PoisonError::into_inner).finishing;
            if !finishing {
                thread::sleep(gather);
            }
            let mut state = self.state();
            mem::swap(&mut batch, &mut state.waiting);
            let lost = mem::take(&mut state.lost);
            state.writing = true;
            drop(state);
            // There is nobody to tell of a failure.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "lines of this log were lost: standard error is not read fast enough"
                );
            }
            let mut state = self.state();
            state.writing = false;
            self.changed.notify_all();
            if state.finishing && state.is_idle() {
                return;
            }
        }
    }

    /// Has what is there written, for at most `limit`.
    fn finish(&self, limit: Duration) {
        let mut state = self.state();
        state.finishing = true;
        self.changed.notify_all();
        let left = self
            .changed
            .wait_timeout_while(state, limit, |state| !state.is_idle());
        drop(left);
    }
}

/// Takes one line.
struct Line(Arc<Lines>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
