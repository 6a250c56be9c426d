//! The end of a sandbox while the agent is away, or multus. Without the agent multus tears down what the agent had listed in the delegate
//! file, a device comes back to its node, and nothing in that file keeps multus from the rest. Without multus the agent's own release does.

use futures::future::try_join_all;
use serde_json::{Value, json};
use tests::{
    AgentOptions, End, Error, LONG, NO_NETWORKS, Namespace, Plugged, Result, alone_in_namespace, eventually,
    macvlan,
};

const ENDS: [(&str, End); 3] = [
    ("deleted", End::Deleted),
    ("evicted", End::Evicted),
    ("forced", End::Forced),
];

/// Also `shared/cases/07`: a device that was hot-plugged, and the agent away when its pod is deleted.
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
                plugged.pod.ends(*end).await?;
            }
            other.delete().await?;
            let torn = pods.iter().map(|(plugged, _)| plugged.is_torn_down(ns));
            futures::try_join!(try_join_all(torn), whole.is_torn_down(other))?;

            ns.cluster.start_agent().await?;
            for plugged in pods.iter().map(|(plugged, _)| plugged).chain([&whole]) {
                ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
            }
            try_join_all(pods.iter().map(|(plugged, _)| plugged.next_pod_gets_it(ns)))
                .await
                .map(drop)
        })
        .await
    })
    .await
}

/// A field of another type than multus reads makes it skip the whole file, `eth0` too.
#[tokio::test]
async fn no_network_keeps_multus_from_the_others() -> Result<()> {
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
        pods[0].ends(End::Deleted).await?;
        ns.cluster.node.tore_down(&sandboxes[0].id).await?;
        pods[0].is_gone().await?;
        // In the middle of whatever it tries.
        agent.kill().await?;
        for (pod, sandbox) in pods[1..].iter().zip(&sandboxes[1..]) {
            pod.ends(End::Deleted).await?;
            ns.cluster.node.tore_down(&sandbox.id).await?;
        }
        ns.has_no_leases(&blue).await
    })
    .await
}

/// Networks whose second plugin has a field of a type that the first look at it does not expect.
async fn odd_networks(ns: &Namespace) -> Result<Vec<String>> {
    let odd = [
        ("dns", json!("none")),
        ("dns", json!({"nameservers": "none"})),
        ("ipam", json!("none")),
        ("ipam", json!({"type": ["none"]})),
        ("capabilities", json!(["ips"])),
        ("capabilities", json!({"ips": "yes"})),
        ("args", json!(5)),
        ("prevResult", json!("none")),
        ("name", json!(5)),
        ("cniVersion", json!(1.0)),
        ("runtimeConfig", json!([null])),
        ("mtu", json!("large")),
    ];
    let mut made = Vec::new();
    for (number, (key, value)) in odd.into_iter().enumerate() {
        let name = format!("odd{number}");
        let mut tuning = json!({"type": "tuning"});
        tuning[key] = value;
        let config: Value = json!({
            "cniVersion": "1.0.0", "name": format!("{}-{name}", ns.name),
            "plugins": [{"type": "macvlan", "master": "eth1"}, tuning],
        });
        match ns.create_raw_nad(&name, &config.to_string()).await {
            // A webhook for networks may refuse it: then no pod comes to have it.
            Err(error) if error.refusal().is_some() => {}
            outcome => {
                outcome?;
                made.push(name);
            }
        }
    }
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
            plugged.pod.ends(*end).await?;
        }
        for (plugged, _) in &pods {
            plugged.pod.is_gone().await?;
            let path = &plugged.pod.sandbox().await?.namespace_path;
            eventually(LONG, "its network is gone", async || {
                ns.cluster.node.run(&["test", "!", "-e", path]).await
            })
            .await?;
        }
        ns.cluster.component("start", "multus").await?;
        for (plugged, _) in &pods {
            plugged.is_freed(ns).await?;
            ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
        }
        // And it goes on to serve.
        let pod = ns.running_pod("next", NO_NETWORKS).await?;
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        pod.annotate("blue@hot").await?;
        pod.has_exactly(&["hot"]).await?;
        ns.is_at_rest(&[(&pod, &["hot"])], &[], &[&blue]).await
    })
    .await
}
