//! A namespace per test: made with a random suffix, dumped when the test fails, removed at its end.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod, ServiceAccount};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, NAMESPACE},
    error::{Doing, Error, Result},
    nads::nads,
    network::Nad,
    pod::Pod,
    wait::{LONG, PLUG, eventually},
};

/// Labels whatever a test makes in a namespace that is not its own.
pub(crate) const RUN: &str = "tests.dynamic-networks.invalid/run";

/// For pods without the annotation.
pub const NO_NETWORKS: Option<&str> = None;

/// No test may take longer; what hangs is dumped like what fails.
const TEST: Duration = Duration::from_secs(400);

/// One test's own namespace, or its share of kube-system.
pub struct Namespace {
    /// The cluster that it is in.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
    /// What tells this test's objects and links from those of others.
    pub(crate) run: String,
}

/// Runs a test in a namespace of its own, beside others.
///
/// # Errors
/// Whatever the test returns; setting up and cleaning up count too.
pub async fn in_namespace(purpose: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    let ns = Namespace::create(cluster, purpose).await?;
    let outcome = ns.outcome(TEST, test).await;
    ns.finish(outcome).await
}

/// Runs a test in kube-system, where the webhook is not asked, beside others. Its pods and networks
/// need names that no other test gives.
///
/// # Errors
/// Whatever the test returns; cleaning up counts too.
pub async fn in_kube_system(test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    let ns = Namespace::shared(cluster);
    let outcome = ns.outcome(TEST, test).await;
    ns.finish(outcome).await
}

/// Runs a test that disturbs everybody: no other test runs meanwhile, and what it changed about the
/// cluster is put right at its end.
///
/// # Errors
/// Whatever the test returns; setting up, cleaning up and putting right count too.
pub async fn alone_in_namespace(
    purpose: &str,
    test: impl AsyncFnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    alone_for(Duration::ZERO, purpose, test).await
}

/// The same for a test of which one part, of this length, may take longer than others' do.
///
/// # Errors
/// As [`alone_in_namespace`].
pub async fn alone_for(
    part: Duration,
    purpose: &str,
    test: impl AsyncFnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    let ns = Namespace::create(alone().await?, purpose).await?;
    ns.test_alone(TEST + part, test).await
}

/// As [`alone_in_namespace`], in kube-system.
///
/// # Errors
/// The same.
pub async fn alone_in_kube_system(test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let ns = Namespace::shared(alone().await?);
    ns.test_alone(TEST, test).await
}

/// The cluster for one test alone, as every test finds it.
async fn alone() -> Result<Cluster> {
    let cluster = Cluster::connect_alone().await?;
    cluster.put_right().await?;
    cluster.installed().await?;
    Ok(cluster)
}

impl Namespace {
    /// This namespace, for pods that run on the node of this number.
    ///
    /// # Errors
    /// [`Error::Setup`] when the cluster has no such node.
    pub fn on_node(&self, number: u8) -> Result<Self> {
        Ok(Self {
            cluster: self.cluster.on_node(number)?,
            name: self.name.clone(),
            run: self.run.clone(),
        })
    }

    /// Runs a part of a test in a second namespace, which is removed at its end.
    ///
    /// # Errors
    /// Whatever that part returns; setting up and cleaning up count too.
    pub async fn beside(
        &self,
        purpose: &str,
        part: impl AsyncFnOnce(&Namespace) -> Result<()>,
    ) -> Result<()> {
        let ns = Namespace::create(self.cluster.again()?, purpose).await?;
        // The test that this belongs to has a limit of its own.
        let outcome = ns.outcome(Duration::MAX, part).await;
        ns.finish(outcome).await
    }
}

type Outcome = std::thread::Result<Result<()>>;

impl Namespace {
    async fn create(cluster: Cluster, purpose: &str) -> Result<Self> {
        let api: Api<ApiNamespace> = Api::all(cluster.client.clone());
        let wanted = object(json!({"metadata": {"generateName": format!("{purpose}-")}}))?;
        let made = api
            .create(&PostParams::default(), &wanted)
            .await
            .doing("make a namespace")?;
        let name = made.name_any();
        // No pod is admitted before; after the API server was gone, the controller that makes it
        // takes its time.
        let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &name);
        eventually(LONG, "the namespace has a service account", async || {
            let account = accounts.get("default").await;
            account.map(drop).doing("read the default service account")
        })
        .await?;
        let run = name.rsplit('-').next().unwrap_or_default().to_owned();
        Ok(Self { cluster, name, run })
    }

    /// This test's share of kube-system.
    fn shared(cluster: Cluster) -> Self {
        Self {
            cluster,
            name: NAMESPACE.to_owned(),
            run: std::iter::repeat_with(fastrand::lowercase).take(5).collect(),
        }
    }

    async fn test_alone(&self, limit: Duration, test: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let outcome = self.outcome(limit, test).await;
        let restored = self.cluster.put_right().await;
        // What was started again gets ready while the pods of the test go.
        let (finished, ready) = futures::join!(self.finish(outcome), self.cluster.installed());
        finished?;
        restored.and(ready)
    }

    async fn outcome(&self, limit: Duration, test: impl AsyncFnOnce(&Self) -> Result<()>) -> Outcome {
        let limited = async {
            tokio::time::timeout(limit, test(self))
                .await
                .unwrap_or_else(|_| Err(Error::Unexpected(format!("the test takes longer than {limit:?}"))))
        };
        let began = Instant::now();
        let outcome = AssertUnwindSafe(limited).catch_unwind().await;
        println!(
            "in namespace {}: {:.1} s",
            self.name,
            began.elapsed().as_secs_f64()
        );
        if !matches!(outcome, Ok(Ok(()))) {
            self.dump().await;
        }
        outcome
    }

    /// Sets one label of the namespace.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn label(&self, key: &str, value: &str) -> Result<()> {
        let api: Api<ApiNamespace> = Api::all(self.cluster.client.clone());
        let patch = kube::api::Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        let patched = api
            .patch(&self.name, &kube::api::PatchParams::default(), &patch)
            .await;
        patched.map(drop).doing("label the namespace")
    }

    /// Creates a pod with this networks annotation (none: no such key) and does not wait.
    ///
    /// # Errors
    /// [`Error::Api`], among others when the webhook refuses.
    pub async fn create_pod(&self, name: &str, networks: impl Into<Option<&str>>) -> Result<Pod> {
        self.create_pod_as(name, networks, |_| ()).await
    }

    /// The same with another `spec`: `change` is given the usual one.
    ///
    /// # Errors
    /// [`Error::Api`], among others when the webhook refuses.
    pub async fn create_pod_as(
        &self,
        name: &str,
        networks: impl Into<Option<&str>>,
        change: impl FnOnce(&mut Value),
    ) -> Result<Pod> {
        self.create_pod_from(name, networks, |pod| change(&mut pod["spec"]))
            .await
    }

    /// The same with another object: `change` is given the usual one.
    ///
    /// # Errors
    /// [`Error::Api`], among others when the webhook refuses.
    pub async fn create_pod_from(
        &self,
        name: &str,
        networks: impl Into<Option<&str>>,
        change: impl FnOnce(&mut Value),
    ) -> Result<Pod> {
        let annotations: BTreeMap<_, _> = networks
            .into()
            .map(|v| (shared::annotations::NETWORKS, v))
            .into_iter()
            .collect();
        let mut pod = json!({
            "metadata": {"name": name, "labels": {RUN: self.run}, "annotations": annotations},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "app", "image": "docker.io/library/busybox", "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"],
                }],
            },
        });
        if self.cluster.has_other_nodes() {
            pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": self.cluster.node.name});
        }
        change(&mut pod);
        let pod: ApiPod = object(pod)?;
        let made = self
            .pods()
            .create(&PostParams::default(), &pod)
            .await
            .doing(format!("create pod {name}"))?;
        Ok(Pod::new(self, &made))
    }

    /// Creates a pod with this networks annotation and waits until its containers are ready.
    ///
    /// # Errors
    /// [`Error::Api`] when it is refused, [`Error::Deadline`] when it does not start.
    pub async fn running_pod(&self, name: &str, networks: impl Into<Option<&str>>) -> Result<Pod> {
        let pod = self.create_pod(name, networks).await?;
        pod.is_ready().await?;
        Ok(pod)
    }

    /// Creates `count` pods called `<name>0`, `<name>1`… with this networks annotation and waits
    /// until all are ready. It lists them: a GET of each would keep a small machine busy.
    ///
    /// # Errors
    /// [`Error::Api`] when one is refused, [`Error::Deadline`] when one does not start.
    pub async fn running_pods(
        &self,
        name: &str,
        count: usize,
        networks: impl Into<Option<&str>>,
    ) -> Result<Vec<Pod>> {
        let networks = networks.into();
        let names: Vec<_> = (0..count).map(|number| format!("{name}{number}")).collect();
        let made: Vec<Pod> = futures::stream::iter(&names)
            .map(|name| self.create_pod(name, networks))
            .buffered(8)
            .try_collect()
            .await?;
        eventually(LONG, format!("{count} pods are ready"), async || {
            let pods = self.pods().list(&ListParams::default()).await;
            let pods = pods.doing("list the pods")?.items;
            let ready = pods.iter().filter(|pod| is_ready(pod));
            let ready = ready.filter(|pod| names.contains(&pod.name_any())).count();
            (ready == count)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{ready} are")))
        })
        .await?;
        Ok(made)
    }

    pub(crate) fn pods(&self) -> Api<ApiPod> {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    fn is_shared(&self) -> bool {
        self.name == NAMESPACE
    }

    /// Selects the objects of this test.
    pub(crate) fn own(&self) -> ListParams {
        if self.is_shared() {
            ListParams::default().labels(&format!("{RUN}={}", self.run))
        } else {
            ListParams::default()
        }
    }

    /// A bridge name of at most 15 bytes that belongs to this namespace and network alone.
    pub fn bridge(&self, network: &str) -> String {
        let hash = network
            .bytes()
            .fold(7_u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        format!("{}{:x}", self.bridge_prefix(), hash % 0xffff)
    }

    /// A network device on the node for this test alone; it is gone at the end of the test, or of
    /// the pod that it was given to.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn device(&self) -> Result<String> {
        self.device_number(0).await
    }

    /// The same for a test with several devices, numbered from 0 to 15.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn device_number(&self, number: u8) -> Result<String> {
        let (device, peer) = (
            format!("{}d{number:x}", self.bridge_prefix()),
            format!("{}e{number:x}", self.bridge_prefix()),
        );
        let add = [
            "ip", "link", "add", &device, "type", "veth", "peer", "name", &peer,
        ];
        self.cluster.node.run(&add).await?;
        Ok(device)
    }

    /// The name of a link that [`Self::add_links`] may make: another one for each number.
    pub fn link(&self, number: usize) -> String {
        format!("{}{number}", self.bridge_prefix())
    }

    /// Makes links on the node, which can be moved into a pod or be the master of others. They are
    /// gone at the end of the test.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn add_links(&self, links: &[&str]) -> Result<()> {
        let script = r#"for link; do
            ip link add "$link" type veth peer name "${link}p" && ip link set "$link" up || exit
        done"#;
        let command = [&["sh", "-c", script, "sh"], links].concat();
        self.cluster.node.run(&command).await.map(drop)
    }

    fn bridge_prefix(&self) -> String {
        format!("t{}-", self.run)
    }

    async fn finish(&self, outcome: Outcome) -> Result<()> {
        let removed = self.remove().await;
        match outcome {
            Ok(result) => result.and(removed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Pods first and awaited, so that one test's end does not slow the next one's pods; the rest
    /// goes by itself.
    async fn remove(&self) -> Result<()> {
        self.no_orders().await?;
        let pods = self.pods();
        let all = self.own();
        pods.delete_collection(&DeleteParams::default(), &all)
            .await
            .map(drop)
            .doing("delete the pods")?;
        eventually(LONG, "the pods of the test are gone", async || {
            let left = pods.list(&all).await.doing("list pods")?.items;
            let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
            names
                .is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(names.join(", ")))
        })
        .await?;
        if self.is_shared() {
            let nads = nads(&self.cluster, &self.name);
            let deleted = nads.delete_collection(&DeleteParams::default(), &all).await;
            deleted.map(drop).doing("delete the networks")?;
        } else {
            self.delete().await?;
        }
        // The bridge plugin never removes its bridge.
        let script =
            "for l in /sys/class/net/\"$1\"*; do [ ! -e \"$l\" ] || ip link delete \"${l##*/}\"; done";
        let prefix = self.bridge_prefix();
        self.cluster
            .node
            .run(&["sh", "-c", script, "sh", &prefix])
            .await
            .map(drop)
    }

    /// Deletes the namespace and all that is in it; does not wait for that. Once is enough.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn delete(&self) -> Result<()> {
        let api: Api<ApiNamespace> = Api::all(self.cluster.client.clone());
        let deleted = api.delete(&self.name, &DeleteParams::default()).await;
        match deleted.map(drop).doing("delete the namespace") {
            // It is gone, or about to go.
            Err(error) if error.is_status(404) || error.is_status(409) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until no lease of `nad` is left.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the leases that are left.
    pub async fn has_no_leases(&self, nad: &Nad) -> Result<()> {
        eventually(
            PLUG,
            format!("every lease of {} is freed", nad.config_name),
            async || {
                let leases = self.cluster.node.leases(&nad.config_name).await?;
                leases
                    .is_empty()
                    .then_some(())
                    .ok_or_else(|| Error::Unexpected(format!("{leases:?}")))
            },
        )
        .await
    }
}

fn is_ready(pod: &ApiPod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// JSON that was written here as a typed object.
pub(crate) fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::Unexpected(e.to_string()))
}
