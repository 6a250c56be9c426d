//! Runtimes that do not say where the network namespace of a sandbox is, as cri-dockerd and Kata:
//! libcni's record of `eth0` does.

use tests::{AgentOptions, CriDouble, NO_NETWORKS, Result, alone_in_namespace, macvlan};

#[tokio::test]
async fn plugs_where_the_runtime_hides_the_namespace() -> Result<()> {
    alone_in_namespace("silent", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let runtime = CriDouble::start(&ns.cluster.node).await?;
        runtime.hide_namespaces().await?;
        let options = AgentOptions::default().with("criSocketPath", CriDouble::SOCKET);
        let _agent = ns.agent(&own, options).await?;

        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        for networks in ["blue@net1", "blue@net2"] {
            pod.annotate(networks).await?;
            pod.has_exactly(&[&networks["blue@".len()..]]).await?;
        }
        assert!(runtime.hidden_namespaces().await? > 0);
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        assert_eq!(ns.cluster.node.leases(&blue.config_name).await?, []);
        Ok(())
    })
    .await
}
