//! What both programs need of a process. It does I/O; the rules are in `shared`, which does none.

mod bounded_file;
mod listen;
mod log;
mod process_metrics;
pub mod settings;

pub use bounded_file::read_text;
pub use listen::listen;
pub use log::{DroppedLines, LogError, LogFormat, Logging};
pub use process_metrics::ProcessMetrics;
