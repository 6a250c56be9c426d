//! Triggers a reconcile when the Secret or a registration changes: another replica rotated the CA,
//! or a user applied the manifest again.

use std::fmt::Debug;

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Secret,
};
use kube::{
    Api, Client, Resource,
    api::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::cluster::{REGISTRATION, SECRET};
use crate::cluster::client::watching;

/// Notifies `changed` of every change; watches metadata only. Never returns. Errors need no
/// handling: the certificates are reconciled periodically, too.
pub async fn watch(client: Client, namespace: &str, changed: &Notify) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), namespace);
    let mutating: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(client.clone());
    let validating: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> = Api::all(client);
    let mut changes = stream::select_all([
        changes(secrets, SECRET),
        changes(mutating, REGISTRATION),
        changes(validating, REGISTRATION),
    ]);
    while let Some(()) = changes.next().await {
        changed.notify_one();
    }
}

fn changes<K>(api: Api<K>, name: &'static str) -> stream::BoxStream<'static, ()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let one = watching().fields(&format!("metadata.name={name}"));
    watcher(api, one)
        .default_backoff()
        .filter_map(async |event| match event {
            Ok(_) => Some(()),
            Err(error) => {
                tracing::debug!(%error, "watch of the CA Secret or a registration failed; will retry");
                None
            }
        })
        .boxed()
}
