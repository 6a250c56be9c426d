//! The user's settings on the cluster: taken over by running programs, refused when they are bad,
//! and kept by an upgrade.

use std::time::Duration;

use tests::{Error, PLUG, Result, alone_for, eventually, macvlan};

/// Both programs restart one after the other, each after up to 30 s.
const RESTARTS: Duration = Duration::from_secs(180);

#[tokio::test]
async fn settings_are_taken_over_refused_and_kept_by_an_upgrade() -> Result<()> {
    alone_for(RESTARTS, "settings", async |ns| {
        let cluster = &ns.cluster;
        ns.create_nad("blue", macvlan()).await?;
        ns.is_filled(true).await?;
        let good = r#"{"missingNetworks": "reject"}"#;
        cluster.set_settings(good).await?;
        let taken = cluster.agent_shows("missingNetworks=reject (settings.json)");
        let reviewed = ns.asks_while(cluster.webhooks_use("missingNetworks", "reject"));
        let (_, asked) = futures::try_join!(taken, reviewed)?;
        // Replicas restart one after the other: no call is left without an answer.
        assert_eq!((asked.unfilled, asked.refused), (0, 0), "{asked:?}");

        let agent = cluster.agent_process().await?;
        cluster.set_settings(r#"{"interfaceOffset": "one"}"#).await?;
        let refused = "warning: new settings are refused, the previous ones stay in use";
        cluster.agent_shows(refused).await?;
        cluster
            .agent_shows("missingNetworks=reject (settings.json)")
            .await?;
        assert_eq!(
            cluster
                .agent_metric("dynamic_networks_agent_settings_refused")
                .await?,
            1.0
        );
        eventually(PLUG, "events of both programs' pods say so", async || {
            let list =
                "--namespace=kube-system get events --field-selector=reason=SettingsRefused --output=name";
            let arguments: Vec<_> = list.split(' ').collect();
            let found = cluster.kubectl(&arguments).await?;
            let both = ["dynamic-networks-controller-ds", "dynamic-networks-webhook"];
            both.iter()
                .all(|program| found.contains(program))
                .then_some(())
                .ok_or(Error::Unexpected(found))
        })
        .await?;
        assert_eq!(cluster.agent_process().await?, agent, "it goes on running");

        cluster.set_settings(good).await?;
        cluster.install().await?;
        assert_eq!(cluster.settings().await?.as_deref(), Some(good));
        cluster
            .agent_shows("missingNetworks=reject (settings.json)")
            .await
    })
    .await
}
