//! What a check looks at, and how it is gathered from the node and the API.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::try_join_all;

use super::{Breach, SeenCall, breaches};
use crate::{
    error::{Error, Result},
    namespace::Namespace,
    network::Nad,
    node::{Lease, Node},
    pod::Pod,
    wait::{PLUG, eventually},
};

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
    /// The interfaces of multus' own configuration: they stay, and the agent has no record of them.
    pub foreign: Vec<String>,
    /// The interfaces in the pod's network namespace.
    pub kernel: BTreeMap<String, Seen>,
    /// The interfaces in network-status.
    pub status: BTreeMap<String, Seen>,
    /// The interfaces that are there by the agent's records: a tombstone says of one that it is
    /// not.
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

    /// Gathers the scene of `pods` (running, with the interfaces that their annotation wants),
    /// `ended` sandboxes, and all leases of `nads`.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub async fn gather(
        node: &Node,
        pods: &[(&Pod, &[&str])],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<Self> {
        let mut scene = Self {
            live: try_join_all(pods.iter().map(|(pod, wanted)| live(node, pod, wanted))).await?,
            ..Self::default()
        };
        for id in ended {
            let (cached, state) = (node.cached_results(id).await?, node.state_of(id).await?);
            scene.ended.push((id.clone(), cached, state));
        }
        for nad in nads {
            scene.leases.extend(node.leases(&nad.config_name).await?);
            scene.subnets.push(format!("{}.", nad.subnet));
        }
        let sandboxes: Vec<String> = scene.live.iter().map(|live| live.id.clone()).collect();
        for id in sandboxes.iter().chain(ended) {
            let recorded = node.recorded(id).await?.into_iter();
            scene.calls.extend(recorded.map(|recorded| recorded.call));
        }
        Ok(scene)
    }
}

impl Scene {
    /// The same scene, in which every running pod has these interfaces by multus' configuration.
    #[must_use]
    pub fn beside(mut self, foreign: &[&str]) -> Self {
        for live in &mut self.live {
            live.foreign = foreign.iter().map(|&name| name.to_owned()).collect();
        }
        self
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
    let records = node.record_states(&id).await?.into_iter();
    Ok(LiveSandbox {
        pod: pod.name.clone(),
        wanted: wanted.iter().map(|&name| name.to_owned()).collect(),
        kernel: kernel.collect(),
        status: status.map(|e| (e.interface, (e.mac, e.ips))).collect(),
        records: records
            .filter(|(_, state)| state != "tombstone")
            .map(|(interface, _)| interface)
            .collect(),
        foreign: Vec::new(),
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
        self.comes_to_rest(PLUG, pods, ended, nads).await
    }

    /// The same after faults, of which the last retry may be a minute away.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the breaches that stay.
    pub async fn comes_to_rest(
        &self,
        deadline: Duration,
        pods: &[(&Pod, &[&str])],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<()> {
        self.comes_to_rest_beside(&[], deadline, pods, ended, nads).await
    }

    /// The same where every pod has the `foreign` interfaces by multus' configuration.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the breaches that stay.
    pub async fn comes_to_rest_beside(
        &self,
        foreign: &[&str],
        deadline: Duration,
        pods: &[(&Pod, &[&str])],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<()> {
        eventually(deadline, "the node is at rest without a breach", async || {
            let scene = Scene::gather(&self.cluster.node, pods, ended, nads).await?;
            let found: BTreeSet<Breach> = breaches(&scene.beside(foreign));
            if found.is_empty() {
                return Ok(());
            }
            let list: Vec<_> = found.iter().map(ToString::to_string).collect();
            Err(Error::Unexpected(list.join(", ")))
        })
        .await
    }
}
