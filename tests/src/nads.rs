//! The networks of a namespace: made, changed, deleted.

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    error::{Doing, Error, Result},
    namespace::{Namespace, RUN, object},
    network::{Nad, Plugin},
    recorder::RECORDER,
    wait::{LONG, eventually},
};

impl Namespace {
    /// Creates a network here.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_nad(&self, name: &str, plugin: Plugin) -> Result<Nad> {
        let nad = Nad::new(&self.name, name);
        if plugin.is_recorded() {
            self.cluster.node.has_recorder().await?;
        }
        let config = plugin.config(&nad, &self.bridge(name));
        self.create_raw_nad(name, &config).await?;
        Ok(nad)
    }

    /// Creates a network here from the text of its CNI configuration.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_raw_nad(&self, name: &str, config: &str) -> Result<()> {
        self.create_nad_of(name, json!({}), json!({"config": config}))
            .await
    }

    /// The same, with the annotation `resourceName`.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_marked_nad(&self, name: &str, resource: &str, config: &str) -> Result<()> {
        let annotations = json!({shared::annotations::RESOURCE_NAME: resource});
        self.create_nad_of(name, annotations, json!({"config": config}))
            .await
    }

    /// Creates a network here that a test describes by itself.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_described_nad(&self, nad: &Nad, config: &str) -> Result<()> {
        if config.contains(RECORDER) {
            self.cluster.node.has_recorder().await?;
        }
        self.create_raw_nad(&nad.name, config).await
    }

    /// Creates a network here whose configuration is a file on the node.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn create_empty_nad(&self, name: &str) -> Result<()> {
        self.create_nad_of(name, json!({}), json!({})).await
    }

    async fn create_nad_of(&self, name: &str, annotations: Value, spec: Value) -> Result<()> {
        let object: DynamicObject = object(json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "labels": {RUN: self.run}, "annotations": annotations}, "spec": spec,
        }))?;
        let api = nads(&self.cluster, &self.name);
        api.create(&PostParams::default(), &object)
            .await
            .map(drop)
            .doing(format!("create NAD {name}"))
    }

    /// From now on the webhook admits networks here that cannot run, and pods that name them.
    ///
    /// # Errors
    /// [`Error::Deadline`], [`Error::Api`].
    pub async fn admits_broken_networks(&self) -> Result<()> {
        self.label(shared::annotations::ENFORCEMENT_LABEL, "warn").await?;
        let broken: DynamicObject = object(json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "broken"}, "spec": {"config": "[]"},
        }))?;
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let api = nads(&self.cluster, &self.name);
        eventually(LONG, "the webhook admits broken networks", async || {
            // Each replica hears of a label in its own time.
            for _ in 0..10 {
                api.create(&dry, &broken).await.doing("try a broken NAD")?;
            }
            Ok(())
        })
        .await
    }

    /// The CNI configuration of a network here.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Unexpected`] when its spec has none.
    pub async fn nad_config(&self, name: &str) -> Result<String> {
        let nad = nads(&self.cluster, &self.name).get(name).await;
        let nad = nad.doing(format!("read NAD {name}"))?;
        let config = nad.data.pointer("/spec/config").and_then(Value::as_str);
        config
            .map(str::to_owned)
            .ok_or_else(|| Error::Unexpected(format!("NAD {name} has no config")))
    }

    /// Gives a network another CNI configuration.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn change_nad(&self, nad: &Nad, config: &str) -> Result<()> {
        let patch = kube::api::Patch::Merge(json!({"spec": {"config": config}}));
        let params = kube::api::PatchParams::default();
        nads(&self.cluster, &nad.namespace)
            .patch(&nad.name, &params, &patch)
            .await
            .map(drop)
            .doing(format!("change NAD {}", nad.name))
    }

    /// Deletes a network.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn delete_nad(&self, nad: &Nad) -> Result<()> {
        let api = nads(&self.cluster, &nad.namespace);
        api.delete(&nad.name, &DeleteParams::default())
            .await
            .map(drop)
            .doing(format!("delete NAD {}", nad.name))
    }
}

/// The NADs of a namespace.
pub(crate) fn nads(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    Api::namespaced_with(cluster.client.clone(), namespace, &resource)
}
