//! The node: commands inside its namespaces, its sandboxes, its IPAM leases and the files that
//! multus, libcni and the agent keep there.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Output, Stdio},
};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::error::{Error, Result};

pub(crate) const LEASES: &str = "/var/lib/cni/networks";
pub(crate) const RECORDS: &str = "/var/lib/dynamic-networks";
/// The cluster's own programs first.
const PATH: &str = "PATH=/run/cluster/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub(crate) const MULTUS_CACHE: &str = "/var/lib/cni/multus";

/// The local cluster's node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the API.
    pub name: String,
    pub(crate) pid: u32,
}

/// An address that the host-local IPAM plugin has given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address, without prefix.
    pub address: String,
    /// Id of the sandbox that holds it.
    pub sandbox: String,
    /// Interface name in that sandbox.
    pub interface: String,
}

/// One CRI pod sandbox, as containerd describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The id by which CRI, multus and our records know it.
    pub id: String,
    /// Its network namespace, as a path on the node.
    pub namespace_path: String,
}

impl Node {
    /// The node of this number, from 1 on.
    pub(crate) fn new(env: &BTreeMap<String, String>, number: u8) -> Result<Self> {
        let variable = |name: &str| {
            let name = format!("NODE{number}_{name}");
            env.get(&name).cloned().ok_or_else(|| {
                Error::Setup(format!(
                    "the cluster has no node {number}: its env does not set {name}"
                ))
            })
        };
        let pid = variable("PID")?;
        let pid = pid
            .parse()
            .map_err(|_| Error::Setup(format!("NODE{number}_PID is {pid:?}, not a process id")))?;
        Ok(Self {
            name: variable("NAME")?,
            pid,
        })
    }

    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let pid = self.pid.to_string();
        let enter = ["nsenter", "-t", &pid, "-m", "-u", "-n", "-p", "--", "env", PATH];
        let sudo: &[&str] = if is_root() { &[] } else { &["sudo", "-n"] };
        let mut words = sudo.iter().chain(&enter).chain(command);
        let mut built = Command::new(words.next().unwrap_or(&"nsenter"));
        built.args(words).kill_on_drop(true);
        built
    }

    /// Runs a command on the node as root and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Command`] when it cannot start or does not exit 0.
    pub async fn run(&self, command: &[&str]) -> Result<String> {
        let output = self.command(command).stdin(Stdio::null()).output().await;
        printed(&command.join(" "), output)
    }

    /// Writes a file on the node, atomically.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn write(&self, path: &str, content: &str) -> Result<()> {
        let script = "cat >\"$1.new\" && mv \"$1.new\" \"$1\"";
        let mut child = self
            .command(&["sh", "-c", script, "sh", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| not_started("sh", &e))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A shell that failed early reports below.
            let _ = stdin.write_all(content.as_bytes()).await;
        }
        printed(&format!("write {path}"), child.wait_with_output().await).map(drop)
    }

    /// Puts a program of this machine onto the node, unless the very same one is there.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Setup`] when there is no such program.
    pub(crate) async fn install(&self, program: &Path, path: &Path) -> Result<()> {
        let (missing, path) = (
            |e: std::io::Error| Error::Setup(format!("{}: {e}", program.display())),
            path.display().to_string(),
        );
        let metadata = std::fs::metadata(program).map_err(missing)?;
        let version = format!("{} {}", metadata.len(), metadata.mtime());
        let there = self
            .run(&[
                "sh",
                "-c",
                "stat -c '%s %Y' \"$1\" 2>/dev/null || true",
                "sh",
                &path,
            ])
            .await?;
        if there.trim() == version {
            return Ok(());
        }
        let script = r#"mkdir -p "${1%/*}" && new=$(mktemp "$1.XXXXXX") && cat >"$new" && chmod 755 "$new" &&
            touch -d "@$2" "$new" && mv "$new" "$1""#;
        let file = std::fs::File::open(program).map_err(missing)?;
        let mtime = metadata.mtime().to_string();
        let mut command = self.command(&["sh", "-c", script, "sh", &path, &mtime]);
        let output = command.stdin(file).output().await;
        printed(&format!("install {path}"), output).map(drop)
    }

    /// GET over plain HTTP from the node: the status and the body.
    ///
    /// # Errors
    /// [`Error::Command`] when nobody answers.
    pub async fn page(&self, url: &str) -> Result<(u16, String)> {
        let flags = "--silent --show-error --noproxy * --max-time 5 --write-out \\n%{http_code}";
        let command: Vec<_> = ["curl"]
            .into_iter()
            .chain(flags.split(' '))
            .chain([url])
            .collect();
        let printed = self.run(&command).await?;
        let (body, code) = printed.rsplit_once('\n').unwrap_or_default();
        let code = code.parse().map_err(|_| Error::Unexpected(printed.clone()))?;
        Ok((code, body.to_owned()))
    }

    /// Names in a directory; none when it does not exist.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn list(&self, directory: &str) -> Result<Vec<String>> {
        let script = "[ ! -d \"$1\" ] || ls -A \"$1\"";
        Ok(self
            .run(&["sh", "-c", script, "sh", directory])
            .await?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The host-local leases of the network whose CNI configuration has the name `network`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn leases(&self, network: &str) -> Result<Vec<Lease>> {
        let script = r#"for f in "$1"/*; do [ ! -f "$f" ] || echo "${f##*/} $(tr '\r\n' '  ' <"$f")"; done"#;
        let directory = format!("{LEASES}/{network}");
        let printed = self.run(&["sh", "-c", script, "sh", &directory]).await?;
        Ok(printed.lines().filter_map(lease).collect())
    }

    /// Names of the interfaces of `sandbox` for which the agent keeps a record.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn records(&self, sandbox: &str) -> Result<Vec<String>> {
        let mut files = self.state_of(sandbox).await?;
        files.retain(|name| name != "sandbox-identity" && !name.starts_with('.'));
        Ok(files)
    }

    /// The interfaces of `sandbox` that the agent has a record of, with how far each is (`plugged`,
    /// `tombstone`…).
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Unexpected`] for a file that is no record.
    pub async fn record_states(&self, sandbox: &str) -> Result<BTreeMap<String, String>> {
        let script = r#"cd "$1" 2>/dev/null || exit 0
            for f in *; do [ "$f" = sandbox-identity ] || [ ! -f "$f" ] || { echo "$f $(tr -d '\n' <"$f")"; }; done"#;
        let directory = format!("{RECORDS}/{sandbox}");
        let printed = self.run(&["sh", "-c", script, "sh", &directory]).await?;
        let state = |line: &str| {
            let (name, json) = line.split_once(' ').unwrap_or((line, ""));
            let record: serde_json::Value = parse(json)?;
            let state = record["phase"]["state"].as_str().unwrap_or_default();
            Ok((name.to_owned(), state.to_owned()))
        };
        printed.lines().map(state).collect()
    }

    /// Removes the records of sandboxes that the runtime does not know any more. An agent goes on
    /// to release what a failed test left, which would be measured with what the next test does.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn drop_unreleased_records(&self) -> Result<()> {
        let script = r#"known=$(ctr -n k8s.io containers list -q) || exit
            for directory in "$1"/*/; do
                sandbox=$(basename "$directory")
                case $known in *"$sandbox"*) ;; *) rm -rf "$directory" ;; esac
            done"#;
        self.run(&["sh", "-c", script, "sh", RECORDS]).await.map(drop)
    }

    /// Names of all files that the agent keeps about `sandbox`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn state_of(&self, sandbox: &str) -> Result<Vec<String>> {
        self.list(&format!("{RECORDS}/{sandbox}")).await
    }

    /// The sandboxes into which multus has plugged networks at their start, and which it has not
    /// torn down yet.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn cold_plugged(&self) -> Result<Vec<String>> {
        let mut names = self.list(MULTUS_CACHE).await?;
        names.retain(|name| name != "results");
        Ok(names)
    }

    /// Names of the entries of libcni's result cache for `sandbox`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn cached_results(&self, sandbox: &str) -> Result<Vec<String>> {
        let mut names = self.list(&format!("{MULTUS_CACHE}/results")).await?;
        names.retain(|name| name.contains(sandbox));
        Ok(names)
    }

    /// The newest sandbox of the pod with `uid`.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when containerd knows none.
    pub async fn sandbox(&self, uid: &str) -> Result<Sandbox> {
        let filter =
            format!(r#"labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox"#);
        let ids = self.ctr(&["containers", "list", "-q", &filter]).await?;
        let mut newest: Option<(String, Sandbox)> = None;
        for id in ids.split_whitespace() {
            let info: ContainerInfo = parse(&self.ctr(&["containers", "info", id]).await?)?;
            let path = info
                .spec
                .linux
                .namespaces
                .into_iter()
                .find(|n| n.kind == "network")
                .and_then(|n| n.path);
            let sandbox = Sandbox {
                id: id.to_owned(),
                namespace_path: path.unwrap_or_default(),
            };
            if newest.as_ref().is_none_or(|(at, _)| *at < info.created_at) {
                newest = Some((info.created_at, sandbox));
            }
        }
        newest
            .map(|(_, s)| s)
            .ok_or_else(|| Error::Unexpected(format!("no sandbox of pod {uid} on the node")))
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let command = [&["ctr", "-n", "k8s.io"], arguments].concat();
        self.run(&command).await
    }
}

#[derive(Deserialize)]
struct ContainerInfo {
    #[serde(rename = "CreatedAt")]
    created_at: String,
    #[serde(rename = "Spec")]
    spec: RuntimeSpec,
}

#[derive(Deserialize)]
struct RuntimeSpec {
    linux: Linux,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<RuntimeNamespace>,
}

#[derive(Deserialize)]
struct RuntimeNamespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<String>,
}

/// `ADDRESS SANDBOX INTERFACE`; the plugin's own bookkeeping files do not begin with an address.
pub(crate) fn lease(line: &str) -> Option<Lease> {
    let mut words = line.split_whitespace();
    let address = words.next()?;
    address.parse::<std::net::IpAddr>().ok()?;
    Some(Lease {
        address: address.to_owned(),
        sandbox: words.next().unwrap_or_default().to_owned(),
        interface: words.next().unwrap_or_default().to_owned(),
    })
}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| Error::Unexpected(format!("{e} in {json:.300}")))
}

/// The owner of our own entry in /proc is the user that we run as.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn not_started(command: &str, error: &std::io::Error) -> Error {
    Error::Command {
        command: command.to_owned(),
        status: error.to_string(),
        stderr: String::new(),
    }
}

/// The standard output of a command that exited 0.
pub(crate) fn printed(command: &str, output: std::io::Result<Output>) -> Result<String> {
    let output = output.map_err(|e| not_started(command, &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        command: command.to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_leases_from_the_bookkeeping_of_host_local() {
        assert_eq!(lease("last_reserved_ip.0 10.1.2.3"), None);
        assert_eq!(lease("lock "), None);
        let expected = Lease {
            address: "10.1.2.3".into(),
            sandbox: "abc".into(),
            interface: "net1".into(),
        };
        assert_eq!(lease("10.1.2.3 abc  net1"), Some(expected));
    }
}
