//! The gate seen from the API server: asked by dry-run creates, and counted by its own metrics.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod as ApiPod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{AGENT, Cluster, NAMESPACE, WEBHOOK},
    error::{Doing, Error, Result},
    namespace::{Namespace, object},
    wait::{LONG, eventually},
};

/// Where both programs have their configuration.
const CONFIG: (&str, &str) = (
    "dynamic-networks-controller-config",
    "dynamic-networks-config.json",
);
/// Where the self-managed CA is.
const CA_SECRET: &str = "dynamic-networks-webhook-ca";
/// Creates at once in [`Namespace::asks_while`].
const ASKERS: usize = 4;

/// What came of a stream of creates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How many were made.
    pub calls: usize,
    /// How many came back without the interface name that the gate fills in: it was not called, or
    /// did not answer.
    pub unfilled: usize,
    /// How many the API server refused because the gate did not answer.
    pub refused: usize,
}

impl Namespace {
    /// Creates a pod with the networks annotation `networks` for show, and returns the annotation
    /// that would be stored.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn would_store(&self, networks: &str) -> Result<String> {
        self.cluster.would_store(&self.name, networks).await
    }

    /// Asks the gate without a pause, several times at once, until `until` is done. A create that
    /// fails otherwise than by a gate that does not answer fails the test.
    ///
    /// # Errors
    /// Whatever `until` returns, and [`Error::Api`].
    pub async fn asks_while(&self, until: impl Future<Output = Result<()>>) -> Result<Asked> {
        let done = tokio::sync::watch::Sender::new(false);
        let asker = async || {
            let mut asked = Asked::default();
            while !*done.borrow() {
                asked.calls += 1;
                match self.would_store("blue").await {
                    Ok(stored) => asked.unfilled += usize::from(stored != "blue@net1"),
                    Err(error) if error.refusal().is_some_and(is_unanswered) => asked.refused += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, Error>(asked)
        };
        let askers = futures::future::try_join_all((0..ASKERS).map(|_| asker()));
        let until = async {
            let outcome = until.await;
            done.send_replace(true);
            outcome
        };
        let (outcome, asked) = futures::join!(until, askers);
        outcome?;
        Ok(asked?.into_iter().fold(Asked::default(), |sum, one| Asked {
            calls: sum.calls + one.calls,
            unfilled: sum.unfilled + one.unfilled,
            refused: sum.refused + one.refused,
        }))
    }

    /// Waits until the gate treats unnamed networks here as its mode `fill` does, or does not.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn is_filled(&self, filled: bool) -> Result<()> {
        eventually(LONG, format!("names are filled in: {filled}"), async || {
            // Every replica has a cache of its own, and the API server may ask any.
            for _ in 0..8 {
                let stored = self.would_store("blue").await?;
                if (stored != "blue") != filled {
                    return Err(Error::Unexpected(stored));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Whether the API server refuses because a webhook did not answer, not because of what it
/// answered.
pub fn is_unanswered(refusal: &str) -> bool {
    refusal.contains("failed calling webhook")
}

impl Cluster {
    /// How many reviews all replicas of the gate have answered since they started.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn reviews(&self) -> Result<u64> {
        let texts = self.gate_metrics().await?;
        let counts = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
            let (_, value) = line
                .strip_prefix("dynamic_networks_webhook_verdicts_total")?
                .rsplit_once(' ')?;
            value.parse::<u64>().ok()
        });
        Ok(counts.sum())
    }

    /// What each replica of the gate shows on `/metrics`.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn gate_metrics(&self) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for pod in self.program_pods(WEBHOOK).await? {
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/pods/{}:8080/proxy/metrics",
                pod.name_any()
            );
            let request = kube::core::Request::new("").get(&path, &kube::api::GetParams::default());
            let mut request = request.map_err(|e| Error::Unexpected(e.to_string()))?;
            *request.uri_mut() = path
                .parse()
                .map_err(|_| Error::Unexpected(format!("no URI: {path}")))?;
            texts.push(
                self.client
                    .request_text(request)
                    .await
                    .doing("read the gate's metrics")?,
            );
        }
        Ok(texts)
    }

    /// Creates a pod in any namespace for show, and returns the networks annotation that would be
    /// stored.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn would_store(&self, namespace: &str, networks: &str) -> Result<String> {
        let pod: ApiPod = object(json!({
            "metadata": {"generateName": "asked-", "annotations": {shared::annotations::NETWORKS: networks}},
            "spec": {"containers": [{"name": "app", "image": "docker.io/library/busybox"}]},
        }))?;
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pods: Api<ApiPod> = Api::namespaced(self.client.clone(), namespace);
        let answer = pods.create(&dry_run, &pod).await.doing("create a pod for show")?;
        let stored = answer.annotations().get(shared::annotations::NETWORKS).cloned();
        Ok(stored.unwrap_or_default())
    }

    pub(crate) async fn configuration(&self) -> Result<String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = api.get(CONFIG.0).await.doing("read the configuration")?;
        Ok(map.data.unwrap_or_default().remove(CONFIG.1).unwrap_or_default())
    }

    /// Changes keys of the programs' configuration, which they read when they start. It is put back
    /// at the end of the test.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn configure(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut config = crate::node::parse(&self.configuration().await?)?;
        change(&mut config);
        let patch = Patch::Merge(json!({"data": {CONFIG.1: config.to_string()}}));
        let patched = api.patch(CONFIG.0, &PatchParams::default(), &patch).await;
        patched.map(drop).doing("change the configuration")
    }

    /// `kubectl rollout restart` of the gate, until the new replicas are ready and the old ones
    /// gone.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`].
    pub async fn roll_webhook(&self) -> Result<()> {
        let before: Vec<_> = self
            .program_pods(WEBHOOK)
            .await?
            .iter()
            .map(ResourceExt::uid)
            .collect();
        let deployment = format!("deployment/{WEBHOOK}");
        self.kubectl(&["rollout", "restart", "--namespace", NAMESPACE, &deployment])
            .await?;
        eventually(LONG, "the gate is rolled out", async || {
            let pods = self.program_pods(WEBHOOK).await?;
            let old = pods.iter().filter(|pod| before.contains(&pod.uid())).count();
            if old > 0 {
                return Err(Error::Unexpected(format!("{old} old replicas are left")));
            }
            self.webhook_is_ready().await
        })
        .await
    }

    /// Replaces every replica of the gate at once, without the care of a rollout, and waits for the
    /// new ones.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn restart_webhook(&self) -> Result<()> {
        let old = self.program_pods(WEBHOOK).await?;
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        for pod in &old {
            let deleted = api
                .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await;
            deleted.map(drop).doing("delete a replica of the gate")?;
        }
        eventually(LONG, "new replicas of the gate are ready", async || {
            let pods = self.program_pods(WEBHOOK).await?;
            if pods
                .iter()
                .any(|pod| old.iter().any(|old| old.uid() == pod.uid()))
            {
                return Err(Error::Unexpected("an old one is there".to_owned()));
            }
            self.webhook_is_ready().await
        })
        .await
    }

    /// Sets the number of replicas of the gate and waits for them. It is put back at the end of the
    /// test.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Deadline`].
    pub async fn run_webhooks(&self, replicas: u32) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch(WEBHOOK, &PatchParams::default(), &patch)
            .await
            .doing("scale the gate")?;
        eventually(
            LONG,
            format!("{replicas} replicas of the gate are ready"),
            async || self.webhook_is_ready().await,
        )
        .await
    }

    /// Ends one replica of the gate with SIGKILL, as a crash would, and waits until it is there
    /// again.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`].
    pub async fn crash_one_webhook(&self) -> Result<()> {
        let before = self.restarts(WEBHOOK).await?;
        let kill = "kill -9 $(pgrep -f -o /dynamic-networks-webhook)";
        self.node.run(&["sh", "-c", kill]).await?;
        eventually(LONG, "the replica is back", async || {
            if self.restarts(WEBHOOK).await? == before {
                return Err(Error::Unexpected("nothing has restarted".to_owned()));
            }
            self.webhook_is_ready().await
        })
        .await
    }

    /// The nodes lose their power and start again. Waits until both programs have started again
    /// too, all by themselves.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`].
    pub async fn cold_start(&self) -> Result<()> {
        let before = [self.restarts(AGENT).await?, self.restarts(WEBHOOK).await?];
        self.reboot().await?;
        eventually(LONG, "agent and gate have started again", async || {
            let restarts = [self.restarts(AGENT).await?, self.restarts(WEBHOOK).await?];
            let again = restarts.iter().zip(&before).all(|(now, before)| {
                now.len() == before.len()
                    && now
                        .iter()
                        .all(|(pod, count)| before.get(pod).is_none_or(|b| count > b))
            });
            if !again {
                return Err(Error::Unexpected(format!(
                    "restarts: {before:?}, now {restarts:?}"
                )));
            }
            self.agent_is_ready().await?;
            self.webhook_is_ready().await
        })
        .await
    }

    /// How often the containers of each pod of a program were started again.
    async fn restarts(&self, program: &str) -> Result<BTreeMap<String, i32>> {
        let pods = self.program_pods(program).await?;
        let count = |pod: &ApiPod| {
            let containers = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            containers
                .into_iter()
                .flatten()
                .map(|container| container.restart_count)
                .sum()
        };
        Ok(pods.iter().map(|pod| (pod.name_any(), count(pod))).collect())
    }

    /// What the CA's Secret holds.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn ca_secret(&self) -> Result<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.get(CA_SECRET).await.doing("read the CA's Secret")
    }

    /// Replaces the content of the CA's Secret.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn put_ca(&self, data: &Value) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"stringData": data}));
        let patched = api.patch(CA_SECRET, &PatchParams::default(), &patch).await;
        patched.map(drop).doing("write the CA's Secret")
    }
}
