//! The two installed programs as objects of the cluster: stopped, started, restarted, installed
//! again.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::Pod as ApiPod,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use shared::{names::InterfaceName, selection::SelectionList};

use crate::{
    cluster::{AGENT, Cluster, NAMESPACE, WEBHOOK},
    error::{Doing, Error, Result},
    metrics_page,
    pod::Pod,
    repository,
    wait::{LONG, PLUG, eventually},
};

/// A node label that no node has: a DaemonSet that selects it runs nowhere.
const NOWHERE: &str = "tests.dynamic-networks.invalid/nowhere";

impl Cluster {
    /// The agent's pod on the node.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when none runs.
    pub async fn agent_pod(&self) -> Result<ApiPod> {
        let pods = self.program_pods(AGENT).await?;
        let on_node = |p: &ApiPod| {
            let spec = p.spec.as_ref();
            spec.and_then(|spec| spec.node_name.as_ref()) == Some(&self.node.name)
        };
        pods.into_iter()
            .find(|p| p.metadata.deletion_timestamp.is_none() && on_node(p))
            .ok_or_else(|| Error::Unexpected("no agent pod".to_owned()))
    }

    /// The resident memory of the node's agent, as the kernel words it.
    ///
    /// # Errors
    /// [`Error::Command`] when it does not run.
    pub async fn agent_memory(&self) -> Result<String> {
        let script = "sed -n 's/^VmRSS: *//p' /proc/$(pgrep -o -f ^/dynamic-networks-agent)/status";
        Ok(self.node.run(&["sh", "-c", script]).await?.trim().to_owned())
    }

    /// Makes the agent run nowhere and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn stop_agent(&self) -> Result<()> {
        self.select_nowhere(json!("true")).await?;
        self.is_gone(AGENT).await
    }

    /// Undoes [`Self::stop_agent`] and waits until the agent is ready.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn start_agent(&self) -> Result<()> {
        self.select_nowhere(Value::Null).await?;
        eventually(LONG, "the agent is ready", async || self.agent_is_ready().await).await
    }

    /// Deletes the agent's pod and waits until another one is ready.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn restart_agent(&self) -> Result<()> {
        let old = self.agent_pod().await?;
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let deleted = api.delete(&old.name_any(), &DeleteParams::default()).await;
        deleted.map(drop).doing("delete the agent's pod")?;
        eventually(LONG, "a new agent is ready", async || {
            if self.agent_pod().await?.uid() == old.uid() {
                return Err(Error::Unexpected("the old one is still there".to_owned()));
            }
            self.agent_is_ready().await
        })
        .await
    }

    /// Where the node reaches the agent's admin port. With it the agent can be asked without the
    /// API server.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when none runs.
    pub async fn agent_address(&self) -> Result<String> {
        let status = self.agent_pod().await?.status.unwrap_or_default();
        Ok(format!("http://{}:8080", status.pod_ip.unwrap_or_default()))
    }

    /// What the agent serves at `path` of its admin port: the HTTP status and the body.
    ///
    /// # Errors
    /// [`Error::Command`] when nobody answers.
    pub async fn agent_page(&self, path: &str) -> Result<(u16, String)> {
        self.node.page(&(self.agent_address().await? + path)).await
    }

    /// One of the agent's metrics by its name and labels, as `/metrics` writes them; 0 when there
    /// is none yet.
    ///
    /// # Errors
    /// [`Error::Command`] when the agent does not answer, [`Error::Unexpected`] for a name that is
    /// not documented.
    pub async fn agent_metric(&self, series: &str) -> Result<f64> {
        let (_, text) = self.agent_page("/metrics").await?;
        metrics_page::value(&text, series).map(Option::unwrap_or_default)
    }

    /// `explain` as a person asks for it, word by word as `docs/operations.md` has it.
    ///
    /// # Errors
    /// [`Error::Command`] with what it says, when it has nothing to tell.
    pub async fn explain(&self, pod: &str) -> Result<String> {
        const DOCUMENTED: &str =
            "kubectl -n kube-system exec AGENT_POD -- /dynamic-networks-agent explain NAMESPACE/POD";
        let documents = repository::read("docs/operations.md")?;
        if !documents.lines().any(|line| line == DOCUMENTED) {
            return Err(Error::Unexpected(format!(
                "docs/operations.md does not have {DOCUMENTED:?}"
            )));
        }
        let agent = self.agent_pod().await?.name_any();
        let command = DOCUMENTED
            .replace("AGENT_POD", &agent)
            .replace("NAMESPACE/POD", pod);
        let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
        self.kubectl(&arguments).await
    }

    /// Waits until the agent knows of the pod's present annotation, whatever it does about it.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what it knows instead.
    pub async fn agent_knows(&self, namespace: &str, pod: &Pod) -> Result<()> {
        let annotation = pod.annotation().await?;
        let list = SelectionList::parse(annotation.as_deref(), namespace)
            .map_err(|violations| Error::Unexpected(format!("{violations:?}")))?;
        let wanted = list.elements.iter().map(|element| {
            let interface = element.interface.as_ref().map_or("", InterfaceName::as_str);
            format!("wanted: {interface} on {}", element.network)
        });
        let wanted: Vec<_> = wanted.collect();
        eventually(PLUG, format!("the agent knows {wanted:?}"), async || {
            let explained = self.explain(&format!("{namespace}/{}", pod.name)).await?;
            let known = explained.lines().map(str::trim);
            let known = known.filter(|line| line.starts_with("wanted: ") && *line != "wanted: nothing");
            if known.eq(wanted.iter().map(String::as_str)) {
                return Ok(());
            }
            Err(Error::Unexpected(explained))
        })
        .await
    }

    /// The agent's process, as the node counts.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when none runs.
    pub async fn agent_process(&self) -> Result<String> {
        let uid = self.agent_pod().await?.uid().unwrap_or_default();
        self.node.main_process(&uid).await
    }

    /// The token that the agent uses, as the node's root finds it.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when none runs, or has none.
    pub async fn agent_token(&self) -> Result<String> {
        let process = self.agent_process().await?;
        let path = format!("/proc/{process}/root/var/run/secrets/kubernetes.io/serviceaccount/token");
        let token = self.node.run(&["cat", &path]).await?;
        if token.trim().is_empty() {
            return Err(Error::Unexpected("the agent has no token".to_owned()));
        }
        Ok(token.trim().to_owned())
    }

    /// Everything that the running agent has written to its log.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn agent_log(&self) -> Result<String> {
        let agent = self.agent_pod().await?.name_any();
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.logs(&agent, &LogParams::default())
            .await
            .doing("read the agent's log")
    }

    /// Takes every replica of the webhook away.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn stop_webhook(&self) -> Result<()> {
        self.scale_webhook(0).await?;
        eventually(LONG, "every replica is being deleted", async || {
            let pods = self.program_pods(WEBHOOK).await?;
            let left = pods
                .iter()
                .filter(|p| p.metadata.deletion_timestamp.is_none())
                .count();
            (left == 0)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{left} are not")))
        })
        .await?;
        // It would go on serving for the seconds that a rollout needs, and nobody rolls out here.
        let kill = "pids=$(pgrep -f ^/dynamic-networks-webhook) || exit 0; kill -9 $pids || true";
        self.node.run(&["sh", "-c", kill]).await?;
        self.is_gone(WEBHOOK).await
    }

    /// Undoes [`Self::stop_webhook`] and waits until the gate answers.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn start_webhook(&self) -> Result<()> {
        self.scale_webhook(2).await?;
        eventually(LONG, "the webhook is ready", async || {
            self.webhook_is_ready().await
        })
        .await
    }

    /// Brings the cluster back to where every test begins, whatever an earlier one left. What it
    /// starts again gets ready by itself: [`Self::installed`] waits for that.
    pub(crate) async fn put_right(&self) -> Result<()> {
        self.node.end_daemons().await?;
        self.node.has_its_own_disk().await?;
        self.start_what_is_stopped().await?;
        self.restore_multus().await?;
        self.restore_networks_kind().await?;
        self.has_no_other_controller().await?;
        if self.program_is_missing().await? {
            self.install().await?;
        }
        let had_settings = self.remove_settings().await?;
        let changed = self.is_reconfigured().await?;
        if changed.configuration || changed.failure_policy {
            self.install().await?;
        }
        if changed.configuration || had_settings {
            futures::try_join!(self.restart_webhook(), self.restart_agent())?;
        }
        self.select_nowhere(Value::Null).await?;
        self.scale_webhook(2).await
    }

    async fn program_is_missing(&self) -> Result<bool> {
        let agent: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let webhook: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let agent = agent.get_opt(AGENT).await.doing("look for the agent")?;
        let webhook = webhook.get_opt(WEBHOOK).await.doing("look for the webhook")?;
        Ok(agent.is_none() || webhook.is_none())
    }

    async fn select_nowhere(&self, value: Value) -> Result<()> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {NOWHERE: value}}}}});
        let patched = api
            .patch(AGENT, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).doing("change where the agent runs")
    }

    async fn scale_webhook(&self, replicas: u32) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let patched = api.patch(WEBHOOK, &PatchParams::default(), &patch).await;
        patched.map(drop).doing("scale the webhook")
    }

    async fn is_gone(&self, app: &str) -> Result<()> {
        eventually(LONG, format!("no pod of {app} is left"), async || {
            let left: Vec<_> = self
                .program_pods(app)
                .await?
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            left.is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(left.join(", ")))
        })
        .await
    }

    pub(crate) async fn program_pods(&self, app: &str) -> Result<Vec<ApiPod>> {
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods = api
            .list(&ListParams::default())
            .await
            .doing("list the programs' pods")?;
        Ok(pods
            .items
            .into_iter()
            .filter(|p| p.name_any().starts_with(app))
            .collect())
    }
}
