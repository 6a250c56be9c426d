//! `kubectl networks connect` and `disconnect`.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use shared::{
    annotations::NETWORKS,
    names::InterfaceName,
    selection::{NewElement, SelectionList},
};

use crate::{
    args::{Connect, Disconnect, Patience, Target},
    cluster::Cluster,
    edit,
    error::{Doing as _, Error, all},
    readiness::annotation,
    rows::{Row, rows},
    wait::until_ready,
};

/// Edits of several pods at once.
const AT_ONCE: usize = 16;
/// Tries of an edit while other clients edit the same pod.
const TRIES: usize = 20;
/// The API server's answer to an edit of an earlier version.
const CONFLICT: u16 = 409;

/// Plugs a network into each pod of the target.
pub async fn connect(cluster: &Cluster, connect: &Connect) -> Result<(), Error> {
    let interface = connect.interface.as_deref().map(InterfaceName::parse).transpose();
    let element = NewElement {
        network: cluster.network_name(&connect.network, connect.namespace_of_nad.as_deref())?,
        interface: interface.map_err(|error| Error::Edit(format!("--interface: {error}")))?,
        ips: connect.ips.clone(),
        mac: connect.mac.clone(),
    };
    let edited = |list: &SelectionList| edit::connected(list, &element);
    edit_all(cluster, &connect.target, &connect.patience, "connected", edited).await
}

/// Unplugs a network from each pod of the target.
pub async fn disconnect(cluster: &Cluster, disconnect: &Disconnect) -> Result<(), Error> {
    let what = &disconnect.interface_or_network;
    let edited = |list: &SelectionList| edit::disconnected(list, &cluster.namespace, what);
    edit_all(
        cluster,
        &disconnect.target,
        &disconnect.patience,
        "disconnected",
        edited,
    )
    .await
}

async fn edit_all(
    cluster: &Cluster,
    target: &Target,
    patience: &Patience,
    done: &str,
    edited: impl Fn(&SelectionList) -> Result<String, Error>,
) -> Result<(), Error> {
    let pods = cluster.pods_of(target).await?;
    let edits = pods.into_iter().map(async |pod| {
        let (before, after) = edit_one(cluster, pod, &edited).await?;
        let after = if patience.wait {
            until_ready(cluster, after, patience.timeout).await?
        } else {
            after
        };
        tell(&before, &after, if patience.wait { done } else { "edited" });
        Ok::<_, Error>(())
    });
    let outcomes: Vec<Result<(), Error>> = futures::stream::iter(edits)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    if let Target::Workload(plural, name) = target {
        eprintln!(
            "Note: the template of {plural}/{name} was not changed. Pods that it makes later start with the template's networks."
        );
    }
    all(outcomes)
}

/// Edits what the pod has now: an edit that another client made meanwhile is read and kept.
async fn edit_one(
    cluster: &Cluster,
    pod: Pod,
    edited: impl Fn(&SelectionList) -> Result<String, Error>,
) -> Result<(Pod, Pod), Error> {
    let (pods, name, mut pod) = (cluster.pods(), pod.name_any(), pod);
    for _ in 0..TRIES {
        let list = edit::parse(annotation(&pod), &pod.namespace().unwrap_or_default())?;
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": pod.resource_version(),
            "annotations": {NETWORKS: edited(&list)?},
        }}));
        match pods.patch(&name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(refused)) if refused.code == CONFLICT => {
                pod = pods.get(&name).await.doing(|| format!("read pod {name}"))?;
            }
            answer => {
                let after = answer.doing(|| format!("edit pod {name}"))?;
                return Ok((pod, after));
            }
        }
    }
    Err(Error::Edit(format!(
        "pod {name} was changed by other clients {TRIES} times in a row; try again"
    )))
}

/// Prints the networks that were added, removed, or changed their state.
fn tell(before: &Pod, after: &Pod, done: &str) {
    let (old, new) = (rows(before), rows(after));
    let same = |one: &Row, other: &Row| one.interface == other.interface && one.network == other.network;
    let (from, than) = if new.len() >= old.len() {
        (&new, &old)
    } else {
        (&old, &new)
    };
    let changed = from.iter().filter(|row| {
        !than
            .iter()
            .any(|other| same(row, other) && row.state == other.state)
    });
    let mut told = false;
    for row in changed {
        told = true;
        let addresses = row.addresses.join(",");
        println!(
            "pod/{} {done} {} {} {addresses}",
            row.pod, row.network, row.interface
        );
    }
    if !told {
        println!("pod/{} {done}", after.name_any());
    }
}
