//! What both programs need of a process. It does I/O; the rules are in `shared`, which does none.

mod listen;
mod log;
pub mod settings;

pub use listen::listen;
pub use log::{DroppedLines, LogError, LogFormat, Logging};
