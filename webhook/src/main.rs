//! The admission webhook: fills, refuses and validates the networks annotation.

use std::process::ExitCode;

use clap::Parser;
use webhook::{
    args::{Arguments, Command},
    lint, run,
};

fn main() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    match command {
        Some(Command::Lint(arguments)) => lint::run(&arguments),
        None => run::run(serve),
    }
}
