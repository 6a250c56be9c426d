//! A pod that runs, and one that is never scheduled and takes the patches of the full floor in its
//! place.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use shared::{
    annotations::{NETWORK_STATUS, NETWORKS},
    readiness::NETWORKS_READY,
};
use tests::{Error, Namespace, Pod, Result};

/// One attachment to make or to remove.
#[derive(Clone)]
pub struct Wanted {
    /// The NAD.
    pub network: String,
    /// The interface.
    pub interface: String,
    /// What multus is sent.
    pub config: Rc<str>,
}

/// See the module.
pub struct Twin<'n> {
    ns: &'n Namespace,
    /// The one that runs.
    pub pod: Pod,
    stand_in: String,
    pods: Api<ApiPod>,
}

impl<'n> Twin<'n> {
    /// Makes the stand-in of `pod`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn of(ns: &'n Namespace, pod: Pod) -> Result<Self> {
        let stand_in = format!("{}-stand-in", pod.name);
        ns.create_pod_as(&stand_in, None, |spec| {
            spec["schedulingGates"] = json!([{"name": "example.com/never"}]);
        })
        .await?;
        // Known before anything is timed.
        pod.sandbox().await?;
        Ok(Self {
            ns,
            pod,
            stand_in,
            pods: Api::namespaced(ns.cluster.client.clone(), &ns.name),
        })
    }

    /// Sends one call for each interface to multus, one after the other.
    ///
    /// # Errors
    /// What multus says.
    pub async fn bare(&self, command: &str, wanted: &[Wanted]) -> Result<Duration> {
        let began = Instant::now();
        for one in wanted {
            let node = &self.ns.cluster.node;
            node.delegate(command, &self.ns.name, &self.pod, &one.interface, &one.config)
                .await?;
        }
        Ok(began.elapsed())
    }

    /// The PATCH of an edit, the calls, and the patch of the status. The stand-in takes the
    /// patches, so that an agent that runs does nothing.
    ///
    /// # Errors
    /// What multus or the API server says.
    pub async fn full(&self, command: &str, wanted: &[Wanted]) -> Result<Duration> {
        self.full_on(&self.stand_in, command, wanted).await
    }

    /// The same on the pod that runs, whose kubelet then has its part of the work: while no agent
    /// runs.
    ///
    /// # Errors
    /// What multus or the API server says.
    pub async fn full_without_agent(&self, command: &str, wanted: &[Wanted]) -> Result<Duration> {
        self.full_on(&self.pod.name, command, wanted).await
    }

    async fn full_on(&self, pod: &str, command: &str, wanted: &[Wanted]) -> Result<Duration> {
        let began = Instant::now();
        let list = match command {
            "ADD" => list(wanted),
            _ => "[]".to_owned(),
        };
        let edit = Patch::Merge(json!({"metadata": {"annotations": {NETWORKS: list}}}));
        let edited = self.pods.patch(pod, &PatchParams::default(), &edit).await;
        edited.map_err(|error| unexpected(&error))?;
        self.bare(command, wanted).await?;
        let status = Patch::Strategic(self.status(command, wanted));
        let params = PatchParams::default();
        let told = self.pods.patch_status(pod, &params, &status).await;
        told.map_err(|error| unexpected(&error))?;
        Ok(began.elapsed())
    }

    /// As large as the agent's.
    fn status(&self, command: &str, wanted: &[Wanted]) -> Value {
        let entry = |one: &Wanted| {
            json!({
                "name": format!("{}/{}", self.ns.name, one.network), "interface": one.interface,
                "ips": ["10.200.200.200"], "mac": "02:00:5e:00:53:13", "dns": {},
            })
        };
        let added = wanted.iter().filter(|_| command == "ADD").map(entry);
        let eth0 = json!({"name": "podnet", "interface": "eth0", "ips": ["10.244.200.200"],
            "mac": "02:00:5e:00:53:14", "default": true, "dns": {}, "gateway": ["10.244.0.1"]});
        let all: Vec<Value> = std::iter::once(eth0).chain(added).collect();
        let status = serde_json::to_string_pretty(&all).unwrap_or_default();
        let message = format!(
            "all {} networks are attached; {command} {}",
            wanted.len(),
            all.len()
        );
        let condition =
            json!({"type": NETWORKS_READY, "status": "True", "reason": "Attached", "message": message});
        json!({"metadata": {"annotations": {NETWORK_STATUS: status}}, "status": {"conditions": [condition]}})
    }
}

/// The annotation for these.
pub fn list(wanted: &[Wanted]) -> String {
    let elements = wanted
        .iter()
        .map(|one| format!("{}@{}", one.network, one.interface));
    elements.collect::<Vec<_>>().join(",")
}

fn unexpected(error: &kube::Error) -> Error {
    Error::Unexpected(error.to_string())
}
