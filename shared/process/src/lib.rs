//! What both programs need of a process. It does I/O; the rules are in `shared`, which does none.

mod listen;

pub use listen::listen;
