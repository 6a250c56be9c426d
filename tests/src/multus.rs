//! The node's multus daemon: its configuration changed for one test, and the kind of its networks
//! taken away.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    error::{Doing, Error, Result},
    node::parse,
    repository,
    wait::{LONG, eventually},
};

/// On the node.
const CONFIG: &str = "/etc/cni/net.d/multus.d/daemon-config.json";
const ORIGINAL: &str = "/etc/cni/net.d/multus.d/daemon-config.before-tests";
const NETWORKS_KIND: &str = "network-attachment-definitions.k8s.cni.cncf.io";

impl Cluster {
    /// Changes the multus daemon's configuration and restarts it. It is put back at the end of the
    /// test.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`] when the daemon does not come back.
    pub async fn configure_multus(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let original = self.node.run(&["cat", CONFIG]).await?;
        // The backup of an earlier change in the same test is the real original.
        self.node
            .run(&[
                "sh",
                "-c",
                "[ -e \"$2\" ] || cp \"$1\" \"$2\"",
                "sh",
                CONFIG,
                ORIGINAL,
            ])
            .await?;
        let mut config: Value = parse(&original)?;
        change(&mut config);
        self.node.write(CONFIG, &config.to_string()).await?;
        self.restart_multus().await
    }

    /// Restarts the daemon and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn restart_multus(&self) -> Result<()> {
        repository::run("tests/cluster/ctl.sh", &["restart", "multus"], &[])
            .await
            .map(drop)
    }

    pub(crate) async fn restore_multus(&self) -> Result<()> {
        let script = "[ ! -e \"$2\" ] || { mv \"$2\" \"$1\" && echo restored; }";
        let restored = self
            .node
            .run(&["sh", "-c", script, "sh", CONFIG, ORIGINAL])
            .await?;
        if restored.is_empty() {
            Ok(())
        } else {
            self.restart_multus().await
        }
    }

    /// Deletes the CustomResourceDefinition of NADs, and with it every NAD. It is put back at the
    /// end of the test.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn delete_networks_kind(&self) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let mut kind = api.get(NETWORKS_KIND).await.doing("read the NADs' definition")?;
        let ObjectMeta {
            name, annotations, ..
        } = kind.metadata;
        kind.metadata = ObjectMeta {
            name,
            annotations,
            ..ObjectMeta::default()
        };
        kind.status = None;
        let json = serde_json::to_string(&kind).map_err(|e| Error::Unexpected(e.to_string()))?;
        let path = kind_backup();
        std::fs::write(&path, json).map_err(|e| Error::Unexpected(format!("{}: {e}", path.display())))?;
        api.delete(NETWORKS_KIND, &DeleteParams::default())
            .await
            .map(drop)
            .doing("delete the NADs' definition")?;
        eventually(LONG, "the NADs' definition is gone", async || {
            let left = api
                .get_opt(NETWORKS_KIND)
                .await
                .doing("look for the NADs' definition")?;
            left.is_none()
                .then_some(())
                .ok_or_else(|| Error::Unexpected("still there".to_owned()))
        })
        .await
    }

    /// Undoes [`Self::delete_networks_kind`].
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn restore_networks_kind(&self) -> Result<()> {
        let path = kind_backup();
        let Ok(json) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        let kind: CustomResourceDefinition = parse(&json)?;
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        match api
            .create(&PostParams::default(), &kind)
            .await
            .doing("create the NADs' definition")
        {
            Err(error) if !error.is_status(409) => return Err(error),
            _ => {}
        }
        eventually(LONG, "NADs can be made", async || {
            let status = api
                .get(NETWORKS_KIND)
                .await
                .doing("read the NADs' definition")?
                .status;
            let conditions = status.and_then(|s| s.conditions).unwrap_or_default();
            let established = conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True");
            established
                .then_some(())
                .ok_or_else(|| Error::Unexpected("not established".to_owned()))
        })
        .await?;
        std::fs::remove_file(&path).map_err(|e| Error::Unexpected(format!("{}: {e}", path.display())))
    }
}

fn kind_backup() -> std::path::PathBuf {
    repository::cluster_state().join("networks-kind.before-tests.json")
}
