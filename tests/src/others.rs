//! Other controllers that a test installs from `tests/take-over/`, and that an interrupted one
//! leaves.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{
    cluster::Cluster,
    error::{Doing, Result},
};

/// Labels of their DaemonSets, of which one is the agent's, too.
const LABELS: &str = "app in (dynamic-networks-controller, rke2-multus-dnc)";
/// What they all run.
const IMAGE: &str = "docker.io/library/busybox";

impl Cluster {
    /// Deletes their DaemonSets. What else there is of them has names of ours, or does nothing.
    pub(crate) async fn has_no_other_controller(&self) -> Result<()> {
        let all: Api<DaemonSet> = Api::all(self.client.clone());
        let sets = all.list(&ListParams::default().labels(LABELS)).await;
        for set in sets.doing("list DaemonSets")? {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            let mut containers = pod.into_iter().flat_map(|pod| &pod.containers);
            if !containers.any(|container| container.image.as_deref() == Some(IMAGE)) {
                continue;
            }
            let namespace = set.namespace().unwrap_or_default();
            let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &namespace);
            let deleted = api.delete(&set.name_any(), &DeleteParams::default()).await;
            deleted
                .map(drop)
                .doing(format!("delete DaemonSet {namespace}/{}", set.name_any()))?;
        }
        Ok(())
    }
}
