//! Finds out which devices of the node a pod was given: from the kubelet's PodResources API, and
//! for devices of claims (DRA) from the ResourceSlices of their drivers. Asked only when a network
//! is plugged whose plugins take a device.

mod error;
mod info;
mod pod_resources;
mod slices;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use agent_core::identity::PodIdentity;
use kube::Client;
use serde_json::Value;

use crate::disk::blocking::blocking;
pub use error::{CALL_DEADLINE, KubeletError};
pub use pod_resources::{Allocation, ClaimDevice, PodResources};

/// So many devices of one resource of one pod are considered.
const MAX_DEVICES: usize = 1024;
/// The longest id: it stands in a CNI configuration and in a file name.
const MAX_ID_BYTES: usize = 200;

/// See the module.
pub struct Devices {
    /// The kubelet.
    pub kubelet: PodResources,
    /// The API server.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// Where the node's `/run` is mounted.
    pub host_run: PathBuf,
}

impl Devices {
    /// The devices of `resource` that the pod was given, and what device plugins say about each
    /// for network-status.
    ///
    /// # Errors
    /// For people: why it is not known.
    pub async fn of_pod(
        &self,
        pod: &PodIdentity,
        resource: &str,
    ) -> Result<BTreeMap<String, Option<Value>>, String> {
        let allocation = self.kubelet.of_pod(pod).await;
        let allocation = allocation.map_err(|error| error.to_string())?;
        let mut ids = allocation.devices_of(resource);
        match slices::devices_of(&self.client, &self.node, &allocation.claims, resource).await {
            Ok(claimed) => ids.extend(claimed),
            // A claim of another resource must not hold up what a device plugin gave.
            Err(error) if !ids.is_empty() => {
                tracing::warn!(%pod, resource, %error, "reading the ResourceSlices of the pod's claims failed");
            }
            Err(error) => return Err(format!("reading the ResourceSlices of the pod's claims: {error}")),
        }
        self.with_info(resource.to_owned(), usable(pod, resource, ids))
            .await
    }

    async fn with_info(
        &self,
        resource: String,
        ids: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Option<Value>>, String> {
        let dir = self.host_run.clone();
        blocking(move || {
            let known = ids.into_iter().map(|id| {
                let info = info::read(&dir, &resource, &id).unwrap_or_else(|error| {
                    tracing::warn!(resource, id, %error, "leaving out a device-info file that cannot be used");
                    None
                });
                (id, info)
            });
            Ok::<_, std::convert::Infallible>(known.collect())
        })
        .await
    }
}

/// The ids that a CNI configuration and a file name can have.
fn usable(pod: &PodIdentity, resource: &str, ids: BTreeSet<String>) -> BTreeSet<String> {
    let count = ids.len();
    let is_usable = |id: &String| {
        !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.contains(|letter: char| letter.is_control())
    };
    let usable: BTreeSet<String> = ids.into_iter().filter(is_usable).take(MAX_DEVICES).collect();
    if usable.len() < count {
        tracing::warn!(%pod, resource, left_out = count - usable.len(), "leaving out devices with unusable ids");
    }
    usable
}
