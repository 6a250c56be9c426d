//! Taking over from another controller, and the way back: each of the ways in which the predecessor
//! is installed, from a manifest of that shape, by the steps of docs/operations.md. Interfaces stay
//! as they are all the time.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use rstest::rstest;
use tests::{Error, Interface, Namespace, Pod, Result, alone_in_namespace, macvlan, root};

const AGENT: &str = "dynamic-networks-controller-ds";

/// The predecessor, installed in one way.
struct Predecessor {
    /// Its manifest, in `tests/take-over/`.
    manifest: &'static str,
    /// What kubectl applies it with.
    apply: &'static [&'static str],
    /// Whose DaemonSet runs then: namespace and name.
    daemon_set: (&'static str, &'static str),
    /// Whether what owns it (Helm, an operator) removes its objects first.
    owned: bool,
    /// The command of the documentation before ours is applied.
    documented: Option<&'static str>,
}

const CLIENT_SIDE: Predecessor = Predecessor {
    manifest: "predecessor.yaml",
    apply: &[],
    daemon_set: ("kube-system", AGENT),
    owned: false,
    documented: None,
};
const SERVER_SIDE: Predecessor = Predecessor {
    apply: &["--server-side"],
    documented: Some("kubectl -n kube-system delete daemonset dynamic-networks-controller-ds"),
    ..CLIENT_SIDE
};
const HELM: Predecessor = Predecessor {
    manifest: "helm.yaml",
    apply: &["--server-side", "--field-manager=helm"],
    owned: true,
    ..CLIENT_SIDE
};
const RKE2: Predecessor = Predecessor {
    manifest: "rke2.yaml",
    apply: &["--server-side", "--field-manager=helm"],
    daemon_set: ("kube-system", "rke2-multus-dnc"),
    owned: true,
    documented: Some("wait --for=delete daemonset/rke2-multus-dnc"),
};
const CNAO: Predecessor = Predecessor {
    manifest: "cnao.yaml",
    apply: &["--server-side", "--field-manager=cluster-network-addons-operator"],
    daemon_set: ("cluster-network-addons", AGENT),
    owned: true,
    documented: Some("kubectl -n cluster-network-addons wait --for=delete"),
};

#[rstest]
#[case::by_client_side_apply(CLIENT_SIDE)]
#[ignore = "long: see docs/development.md"]
#[case::by_server_side_apply(SERVER_SIDE)]
#[ignore = "long: see docs/development.md"]
#[case::by_helm(HELM)]
#[case::by_the_chart_of_rke2(RKE2)]
#[ignore = "long: see docs/development.md"]
#[case::by_the_network_addons_operator(CNAO)]
#[tokio::test]
async fn takes_over_and_gives_back(#[case] predecessor: Predecessor) -> Result<()> {
    alone_in_namespace("take-over", async |ns| {
        let outcome = there_and_back(ns, &predecessor).await;
        // Whatever happened: what is left of it has names of ours, which are installed again after
        // every test.
        let removed = predecessor.is_removed(ns).await;
        outcome.and(removed)
    })
    .await
}

async fn there_and_back(ns: &Namespace, predecessor: &Predecessor) -> Result<()> {
    ns.create_nad("blue", macvlan().host_local()).await?;
    ns.cluster.uninstall().await?;
    predecessor.is_installed(ns).await?;
    // It writes no record of what it plugs; ours finds that in libcni's cache.
    let pod = ns.running_pod("p", "blue@net1").await?;
    pod.annotate("blue@net1,blue@net2").await?;
    let config = ns.nad_config("blue").await?;
    let node = &ns.cluster.node;
    node.delegate("ADD", &ns.name, &pod, "net2", &config).await?;
    let plugged = pod.interfaces().await?;

    predecessor.gives_way(ns).await?;
    ns.cluster.install().await?;
    ns.cluster.installed().await?;
    pod.has_exactly(&["net1", "net2"]).await?;
    are_the_same(&plugged, &pod).await?;
    agent_is_as_the_manifest_has_it(ns).await?;
    pod.annotate("blue@net1,blue@net3").await?;
    pod.has_exactly(&["net1", "net3"]).await?;
    let plugged = pod.interfaces().await?;

    ns.cluster.uninstall().await?;
    predecessor.is_installed(ns).await?;
    are_the_same(&plugged, &pod).await
}

impl Predecessor {
    async fn is_installed(&self, ns: &Namespace) -> Result<()> {
        let manifest = self.path();
        let arguments = [&["apply"], self.apply, &["-f", &manifest]].concat();
        ns.cluster.kubectl(&arguments).await?;
        let (namespace, name) = self.daemon_set;
        let daemon_set = format!("daemonset/{name}");
        let rollout = [
            "rollout",
            "status",
            "--timeout=60s",
            "--namespace",
            namespace,
            &daemon_set,
        ];
        ns.cluster.kubectl(&rollout).await.map(drop)
    }

    /// The steps of the documentation.
    async fn gives_way(&self, ns: &Namespace) -> Result<()> {
        if self.owned {
            let delete = ["delete", "--wait=false", "-f", &self.path()];
            ns.cluster.kubectl(&delete).await?;
        }
        if let Some(command) = self.documented {
            ns.cluster.documented("docs/operations.md", command).await?;
        }
        if self.owned {
            self.is_removed(ns).await?;
        }
        Ok(())
    }

    async fn is_removed(&self, ns: &Namespace) -> Result<()> {
        let delete = [
            "delete",
            "--ignore-not-found",
            "--timeout=60s",
            "-f",
            &self.path(),
        ];
        ns.cluster.kubectl(&delete).await.map(drop)
    }

    fn path(&self) -> String {
        root()
            .join("tests/take-over")
            .join(self.manifest)
            .display()
            .to_string()
    }
}

/// Nothing of the predecessor is left in the DaemonSet: a mount of its socket would hide the one of
/// a restarted multus.
async fn agent_is_as_the_manifest_has_it(ns: &Namespace) -> Result<()> {
    let api: Api<DaemonSet> = Api::namespaced(ns.cluster.client.clone(), "kube-system");
    let set = api
        .get(AGENT)
        .await
        .map_err(|e| Error::Unexpected(e.to_string()))?;
    let pod = set.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
    let [container] = &pod.containers[..] else {
        return Err(Error::Unexpected(format!("{} containers", pod.containers.len())));
    };
    let privileged = container
        .security_context
        .as_ref()
        .and_then(|context| context.privileged);
    let sockets = pod
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.name.ends_with("-socket"));
    let args = container.args.iter().flatten();
    let left = (args.count(), privileged, sockets.count());
    (left == (0, Some(false), 0))
        .then_some(())
        .ok_or_else(|| Error::Unexpected(format!("arguments, privileged, volumes of sockets: {left:?}")))
}

async fn are_the_same(plugged: &[Interface], pod: &Pod) -> Result<()> {
    let now = pod.interfaces().await?;
    (now == plugged)
        .then_some(())
        .ok_or_else(|| Error::Unexpected(format!("{now:?} instead of {plugged:?}")))
}
