//! The node agent: plugs and unplugs pod interfaces to match the networks annotation.

use std::process::ExitCode;

use agent::{args::Arguments, run};
use clap::Parser as _;

fn main() -> ExitCode {
    run::run(Arguments::parse())
}
