//! The connection to the local cluster: its kubeconfig and its node, found through `.cluster/` of
//! this checkout.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::{DaemonSet, Deployment},
};
use kube::{
    Api, Client,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    error::{Doing, Error, Result},
    node::Node,
    repository,
    wait::{LONG, eventually},
};

/// Where the manifests install both programs.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The agent's DaemonSet.
pub(crate) const AGENT: &str = "dynamic-networks-controller-ds";
/// The webhook's Deployment, and everything else of it.
pub(crate) const WEBHOOK: &str = "dynamic-networks-webhook";

/// The local cluster.
pub struct Cluster {
    /// An administrator's client.
    pub client: Client,
    /// The node that a test is about: the first, but for
    /// [`Namespace::on_node`](crate::Namespace::on_node).
    pub node: Node,
    env: BTreeMap<String, String>,
    // Held while a test runs: shared by tests that mind their own namespace, alone by those that
    // disturb everybody.
    _lock: File,
}

impl Cluster {
    /// Connects, next to other tests.
    ///
    /// # Errors
    /// [`Error::Setup`] without a cluster.
    pub async fn connect() -> Result<Self> {
        Self::open(|lock| lock.lock_shared()).await
    }

    /// Connects, waiting until no other test uses the cluster and keeping them out.
    ///
    /// # Errors
    /// [`Error::Setup`] without a cluster.
    pub async fn connect_alone() -> Result<Self> {
        Self::open(|lock| lock.lock()).await
    }

    async fn open(take: fn(&File) -> std::io::Result<()>) -> Result<Self> {
        let state = repository::cluster_state();
        let path = state.join("env");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::Setup(format!("there is no local cluster: {}: {e}", path.display())))?;
        let env = assignments(&text);
        let lock_path = state.join("tests.lock");
        let lock = tokio::task::spawn_blocking(move || {
            let file = File::create(&lock_path)?;
            take(&file).map(|()| file)
        })
        .await
        .map_err(|e| Error::Unexpected(e.to_string()))?
        .map_err(|e| Error::Setup(format!("cannot lock {}: {e}", state.join("tests.lock").display())))?;

        let kubeconfig = env
            .get("KUBECONFIG")
            .map_or_else(|| state.join("kubeconfig"), PathBuf::from);
        let client = client(&kubeconfig).await?;
        let node = Node::new(&env, 1)?;
        let cluster = Self {
            client,
            node,
            env,
            _lock: lock,
        };
        cluster
            .node
            .run(&["true"])
            .await
            .map_err(|e| Error::Setup(format!("the node does not answer: {e}")))?;
        Ok(cluster)
    }

    /// The same cluster under the same lock.
    pub(crate) fn again(&self) -> Result<Self> {
        let lock = self._lock.try_clone();
        Ok(Self {
            client: self.client.clone(),
            node: self.node.clone(),
            env: self.env.clone(),
            _lock: lock.map_err(|e| Error::Setup(format!("the lock of the tests: {e}")))?,
        })
    }

    /// The same cluster under the same lock, seen from the node of this number.
    pub(crate) fn on_node(&self, number: u8) -> Result<Self> {
        Ok(Self {
            node: Node::new(&self.env, number)?,
            ..self.again()?
        })
    }

    /// Whether a pod may start on a node other than [`Self::node`].
    pub(crate) fn has_other_nodes(&self) -> bool {
        self.variable("NODES").is_some_and(|nodes| nodes != "1")
    }

    /// A variable of `.cluster/env`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        let state = repository::cluster_state();
        self.variable("KUBECONFIG")
            .map_or_else(|| state.join("kubeconfig"), PathBuf::from)
    }

    /// Waits until agent and webhook run everywhere in their present version, and the API server
    /// can call the gate.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is missing.
    pub async fn installed(&self) -> Result<()> {
        self.installed_within(LONG).await
    }

    pub(crate) async fn installed_within(&self, deadline: Duration) -> Result<()> {
        eventually(
            deadline,
            "agent and webhook are installed and ready",
            async || {
                self.agent_is_ready().await?;
                self.webhook_is_ready().await
            },
        )
        .await
    }

    /// `tests/cluster/ctl.sh`: stops, starts, kills one of the node's components.
    ///
    /// # Errors
    /// [`Error::Command`] with its words.
    pub async fn component(&self, verb: &str, component: &str) -> Result<()> {
        repository::run("tests/cluster/ctl.sh", &[verb, component], &[])
            .await
            .map(drop)
    }

    pub(crate) async fn agent_is_ready(&self) -> Result<()> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let set = api.get(AGENT).await.doing("read the agent's DaemonSet")?;
        let status = set.status.unwrap_or_default();
        let wanted = status.desired_number_scheduled;
        let ready = status.observed_generation == set.metadata.generation
            && wanted > 0
            && status.updated_number_scheduled == Some(wanted)
            && status.number_ready == wanted;
        ready
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("agent: {} of {wanted} ready", status.number_ready)))
    }

    /// The two registrations of the webhook.
    pub(crate) async fn registrations(
        &self,
    ) -> Result<(MutatingWebhookConfiguration, ValidatingWebhookConfiguration)> {
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let mutating = mutating
            .get(WEBHOOK)
            .await
            .doing("read the mutating registration")?;
        let validating = validating
            .get(WEBHOOK)
            .await
            .doing("read the validating registration")?;
        Ok((mutating, validating))
    }

    pub(crate) async fn webhook_is_ready(&self) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let deployment = api.get(WEBHOOK).await.doing("read the webhook's Deployment")?;
        let wanted = deployment.spec.and_then(|s| s.replicas);
        let status = deployment.status.unwrap_or_default();
        let ready = status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == wanted
            && status.ready_replicas == wanted
            && status.replicas == wanted;
        if !ready {
            return Err(Error::Unexpected(format!(
                "webhook: {:?} of {wanted:?} ready",
                status.ready_replicas
            )));
        }
        let (mutating, validating) = self.registrations().await?;
        let bundles = mutating
            .webhooks
            .iter()
            .flatten()
            .map(|w| &w.client_config)
            .chain(validating.webhooks.iter().flatten().map(|w| &w.client_config))
            .map(|c| c.ca_bundle.as_ref().is_some_and(|b| !b.0.is_empty()));
        let bundles: Vec<bool> = bundles.collect();
        if bundles.len() < 2 || bundles.contains(&false) {
            return Err(Error::Unexpected("a registration has no caBundle".to_owned()));
        }
        Ok(())
    }
}

/// A client for the cluster that `kubeconfig` names.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    client_as(kubeconfig, |config| {
        config.read_timeout = Some(Duration::from_secs(30));
        config.reset_reader_on_write = true;
    })
    .await
}

/// The same, with what `change` makes of the usual settings.
pub(crate) async fn client_as(kubeconfig: &Path, change: impl FnOnce(&mut kube::Config)) -> Result<Client> {
    // Another test of this process may have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = |e: &dyn std::fmt::Display| Error::Setup(format!("{}: {e}", kubeconfig.display()));
    let file = Kubeconfig::read_from(kubeconfig).map_err(|e| setup(&e))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|e| setup(&e))?;
    change(&mut config);
    Client::try_from(config).map_err(|e| setup(&e))
}

/// `NAME=value` lines, as a shell would read simple ones.
fn assignments(text: &str) -> BTreeMap<String, String> {
    let unquoted = |v: &str| v.trim_matches(|c| c == '"' || c == '\'').to_owned();
    text.lines()
        .map(|line| line.trim().trim_start_matches("export "))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquoted(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_and_exported_assignments() {
        let env = assignments("# state\nexport NODE_NAME='node 1'\nNODE_PID=42\n");
        assert_eq!(env["NODE_NAME"], "node 1");
        assert_eq!(env["NODE_PID"], "42");
        assert_eq!(env.len(), 2);
    }
}
