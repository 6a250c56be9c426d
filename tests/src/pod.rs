//! A pod: its annotation, its interfaces, what the API says about them.

use k8s_openapi::api::core::v1::{Event as ApiEvent, Pod as ApiPod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::annotations::{NETWORK_STATUS, NETWORKS};
use tokio::sync::OnceCell;

use crate::{
    error::{Doing, Error, Result},
    kernel::Interface,
    namespace::Namespace,
    network::Nad,
    node::{Lease, Node, Sandbox},
    wait::{LONG, PLUG, eventually},
};

/// A pod of one test.
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    api: Api<ApiPod>,
    pub(crate) events: Api<ApiEvent>,
    node: Node,
    sandbox: OnceCell<Sandbox>,
}

/// One entry of network-status.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StatusEntry {
    /// `namespace/name` of the NAD, or the default network's name.
    pub name: String,
    /// Interface in the pod.
    #[serde(default)]
    pub interface: String,
    /// Addresses without prefix.
    #[serde(default)]
    pub ips: Vec<String>,
    /// Hardware address.
    #[serde(default)]
    pub mac: String,
    /// Whether it is the cluster's default network.
    #[serde(default)]
    pub default: bool,
}

impl Pod {
    pub(crate) fn new(ns: &Namespace, made: &ApiPod) -> Self {
        Self {
            name: made.name_any(),
            uid: made.uid().unwrap_or_default(),
            api: ns.pods(),
            events: Api::namespaced(ns.cluster.client.clone(), &ns.name),
            node: ns.cluster.node.clone(),
            sandbox: OnceCell::new(),
        }
    }

    /// The pod as the API has it now.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn object(&self) -> Result<ApiPod> {
        self.api
            .get(&self.name)
            .await
            .doing(format!("read pod {}", self.name))
    }

    /// Waits until its containers are ready.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn is_ready(&self) -> Result<()> {
        eventually(LONG, format!("pod {} is ready", self.name), async || {
            let status = self.object().await?.status.unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            ready
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("phase {:?}", status.phase)))
        })
        .await
    }

    /// Sets the networks annotation.
    ///
    /// # Errors
    /// [`Error::Api`], also when the gate refuses.
    pub async fn annotate(&self, networks: &str) -> Result<()> {
        self.set(NETWORKS, json!(networks)).await
    }

    /// Deletes the networks annotation's key.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn remove_annotation(&self) -> Result<()> {
        self.set(NETWORKS, Value::Null).await
    }

    /// Sets any annotation; null deletes its key.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn set(&self, annotation: &str, value: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        let patched = self.api.patch(&self.name, &PatchParams::default(), &patch).await;
        patched.map(drop).doing(format!("annotate pod {}", self.name))
    }

    /// Tries to set the networks annotation and returns the words of the refusal.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it is accepted.
    pub async fn refusal_of(&self, networks: &str) -> Result<String> {
        match self.annotate(networks).await {
            Ok(()) => Err(Error::Unexpected(format!("accepted: {networks}"))),
            Err(error) => error.refusal().map(str::to_owned).ok_or(error),
        }
    }

    /// The networks annotation as it is stored.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn annotation(&self) -> Result<Option<String>> {
        Ok(self.object().await?.annotations().get(NETWORKS).cloned())
    }

    /// Deletes the pod and waits until its object is gone.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn delete(&self) -> Result<()> {
        let deleted = self.api.delete(&self.name, &DeleteParams::default()).await;
        deleted.map(drop).doing(format!("delete pod {}", self.name))?;
        eventually(LONG, format!("pod {} is gone", self.name), async || {
            match self.object().await {
                Ok(pod) if pod.uid().as_deref() == Some(&self.uid) => {
                    Err(Error::Unexpected("still there".into()))
                }
                Err(error) if !error.is_status(404) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Its sandbox, as first asked for.
    ///
    /// # Errors
    /// [`Error::Unexpected`] before it has one.
    pub async fn sandbox(&self) -> Result<&Sandbox> {
        self.sandbox
            .get_or_try_init(|| self.node.sandbox(&self.uid))
            .await
    }

    /// Its interfaces as the kernel has them, `eth0` among them, oldest first.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn interfaces(&self) -> Result<Vec<Interface>> {
        self.node.interfaces(self.sandbox().await?).await
    }

    /// One of its interfaces.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is none of this name.
    pub async fn interface(&self, name: &str) -> Result<Interface> {
        let found = self.interfaces().await?.into_iter().find(|i| i.name == name);
        found.ok_or_else(|| Error::Unexpected(format!("pod {} has no interface {name}", self.name)))
    }

    /// Its network-status, without the cluster's default network.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it is not a list of entries.
    pub async fn network_status(&self) -> Result<Vec<StatusEntry>> {
        let pod = self.object().await?;
        let text = pod.annotations().get(NETWORK_STATUS).map_or("[]", String::as_str);
        let mut entries: Vec<StatusEntry> = crate::node::parse(text)?;
        entries.retain(|e| !e.default);
        Ok(entries)
    }

    /// Names of its interfaces of which the agent keeps a record.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn records(&self) -> Result<Vec<String>> {
        self.node.records(&self.sandbox().await?.id).await
    }

    /// The addresses that host-local gave to this pod on a network.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn leases(&self, nad: &Nad) -> Result<Vec<Lease>> {
        let sandbox = self.sandbox().await?;
        let mut leases = self.node.leases(&nad.config_name).await?;
        leases.retain(|l| l.sandbox == sandbox.id);
        Ok(leases)
    }

    /// Waits until the kernel shows exactly these interfaces beside `eth0`, and network-status lists the same.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is there instead.
    pub async fn has_exactly(&self, wanted: &[&str]) -> Result<()> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        eventually(
            PLUG,
            format!("pod {} has exactly {wanted:?}", self.name),
            async || {
                let mut kernel: Vec<_> = self.interfaces().await?.into_iter().map(|i| i.name).collect();
                kernel.retain(|name| name != "eth0");
                kernel.sort_unstable();
                let mut status: Vec<_> = self
                    .network_status()
                    .await?
                    .into_iter()
                    .map(|e| e.interface)
                    .collect();
                status.sort_unstable();
                if kernel == wanted && status == wanted {
                    return Ok(());
                }
                Err(Error::Unexpected(format!(
                    "kernel {kernel:?}, network-status {status:?}"
                )))
            },
        )
        .await
    }
}
