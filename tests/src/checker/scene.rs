//! What a check looks at, and how it is gathered from the node and the API.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Breach, SeenCall, breaches};
use crate::{
    error::{Error, Result},
    namespace::Namespace,
    network::Nad,
    node::{Lease, Node, parse},
    pod::Pod,
    wait::{PLUG, eventually},
};

/// Where the recording plugin keeps the calls that it saw.
const CALLS: &str = "/var/lib/cni/recorder/calls";

/// Hardware address, and addresses without prefix.
pub(crate) type Seen = (String, Vec<String>);

/// A running pod's sandbox. `eth0` is left out everywhere.
#[derive(Clone, Debug, Default)]
pub struct LiveSandbox {
    /// The pod's name.
    pub pod: String,
    /// The sandbox id.
    pub id: String,
    /// The interfaces that the annotation names.
    pub wanted: Vec<String>,
    /// The interfaces in the pod's network namespace.
    pub kernel: BTreeMap<String, Seen>,
    /// The interfaces in network-status.
    pub status: BTreeMap<String, Seen>,
    /// The interfaces of which the agent keeps a record.
    pub records: Vec<String>,
    /// Names of libcni's cache entries.
    pub cached: Vec<String>,
}

/// Everything that a check compares.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The running pods' sandboxes.
    pub live: Vec<LiveSandbox>,
    /// Sandboxes that have ended: id, names of cache entries, names of record files.
    pub ended: Vec<(String, Vec<String>, Vec<String>)>,
    /// The leases of all networks of the test.
    pub leases: Vec<Lease>,
    /// How addresses of those networks begin (`10.150.7.`).
    pub subnets: Vec<String>,
    /// What the recording plugin saw of these sandboxes.
    pub calls: Vec<SeenCall>,
}

impl Scene {
    /// Whether a running pod has this interface.
    pub(super) fn has(&self, sandbox: &str, interface: &str) -> bool {
        self.live
            .iter()
            .any(|live| live.id == sandbox && live.kernel.contains_key(interface))
    }

    /// Gathers the scene of `pods` (running, with the interfaces that their annotation wants), `ended` sandboxes, and all
    /// leases of `nads`.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub async fn gather(
        node: &Node,
        pods: &[(&Pod, &[&str])],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<Self> {
        let mut scene = Self::default();
        for (pod, wanted) in pods {
            scene.live.push(live(node, pod, wanted).await?);
        }
        for id in ended {
            let (cached, state) = (node.cached_results(id).await?, node.state_of(id).await?);
            scene.ended.push((id.clone(), cached, state));
        }
        for nad in nads {
            scene.leases.extend(node.leases(&nad.config_name).await?);
            scene.subnets.push(format!("{}.", nad.subnet));
        }
        let sandboxes: BTreeSet<_> = scene.live.iter().map(|live| &live.id).chain(ended).collect();
        let mut calls = node.recorded_calls().await?;
        calls.retain(|call| sandboxes.contains(&call.sandbox));
        scene.calls = calls;
        Ok(scene)
    }
}

async fn live(node: &Node, pod: &Pod, wanted: &[&str]) -> Result<LiveSandbox> {
    let id = pod.sandbox().await?.id.clone();
    let bare = |a: String| a.split('/').next().map(str::to_owned);
    let kernel = pod.interfaces().await?.into_iter();
    let kernel = kernel.filter(|i| i.name != "eth0").map(|i| {
        (
            i.name,
            (i.mac, i.addresses.into_iter().filter_map(bare).collect()),
        )
    });
    let status = pod.network_status().await?.into_iter();
    Ok(LiveSandbox {
        pod: pod.name.clone(),
        wanted: wanted.iter().map(|&name| name.to_owned()).collect(),
        kernel: kernel.collect(),
        status: status.map(|e| (e.interface, (e.mac, e.ips))).collect(),
        records: pod.records().await?,
        cached: node.cached_results(&id).await?,
        id,
    })
}

impl Namespace {
    /// Waits until the node is at rest without a breach: see [`breaches`] and [`Scene::gather`].
    ///
    /// # Errors
    /// [`Error::Deadline`] with the breaches that stay.
    pub async fn is_at_rest(&self, pods: &[(&Pod, &[&str])], ended: &[String], nads: &[&Nad]) -> Result<()> {
        eventually(PLUG, "the node is at rest without a breach", async || {
            let scene = Scene::gather(&self.cluster.node, pods, ended, nads).await?;
            let found: BTreeSet<Breach> = breaches(&scene);
            if found.is_empty() {
                return Ok(());
            }
            let list: Vec<_> = found.iter().map(ToString::to_string).collect();
            Err(Error::Unexpected(list.join(", ")))
        })
        .await
    }
}

#[derive(Deserialize)]
struct Recorded {
    environment: BTreeMap<String, String>,
}

impl Node {
    /// Everything that the recording plugin saw on this node.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Unexpected`] for files that it did not write.
    pub async fn recorded_calls(&self) -> Result<Vec<SeenCall>> {
        let script = r#"cd "$1" 2>/dev/null || exit 0
            for f in *.json; do [ ! -e "$f" ] || echo "${f%.json} $(date -r "${f%.json}.ended" +%s%N 2>/dev/null || echo -) $(cat "$f")"; done"#;
        let printed = self.run(&["sh", "-c", script, "sh", CALLS]).await?;
        printed.lines().map(seen_call).collect()
    }
}

/// `NANOSECONDS-COMMAND-PID END JSON`, END being `-` for a call that did not end.
fn seen_call(line: &str) -> Result<SeenCall> {
    let strange = || Error::Unexpected(format!("not a recorded call: {line:.200}"));
    let mut parts = line.splitn(3, ' ');
    let mut next = || parts.next().ok_or_else(strange);
    let (name, ended, json) = (next()?, next()?, next()?);
    let (began, command) = name.split_once('-').ok_or_else(strange)?;
    let Recorded { mut environment } = parse(json)?;
    let mut variable = |name: &str| environment.remove(name).unwrap_or_default();
    Ok(SeenCall {
        began: began.parse().map_err(|_| strange())?,
        ended: ended.parse().ok(),
        command: command.split('-').next().unwrap_or_default().to_owned(),
        sandbox: variable("CNI_CONTAINERID"),
        interface: variable("CNI_IFNAME"),
    })
}
