//! `kubectl networks wait`, and the end of `connect` and `disconnect`.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    api::{WatchEvent, WatchParams},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    args::Wait,
    cluster::Cluster,
    error::{Doing as _, Error, all},
    readiness::{Readiness, readiness},
};

/// Between a watch that broke and the next.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for all pods of the target.
pub async fn run(cluster: &Cluster, wait: &Wait) -> Result<(), Error> {
    let pods = cluster.pods_of(&wait.target).await?;
    let waits = pods.into_iter().map(async |pod| {
        let pod = until_ready(cluster, pod, wait.timeout).await?;
        println!("pod/{} networks ready", pod.name_any());
        Ok(())
    });
    all(join_all(waits).await)
}

/// Follows `pod` from the state that is given until the agent says that its networks are as its
/// annotation says, or why not.
pub async fn until_ready(cluster: &Cluster, pod: Pod, patience: Duration) -> Result<Pod, Error> {
    let (name, until) = (pod.name_any(), Instant::now() + patience);
    let mut last = pod;
    loop {
        let last_seen = match readiness(&last) {
            Readiness::Ready => return Ok(last),
            Readiness::Failed(message) => {
                return Err(Error::NotAttached {
                    namespace: last.namespace().unwrap_or_default(),
                    pod: name,
                    message,
                });
            }
            Readiness::Waiting(message) => message,
        };
        let next = timeout_at(until, next_state(cluster, &last)).await;
        let Ok(next) = next else {
            return Err(Error::Timeout {
                pod: name,
                waited: patience,
                last_seen,
            });
        };
        last = next?;
    }
}

/// The pod when it has changed.
async fn next_state(cluster: &Cluster, pod: &Pod) -> Result<Pod, Error> {
    let (pods, name) = (cluster.pods(), pod.name_any());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = pod.resource_version().unwrap_or_default();
    let doing = || format!("watch pod {name}");
    let watch = pods.watch(&params, &version).await.doing(doing)?;
    let mut events = watch.boxed();
    match events.next().await {
        Some(Ok(WatchEvent::Modified(pod) | WatchEvent::Added(pod))) => return Ok(pod),
        Some(Ok(WatchEvent::Deleted(_))) => return Err(Error::Edit(format!("pod {name} was deleted"))),
        // The version is too old, or the watch broke: what the pod is now.
        _ => sleep(PAUSE).await,
    }
    pods.get(&name).await.doing(|| format!("read pod {name}"))
}
