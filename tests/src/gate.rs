//! The gate seen from the API server: asked by dry-run creates, and counted by its own metrics.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod as ApiPod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, NAMESPACE, WEBHOOK},
    error::{Doing, Error, Result},
    namespace::Namespace,
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
    /// How many came back without the interface name that the gate fills in: it was not called, or did not answer.
    pub unfilled: usize,
}

impl Namespace {
    /// Creates a pod with the networks annotation `networks` for show, and returns the annotation that would be stored.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn would_store(&self, networks: &str) -> Result<String> {
        let pod: ApiPod = serde_json::from_value(json!({
            "metadata": {"generateName": "asked-", "annotations": {shared::annotations::NETWORKS: networks}},
            "spec": {"containers": [{"name": "app", "image": "docker.io/library/busybox"}]},
        }))
        .map_err(|e| Error::Unexpected(e.to_string()))?;
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pods = self.pods();
        let answer = pods.create(&dry_run, &pod).await.doing("create a pod for show")?;
        Ok(answer
            .annotations()
            .get(shared::annotations::NETWORKS)
            .cloned()
            .unwrap_or_default())
    }

    /// Asks the gate without a pause, several times at once, until `until` is done. A refused or failed create fails the test.
    ///
    /// # Errors
    /// Whatever `until` returns, and [`Error::Api`].
    pub async fn asks_while(&self, until: impl Future<Output = Result<()>>) -> Result<Asked> {
        let done = tokio::sync::watch::Sender::new(false);
        let asker = async || {
            let mut asked = Asked::default();
            while !*done.borrow() {
                asked.calls += 1;
                asked.unfilled += usize::from(self.would_store("blue").await? != "blue@net1");
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

    /// Changes keys of the programs' configuration. The programs read it when they start.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn configure(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = api.get(CONFIG.0).await.doing("read the configuration")?;
        let text = map.data.unwrap_or_default().remove(CONFIG.1).unwrap_or_default();
        let mut config = crate::node::parse(&text)?;
        change(&mut config);
        let patch = Patch::Merge(json!({"data": {CONFIG.1: config.to_string()}}));
        let patched = api.patch(CONFIG.0, &PatchParams::default(), &patch).await;
        patched.map(drop).doing("change the configuration")
    }

    /// `kubectl rollout restart` of the gate, until the new replicas are ready and the old ones gone.
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

    /// Sets the number of replicas of the gate and waits for them. It is put back at the end of the test.
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

    /// Ends one replica of the gate with SIGKILL, as a crash would, and waits until it is there again.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Deadline`].
    pub async fn crash_one_webhook(&self) -> Result<()> {
        let before = self.webhook_restarts().await?;
        let kill = "kill -9 $(pgrep -f -o /dynamic-networks-webhook)";
        self.node.run(&["sh", "-c", kill]).await?;
        eventually(LONG, "the replica is back", async || {
            if self.webhook_restarts().await? == before {
                return Err(Error::Unexpected("nothing has restarted".to_owned()));
            }
            self.webhook_is_ready().await
        })
        .await
    }

    async fn webhook_restarts(&self) -> Result<i32> {
        let pods = self.program_pods(WEBHOOK).await?;
        let containers = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
            .flatten();
        Ok(containers.map(|container| container.restart_count).sum())
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
