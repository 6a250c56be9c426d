//! Addresses from a store that the whole cluster shares (the IPAM plugin whereabouts): on two
//! nodes, none is given twice, freed while its pod has it, or kept when the interface or the pod
//! has gone. These tests need a cluster with two nodes and `tests/cluster/plugins.sh`: see
//! `hack/pair.sh`.

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, alone_in_namespace, eventually, in_namespace};

#[tokio::test]
async fn an_unplug_frees_its_own_address_and_no_other() -> Result<()> {
    in_namespace("shared", async |first| {
        let second = first.on_node(2)?;
        let (one, two) = plugged_pods(first, &second).await?;
        let (address, others) = (address(&one).await?, address(&two).await?);
        assert_ne!(address, others);

        one.annotate("[]").await?;
        one.has_exactly(&[]).await?;
        holds(first, &[&two]).await?;
        two.has_exactly(&["net1"]).await?;

        one.annotate("wide@net2").await?;
        one.has_exactly(&["net2"]).await?;
        holds(first, &[&one, &two]).await
    })
    .await
}

#[rstest]
#[case::with_the_agent(true)]
#[case::without_the_agent(false)]
#[tokio::test]
async fn a_deleted_pods_address_is_freed_and_no_other(#[case] agent: bool) -> Result<()> {
    alone_in_namespace("shared", async |first| {
        let second = first.on_node(2)?;
        let (one, two) = plugged_pods(first, &second).await?;
        if !agent {
            first.cluster.stop_agent().await?;
        }
        one.delete().await?;
        holds(first, &[&two]).await?;
        if !agent {
            first.cluster.start_agent().await?;
        }
        two.has_exactly(&["net1"]).await?;
        holds(first, &[&two]).await?;

        two.annotate("[]").await?;
        two.has_exactly(&[]).await?;
        holds(first, &[]).await
    })
    .await
}

/// A pod on each node with a hot-plugged interface on one network.
async fn plugged_pods(first: &Namespace, second: &Namespace) -> Result<(Pod, Pod)> {
    let config = json!({
        "cniVersion": "1.0.0", "name": format!("{}-wide", first.name), "type": "macvlan", "master": "eth1", "mode": "bridge",
        "ipam": {"type": "whereabouts", "range": "10.199.0.0/28", "network_name": first.name},
    });
    first.create_raw_nad("wide", &config.to_string()).await?;
    let one = first.running_pod("one", NO_NETWORKS).await?;
    let two = second.running_pod("two", NO_NETWORKS).await?;
    for pod in [&one, &two] {
        pod.annotate("wide@net1").await?;
    }
    for pod in [&one, &two] {
        pod.has_exactly(&["net1"]).await?;
    }
    holds(first, &[&one, &two]).await?;
    Ok((one, two))
}

async fn address(pod: &Pod) -> Result<String> {
    let addresses = pod.interface("net1").await?.addresses;
    addresses
        .into_iter()
        .next()
        .ok_or_else(|| Error::Unexpected(format!("pod {} has no address", pod.name)))
}

/// Waits until the store has one address of each of these pods of the test, and of no other.
async fn holds(ns: &Namespace, pods: &[&Pod]) -> Result<()> {
    let mut wanted: Vec<_> = pods
        .iter()
        .map(|pod| format!("{}/{}", ns.name, pod.name))
        .collect();
    wanted.sort_unstable();
    eventually(PLUG, format!("addresses are held by {wanted:?}"), async || {
        for stored in [allocations(ns).await?, reservations(ns).await?] {
            if stored != wanted {
                return Err(Error::Unexpected(format!("by {stored:?}")));
            }
        }
        Ok(())
    })
    .await
}

/// Whose the allocations of the pool are.
async fn allocations(ns: &Namespace) -> Result<Vec<String>> {
    let pools = objects(ns, "ippools.whereabouts.cni.cncf.io").await?;
    let allocations = pools
        .iter()
        .filter_map(|pool| pool["spec"]["allocations"].as_object());
    Ok(of_pods_here(ns, allocations.flat_map(serde_json::Map::values)))
}

/// Whose the addresses are that no pool may give again.
async fn reservations(ns: &Namespace) -> Result<Vec<String>> {
    let reservations = objects(ns, "overlappingrangeipreservations.whereabouts.cni.cncf.io").await?;
    Ok(of_pods_here(
        ns,
        reservations.iter().map(|reservation| &reservation["spec"]),
    ))
}

async fn objects(ns: &Namespace, kind: &str) -> Result<Vec<Value>> {
    let list = ns
        .cluster
        .kubectl(&["get", kind, "--all-namespaces", "-o", "json"])
        .await?;
    let mut list: Value = serde_json::from_str(&list).map_err(|e| Error::Unexpected(e.to_string()))?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        other => Err(Error::Unexpected(other.to_string())),
    }
}

/// The pods of the test among the holders, sorted.
fn of_pods_here<'a>(ns: &Namespace, holders: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let here = format!("{}/", ns.name);
    let mut pods: Vec<_> = holders
        .filter_map(|holder| holder["podref"].as_str())
        .filter(|pod| pod.starts_with(&here))
        .map(str::to_owned)
        .collect();
    pods.sort_unstable();
    pods
}
