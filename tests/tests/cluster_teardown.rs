//! At the end of a sandbox multus tears down what the delegate file lists, while the network
//! namespace exists. The agent lists there what it plugs, and keeps what others wrote byte for
//! byte. `alone_teardown` has the same with the agent away.

use std::time::Duration;

use futures::future::try_join_all;
use tests::{
    Error, NO_NETWORKS, Namespace, Order, PLUG, Plugged, Pod, Result, Termination, eventually, in_namespace,
    macvlan,
};

const ENDS: [(&str, Termination); 3] = [
    ("deleted", Termination::Deleted),
    ("evicted", Termination::Evicted),
    ("forced", Termination::Forced),
];

#[tokio::test]
async fn gives_devices_and_leases_back_however_a_pod_ends() -> Result<()> {
    in_namespace("ends", async |ns| {
        let ends = (1..).zip(ENDS).map(async |(number, (name, end))| {
            let plugged = Plugged::start(ns, name, number).await?;
            plugged.pod.wait_listed(&Plugged::INTERFACES).await?;
            plugged.pod.terminate(end).await?;
            plugged.wait_torn_down(ns).await?;
            ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
            plugged.check_reuse(ns).await
        });
        try_join_all(ends).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn gives_devices_and_leases_back_when_the_namespace_goes() -> Result<()> {
    in_namespace("whole", async |ns| {
        let plugged = try_join_all([Plugged::start(ns, "p1", 1), Plugged::start(ns, "p2", 2)]).await?;
        ns.delete().await?;
        for plugged in &plugged {
            plugged.wait_torn_down(ns).await?;
            ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
        }
        Ok(())
    })
    .await
}

/// In a file as multus writes it, and in one with other white space and an unknown key.
#[tokio::test]
async fn changes_no_byte_that_others_wrote_in_the_file() -> Result<()> {
    in_namespace("bytes", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pods = ["written", "odd"].map(|name| ns.running_pod(name, "blue@cold"));
        let pods = try_join_all(pods).await?;
        let odd = oddly(&pods[1]).await?;
        pods[1].write_delegate_file(&odd).await?;
        try_join_all(pods.iter().map(async |pod| {
            let before = pod.delegate_file().await?;
            let entries = pod.delegates().await?;
            let path = format!("/var/lib/cni/multus/{}", pod.sandbox().await?.id);
            for round in 0..3 {
                let hot = format!("blue@cold,blue@hot{round},blue@warm{round}");
                pod.annotate(&hot).await?;
                let (hot, warm) = (format!("hot{round}"), format!("warm{round}"));
                pod.has_exactly(&["cold", &hot, &warm]).await?;
                pod.wait_listed(&["cold", &hot, &warm]).await?;
                let during = pod.delegates().await?;
                assert_eq!(during[..entries.len()], entries, "{}", pod.name);
                let mode = ns.cluster.node.run(&["stat", "-c", "%a", &path]).await?;
                assert_eq!(mode.trim(), "600", "{}", pod.name);
                for entry in &during[entries.len()..] {
                    assert_eq!(entry.network, blue.full_name(), "{}", pod.name);
                }
                pod.annotate("blue@cold").await?;
                pod.has_exactly(&["cold"]).await?;
                pod.wait_listed(&["cold"]).await?;
                assert_eq!(pod.delegate_file().await?, before, "{}", pod.name);
            }
            // Multus must still be able to read it.
            pod.annotate("blue@cold,blue@hot").await?;
            pod.has_exactly(&["cold", "hot"]).await?;
            pod.terminate(Termination::Deleted).await?;
            ns.cluster.node.wait_torn_down(&pod.sandbox().await?.id).await
        }))
        .await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

/// The pod's delegate file with other white space, odd numbers and escapes, and an unknown key.
async fn oddly(pod: &Pod) -> Result<String> {
    let entries = pod.delegates().await?;
    let own = r#"{ "x-other" :[1.50e+2, "\u00e9]},{", null ] ,"#;
    let odd = entries
        .iter()
        .map(|entry| format!("{own}\n\t{}", entry.raw.trim_start_matches('{')));
    let odd: Vec<_> = odd.collect();
    Ok(format!(" [\n{}  \n]\n\n", odd.join(" ,\r\n ")))
}

/// The plugin's ADD answers after multus has torn the attachment down.
#[tokio::test]
async fn an_add_beside_the_teardown_leaves_nothing() -> Result<()> {
    in_namespace("beside", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let sandbox = pod.sandbox().await?.id.clone();
        ns.order(&blue, "ADD", Order::Hang).await?;
        pod.annotate("blue@hot").await?;
        eventually(PLUG, "the ADD runs", async || {
            let calls = pod.recorded("hot").await?;
            (!calls.is_empty())
                .then_some(())
                .ok_or_else(|| Error::Unexpected("no call".to_owned()))
        })
        .await?;
        pod.wait_listed(&["hot"]).await?;
        pod.terminate(Termination::Deleted).await?;
        ns.cluster.node.wait_torn_down(&sandbox).await?;

        ns.no_orders().await?;
        ns.has_no_leases(&blue).await?;
        ns.cluster.node.forgets(&sandbox).await?;
        let calls = pod.recorded("hot").await?;
        let last = calls.last().map(|recorded| recorded.call.command.as_str());
        assert_eq!(last, Some("DEL"), "{calls:?}");
        Ok(())
    })
    .await
}

/// Sandboxes start and end while edits run: multus creates and removes the files that the agent
/// changes.
#[tokio::test]
async fn multus_and_the_agent_write_the_files_at_once() -> Result<()> {
    const SANDBOXES: usize = 2;
    in_namespace("once", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let names = ["p0", "p1", "p2"].map(|name| ns.running_pod(name, "blue@net1"));
        let pods = try_join_all(names).await?;
        let replaced = try_join_all(pods.iter().map(async |pod| {
            let mut ended = vec![pod.sandbox().await?.id.clone()];
            let mut latest = replace_sandbox(ns, pod).await?;
            for _ in 1..SANDBOXES {
                ended.push(latest.sandbox().await?.id.clone());
                latest = replace_sandbox(ns, &latest).await?;
            }
            Ok::<_, Error>((latest, ended))
        }));
        let (pods, ended): (Vec<_>, Vec<_>) = tokio::select! {
            replaced = replaced => replaced?.into_iter().unzip(),
            failed = try_join_all(pods.iter().map(edit_without_pause)) => {
                failed?;
                (Vec::new(), Vec::new())
            }
        };
        let ended = ended.concat();
        for pod in &pods {
            eventually(PLUG, "the last edit is taken", async || {
                pod.annotate("blue@net2,blue@net3").await
            })
            .await?;
        }
        let all: Vec<_> = pods.iter().map(|pod| (pod, &["net2", "net3"][..])).collect();
        ns.is_at_rest(&all, &ended, &[&blue]).await?;
        for pod in &pods {
            let listed: Vec<_> = pod
                .delegates()
                .await?
                .into_iter()
                .map(|entry| entry.interface)
                .collect();
            for wanted in ["net2", "net3"] {
                assert!(
                    listed.iter().any(|name| name == wanted),
                    "{}: {listed:?}",
                    pod.name
                );
            }
        }
        try_join_all(pods.iter().map(|pod| pod.terminate(Termination::Deleted))).await?;
        for sandbox in &ended {
            ns.cluster.node.wait_torn_down(sandbox).await?;
        }
        for pod in &pods {
            ns.cluster.node.wait_torn_down(&pod.sandbox().await?.id).await?;
        }
        ns.has_no_leases(&blue).await
    })
    .await
}

/// Kills the pod's sandbox as soon as it runs, and returns the pod in the next one.
async fn replace_sandbox(ns: &Namespace, pod: &Pod) -> Result<Pod> {
    pod.sandbox().await?;
    eventually(PLUG, "the sandbox runs", async || {
        ns.cluster.node.kill_sandbox(&pod.uid).await
    })
    .await?;
    pod.in_its_next_sandbox().await
}

/// Edits the pod several times a second, whether or not the last edit is carried out.
async fn edit_without_pause(pod: &Pod) -> Result<()> {
    let mut pace = tokio::time::interval(Duration::from_millis(150));
    for list in ["blue@net1,blue@net2", "blue@net2,blue@net3", "blue@net3", "[]"]
        .iter()
        .cycle()
    {
        pace.tick().await;
        pod.annotate(list).await?;
    }
    Ok(())
}
