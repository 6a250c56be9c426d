//! What multus attaches by its own configuration is not ours: it stays, whatever the annotation says.

use serde_json::json;
use tests::{Result, alone_in_namespace, macvlan};

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
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        let restart = ns.cluster.restart_multus();
        let edit = pod.annotate("blue@net1");
        futures::try_join!(restart, edit)?;
        pod.has_exactly(&["net1"]).await
    })
    .await
}
