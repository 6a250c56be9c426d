//! What the agent says of its neighbours when they are gone: not ready, because of whom; and it
//! lives on.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::json;
use shared::annotations::NETWORK_STATUS;
use tests::{Cluster, Error, LONG, NO_NETWORKS, Node, Result, alone_in_namespace, eventually, macvlan};

/// So soon after a neighbour is back the agent must be ready, however busy the machine is.
const BACK: Duration = Duration::from_secs(30);

/// The agent as the node asks it.
struct Agent<'a> {
    node: &'a Node,
    address: String,
}

#[tokio::test]
async fn a_missing_neighbour_makes_the_agent_unready_and_never_restarts_it() -> Result<()> {
    alone_in_namespace("missing", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let before = life(&ns.cluster).await?;
        let agent = Agent {
            node: &ns.cluster.node,
            address: ns.cluster.agent_address().await?,
        };

        ns.cluster.component("stop", "multus").await?;
        pod.annotate("blue@net1").await?;
        agent.misses("multus").await?;
        pod.has_event("FailedAddingInterface", "multus").await?;
        ns.cluster.component("start", "multus").await?;
        agent.is_ready("multus").await?;
        pod.has_exactly(&["net1"]).await?;

        ns.cluster.component("stop", "containerd").await?;
        agent.misses("cri").await?;
        // The agent plugs into a sandbox that it knows without the runtime. It lists sandboxes
        // again when another client writes network-status.
        pod.set(NETWORK_STATUS, json!("[]")).await?;
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_event("FailedAddingInterface", "runtime").await?;
        ns.cluster.component("start", "containerd").await?;
        agent.is_ready("containerd").await?;
        pod.has_exactly(&["net1", "net2"]).await?;

        ns.cluster.component("stop", "kube-apiserver").await?;
        agent.misses("pods").await?;
        ns.cluster.component("start", "kube-apiserver").await?;
        agent.is_ready("kube-apiserver").await?;
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&["net2"]).await?;

        assert_eq!(life(&ns.cluster).await?, before, "uid and restarts of the agent");
        Ok(())
    })
    .await
}

impl Agent<'_> {
    async fn page(&self, path: &str) -> Result<(u16, String)> {
        self.node.page(&format!("{}{path}", self.address)).await
    }

    /// Waits until `/readyz` names just this neighbour; `/livez` does not mind.
    async fn misses(&self, neighbour: &str) -> Result<()> {
        eventually(LONG, format!("the agent misses {neighbour}"), async || {
            let (live, _) = self.page("/livez").await?;
            assert_eq!(live, 200, "alive without {neighbour}");
            let (code, reasons) = self.page("/readyz").await?;
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
        let (_, metrics) = self.page("/metrics").await?;
        let down = format!("dynamic_networks_agent_dependency_up{{dependency=\"{neighbour}\"}} 0");
        assert!(
            metrics.lines().any(|line| line == down),
            "{down} is not in {metrics}"
        );
        Ok(())
    }

    async fn is_ready(&self, after: &str) -> Result<()> {
        let begin = Instant::now();
        eventually(
            BACK,
            format!("the agent is ready, {after} being back"),
            async || match self.page("/readyz").await? {
                (200, _) => Ok(()),
                (code, reasons) => Err(Error::Unexpected(format!("{code} {reasons}"))),
            },
        )
        .await?;
        println!("{after} is back: the agent is ready {:?} later", begin.elapsed());
        Ok(())
    }
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
