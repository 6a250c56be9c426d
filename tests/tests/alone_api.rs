//! An API server that answers badly, cannot be reached or is killed, before a real agent: what is
//! plugged stays plugged, readiness tells, and afterwards what was edited meanwhile is carried out
//! without another edit.

use std::time::{Duration, Instant};

use tests::{
    AgentOptions, Answer, ApiDouble, Error, LONG, NO_NETWORKS, Nad, Namespace, NodeAgent, Pod, RequestKind,
    Result, alone_in_namespace, eventually, macvlan,
};

/// While pods can be neither listed nor watched: the answer to both, and what readiness says.
const BLIND: [(Answer, &str); 3] = [
    (Answer::Hangup, "pods: watching the pods of"),
    (Answer::TooMany(1), "Too many requests"),
    (Answer::Unavailable, "No server is available"),
];
/// While they can be listed and the list is always too old for a watch.
const STALE: [Answer; 2] = [Answer::Gone, Answer::GoneEvent];
/// Of a patch of network-status, and how often before it is over. The first two are conflicts, more
/// in a row than the agent bears.
const UNWRITTEN: [(&str, Answer, u32); 6] = [
    ("overtaken", Answer::Overtaken, 6),
    ("conflict", Answer::Conflict, 6),
    ("too-many", Answer::TooMany(1), 3),
    ("unavailable", Answer::Unavailable, 3),
    ("lost", Answer::Lost, 1),
    ("hangup", Answer::Hangup, 2),
];

#[tokio::test]
async fn follows_the_pods_again_whatever_ended_the_watch() -> Result<()> {
    alone_in_namespace("watch", async |ns| {
        let peers = Peers::begin(ns, AgentOptions::default()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@kept,blue@net0").await?;
        pod.has_exactly(&["kept", "net0"]).await?;
        let names: Vec<_> = (0..=BLIND.len() + STALE.len())
            .map(|n| format!("net{n}"))
            .collect();
        let mut edits = names.iter().zip(&names[1..]);

        for ((answer, says), (before, after)) in BLIND.iter().zip(&mut edits) {
            peers.double.plays(RequestKind::PodList, "", *answer);
            peers.double.plays(RequestKind::PodWatch, "", *answer);
            peers.double.cuts();
            peers.agent.is_not_ready(says).await?;
            pod.annotate(&format!("blue@kept,blue@{after}")).await?;
            // It asks on, in vain.
            peers.double.plays_on(RequestKind::PodWatch, "", 1).await?;
            pod.has_exactly(&["kept", before]).await?;

            peers.double.steps_aside();
            let cleared = Instant::now();
            pod.has_exactly(&["kept", after]).await?;
            println!("{answer:?}: carried out {:?} after its end", cleared.elapsed());
            peers.agent.is_ready().await?;
        }
        for (answer, (_, after)) in STALE.iter().zip(&mut edits) {
            peers.double.plays(RequestKind::PodWatch, "", *answer);
            peers.double.cuts();
            peers.double.plays_on(RequestKind::PodWatch, "", 1).await?;
            pod.annotate(&format!("blue@kept,blue@{after}")).await?;
            // By the lists that it begins anew with.
            pod.has_exactly(&["kept", after]).await?;

            peers.double.steps_aside();
            peers.agent.is_ready().await?;
        }
        peers.unchanged(&pod, "kept").await?;
        pod.annotate("blue@kept,blue@last").await?;
        ns.is_at_rest(&[(&pod, &["kept", "last"])], &[], &[&peers.blue])
            .await?;
        peers.end().await
    })
    .await
}

#[tokio::test]
async fn plugs_while_network_status_cannot_be_written_and_writes_it_later() -> Result<()> {
    alone_in_namespace("status", async |ns| {
        let peers = Peers::begin(ns, AgentOptions::default()).await?;
        let double = &peers.double;
        let names = UNWRITTEN
            .iter()
            .map(|(name, ..)| ns.running_pod(name, NO_NETWORKS));
        let (unread, pods) = futures::try_join!(
            ns.running_pod("unread", NO_NETWORKS),
            futures::future::try_join_all(names)
        )?;
        let about = |name: &str| format!("/pods/{name}/status");
        for (name, answer, _) in UNWRITTEN {
            double.plays(RequestKind::StatusPatch, &about(name), answer);
        }
        let faulty = pods
            .iter()
            .zip(UNWRITTEN)
            .map(|(pod, (name, answer, times))| async move {
                let began = Instant::now();
                pod.annotate("blue@net1").await?;
                double
                    .plays_on(RequestKind::StatusPatch, &about(name), times)
                    .await?;
                if let Answer::TooMany(seconds) = answer {
                    // A lower limit: it came back when it was told to, not earlier.
                    let told = Duration::from_secs((seconds * (times - 1)).into());
                    assert!(began.elapsed() >= told, "{:?}", began.elapsed());
                }
                pod.interface("net1").await
            });
        let red = ns.create_nad("red", macvlan().host_local().recorded()).await?;
        let unread_one = async {
            double.plays(RequestKind::Network, "/red", Answer::Hangup);
            unread.annotate("red@net1,blue@net2").await?;
            double.plays_on(RequestKind::Network, "/red", 2).await?;
            unread.has_exactly(&["net2"]).await
        };
        futures::try_join!(futures::future::try_join_all(faulty), unread_one)?;
        let conflicts = "dynamic_networks_agent_status_patches_total{outcome=\"conflict\"}";
        assert!(peers.agent.metric(conflicts).await? >= 12.0);

        double.steps_aside();
        let cleared = Instant::now();
        let mut all: Vec<(&Pod, &[&str])> = pods.iter().map(|pod| (pod, &["net1"][..])).collect();
        all.push((&unread, &["net1", "net2"]));
        ns.is_at_rest(&all, &[], &[&peers.blue, &red]).await?;
        println!(
            "network-status: in line {:?} after the end of the faults",
            cleared.elapsed()
        );
        let strangers = double.played(RequestKind::StatusPatch, &about("overtaken"));
        let status = pods[0].network_status_text().await?;
        assert_eq!(
            status.matches(Answer::STRANGER).count(),
            strangers as usize,
            "{status}"
        );
        for pod in &pods {
            peers.unchanged(pod, "net1").await?;
        }
        peers.end().await
    })
    .await
}

/// Nothing is closed and nothing refused: packets just do not arrive any more.
#[tokio::test]
async fn a_partition_is_noticed_and_what_happened_behind_it_is_caught_up_with() -> Result<()> {
    alone_in_namespace("partition", async |ns| {
        let peers = Peers::begin(ns, AgentOptions::default().read_timeout(4)).await?;
        let (edited, deleted) = futures::try_join!(
            ns.running_pod("edited", NO_NETWORKS),
            ns.running_pod("deleted", NO_NETWORKS)
        )?;
        edited.annotate("blue@kept,blue@net1").await?;
        deleted.annotate("blue@net1").await?;
        edited.has_exactly(&["kept", "net1"]).await?;
        deleted.has_exactly(&["net1"]).await?;
        let ended = deleted.sandbox().await?.id.clone();
        peers.agent.is_ready().await?;

        peers.double.falls_silent();
        let silent = Instant::now();
        edited.annotate("blue@kept,blue@net2").await?;
        let late = async {
            let late = ns.running_pod("late", NO_NETWORKS).await?;
            late.annotate("blue@net1").await?;
            Ok(late)
        };
        let noticed = async {
            peers.agent.is_not_ready("pods: watching the pods of").await?;
            println!("the partition is noticed after {:?}", silent.elapsed());
            Ok(())
        };
        let (late, (), ()) = futures::try_join!(late, deleted.delete(), noticed)?;
        edited.has_exactly(&["kept", "net1"]).await?;
        late.has_exactly(&[]).await?;

        peers.double.heals();
        let healed = Instant::now();
        let pods: [(&Pod, &[&str]); 2] = [(&edited, &["kept", "net2"]), (&late, &["net1"])];
        ns.is_at_rest(&pods, &[ended], &[&peers.blue]).await?;
        println!("all is caught up with {:?} after the partition", healed.elapsed());
        peers.agent.is_ready().await?;
        peers.unchanged(&edited, "kept").await?;
        peers.end().await
    })
    .await
}

#[tokio::test]
async fn edits_under_which_the_api_server_is_killed_are_carried_out() -> Result<()> {
    alone_in_namespace("killed", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let started = ["last", "p0", "p1"].map(|name| ns.running_pod(name, NO_NETWORKS));
        let pods = futures::future::try_join_all(started).await?;
        let [last, edited @ ..] = &pods[..] else {
            return Err(Error::Unexpected("three pods were started".to_owned()));
        };
        last.annotate("blue@kept,blue@net1").await?;
        last.has_exactly(&["kept", "net1"]).await?;

        let killed = async {
            // Taken, and perhaps not yet told to anybody.
            last.annotate("blue@kept,blue@net2").await?;
            ns.cluster.component("kill", "kube-apiserver").await?;
            ns.cluster.component("wait", "kube-apiserver").await
        };
        tokio::select! {
            done = killed => done?,
            () = edit_for_ever(edited) => {}
        }
        for pod in edited {
            eventually(LONG, "the edit is taken", async || {
                pod.annotate("blue@net1,blue@net3").await
            })
            .await?;
        }
        let mut all: Vec<(&Pod, &[&str])> = vec![(last, &["kept", "net2"])];
        all.extend(edited.iter().map(|pod| (pod, &["net1", "net3"][..])));
        ns.is_at_rest(&all, &[], &[&blue]).await?;
        assert_eq!(last.recorded("kept").await?.len(), 1);
        Ok(())
    })
    .await
}

/// An edit every so often, whether or not the API server takes it.
async fn edit_for_ever(pods: &[Pod]) {
    let mut pace = tokio::time::interval(Duration::from_millis(300));
    for list in ["blue@net1,blue@net2", "blue@net2", "blue@net3", "[]"]
        .iter()
        .cycle()
    {
        pace.tick().await;
        futures::future::join_all(pods.iter().map(|pod| pod.annotate(list))).await;
    }
}

struct Peers {
    agent: NodeAgent,
    double: ApiDouble,
    blue: Nad,
}

impl Peers {
    async fn begin(ns: &Namespace, options: AgentOptions) -> Result<Self> {
        let own = ns.instead_of_the_agent().await?;
        let double = ApiDouble::start(&ns.cluster).await?;
        Ok(Self {
            agent: ns.agent(&own, options.behind(&double)).await?,
            double,
            blue: ns.create_nad("blue", macvlan().host_local().recorded()).await?,
        })
    }

    /// The interface was added once, and nothing else was done to it.
    async fn unchanged(&self, pod: &Pod, interface: &str) -> Result<()> {
        let calls = pod.recorded(interface).await?;
        let verbs: Vec<_> = calls.iter().map(|seen| seen.call.command.as_str()).collect();
        assert_eq!(verbs, ["ADD"], "{interface} of {}", pod.name);
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        self.agent.stop().await
    }
}
