//! The end of a sandbox by multus' own teardown: it undoes what the sandbox's delegate file lists, while the pod's network still exists. What
//! the agent plugs is listed there, and what others wrote there stays as it was. The same with the agent away is in `alone_teardown`.

use std::time::Duration;

use futures::future::try_join_all;
use tests::{End, Error, NO_NETWORKS, Order, PLUG, Plugged, Pod, Result, eventually, in_namespace, macvlan};

const ENDS: [(&str, End); 3] = [
    ("deleted", End::Deleted),
    ("evicted", End::Evicted),
    ("forced", End::Forced),
];

#[tokio::test]
async fn gives_devices_and_leases_back_however_a_pod_ends() -> Result<()> {
    in_namespace("ends", async |ns| {
        let ends = (1..).zip(ENDS).map(async |(number, (name, end))| {
            let plugged = Plugged::start(ns, name, number).await?;
            plugged.pod.lists_exactly(&Plugged::INTERFACES).await?;
            plugged.pod.ends(end).await?;
            plugged.is_torn_down(ns).await?;
            ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
            plugged.next_pod_gets_it(ns).await
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
            plugged.is_torn_down(ns).await?;
            ns.cluster.node.forgets(&plugged.pod.sandbox().await?.id).await?;
        }
        Ok(())
    })
    .await
}

/// As multus wrote it, and as no program of ours would write it.
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
                pod.lists_exactly(&["cold", &hot, &warm]).await?;
                let during = pod.delegates().await?;
                assert_eq!(during[..entries.len()], entries, "{}", pod.name);
                let mode = ns.cluster.node.run(&["stat", "-c", "%a", &path]).await?;
                assert_eq!(mode.trim(), "600", "{}", pod.name);
                for entry in &during[entries.len()..] {
                    assert_eq!(entry.network, blue.full_name(), "{}", pod.name);
                }
                pod.annotate("blue@cold").await?;
                pod.has_exactly(&["cold"]).await?;
                pod.lists_exactly(&["cold"]).await?;
                assert_eq!(pod.delegate_file().await?, before, "{}", pod.name);
            }
            // And multus reads it to the end.
            pod.annotate("blue@cold,blue@hot").await?;
            pod.has_exactly(&["cold", "hot"]).await?;
            pod.ends(End::Deleted).await?;
            ns.cluster.node.tore_down(&pod.sandbox().await?.id).await
        }))
        .await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

/// The pod's delegate file in another shape with the same meaning, and with a key that only its writer knows.
async fn oddly(pod: &Pod) -> Result<String> {
    let entries = pod.delegates().await?;
    let own = r#"{ "x-other" :[1.50e+2, "\u00e9]},{", null ] ,"#;
    let odd = entries
        .iter()
        .map(|entry| format!("{own}\n\t{}", entry.raw.trim_start_matches('{')));
    let odd: Vec<_> = odd.collect();
    Ok(format!(" [\n{}  \n]\n\n", odd.join(" ,\r\n ")))
}

/// Multus does not know that a plugin runs whose attachment it tears down.
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
        pod.lists_exactly(&["hot"]).await?;
        pod.ends(End::Deleted).await?;
        ns.cluster.node.tore_down(&sandbox).await?;

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

/// Multus writes and removes the files of sandboxes that start and end while the agent changes them.
#[tokio::test]
async fn multus_and_the_agent_write_the_files_at_once() -> Result<()> {
    const SANDBOXES: usize = 2;
    in_namespace("once", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let names = ["p0", "p1", "p2"].map(|name| ns.running_pod(name, "blue@net1"));
        let pods = try_join_all(names).await?;
        let replaced = try_join_all(pods.iter().map(async |pod| {
            let mut ended = vec![pod.sandbox().await?.id.clone()];
            ns.cluster.node.kill_sandbox(&pod.uid).await?;
            let mut latest = pod.in_its_next_sandbox().await?;
            for _ in 1..SANDBOXES {
                ended.push(latest.sandbox().await?.id.clone());
                ns.cluster.node.kill_sandbox(&latest.uid).await?;
                latest = latest.in_its_next_sandbox().await?;
            }
            Ok::<_, Error>((latest, ended))
        }));
        let (pods, ended): (Vec<_>, Vec<_>) = tokio::select! {
            replaced = replaced => replaced?.into_iter().unzip(),
            failed = try_join_all(pods.iter().map(edit_for_ever)) => {
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
        try_join_all(pods.iter().map(|pod| pod.ends(End::Deleted))).await?;
        for sandbox in &ended {
            ns.cluster.node.tore_down(sandbox).await?;
        }
        for pod in &pods {
            ns.cluster.node.tore_down(&pod.sandbox().await?.id).await?;
        }
        ns.has_no_leases(&blue).await
    })
    .await
}

/// An edit every so often, whether or not the last one has been carried out.
async fn edit_for_ever(pod: &Pod) -> Result<()> {
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
