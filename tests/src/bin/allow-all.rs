//! The webhooks that the benchmark of the gate compares ours with:
//! `allow-all CERTIFICATE_DIRECTORY PORT`.

use std::{env, path::Path, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [directory, port] => port.parse().ok().map(|port| (Path::new(directory), port)),
        _ => None,
    };
    let Some((directory, port)) = parsed else {
        eprintln!("usage: allow-all CERTIFICATE_DIRECTORY PORT");
        return ExitCode::FAILURE;
    };
    if let Err(error) = tests::serve_allow_all(directory, port).await {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}
