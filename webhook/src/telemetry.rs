//! What the program says about itself: log lines and metrics.

pub mod log;
pub mod metrics;
