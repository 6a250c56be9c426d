//! What the agent says of its neighbours when they are gone: not ready, because of whom; and it lives on.

use std::time::Instant;

use kube::ResourceExt;
use tests::{Cluster, Error, LONG, NO_NETWORKS, Result, alone_in_namespace, eventually, macvlan};

#[tokio::test]
async fn a_missing_neighbour_makes_the_agent_unready_and_never_restarts_it() -> Result<()> {
    alone_in_namespace("missing", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let before = life(&ns.cluster).await?;

        ns.cluster.component("stop", "multus").await?;
        pod.annotate("blue@net1").await?;
        is_unready(&ns.cluster, "multus").await?;
        pod.has_event("FailedAddingInterface", "multus").await?;
        ns.cluster.component("start", "multus").await?;
        is_ready(&ns.cluster).await?;
        let begin = Instant::now();
        pod.has_exactly(&["net1"]).await?;
        println!(
            "multus is back: plugged {:?} after the agent was ready",
            begin.elapsed()
        );

        ns.cluster.component("stop", "containerd").await?;
        pod.annotate("blue@net1,blue@net2").await?;
        is_unready(&ns.cluster, "cri").await?;
        pod.has_event("FailedAddingInterface", "runtime").await?;
        ns.cluster.component("start", "containerd").await?;
        is_ready(&ns.cluster).await?;
        pod.has_exactly(&["net1", "net2"]).await?;

        assert_eq!(life(&ns.cluster).await?, before, "uid and restarts of the agent");
        Ok(())
    })
    .await
}

/// Waits until `/readyz` names just this neighbour; `/livez` does not mind.
async fn is_unready(cluster: &Cluster, neighbour: &str) -> Result<()> {
    eventually(LONG, format!("the agent misses {neighbour}"), async || {
        let (live, _) = cluster.agent_page("/livez").await?;
        assert_eq!(live, 200, "alive without {neighbour}");
        let (code, reasons) = cluster.agent_page("/readyz").await?;
        let mut lines = reasons.lines();
        let named = lines
            .next()
            .is_some_and(|line| line.starts_with(&format!("{neighbour}: ")));
        if code == 503 && named && lines.next().is_none() {
            return Ok(());
        }
        Err(Error::Unexpected(format!("{code} {reasons}")))
    })
    .await?;
    let up = format!(r#"dynamic_networks_agent_neighbour_up{{neighbour="{neighbour}"}}"#);
    assert_eq!(cluster.agent_metric(&up).await?.to_string(), "0");
    Ok(())
}

async fn is_ready(cluster: &Cluster) -> Result<()> {
    eventually(LONG, "the agent is ready", async || {
        match cluster.agent_page("/readyz").await? {
            (200, _) => Ok(()),
            (code, reasons) => Err(Error::Unexpected(format!("{code} {reasons}"))),
        }
    })
    .await
}

/// Which pod the agent is, and how often its container has restarted.
async fn life(cluster: &Cluster) -> Result<(Option<String>, Vec<i32>)> {
    let pod = cluster.agent_pod().await?;
    let status = pod.status.clone().unwrap_or_default();
    let restarts = status.container_statuses.unwrap_or_default();
    Ok((
        pod.uid(),
        restarts.iter().map(|container| container.restart_count).collect(),
    ))
}
