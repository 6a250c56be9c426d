//! `podman network connect`, the verb of a peer, in a network namespace and a store of its own.

use std::time::Duration;

use tests::root;
use tokio::process::Command;

/// Times of connect and disconnect; `None`, with a word on standard error: there is no podman that
/// can do it here.
pub async fn connect() -> Option<(Vec<Duration>, Vec<Duration>)> {
    eprintln!("podman network connect and disconnect");
    let script = root().join("tests/benches/plug/podman.sh");
    let ran = Command::new("unshare")
        .args(["--net", "--mount", "bash"])
        .arg(script)
        .output()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let times = |verb: &str| -> Vec<Duration> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(verb));
        let micros = lines.filter_map(|line| line.trim().parse().ok());
        micros.map(Duration::from_micros).collect()
    };
    let (connected, disconnected) = (times("connect "), times("disconnect "));
    if connected.is_empty() || disconnected.is_empty() {
        eprintln!("podman: {}", String::from_utf8_lossy(&ran.stderr).trim());
        return None;
    }
    Some((connected, disconnected))
}
