//! The log of a program: lines on standard error, written by a thread of their own, so that a
//! reader that is slow or stuck delays no work.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the writer; any more are dropped and counted. A line has a few hundred
/// bytes.
const WAITING_LINES: usize = 4096;

/// What log lines look like.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Neither a level nor a filter.
    #[error(
        "cannot use the log level {level:?}: {source}; write error, warn, info, debug, trace or a filter"
    )]
    Level {
        /// As it was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something logs already.
    #[error("cannot log: {0}")]
    Started(Box<dyn std::error::Error + Send + Sync>),
}

/// Logging, until this is dropped, which waits about a second for the last lines.
pub struct Logging {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// How many lines were dropped because standard error was not read fast enough. By default none, as
/// of a program that does not log.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Option<ErrorCounter>);

impl DroppedLines {
    /// Since the start of the program.
    pub fn count(&self) -> u64 {
        let lines = self.0.as_ref().map_or(0, ErrorCounter::dropped_lines);
        lines.try_into().unwrap_or(u64::MAX)
    }
}

impl Logging {
    /// Logs what `level` lets through. Once per process.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn start(level: &str, format: LogFormat) -> Result<Self, LogError> {
        // Kube's client logs every failed request as an error, without an object; each caller logs
        // what failed.
        let filter = EnvFilter::try_new(format!("kube_client=off,{level}")).map_err(|source| {
            let level = level.to_owned();
            LogError::Level { level, source }
        })?;
        let (writer, logging) = Self::to(io::stderr());
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal());
        match format {
            LogFormat::Text => subscriber.try_init(),
            LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        }
        .map_err(LogError::Started)?;
        Ok(logging)
    }

    /// The count of dropped lines, for a metric.
    pub fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(Some(self.dropped.clone()))
    }

    fn to(out: impl Write + Send + 'static) -> (NonBlocking, Self) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(out);
        let logging = Self {
            dropped: writer.error_counter(),
            _writer: guard,
        };
        (writer, logging)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    };

    use super::*;

    /// A reader that takes nothing until its sender is dropped.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_delays_no_writer_and_losses_are_counted() {
        let (release, stuck) = sync_channel(0);
        let (mut writer, logging) = Logging::to(Stuck(stuck));

        for _ in 0..WAITING_LINES * 3 {
            writer.write_all(b"line\n").unwrap();
        }

        // One line is being written, and the channel may hold one more for its writer.
        let lost = logging.dropped_lines().count();
        assert!(lost >= 2 * WAITING_LINES as u64 - 2, "{lost}");
        drop(release);
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let kept = Kept::default();
        let (mut writer, logging) = Logging::to(kept.clone());
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();

        for line in expected.split_inclusive('\n') {
            writer.write_all(line.as_bytes()).unwrap();
        }
        drop(logging);

        assert_eq!(*kept.0.lock().unwrap(), expected.into_bytes());
    }

    #[test]
    fn a_wrong_level_is_refused_with_its_text() {
        let error = Logging::start("info,=", LogFormat::Text).map(drop).unwrap_err();

        assert!(error.to_string().contains("\"info,=\""), "{error}");
    }
}
