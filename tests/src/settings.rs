//! The user's settings as a ConfigMap of the cluster, and what the agent says about them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod as ApiPod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    cluster::{AGENT, Cluster, NAMESPACE, WEBHOOK},
    error::{Doing, Error, Result},
    wait::eventually,
};

/// The object and its key.
const SETTINGS: (&str, &str) = ("dynamic-networks-settings", "settings.json");
/// A change of it makes the kubelet sync the pod, and with it the files of its ConfigMaps.
const SYNC: &str = "tests.dynamic-networks.invalid/sync";
/// The kubelet's part, the delay of up to 30 s, and a restart.
const TAKEOVER: std::time::Duration = std::time::Duration::from_secs(150);

impl Cluster {
    /// Writes the user's settings, and has the kubelets write them into the pods of both programs.
    /// They are removed at the end of the test.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn set_settings(&self, settings: &str) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS.0}, "data": {SETTINGS.1: settings},
        });
        let parameters = PatchParams::apply("tests").force();
        let applied = maps.patch(SETTINGS.0, &parameters, &Patch::Apply(map)).await;
        let version = applied.doing("write the settings")?.resource_version();
        let pods: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        for program in [AGENT, WEBHOOK] {
            for pod in self.program_pods(program).await? {
                let patch = Patch::Merge(json!({"metadata": {"annotations": {SYNC: version}}}));
                let patched = pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await;
                patched.map(drop).doing("have a pod synced")?;
            }
        }
        Ok(())
    }

    /// The user's settings as they are stored.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn settings(&self) -> Result<Option<String>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = maps.get_opt(SETTINGS.0).await.doing("read the settings")?;
        let data: BTreeMap<_, _> = map.and_then(|map| map.data).unwrap_or_default();
        Ok(data.get(SETTINGS.1).cloned())
    }

    /// Returns whether there were any.
    pub(crate) async fn remove_settings(&self) -> Result<bool> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        match maps.delete(SETTINGS.0, &DeleteParams::default()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).doing("remove the settings"),
        }
    }

    /// Waits until the agent is ready and its verbose readiness has these words.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the page.
    pub async fn agent_shows(&self, words: &str) -> Result<()> {
        eventually(TAKEOVER, format!("the agent shows {words:?}"), async || {
            let (code, page) = self.agent_page("/readyz?verbose").await?;
            let shown = code == 200 && page.contains(words);
            shown
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{code} {page}")))
        })
        .await
    }

    /// Waits until every replica of the webhook uses this value.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what they use.
    pub async fn webhooks_use(&self, key: &str, value: &str) -> Result<()> {
        let label = format!("{key}=\"{value}\"");
        eventually(TAKEOVER, format!("the webhook uses {label}"), async || {
            let pages = self.gate_metrics().await?;
            let infos = pages.iter().map(|page| {
                let mut lines = page.lines();
                lines.find(|line| line.starts_with("dynamic_networks_webhook_config_info{"))
            });
            let infos: Vec<_> = infos.map(Option::unwrap_or_default).collect();
            let all = infos.len() == 2 && infos.iter().all(|info| info.contains(&label));
            all.then_some(())
                .ok_or_else(|| Error::Unexpected(infos.join("\n")))
        })
        .await?;
        self.webhook_is_ready_again().await
    }

    async fn webhook_is_ready_again(&self) -> Result<()> {
        eventually(TAKEOVER, "the webhook is ready", async || {
            self.webhook_is_ready().await
        })
        .await
    }
}
