//! How pods end, and what of theirs is freed when, by the node's own clock.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, EvictParams};

use crate::{
    cluster::Cluster,
    error::{Doing, Error, Result},
    network::Nad,
    node::{LEASES, MULTUS_CACHE, Node, Sandbox},
    pod::Pod,
    wait::{LONG, eventually},
};

/// What the agent promises: so long after the end of a sandbox, nothing of what it plugged there is
/// left.
pub const RELEASE: Duration = Duration::from_secs(5);
/// What the agent promises for sandboxes that ended while it was down: so long after its start.
pub const RELEASE_AT_START: Duration = Duration::from_secs(10);
/// A test fails at this many times a promise: the machines that run it are slow and busy, the nodes
/// of the promise are not.
pub const PATIENCE: u32 = 3;

/// How a pod is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// With its own grace period.
    Deleted,
    /// By the eviction API, as `kubectl drain` does.
    Evicted,
    /// With a grace period of 0.
    Forced,
}

/// One attachment whose release is watched: made before the end begins, because afterwards its
/// traces cannot be found any more.
pub struct Watched {
    node: Node,
    sandbox: Sandbox,
    interface: String,
    /// The main process of the pod's container, as the node counts.
    process: String,
    /// The lease and libcni's cache entry.
    traces: Vec<String>,
}

impl Pod {
    /// Begins to delete the pod with the grace period of its own, or another one; 0 is by force.
    /// Waits for nothing.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn begin_deletion(&self, grace: impl Into<Option<u32>>) -> Result<()> {
        let parameters = DeleteParams {
            grace_period_seconds: grace.into(),
            ..DeleteParams::default()
        };
        let deleted = self.api.delete(&self.name, &parameters).await;
        deleted.map(drop).doing(format!("delete pod {}", self.name))
    }

    /// Has it evicted, as `kubectl drain` does. Waits for nothing.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn evict(&self) -> Result<()> {
        let evicted = self.api.evict(&self.name, &EvictParams::default()).await;
        evicted.map(drop).doing(format!("evict pod {}", self.name))
    }

    /// Waits until the network namespace of its sandbox is gone.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn network_is_gone(&self) -> Result<()> {
        let path = &self.sandbox().await?.namespace_path;
        let description = format!("the network of {} is gone", self.name);
        eventually(LONG, description, async || {
            self.node.run(&["test", "!", "-e", path]).await.map(drop)
        })
        .await
    }

    /// Terminates the pod in one of several ways. Waits for nothing.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn terminate(&self, end: Termination) -> Result<()> {
        match end {
            Termination::Deleted => self.begin_deletion(None).await,
            Termination::Evicted => self.evict().await,
            Termination::Forced => self.begin_deletion(0).await,
        }
    }

    /// Prepares to watch how its plugged `interface` with an address of `nad` is released.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is nothing to release.
    pub async fn watched(&self, nad: &Nad, interface: &str) -> Result<Watched> {
        let sandbox = self.sandbox().await?.clone();
        let lease = self
            .leases(nad)
            .await?
            .into_iter()
            .find(|l| l.interface == interface);
        let lease = lease.ok_or_else(|| Error::Unexpected(format!("{interface} has no lease")))?;
        let config = &nad.config_name;
        Ok(Watched {
            node: self.node.clone(),
            process: self.node.main_process(&self.uid).await?,
            traces: vec![
                format!("{LEASES}/{config}/{}", lease.address),
                format!("{MULTUS_CACHE}/results/{config}-{}-{interface}", sandbox.id),
            ],
            interface: interface.to_owned(),
            sandbox,
        })
    }
}

impl Watched {
    /// Waits until the sandbox has ended and every trace is gone, and returns the time between the
    /// two.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when anything is missing while the container runs, or left after
    /// [`PATIENCE`] times [`RELEASE`].
    pub async fn released(&self) -> Result<Duration> {
        let took = self.took().await?;
        let limit = RELEASE * PATIENCE;
        if took > limit {
            return Err(Error::Unexpected(format!(
                "released {took:?} after the end, allowed are {limit:?}"
            )));
        }
        Ok(took)
    }

    async fn took(&self) -> Result<Duration> {
        let (limit, settings) = (
            LONG.as_millis().to_string(),
            [&self.sandbox.namespace_path, &self.interface, &self.process],
        );
        let mut command = vec!["sh", "-c", WATCH, "sh", &limit];
        command.extend(settings.iter().map(|s| s.as_str()));
        command.extend(self.traces.iter().map(String::as_str));
        let said = self.node.run(&command).await?;
        let said = said.trim();
        said.parse()
            .map(Duration::from_millis)
            .map_err(|_| Error::Unexpected(format!("the release of {}: {said}", self.interface)))
    }

    /// Waits until every trace is gone, however long after what.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is left.
    pub async fn is_gone(&self) -> Result<()> {
        eventually(LONG, format!("{} is released", self.interface), async || {
            let left = self.node.existing(&self.traces).await?;
            if left.is_empty() {
                Ok(())
            } else {
                Err(Error::Unexpected(left))
            }
        })
        .await
    }
}

/// Prints the milliseconds between the end of the namespace and that of all traces, or what went
/// wrong. In each round the process is looked at last: what is missing while it still runs was
/// taken from it.
const WATCH: &str = r#"
    limit=$1 netns=$2 interface=$3 process=$4
    shift 4
    kept() {
        for trace; do [ -e "$trace" ] || return 1; done
        links=$(nsenter --net="$netns" ip -oneline link 2>/dev/null) || return 0
        case $links in *" $interface@"* | *" $interface:"*) ;; *) return 1 ;; esac
    }
    left() {
        for trace; do [ ! -e "$trace" ] || return 0; done
        return 1
    }
    now() { date +%s%3N; }
    begin=$(now)
    while [ -e "$netns" ]; do
        if ! kept "$@" && kill -0 "$process" 2>/dev/null; then echo "gone while the container runs"; exit; fi
        [ $(($(now) - begin)) -lt "$limit" ] || { echo "the sandbox does not end"; exit; }
        sleep 0.05
    done
    ended=$(now)
    while left "$@"; do
        [ $(($(now) - ended)) -lt "$limit" ] || { echo "never"; exit; }
        sleep 0.02
    done
    echo $(($(now) - ended))
"#;

impl Cluster {
    /// How long after its start the running agent had released `interface` of a sandbox that ended
    /// before: by its own log. Waits for that.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it did not, [`Error::Unexpected`] when it took [`PATIENCE`] times
    /// [`RELEASE_AT_START`].
    pub async fn released_at_start(&self, watched: &Watched) -> Result<Duration> {
        let about = [
            " released ".to_owned(),
            format!(" sandbox={}", watched.sandbox.id),
            format!(" interface={}", watched.interface),
        ];
        let took = eventually(LONG, "the agent says that it has released it", async || {
            let log = self.agent_log().await?;
            let start = log.lines().next().and_then(written_at);
            let released = log
                .lines()
                .find(|line| about.iter().all(|part| line.contains(part.as_str())));
            start
                .zip(released.and_then(written_at))
                .and_then(|(start, released)| Duration::try_from(released.duration_since(start)).ok())
                .ok_or_else(|| Error::Unexpected(log.clone()))
        })
        .await?;
        watched.is_gone().await?;
        let limit = RELEASE_AT_START * PATIENCE;
        if took > limit {
            return Err(Error::Unexpected(format!(
                "released {took:?} after its start, allowed are {limit:?}"
            )));
        }
        Ok(took)
    }
}

/// The time at the beginning of a line of the agent's log.
fn written_at(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

impl Node {
    /// The main process of the one running container of the pod with `uid`, as the node counts.
    pub(crate) async fn main_process(&self, uid: &str) -> Result<String> {
        self.task(uid, "container").await
    }

    /// Waits until neither the agent nor libcni keeps a file about a sandbox that has ended. `eth0`
    /// is left out: that one is between multus and the kubelet, which may take minutes.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is left.
    pub async fn forgets(&self, sandbox: &str) -> Result<()> {
        eventually(LONG, "the node remembers nothing of the sandbox", async || {
            let (records, mut results) = (self.state_of(sandbox).await?, self.cached_results(sandbox).await?);
            results.retain(|name| !name.ends_with("-eth0"));
            let forgotten = records.is_empty() && results.is_empty();
            forgotten
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{records:?}, {results:?}")))
        })
        .await
    }

    /// Kills the process that holds the sandbox of the pod with `uid` (the pause container's), as
    /// the kernel may when memory is short.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn kill_sandbox(&self, uid: &str) -> Result<()> {
        let process = self.task(uid, "sandbox").await?;
        self.run(&["kill", "-KILL", &process]).await.map(drop)
    }

    async fn task(&self, uid: &str, kind: &str) -> Result<String> {
        let filter =
            format!(r#"labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"=={kind}"#);
        let script = r#"ids=$(ctr -n k8s.io containers list -q "$1") || exit
            ctr -n k8s.io tasks list | awk -v ids="$ids" 'index(ids, $1) && $3 == "RUNNING" { print $2 }'"#;
        let printed = self.run(&["sh", "-c", script, "sh", &filter]).await?;
        let mut processes = printed.split_whitespace();
        match (processes.next(), processes.next()) {
            (Some(process), None) => Ok(process.to_owned()),
            _ => Err(Error::Unexpected(format!(
                "the {kind} of pod {uid} has the processes {printed:?}"
            ))),
        }
    }

    /// Those of `paths` that exist, separated by spaces.
    async fn existing(&self, paths: &[String]) -> Result<String> {
        let script = r#"for path; do [ ! -e "$path" ] || printf '%s ' "$path"; done"#;
        let mut command = vec!["sh", "-c", script, "sh"];
        command.extend(paths.iter().map(String::as_str));
        Ok(self.run(&command).await?.trim().to_owned())
    }
}
