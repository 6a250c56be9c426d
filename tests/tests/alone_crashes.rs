//! The agent killed (SIGKILL) between any two effects and in the middle of calls: the next one goes
//! on from what is on the disk, and the node comes to rest as if nothing had been.

use agent::failpoint::FailPoint;
use tests::{
    AgentOptions, Error, NO_NETWORKS, Nad, Namespace, NodeAgent, Order, Pod, Result, alone_in_namespace,
    macvlan,
};

/// Where the agent gets to while it plugs, and while it unplugs, in this order.
const PLUGGING: [FailPoint; 7] = [
    FailPoint::RecordDue,
    FailPoint::IntentWritten,
    FailPoint::Connected,
    FailPoint::Answered,
    FailPoint::ResultWritten,
    FailPoint::StatusDue,
    FailPoint::StatusWritten,
];
const UNPLUGGING: [FailPoint; 8] = [
    FailPoint::RecordDue,
    FailPoint::RemovalWritten,
    FailPoint::Connected,
    FailPoint::Answered,
    FailPoint::StatusDue,
    FailPoint::StatusWritten,
    FailPoint::EraseDue,
    FailPoint::Erased,
];
/// While it takes over what multus plugged at the pod's start.
const FIRST_SIGHT: [FailPoint; 3] = [
    FailPoint::SandboxWritten,
    FailPoint::RecordDue,
    FailPoint::ResultWritten,
];
/// While it releases what a deleted pod leaves.
const RELEASING: [FailPoint; 4] = [
    FailPoint::Connected,
    FailPoint::Answered,
    FailPoint::EraseDue,
    FailPoint::Erased,
];

#[tokio::test]
async fn goes_on_wherever_it_was_killed_while_it_plugs_or_unplugs() -> Result<()> {
    alone_in_namespace("crash", async |ns| {
        let crashes = Crashes::begin(ns).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = crashes.agent().await?;
        let both = ("blue@kept,blue@net1", &["kept", "net1"][..]);
        for (index, unplugging) in UNPLUGGING.into_iter().enumerate() {
            agent = match PLUGGING.get(index) {
                Some(plugging) => crashes.edit(agent, &pod, *plugging, both).await?,
                None => {
                    pod.annotate(both.0).await?;
                    pod.has_exactly(both.1).await?;
                    agent
                }
            };
            let one = ("blue@kept", &["kept"][..]);
            agent = crashes.edit(agent, &pod, unplugging, one).await?;
        }
        // Another network under the same name: a removal and an addition in one edit.
        for (point, network) in [
            (FailPoint::Answered, "red"),
            (FailPoint::RemovalWritten, "blue"),
            (FailPoint::IntentWritten, "red"),
        ] {
            let list = format!("blue@kept,{network}@net1");
            agent = crashes.edit(agent, &pod, point, (&list, both.1)).await?;
        }
        agent.stop().await
    })
    .await
}

#[tokio::test]
async fn goes_on_wherever_it_was_killed_at_the_first_sight_or_the_end_of_a_pod() -> Result<()> {
    alone_in_namespace("crash", async |ns| {
        let crashes = Crashes::begin(ns).await?;
        let names = ["last0", "last1", "last2", "last3"];
        let last = futures::future::try_join_all(names.map(|name| ns.running_pod(name, NO_NETWORKS))).await?;
        let mut agent = crashes.agent().await?;
        for pod in &last {
            pod.annotate("blue@net1").await?;
        }
        let mut there: Vec<(&Pod, &[&str])> = last.iter().map(|pod| (pod, &["net1"][..])).collect();
        crashes.ns.is_at_rest(&there, &[], &[&crashes.blue]).await?;
        for point in RELEASING {
            let Some((pod, _)) = there.pop() else { break };
            let sandbox = pod.sandbox().await?.id.clone();
            agent.holds_at(point).await?;
            pod.begin_deletion(None).await?;
            agent.is_killed_at(point).await?;
            agent = crashes.agent().await?;
            crashes.rest(point, &there, &[sandbox]).await?;
        }
        for (index, point) in FIRST_SIGHT.into_iter().enumerate() {
            agent.holds_at(point).await?;
            let pod = ns.running_pod(&format!("first{index}"), "blue@cold").await?;
            let sandbox = pod.sandbox().await?.id.clone();
            agent.is_killed_at(point).await?;
            agent = crashes.agent().await?;
            pod.annotate("blue@net1").await?;
            crashes.rest(point, &[(&pod, &["net1"])], &[]).await?;
            pod.begin_deletion(None).await?;
            crashes.rest(point, &[], &[sandbox]).await?;
        }
        agent.stop().await
    })
    .await
}

/// The plugin runs on, and has plugged before the next agent gives the answer up: that is found in
/// libcni's cache.
#[tokio::test]
async fn adds_nothing_twice_when_it_is_killed_while_a_plugin_runs() -> Result<()> {
    alone_in_namespace("crash", async |ns| {
        let crashes = Crashes::begin(ns).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = crashes.agent().await?;
        ns.order(&crashes.blue, "ADD", Order::Hang).await?;
        pod.annotate("blue@net1").await?;
        pod.wait_call_running("net1", "ADD").await?;
        agent.kill().await?;
        let mut agent = ns
            .agent(&crashes.own, AgentOptions::default().call_timeout(20))
            .await?;
        ns.no_orders().await?;

        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&crashes.blue]).await?;
        let calls = pod.recorded("net1").await?;
        assert_eq!(calls.len(), 1, "{calls:?}");

        // A DEL may be sent again at any time.
        ns.order(&crashes.blue, "DEL", Order::Hang).await?;
        pod.annotate("[]").await?;
        pod.wait_call_running("net1", "DEL").await?;
        agent.kill().await?;
        ns.no_orders().await?;
        let mut agent = crashes.agent().await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&crashes.blue).await?;
        agent.stop().await
    })
    .await
}

#[tokio::test]
async fn finishes_a_call_before_it_ends_when_it_is_told_to() -> Result<()> {
    alone_in_namespace("crash", async |ns| {
        let crashes = Crashes::begin(ns).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = crashes.agent().await?;
        ns.order(&crashes.blue, "ADD", Order::Hang).await?;
        pod.annotate("blue@net1").await?;
        pod.wait_call_running("net1", "ADD").await?;

        futures::try_join!(agent.stop(), async {
            // It hangs still, and the agent waits.
            pod.recorded("net1").await?;
            ns.no_orders().await
        })?;

        let sandbox = pod.sandbox().await?.id.clone();
        let states = ns.cluster.node.record_states(&sandbox).await?;
        assert_eq!(states.get("net1").map(String::as_str), Some("plugged"));
        let mut agent = crashes.agent().await?;
        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&crashes.blue]).await?;
        assert_eq!(pod.recorded("net1").await?.len(), 1);
        agent.stop().await
    })
    .await
}

struct Crashes<'a> {
    ns: &'a Namespace,
    own: Pod,
    blue: Nad,
    red: Nad,
}

impl<'a> Crashes<'a> {
    async fn begin(ns: &'a Namespace) -> Result<Self> {
        let own = ns.instead_of_the_agent().await?;
        Ok(Self {
            ns,
            own,
            blue: ns.create_nad("blue", macvlan().host_local().recorded()).await?,
            red: ns.create_nad("red", macvlan().host_local().recorded()).await?,
        })
    }

    async fn agent(&self) -> Result<NodeAgent> {
        self.ns
            .agent(&self.own, AgentOptions::default().call_timeout(2))
            .await
    }

    /// Has the agent killed at `point` of an edit; the next one, which is returned, brings the node
    /// to rest.
    async fn edit(
        &self,
        mut agent: NodeAgent,
        pod: &Pod,
        point: FailPoint,
        (list, wanted): (&str, &[&str]),
    ) -> Result<NodeAgent> {
        agent.holds_at(point).await?;
        pod.annotate(list).await?;
        agent.is_killed_at(point).await?;
        let agent = self.agent().await?;
        self.rest(point, &[(pod, wanted)], &[]).await?;
        Ok(agent)
    }

    async fn rest(&self, point: FailPoint, pods: &[(&Pod, &[&str])], ended: &[String]) -> Result<()> {
        let rest = self.ns.is_at_rest(pods, ended, &[&self.blue, &self.red]).await;
        rest.map_err(|error| Error::Unexpected(format!("killed at {}: {error}", point.as_str())))
    }
}
