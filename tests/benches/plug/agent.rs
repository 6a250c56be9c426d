//! What the agent costs: requests, flushes, processor and memory.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tests::{
    Error, NO_NETWORKS, Namespace, Result,
    figures::{milliseconds, row},
    macvlan,
};

use crate::{number, statuses::Statuses};

/// Plugs that are counted.
const PLUGS: usize = 40;
/// How long the agent is left alone.
pub const QUIET: Duration = Duration::from_secs(20);
/// The most memory at rest with a full node, in MB.
const MOST_AT_REST: f64 = 15.0;

/// Of the agent's process.
pub struct Vitals {
    /// Seconds of CPU since it started.
    pub cpu: f64,
    /// Resident memory in MB (10^6 bytes).
    pub rss: f64,
    /// Calls to the container runtime since it started.
    pub cri_calls: f64,
}

impl Vitals {
    /// Now.
    pub async fn of(ns: &Namespace) -> Result<Self> {
        Ok(Self {
            cpu: ns.cluster.agent_metric("process_cpu_seconds_total").await?,
            rss: ns.cluster.agent_metric("process_resident_memory_bytes").await? / 1e6,
            cri_calls: ns
                .cluster
                .agent_metric("dynamic_networks_agent_cri_calls_total")
                .await?,
        })
    }
}

/// Memory and processor while nothing happens.
pub async fn at_rest(ns: &Namespace, beside: &str) -> Result<()> {
    let before = Vitals::of(ns).await?;
    tokio::time::sleep(QUIET).await;
    let after = Vitals::of(ns).await?;
    let goal = beside.starts_with("110 ");
    row(
        &format!("agent at rest, {beside}: RSS"),
        &format!("{:.1} MB", after.rss),
        &format!(
            "{:.1} ms of CPU a second",
            (after.cpu - before.cpu) * 1e3 / QUIET.as_secs_f64()
        ),
        if goal { "<= 15 MB" } else { "" },
        goal.then_some(after.rss <= MOST_AT_REST),
    );
    Ok(())
}

/// Per plug: requests of the API server, by its own metrics, flushes, and CPU.
pub async fn costs(ns: &Namespace) -> Result<()> {
    eprintln!("{PLUGS} plugs, counted");
    ns.create_nad("counted", macvlan().host_local()).await?;
    let pod = ns.running_pod("counted", NO_NETWORKS).await?;
    let statuses = Statuses::follow(ns);
    pod.annotate("counted@first").await?;
    statuses.shows(&pod.name, &["first"]).await?;
    // Events come after the status.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let flushes = Flushes::count().await?;
    let (requests, vitals) = (requests(ns).await?, Vitals::of(ns).await?);
    let mut names = vec!["first".to_owned()];
    for plug in 0..PLUGS {
        names.push(format!("n{plug}"));
        let list: Vec<_> = names.iter().map(|name| format!("counted@{name}")).collect();
        pod.annotate(&list.join(",")).await?;
        let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        statuses.shows(&pod.name, &wanted).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, vitals_after) = (self::requests(ns).await?, Vitals::of(ns).await?);
    let per_plug = |count: f64| count / PLUGS as f64;
    let mut words = Vec::new();
    let mut all = 0.0;
    for (what, count) in &after {
        let more = per_plug(count - requests.get(what).copied().unwrap_or_default());
        if more >= 0.05 {
            words.push(format!("{what} {more:.2}"));
            all += more;
        }
    }
    row(
        "API requests of the agent for a plug",
        &format!("{all:.2}"),
        &words.join(", "),
        "<= 3",
        Some(all <= 3.0),
    );
    let flushes = flushes.stop().await;
    let (figure, met) = match flushes {
        Some(flushes) => {
            let each = per_plug(flushes as f64);
            (format!("{each:.2}"), Some(each <= 1.0))
        }
        None => ("no strace here".to_owned(), None),
    };
    row(
        "flushes of the agent for a plug (fsync, fdatasync)",
        &figure,
        "",
        "<= 1",
        met,
    );
    let cpu = Duration::from_secs_f64(per_plug(vitals_after.cpu - vitals.cpu).max(0.0));
    row("CPU of the agent for a plug", &milliseconds(cpu), "", "", None);
    let calls = per_plug(vitals_after.cri_calls - vitals.cri_calls);
    row(
        "CRI calls of the agent for a plug",
        &format!("{calls:.2}"),
        "",
        "",
        None,
    );
    pod.delete().await
}

/// Requests that the agent sends, by what they are about. The bench sends none of these kinds;
/// multus writes an event for each ADD.
pub async fn requests(ns: &Namespace) -> Result<BTreeMap<String, f64>> {
    let page = ns.cluster.kubectl(&["get", "--raw", "/metrics"]).await?;
    let mut counts = BTreeMap::new();
    for line in page
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
    {
        let Some((labels, count)) = line.rsplit_once(' ') else {
            continue;
        };
        let has = |label: &str, value: &str| labels.contains(&format!("{label}=\"{value}\""));
        let what = if has("resource", "pods") && has("subresource", "status") && has("verb", "PATCH") {
            "PATCH pods/status"
        } else if has("resource", "network-attachment-definitions") && has("verb", "GET") {
            "GET network"
        } else if has("resource", "events") {
            "events of the agent and of multus"
        } else if has("resource", "pods") && has("verb", "LIST") {
            "LIST pods"
        } else {
            continue;
        };
        *counts.entry(what.to_owned()).or_default() += count.parse::<f64>().unwrap_or_default();
    }
    Ok(counts)
}

/// Counts flushes of the agent with strace, where that is installed.
struct Flushes(Option<(tokio::process::Child, tempfile::NamedTempFile)>);

impl Flushes {
    async fn count() -> Result<Self> {
        // As this machine counts: the node's processes are its own.
        let found = tokio::process::Command::new("pgrep")
            .args(["--oldest", "--full", "^/dynamic-networks-agent"])
            .output();
        let found = found
            .await
            .map_err(|error| Error::Unexpected(format!("pgrep: {error}")))?;
        let pid = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let Ok(file) = tempfile::NamedTempFile::new() else {
            return Ok(Self(None));
        };
        let traced = tokio::process::Command::new("strace")
            .args(["-f", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(file.path())
            .args(["-p", &pid])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        // It is attached before anything is counted.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Self(traced.ok().map(|strace| (strace, file))))
    }

    async fn stop(self) -> Option<usize> {
        let (mut strace, file) = self.0?;
        if !matches!(strace.try_wait(), Ok(None)) {
            return None;
        }
        let id = strace.id()?.to_string();
        // On SIGTERM strace detaches from the agent and writes its file.
        let told = tokio::process::Command::new("kill").arg(id).status().await;
        told.ok()?;
        strace.wait().await.ok()?;
        let text = std::fs::read_to_string(file.path()).ok()?;
        let flushes = |line: &&str| line.contains("fsync(") || line.contains("fdatasync(");
        Some(text.lines().filter(flushes).count())
    }
}

/// Memory beside pods of other nodes and networks that this node does not use.
pub async fn memory(ns: &Namespace) -> Result<()> {
    const AT_ONCE: usize = 16;
    let pods = number("ELSEWHERE", 5000);
    let before = Vitals::of(ns).await?;
    eprintln!("{} networks and {pods} pods elsewhere", 2 * pods);
    let networks = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition"),
        "network-attachment-definitions",
    );
    let networks: Api<DynamicObject> = Api::namespaced_with(ns.cluster.client.clone(), &ns.name, &networks);
    let pod_api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
    let config = json!({"cniVersion": "1.0.0", "name": "n", "type": "macvlan", "master": "eth1"}).to_string();
    let made = futures::stream::iter(0..2 * pods).map(async |index| {
        let network = object(json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": format!("unused{index}")}, "spec": {"config": config},
        }))?;
        networks
            .create(&PostParams::default(), &network)
            .await
            .map_err(|error| unexpected(&error))?;
        if index < pods {
            let pod = object(json!({
                "metadata": {"name": format!("elsewhere{index}")},
                "spec": {
                    "schedulingGates": [{"name": "example.com/never"}],
                    "containers": [{"name": "app", "image": "docker.io/library/busybox"}],
                },
            }))?;
            pod_api
                .create(&PostParams::default(), &pod)
                .await
                .map_err(|error| unexpected(&error))?;
        }
        Ok::<_, Error>(())
    });
    made.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    tokio::time::sleep(QUIET).await;
    let after = Vitals::of(ns).await?;
    let more = after.rss - before.rss;
    row(
        &format!(
            "agent with {} networks and {pods} pods elsewhere: RSS more by",
            2 * pods
        ),
        &format!("{more:.1} MB"),
        &format!("before {:.1} MB", before.rss),
        "<= 1 MB",
        Some(more <= 1.0),
    );
    Ok(())
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Unexpected(error.to_string()))
}

fn unexpected(error: &kube::Error) -> Error {
    Error::Unexpected(error.to_string())
}
