//! What `hack/scale.sh` computes with: bytes of the objects that are watched and written, and
//! requests of the agent while multus is restarted.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::Serialize;
use tests::{Error, Namespace, Result, figures::row, macvlan};

use crate::{agent, statuses::Statuses};

/// Of a pod with two networks, its networks and events.
pub async fn sizes(ns: &Namespace) -> Result<()> {
    eprintln!("sizes of objects");
    ns.create_nad("sized", macvlan().host_local()).await?;
    let pod = ns.running_pod("sized", "sized@net1").await?;
    let statuses = Statuses::follow(ns);
    pod.annotate("sized@net1,sized@net2").await?;
    statuses.shows(&pod.name, &["net1", "net2"]).await?;
    pod.has_event("AddedInterface", "net2").await?;

    let client = || -> Client { ns.cluster.client.clone() };
    let pods: Api<Pod> = Api::namespaced(client(), &ns.name);
    size("POD", "a pod", &pods.get(&pod.name).await)?;
    size(
        "POD_METADATA",
        "metadata of a pod",
        &pods.get_metadata(&pod.name).await,
    )?;
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let kind = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    let networks: Api<DynamicObject> = Api::namespaced_with(client(), &ns.name, &kind);
    size("NETWORK", "a network", &networks.get("sized").await)?;
    size(
        "NETWORK_METADATA",
        "metadata of a network",
        &networks.get_metadata("sized").await,
    )?;
    let events: Api<Event> = Api::namespaced(client(), &ns.name);
    let about =
        ListParams::default().fields(&format!("reason=AddedInterface,involvedObject.name={}", pod.name));
    let events = events.list(&about).await;
    let event = events.map(|events| events.items.into_iter().next());
    size("EVENT", "an event", &event)?;
    let status = pod.network_status_text().await?;
    row(
        "bytes of network-status (PATCH, and 600 of the condition)",
        &status.len().to_string(),
        "two networks",
        "",
        None,
    );
    pod.delete().await
}

fn size<T: Serialize>(variable: &str, what: &str, object: &kube::Result<T>) -> Result<()> {
    let object = object.as_ref().map_err(unexpected)?;
    let text = serde_json::to_string(object).map_err(unexpected)?;
    row(
        &format!("bytes of {what} ({variable})"),
        &text.len().to_string(),
        "",
        "",
        None,
    );
    Ok(())
}

/// Beside pods with networks that are at rest.
pub async fn multus_roll(ns: &Namespace, pods: usize) -> Result<()> {
    // Events come after the status.
    tokio::time::sleep(agent::QUIET).await;
    let before = agent::requests(ns).await?;
    ns.cluster.restart_multus().await?;
    tokio::time::sleep(agent::QUIET).await;
    let after = agent::requests(ns).await?;
    let before: f64 = before.values().sum();
    let after: f64 = after.values().sum();
    row(
        &format!("API requests of the agent while multus is restarted, {pods} pods at rest"),
        &format!("{:.0}", after - before),
        "in 20 s",
        "",
        None,
    );
    Ok(())
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
