//! A node that loses its power: nobody is told anything, and what was plugged into its pods is held
//! by sandboxes that no longer exist. Printed: how long after its own start the agent has released
//! it.

use std::time::Instant;

use tests::{NO_NETWORKS, Result, alone_in_namespace, bridge};

#[tokio::test]
async fn releases_what_a_reboot_has_cut_off_and_adopts_what_the_pods_start_with() -> Result<()> {
    alone_in_namespace("reboot", async |ns| {
        let blue = ns.create_nad("blue", bridge().host_local()).await?;
        let (stays, goes) = futures::try_join!(
            ns.running_pod("stays", "blue@cold"),
            ns.running_pod("goes", NO_NETWORKS)
        )?;
        stays.annotate("blue@cold,blue@hot").await?;
        goes.annotate("blue@hot").await?;
        stays.has_exactly(&["cold", "hot"]).await?;
        goes.has_exactly(&["hot"]).await?;
        let held = [
            stays.watched(&blue, "hot").await?,
            goes.watched(&blue, "hot").await?,
        ];
        let ended = [&stays.sandbox().await?.id, &goes.sandbox().await?.id];

        // The object of one is gone before its sandbox is.
        goes.begin_deletion(0).await?;
        let begin = Instant::now();
        ns.cluster.reboot().await?;
        println!("the node is up again after {:?}", begin.elapsed());
        for watched in &held {
            let took = ns.cluster.released_at_start(watched).await?;
            println!("reboot: released {took:?} after the agent's start");
        }

        let again = stays.in_its_next_sandbox().await?;
        again.has_exactly(&["cold", "hot"]).await?;
        println!(
            "the pod has its interfaces {:?} after the reboot",
            begin.elapsed()
        );
        ns.is_at_rest(&[(&again, &["cold", "hot"])], &[], &[&blue])
            .await?;
        for sandbox in ended {
            ns.cluster.node.forgets(sandbox).await?;
        }
        // Multus has plugged both: the agent removes them as the annotation's own.
        again.annotate("[]").await?;
        again.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await
    })
    .await
}
