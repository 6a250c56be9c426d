//! The checkout: its files and scripts.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{
    error::{Error, Result},
    node::printed,
};

/// The top of the checkout that this crate was built in.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where the cluster that the tests use keeps its state: the unnamed one, or that of the variable
/// `CLUSTER`.
pub fn cluster_state() -> PathBuf {
    let name = std::env::var("CLUSTER").unwrap_or_default();
    let separator = if name.is_empty() { "" } else { "-" };
    root().join(format!(".cluster{separator}{name}"))
}

/// A file of the checkout as text; `path` begins at its top.
///
/// # Errors
/// [`Error::Unexpected`] names the file.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    std::fs::read_to_string(&path).map_err(|e| Error::Unexpected(format!("{}: {e}", path.display())))
}

/// Runs a script of the checkout, at its top.
///
/// # Errors
/// [`Error::Command`] with what it complained about.
pub async fn run(script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let output = Command::new(root().join(script))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .kill_on_drop(true)
        .output()
        .await;
    printed(&format!("{script} {}", arguments.join(" ")), output)
}

/// A program of the tests that is written in Go, built if need be.
///
/// # Errors
/// [`Error::Unexpected`] when it cannot be built.
pub(crate) fn go_program(name: &str) -> Result<PathBuf> {
    let failed = |cause: String| Error::Unexpected(format!("tests/build-go.sh {name}: {cause}"));
    let built = std::process::Command::new(root().join("tests/build-go.sh"))
        .arg(name)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !built.status.success() {
        return Err(failed(built.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&built.stdout).trim().into())
}

/// Renders the manifests into a directory, with the defaults of the Makefile for what `variables`
/// leaves out.
///
/// # Errors
/// [`Error::Command`] with what the script complained about.
pub async fn render_manifests(into: &str, variables: &[(&str, &str)]) -> Result<()> {
    let defaults = [
        ("IMAGE", "localhost/dynamic-networks-controller:latest"),
        ("NAMESPACE", "kube-system"),
        ("CONTAINERD_SOCKET_PATH", "/host/run/containerd/containerd.sock"),
        ("CRIO_SOCKET_PATH", "/host/run/crio/crio.sock"),
        ("MULTUS_SOCKET_PATH", "/host/run/multus/multus.sock"),
    ];
    let all: Vec<_> = defaults.iter().chain(variables).copied().collect();
    run("hack/render-manifests.sh", &[into], &all).await.map(drop)
}
