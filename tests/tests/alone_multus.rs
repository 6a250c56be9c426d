//! Multus configured in other ways than by default. What it attaches by its own configuration is
//! not ours: it stays, whatever the annotation says. And where the gate has the same settings, both
//! say the same.

use serde_json::json;
use shared::annotations::INTERFACE_NAMES_LABEL;
use tests::{
    AgentOptions, Cluster, Error, LONG, Namespace, Result, alone_in_namespace, eventually, macvlan,
    same_names,
};

#[tokio::test]
async fn never_removes_an_interface_of_the_default_networks() -> Result<()> {
    alone_in_namespace("default", async |ns| {
        ns.create_nad("everywhere", macvlan().host_local()).await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.cluster
            .configure_multus(|config| {
                config["defaultNetworks"] = json!(["everywhere"]);
                config["multusNamespace"] = json!(ns.name);
            })
            .await?;
        // Multus calls the default network's interface net1.
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.has_exactly(&["net1", "cold"]).await?;
        let default = pod.interface("net1").await?;

        pod.annotate("[]").await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("blue@hot").await?;
        pod.has_exactly(&["net1", "hot"]).await?;
        pod.remove_annotation().await?;
        pod.has_exactly(&["net1"]).await?;
        assert_eq!(pod.interface("net1").await?, default);

        ns.cluster.restart_agent().await?;
        pod.annotate("blue@hot").await?;
        pod.has_exactly(&["net1", "hot"]).await?;
        assert_eq!(pod.interface("net1").await?, default);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn carries_out_an_edit_that_was_made_while_multus_restarted() -> Result<()> {
    alone_in_namespace("restart", async |ns| {
        // A call that multus takes along may still run: this agent waits for it for seconds, not
        // for half a minute.
        let own = ns.instead_of_the_agent().await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        let restart = ns.cluster.restart_multus();
        let edit = pod.annotate("blue@net1");
        futures::try_join!(restart, edit)?;
        pod.has_exactly(&["net1"]).await?;
        agent.stop().await
    })
    .await
}

#[tokio::test]
async fn the_gate_agrees_with_a_multus_that_has_default_networks_and_isolates_namespaces() -> Result<()> {
    alone_in_namespace("alike", async |ns| {
        ns.create_nad("everywhere", macvlan()).await?;
        let places = Places::beside(ns).await?;
        let system = json!(["kube-system", places.system]);
        ns.cluster
            .configure_multus(|config| {
                config["defaultNetworks"] = json!(["everywhere"]);
                config["multusNamespace"] = json!(ns.name);
                config["systemNamespaces"] = system.clone();
                config["namespaceIsolation"] = json!(true);
                config["globalNamespaces"] = json!(format!("default,{}", places.global));
            })
            .await?;
        ns.cluster
            .configure(|config| {
                config["interfaceOffset"] = json!(1);
                config["systemNamespaces"] = system;
                config["namespaceIsolation"] = json!(true);
                config["globalNamespaces"] = json!(["default", places.global]);
            })
            .await?;
        ns.cluster.restart_webhook().await?;

        same_names(ns, 1, 5).await?;
        same_name_in_a_system_namespace(&ns.cluster, &places.system).await?;
        same_isolation(ns, &places).await?;
        places.leave(&ns.cluster).await
    })
    .await
}

/// Namespaces beside the test's own, each with a network `red`.
struct Places {
    /// Multus attaches no default networks here.
    system: String,
    /// Its networks are for everybody.
    global: String,
    /// Its networks are its own.
    foreign: String,
}

impl Places {
    async fn beside(ns: &Namespace) -> Result<Self> {
        let name = |suffix: &str| format!("{}-{suffix}", ns.name);
        let places = Self {
            system: name("system"),
            global: name("global"),
            foreign: name("foreign"),
        };
        let objects = places.all().map(|namespace| {
            let config =
                json!({"cniVersion": "1.0.0", "name": namespace, "type": "macvlan", "master": "eth1"});
            let network = json!({
                "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
                "metadata": {"name": "red", "namespace": namespace}, "spec": {"config": config.to_string()},
            });
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            [namespace, network]
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.concat()});
        ns.cluster.apply(&list).await?;
        Ok(places)
    }

    fn all(&self) -> [&str; 3] {
        [&self.system, &self.global, &self.foreign]
    }

    async fn leave(&self, cluster: &Cluster) -> Result<()> {
        let [system, global, foreign] = self.all();
        let delete = ["delete", "namespace", "--wait=false", system, global, foreign];
        cluster.kubectl(&delete).await.map(drop)
    }
}

/// Where multus has no networks of its own, neither of the two counts them.
async fn same_name_in_a_system_namespace(cluster: &Cluster, system: &str) -> Result<()> {
    assert_eq!(cluster.would_store(system, "red").await?, "red@net1");
    cluster
        .kubectl(&[
            "label",
            "namespace",
            system,
            &format!("{INTERFACE_NAMES_LABEL}=off"),
        ])
        .await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": system, "annotations": {shared::annotations::NETWORKS: "red"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "docker.io/library/busybox", "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "infinity"]}],
        },
    });
    eventually(LONG, "the gate keeps its hands off", async || {
        let stored = cluster.would_store(system, "red").await?;
        (stored == "red").then_some(()).ok_or(Error::Unexpected(stored))
    })
    .await?;
    cluster.apply(&pod).await?;
    cluster
        .kubectl(&[
            "wait",
            "--namespace",
            system,
            "--for=condition=Ready",
            "--timeout=60s",
            "pod/p",
        ])
        .await?;
    let status = cluster
        .kubectl(&[
            "get",
            "pod",
            "p",
            "--namespace",
            system,
            "--output",
            "jsonpath={.metadata.annotations}",
        ])
        .await?;
    assert!(status.contains("net1") && !status.contains("net2"), "{status}");
    Ok(())
}

/// The networks of another namespace: those of a global one for everybody, all others for nobody
/// else, on create as on update.
async fn same_isolation(ns: &Namespace, places: &Places) -> Result<()> {
    let (global, foreign) = (
        format!("{}/red@a", places.global),
        format!("{}/red@b", places.foreign),
    );
    let gated = ns.running_pod("global", global.as_str()).await?;
    let refused = [
        gated.refusal_of(&format!("{global},{foreign}")).await?,
        match ns.would_store(&foreign).await {
            Err(error) => error.refusal().map(str::to_owned).ok_or(error)?,
            Ok(stored) => return Err(Error::Unexpected(format!("admitted: {stored}"))),
        },
    ];
    for refusal in refused {
        assert!(
            refusal.contains("namespace-isolation") && refusal.contains(&places.global),
            "{refusal}"
        );
    }

    // A name that multus gives to a network of its own would fail the pod.
    match ns.would_store("red@net1").await {
        Err(error)
            if error
                .refusal()
                .is_some_and(|words| words.contains("interface-reserved")) => {}
        other => return Err(Error::Unexpected(format!("{other:?}"))),
    }

    // Multus alone: the first starts, the second does not.
    ns.cluster.stop_webhook().await?;
    ns.running_pod("global-alone", global.as_str()).await?;
    let alone = ns.create_pod("foreign-alone", foreign.as_str()).await?;
    eventually(
        LONG,
        "multus refuses the network of another namespace",
        async || {
            let told = [
                "get",
                "events",
                "--namespace",
                &ns.name,
                "--output",
                "jsonpath={.items[*].message}",
            ];
            let events = ns.cluster.kubectl(&told).await?;
            let refused = events.contains(&alone.name) && events.contains("namespace isolation");
            refused.then_some(()).ok_or(Error::Unexpected(events))
        },
    )
    .await
}
