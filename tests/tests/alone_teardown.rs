//! The end of a sandbox while the agent or multus is away. Without the agent, multus tears down
//! what the agent has listed in the delegate file. Without multus, the agent releases it
//! afterwards.

use futures::future::try_join_all;
use serde_json::{Value, json};
use tests::{
    AgentOptions, Error, LONG, NO_NETWORKS, Namespace, Plugged, Result, Termination, alone_in_namespace,
    eventually, macvlan,
};

const ENDS: [(&str, Termination); 3] = [
    ("deleted", Termination::Deleted),
    ("evicted", Termination::Evicted),
    ("forced", Termination::Forced),
];

/// `shared/cases/07`, with the agent away.
#[tokio::test]
async fn multus_gives_everything_back_without_the_agent() -> Result<()> {
    alone_in_namespace("orphan", async |ns| {
        ns.beside("whole", async |other| {
            let pods = (1..).zip(ENDS).map(async |(number, (name, end))| {
                Ok::<_, Error>((Plugged::start(ns, name, number).await?, end))
            });
            let (pods, whole) = futures::try_join!(try_join_all(pods), Plugged::start(other, "p", 1))?;
            ns.cluster.stop_agent().await?;

            for (plugged, end) in &pods {
                plugged.pod.terminate(*end).await?;
            }
            other.delete().await?;
            let torn = pods.iter().map(|(plugged, _)| plugged.wait_torn_down(ns));
            futures::try_join!(try_join_all(torn), whole.wait_torn_down(other))?;

            ns.cluster.start_agent().await?;
            for plugged in pods.iter().map(|(plugged, _)| plugged).chain([&whole]) {
                ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
            }
            try_join_all(pods.iter().map(|(plugged, _)| plugged.check_reuse(ns)))
                .await
                .map(drop)
        })
        .await
    })
    .await
}

/// One ill-typed field in the delegate file makes multus skip all of it, `eth0` included.
#[tokio::test]
async fn odd_networks_never_stop_the_teardown_of_others() -> Result<()> {
    alone_in_namespace("odd", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let odd = odd_networks(ns).await?;
        let list: Vec<_> = (0..)
            .zip(&odd)
            .map(|(number, name)| format!("{name}@odd{number}"))
            .collect();
        let started = ["up", "away", "killed"].map(|name| ns.running_pod(name, "blue@cold"));
        let pods = try_join_all(started).await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        let list = format!("blue@cold,{},blue@hot", list.join(","));
        try_join_all(pods.iter().map(|pod| pod.annotate(&list))).await?;
        for pod in &pods {
            eventually(LONG, "what can be plugged is", async || {
                pod.interface("hot").await.map(drop)
            })
            .await?;
        }
        let sandboxes = try_join_all(pods.iter().map(|pod| pod.sandbox())).await?;
        pods[0].terminate(Termination::Deleted).await?;
        ns.cluster.node.wait_torn_down(&sandboxes[0].id).await?;
        pods[0].is_gone().await?;
        // SIGKILL: it cannot take entries of failed ADDs out of the file.
        agent.kill().await?;
        for (pod, sandbox) in pods[1..].iter().zip(&sandboxes[1..]) {
            pod.terminate(Termination::Deleted).await?;
            ns.cluster.node.wait_torn_down(&sandbox.id).await?;
        }
        ns.has_no_leases(&blue).await
    })
    .await
}

/// Networks with one ill-typed field each; those that the webhook refuses are left out.
async fn odd_networks(ns: &Namespace) -> Result<Vec<String>> {
    let in_a_plugin = [
        ("dns", json!({"nameservers": "none"})),
        ("dns", json!({"domain": 5, "search": {}, "options": [[]]})),
        ("ipam", json!({"type": ["none"]})),
        ("capabilities", json!({"ips": "yes"})),
        ("cni.dev/valid-attachments", json!("none")),
        ("runtimeConfig", json!([null])),
        ("prevResult", json!({"cniVersion": 1, "interfaces": {}})),
        ("deviceID", json!(5)),
        ("mtu", json!("large")),
    ];
    let in_the_list = [
        ("disableCheck", json!("perhaps")),
        ("disableGC", json!(2)),
        ("loadOnlyInlinedPlugins", json!([])),
        ("isFilterGateway", json!("none")),
        ("ifnameRequest", json!(["eth0"])),
    ];
    let odd = in_a_plugin.map(|field| (true, field)).into_iter();
    let odd = odd.chain(in_the_list.map(|field| (false, field)));
    let mut made = Vec::new();
    for (number, (inner, (key, value))) in odd.enumerate() {
        let name = format!("odd{number}");
        let mut config: Value = json!({
            "cniVersion": "1.0.0", "name": format!("{}-{name}", ns.name),
            "plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "tuning"}],
        });
        let place = if inner {
            &mut config["plugins"][1]
        } else {
            &mut config
        };
        place[key] = value;
        let accepted = async {
            ns.create_raw_nad(&name, &config.to_string()).await?;
            ns.would_store(&format!("{name}@net1")).await
        };
        match accepted.await {
            // No pod can have it.
            Err(error) if error.refusal().is_some() => {}
            outcome => {
                outcome?;
                made.push(name);
            }
        }
    }
    println!("{made:?}");
    Ok(made)
}

#[tokio::test]
async fn the_agent_releases_what_ended_without_multus() -> Result<()> {
    alone_in_namespace("alone", async |ns| {
        let pods = (1..).zip(ENDS).map(async |(number, (name, end))| {
            Ok::<_, Error>((Plugged::start(ns, name, number).await?, end))
        });
        let pods = try_join_all(pods).await?;
        ns.cluster.component("stop", "multus").await?;
        for (plugged, end) in &pods {
            plugged.pod.terminate(*end).await?;
        }
        for (plugged, _) in &pods {
            plugged.pod.is_gone().await?;
            plugged.pod.network_is_gone().await?;
        }
        ns.cluster.component("start", "multus").await?;
        for (plugged, _) in &pods {
            plugged.wait_released(ns).await?;
        }
        // The agent still plugs.
        let pod = ns.running_pod("next", NO_NETWORKS).await?;
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        pod.annotate("blue@hot").await?;
        pod.has_exactly(&["hot"]).await?;
        ns.is_at_rest(&[(&pod, &["hot"])], &[], &[&blue]).await
    })
    .await
}
