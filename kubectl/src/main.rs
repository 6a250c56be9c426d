//! `kubectl networks`: lists, connects and disconnects the networks of running pods.
//!
//! ```text
//! args ─► list, inspect ─► rows ─► output
//!     ├─► connect, disconnect ─► edit ─┐
//!     ├─► wait ─► readiness ◄──────────┘      all of them ─► cluster (the API server)
//!     └─► doctor
//! ```
//! `rows`, `edit` and `readiness` decide; they do no I/O.

mod args;
mod cluster;
mod connect;
mod doctor;
mod edit;
mod error;
mod inspect;
mod list;
mod output;
mod readiness;
mod rows;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    args::{Arguments, Command},
    cluster::Cluster,
    error::Error,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Completion { shell } = arguments.command {
        clap_complete::generate(
            shell,
            &mut Arguments::command(),
            "kubectl-networks",
            &mut std::io::stdout(),
        );
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(interruptible(arguments)),
        Err(error) => Err(Error::Setup(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// Ctrl-C ends the waiting. An edit is one request: it was made or it was not.
async fn interruptible(arguments: Arguments) -> Result<(), Error> {
    tokio::select! {
        outcome = run(arguments) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let cluster = Cluster::connect(&arguments.connection).await?;
    match &arguments.command {
        Command::List(list) => list::run(&cluster, list).await,
        Command::Connect(connect) => connect::connect(&cluster, connect).await,
        Command::Disconnect(disconnect) => connect::disconnect(&cluster, disconnect).await,
        Command::Wait(wait) => wait::run(&cluster, wait).await,
        Command::Inspect(inspect) => inspect::run(&cluster, inspect).await,
        Command::Doctor => doctor::run(&cluster).await,
        Command::Completion { .. } => Ok(()),
    }
}
