//! A pod: its annotation, its interfaces, what the API says about them.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Event as ApiEvent, Pod as ApiPod};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
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
    pub(crate) api: Api<ApiPod>,
    pub(crate) events: Api<ApiEvent>,
    pub(crate) node: Node,
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
    /// [`Error::Api`], among others when the webhook refuses.
    pub async fn annotate(&self, networks: &str) -> Result<()> {
        self.set(NETWORKS, json!(networks)).await
    }

    /// Sets the networks annotation by the pod's status subresource.
    ///
    /// # Errors
    /// [`Error::Api`], among others when the webhook refuses.
    pub async fn annotate_by_status(&self, networks: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {NETWORKS: networks}}}));
        let patched = self
            .api
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .doing(format!("annotate pod {} by its status", self.name))
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

    /// Sets one of its labels.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn label(&self, key: &str, value: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        let patched = self.api.patch(&self.name, &PatchParams::default(), &patch).await;
        patched.map(drop).doing(format!("label pod {}", self.name))
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
        self.begin_deletion(None).await?;
        self.is_gone().await
    }

    /// Waits until its object is gone.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn is_gone(&self) -> Result<()> {
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

    /// The same pod in the sandbox that follows the one that it was known in: waits for that.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn in_its_next_sandbox(&self) -> Result<Self> {
        let old = self.sandbox().await?;
        let next = eventually(
            LONG,
            format!("pod {} has another sandbox", self.name),
            async || {
                let newest = self.node.sandbox(&self.uid).await?;
                if newest == *old {
                    return Err(Error::Unexpected("the old one is the newest".to_owned()));
                }
                Ok(newest)
            },
        )
        .await?;
        Ok(Self {
            name: self.name.clone(),
            uid: self.uid.clone(),
            api: self.api.clone(),
            events: self.events.clone(),
            node: self.node.clone(),
            sandbox: OnceCell::new_with(Some(next)),
        })
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
        let text = self.network_status_text().await?;
        let mut entries: Vec<StatusEntry> = crate::node::parse(&text)?;
        entries.retain(|e| !e.default);
        Ok(entries)
    }

    /// The bytes of its network-status; an empty list where there is none.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn network_status_text(&self) -> Result<String> {
        let pod = self.object().await?;
        let text = pod.annotations().get(NETWORK_STATUS);
        Ok(text.map_or_else(|| "[]".to_owned(), Clone::clone))
    }

    /// Names of its interfaces of which the agent keeps a record.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn records(&self) -> Result<Vec<String>> {
        self.node.records(&self.sandbox().await?.id).await
    }

    /// Waits until the agent keeps records of exactly these interfaces. The record of an unplugged
    /// one goes only after network-status is written.
    ///
    /// # Errors
    /// [`Error::Deadline`] with those that it keeps instead.
    pub async fn has_records_of(&self, wanted: &[&str]) -> Result<()> {
        eventually(PLUG, format!("records of {}", self.name), async || {
            let mut records = self.records().await?;
            records.sort_unstable();
            (records == wanted)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{records:?} instead of {wanted:?}")))
        })
        .await
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

    /// Waits until the kernel shows exactly these interfaces beside `eth0`, and network-status the
    /// same ones with the same addresses.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is there instead.
    pub async fn has_exactly(&self, wanted: &[&str]) -> Result<()> {
        self.has_exactly_within(PLUG, wanted).await
    }

    /// As [`Self::has_exactly`], after steps that failed again and again: the pauses between their
    /// tries are up to a minute.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is there instead.
    pub async fn recovers_to(&self, wanted: &[&str]) -> Result<()> {
        self.has_exactly_within(LONG, wanted).await
    }

    async fn has_exactly_within(&self, deadline: Duration, wanted: &[&str]) -> Result<()> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        eventually(
            deadline,
            format!("pod {} has exactly {wanted:?}", self.name),
            async || {
                let kernel: BTreeMap<_, _> = self
                    .interfaces()
                    .await?
                    .into_iter()
                    .filter_map(seen_in_kernel)
                    .collect();
                let status = self
                    .network_status()
                    .await?
                    .into_iter()
                    .map(|e| (e.interface, (e.mac, e.ips)));
                let status: BTreeMap<_, _> = status.collect();
                if kernel.keys().eq(&wanted) && kernel == status {
                    return Ok(());
                }
                Err(Error::Unexpected(format!(
                    "kernel {kernel:?}, network-status {status:?}"
                )))
            },
        )
        .await
    }

    /// Waits until the pod, as the API has it, meets `condition`: returns in the very moment.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when that does not happen.
    pub async fn reaches(&self, condition: impl Fn(&ApiPod) -> bool) -> Result<()> {
        let met = |pod: Option<&ApiPod>| pod.is_some_and(&condition);
        let wait = await_condition(self.api.clone(), &self.name, met);
        match tokio::time::timeout(LONG, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::Unexpected(error.to_string())),
            Err(_) => Err(Error::Unexpected(format!(
                "pod {} does not get there in {LONG:?}",
                self.name
            ))),
        }
    }
}

/// An interface as network-status would describe it: name, hardware address, addresses without
/// prefix.
pub(crate) fn seen_in_kernel(interface: Interface) -> Option<(String, (String, Vec<String>))> {
    let bare = |a: String| a.split('/').next().map(str::to_owned);
    let addresses = interface.addresses.into_iter().filter_map(bare).collect();
    (interface.name != "eth0").then_some((interface.name, (interface.mac, addresses)))
}
