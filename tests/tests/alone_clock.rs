//! The node's wall clock is moved while the agent runs, or between two agents. Nothing that the
//! agent does follows it.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::{
    AgentOptions, ApiDouble, Error, NO_NETWORKS, Nad, Namespace, NodeAgent, Order, PLUG, Pod, Result,
    alone_in_namespace, eventually, macvlan,
};

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

/// By a double of the API server that wants no certificates: this cluster's are younger than a day,
/// and would be refused at once.
#[tokio::test]
async fn nothing_is_late_or_lost_when_the_clock_is_moved_a_day_forward_and_two_back() -> Result<()> {
    alone_in_namespace("clock", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let double = ApiDouble::start(&ns.cluster).await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let edited = ns.running_pod("edited", NO_NETWORKS).await?;
        let mut clock = Clock {
            ns,
            own,
            blue: &blue,
            agent: None,
            double,
        };
        clock.starts(0).await?;
        edited.annotate("blue@kept").await?;
        edited.has_exactly(&["kept"]).await?;

        clock.is_moved(DAY, &edited).await?;
        clock.is_moved(-DAY, &edited).await?;
        clock.agent()?.stop().await
    })
    .await
}

/// The agent that sent the ADD is dead, and by the stamp in its record the call has run for a day.
#[tokio::test]
async fn a_call_that_may_still_run_is_waited_for_though_the_clock_was_moved_a_day_forward() -> Result<()> {
    alone_in_namespace("clock", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let mut agent = ns.agent(&own, AgentOptions::default()).await?;
        ns.order(&blue, "ADD", Order::Hang).await?;
        pod.annotate("blue@net1").await?;
        eventually(PLUG, "the ADD runs", async || {
            let calls = pod.recorded("net1").await?;
            (!calls.is_empty())
                .then_some(())
                .ok_or_else(|| Error::Unexpected("no call".to_owned()))
        })
        .await?;
        agent.kill().await?;

        let options = AgentOptions::default().call_timeout(20).with_clock(DAY);
        let mut agent = ns.agent(&own, options).await?;
        eventually(PLUG, "the ADD is in doubt", async || {
            let metric = "dynamic_networks_agent_attachments{state=\"in_doubt\"}";
            let in_doubt = agent.metric(metric).await?;
            (in_doubt > 0.0)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{in_doubt} are")))
        })
        .await?;
        ns.no_orders().await?;
        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&blue]).await?;
        assert_eq!(pod.recorded("net1").await?.len(), 1);
        agent.stop().await
    })
    .await
}

#[tokio::test]
async fn a_clock_that_no_certificate_of_the_api_server_is_valid_at_is_told_and_got_over() -> Result<()> {
    alone_in_namespace("clock", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        let mut agent = ns
            .agent_that_starts(&own, AgentOptions::default().with_clock(-DAY))
            .await?;
        agent.is_not_ready("certificate not valid yet").await?;
        agent.move_clock(20 * 366 * DAY).await?;
        agent.is_not_ready("certificate expired").await?;
        pod.has_exactly(&[]).await?;

        agent.move_clock(0).await?;
        agent.is_ready().await?;
        pod.has_exactly(&["net1"]).await?;
        agent.stop().await
    })
    .await
}

/// The agent whose clock is moved.
struct Clock<'a> {
    ns: &'a Namespace,
    own: Pod,
    blue: &'a Nad,
    agent: Option<NodeAgent>,
    double: ApiDouble,
}

impl Clock<'_> {
    fn agent(&mut self) -> Result<&mut NodeAgent> {
        self.agent
            .as_mut()
            .ok_or_else(|| Error::Unexpected("no agent was started".to_owned()))
    }

    async fn starts(&mut self, ahead: i64) -> Result<()> {
        let options = AgentOptions::default().behind(&self.double).with_clock(ahead);
        self.agent = Some(self.ns.agent(&self.own, options).await?);
        Ok(())
    }

    /// The clock is `ahead` of the machine's from now on. What was tried in vain before is tried on
    /// and done when it can be; edits, a pod that is deleted and a restart are as ever.
    async fn is_moved(&mut self, ahead: i64, edited: &Pod) -> Result<()> {
        let (ns, blue) = (self.ns, self.blue);
        let kept = edited.interface("kept").await?;
        let late = if ahead > 0 { "tomorrow" } else { "yesterday" };
        let deleted = ns.running_pod(late, NO_NETWORKS).await?;
        deleted.annotate("blue@net1").await?;
        deleted.has_exactly(&["net1"]).await?;
        let ended = deleted.sandbox().await?.id.clone();
        edited.annotate(&format!("blue@kept,{late}@net2")).await?;
        edited.has_event("FailedAddingInterface", late).await?;
        self.agent()?.move_clock(ahead).await?;

        // A cause that repeats is told once a minute; a new one at once.
        edited
            .annotate(&format!("blue@kept,{late}@net2,{late}@net3"))
            .await?;
        tells(edited, "FailedAddingInterface", late, ahead).await?;
        edited
            .annotate(&format!("blue@kept,blue@net1,{late}@net2"))
            .await?;
        edited.has_exactly(&["kept", "net1"]).await?;
        tells(edited, "AddedInterface", "net1", ahead).await?;
        let made = ns.create_nad(late, macvlan().host_local().recorded()).await?;
        edited.has_exactly(&["kept", "net1", "net2"]).await?;
        deleted.delete().await?;
        let wanted = &["kept", "net1", "net2"][..];
        ns.is_at_rest(&[(edited, wanted)], &[ended], &[blue, &made])
            .await?;

        let (before, calls) = (edited.interfaces().await?, edited.recorded("net2").await?.len());
        self.agent()?.stop().await?;
        self.starts(ahead).await?;
        edited.annotate(&format!("blue@kept,{late}@net2")).await?;
        edited.has_exactly(&["kept", "net2"]).await?;
        let stays = |name: &str| before.iter().find(|interface| interface.name == name).cloned();
        assert_eq!(Some(edited.interface("kept").await?), stays("kept"));
        assert_eq!(Some(edited.interface("net2").await?), stays("net2"));
        assert_eq!(edited.recorded("net2").await?.len(), calls);

        edited.annotate("blue@kept").await?;
        ns.is_at_rest(&[(edited, &["kept"])], &[], &[blue, &made]).await?;
        assert_eq!(edited.interface("kept").await?, kept);
        Ok(())
    }
}

/// Waits for an event of just now, written by a clock that is `ahead`.
async fn tells(pod: &Pod, reason: &str, part: &str, ahead: i64) -> Result<()> {
    let description = format!("an event {reason} about {part:?}, {ahead} s ahead");
    eventually(PLUG, description, async || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs().cast_signed());
        let events = pod.events().await?;
        let found = events.iter().any(|event| {
            let just_now = (event.last - now - ahead).abs() < DAY / 24;
            event.reason == reason && event.message.contains(part) && just_now
        });
        found
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{events:?} at {now}")))
    })
    .await
}
