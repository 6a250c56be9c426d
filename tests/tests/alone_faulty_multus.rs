//! A multus daemon that answers badly, or not at all, in front of a real agent: the pod that it
//! happens to is told why, its siblings and other pods go on, and when the real answers come back
//! everything is as the annotation says.

use tests::{
    AgentOptions, Error, MultusDouble, NO_NETWORKS, Nad, Namespace, NodeAgent, Pod, Result,
    alone_in_namespace, macvlan,
};

/// The double's scripts, and what the agent says of each. Multus never gets the request.
const BAD: &[(&str, &str)] = &[
    ("hangup", "dropped this request"),
    ("reset", "the answer broke off"),
    ("empty", "the answer is empty"),
    ("null", "the result is null"),
    ("garbage", "not an HTTP answer"),
    ("html", "unexpected HTTP status 500: <html><body><h1>It is broken"),
    ("refuse", "the double says no to it"),
    ("flood", "the answer is longer than"),
];
/// Those of them that leave open whether multus had the request: here it had.
const LOST: &[&str] = &["reset", "empty", "null", "garbage", "html"];
/// What an agent may need while it is sent a gigabyte, in KiB.
const MEMORY: u64 = 96 * 1024;

#[tokio::test]
async fn a_bad_answer_holds_up_nobody_else_and_is_got_over() -> Result<()> {
    alone_in_namespace("answer", async |ns| {
        let peers = Peers::begin(ns).await?;
        let calm = ns.running_pod("calm", NO_NETWORKS);
        let bad = BAD.iter().map(|(script, _)| ns.running_pod(script, NO_NETWORKS));
        let (calm, pods) = futures::try_join!(calm, futures::future::try_join_all(bad))?;
        for (script, _) in BAD {
            peers.double.plays(script, script).await?;
        }
        let faulty = pods.iter().zip(BAD).map(|(pod, (script, says))| async move {
            pod.annotate(&format!("blue@before,blue@{script},blue@after"))
                .await?;
            pod.has_event("FailedAddingInterface", says).await?;
            pod.has_exactly(&["before", "after"]).await
        });
        let calm_one = async {
            calm.annotate("blue@net1,blue@net2").await?;
            calm.has_exactly(&["net1", "net2"]).await
        };
        futures::try_join!(futures::future::try_join_all(faulty), calm_one)?;
        let peak = peers.agent.peak_memory().await?;
        assert!(peak < MEMORY, "{peak} KiB");

        peers.double.steps_aside().await?;
        let wanted: Vec<_> = BAD
            .iter()
            .map(|(script, _)| ["before", script, "after"])
            .collect();
        let mut all: Vec<(&Pod, &[&str])> = pods.iter().zip(wanted.iter().map(|w| &w[..])).collect();
        all.push((&calm, &["net1", "net2"]));
        ns.is_at_rest(&all, &[], &[&peers.blue]).await?;
        peers.end().await
    })
    .await
}

/// The plugin did its work, only the answer did not come: libcni's cache tells, and nothing is
/// added twice.
#[tokio::test]
async fn an_answer_that_is_lost_is_looked_up() -> Result<()> {
    alone_in_namespace("lost", async |ns| {
        let peers = Peers::begin(ns).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        for script in LOST {
            peers.double.plays(script, &format!("{script} after")).await?;
        }
        let list: Vec<_> = LOST.iter().map(|script| format!("blue@{script}")).collect();
        pod.annotate(&list.join(",")).await?;
        ns.is_at_rest(&[(&pod, LOST)], &[], &[&peers.blue]).await?;
        for script in LOST {
            let calls = pod.recorded(script).await?;
            assert_eq!(calls.len(), 1, "{script}: {calls:?}");
        }

        // Lost answers to a DEL are asked for again, until one comes.
        pod.annotate("[]").await?;
        pod.has_event("FailedRemovingInterface", "answer was lost")
            .await?;
        peers.double.steps_aside().await?;
        ns.is_at_rest(&[(&pod, &[])], &[], &[&peers.blue]).await?;
        peers.end().await
    })
    .await
}

#[tokio::test]
async fn a_late_answer_and_an_absent_daemon_are_waited_for() -> Result<()> {
    alone_in_namespace("late", async |ns| {
        let peers = Peers::begin(ns).await?;
        let started = ["silent", "slow", "calm"].map(|name| ns.running_pod(name, NO_NETWORKS));
        let pods = futures::future::try_join_all(started).await?;
        let [silent, slow, calm] = &pods[..] else {
            return Err(Error::Unexpected("three pods were started".to_owned()));
        };
        peers.double.plays("silent", "silent").await?;
        peers.double.plays("slow", "slow").await?;
        silent.annotate("blue@silent").await?;
        slow.annotate("blue@slow").await?;
        silent
            .has_event("FailedAddingInterface", "has not answered for 2 s")
            .await?;
        calm.annotate("blue@net1").await?;
        calm.has_exactly(&["net1"]).await?;
        slow.has_exactly(&["slow"]).await?;
        assert_eq!(silent.recorded("silent").await?.len(), 0, "it waits");
        assert_eq!(
            peers.agent.metric("dynamic_networks_agent_late_total").await?,
            1.0
        );
        peers.double.steps_aside().await?;
        silent.has_exactly(&["silent"]).await?;

        let Peers {
            mut agent,
            mut double,
            blue,
            ..
        } = peers;
        double.end().await?;
        agent.is_not_ready("multus: there is no socket").await?;
        calm.annotate("blue@net1,blue@net2").await?;
        calm.has_event("FailedAddingInterface", "there is no socket")
            .await?;
        let mut double = MultusDouble::start(&ns.cluster.node).await?;
        agent.is_ready().await?;
        let rest: [(&Pod, &[&str]); 3] = [
            (silent, &["silent"]),
            (slow, &["slow"]),
            (calm, &["net1", "net2"]),
        ];
        ns.is_at_rest(&rest, &[], &[&blue]).await?;
        let calls = silent.recorded("silent").await?;
        assert_eq!(calls.len(), 1, "{calls:?}");
        agent.stop().await?;
        double.end().await
    })
    .await
}

struct Peers {
    agent: NodeAgent,
    double: MultusDouble,
    blue: Nad,
}

impl Peers {
    async fn begin(ns: &Namespace) -> Result<Self> {
        let own = ns.instead_of_the_agent().await?;
        let double = MultusDouble::start(&ns.cluster.node).await?;
        let options = AgentOptions::default()
            .call_timeout(2)
            .with("multusSocketPath", MultusDouble::SOCKET);
        Ok(Self {
            agent: ns.agent(&own, options).await?,
            double,
            blue: ns.create_nad("blue", macvlan().host_local().recorded()).await?,
        })
    }

    async fn end(mut self) -> Result<()> {
        self.agent.stop().await?;
        self.double.end().await
    }
}
