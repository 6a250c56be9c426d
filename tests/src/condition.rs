//! The pod condition `NetworksReady`, as the API has it.

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodCondition};
use shared::readiness::{NETWORKS_READY, NetworksDigest};

use crate::{
    error::{Error, Result},
    pod::Pod,
};

/// The condition of this type.
pub fn condition<'p>(pod: &'p ApiPod, kind: &str) -> Option<&'p PodCondition> {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == kind)
}

/// Waits until `NetworksReady` has this status and speaks of this annotation.
///
/// # Errors
/// [`Error::Unexpected`] when that does not happen.
pub async fn networks_ready(pod: &Pod, status: &str, networks: &str) -> Result<PodCondition> {
    let digest = NetworksDigest::of(networks).to_string();
    let says = |condition: &&PodCondition| {
        let message = condition.message.as_deref();
        condition.status == status && message.is_some_and(|text| text.ends_with(&digest))
    };
    pod.reaches(|pod| condition(pod, NETWORKS_READY).filter(says).is_some())
        .await?;
    let object = pod.object().await?;
    condition(&object, NETWORKS_READY)
        .cloned()
        .ok_or_else(|| Error::Unexpected("the condition has vanished".to_owned()))
}
