//! The agent is away at every moment of a pod's life: soon after it is back, everything is as the
//! annotations say. With named and unnamed elements, with and without multus' `defaultNetworks`.
//!
//! `RESTART_SECONDS`: how long pods are created, edited and deleted while the agent is away.

#[path = "alone_restart/away.rs"]
mod away;
#[path = "alone_restart/scenario.rs"]
mod scenario;

use std::time::{Duration, Instant};

use away::{Outcome, Setup};
use futures::future::{join_all, try_join_all};
use rstest::rstest;
use tests::{
    AgentOptions, Error, NO_NETWORKS, Order, PLUG, Pod, Result, alone_for, alone_in_namespace, eventually,
    macvlan,
};

/// So soon after its start the agent has done everything for which no call was in flight.
const BACK: Duration = Duration::from_secs(10);
/// How long the checker may take to look at all pods.
const CHECK: Duration = Duration::from_secs(5);
/// How many seconds a call in flight is given to finish.
const GRACE: u64 = 30;
/// More pods than an agent calls multus for at once.
const QUEUED: usize = 16;

#[rstest]
#[case::without_default_networks(0)]
#[case::beside_default_networks(1)]
#[tokio::test]
async fn ends_as_annotated_whenever_the_agent_was_away(#[case] offset: usize) -> Result<()> {
    let churn = std::env::var("RESTART_SECONDS").ok();
    let churn = Duration::from_secs(churn.and_then(|text| text.parse().ok()).unwrap_or(0));
    alone_for(churn, "away", async |ns| {
        let setup = Setup::new(ns, offset).await?;
        let mut agent = ns.agent(&setup.own, setup.options()).await?;
        let known = setup.known_pods().await?;
        let hung = setup.hung_pods().await?;
        let starting = setup.pods_about_to_start().await?;
        agent.kill().await?;
        // The plugins that were in flight end here, and no agent reads their answers.
        ns.no_orders().await?;

        let scenarios = scenario::scenarios();
        let (known, starting, new, churned) = futures::try_join!(
            try_join_all(known.into_iter().map(|pod| setup.change_known(pod))),
            try_join_all(starting.into_iter().map(|pod| setup.replace_networks(pod))),
            try_join_all(scenarios.iter().map(|scenario| setup.run_while_away(scenario))),
            setup.churn(churn),
        )?;
        let left = known.into_iter().chain(starting).chain(new).chain([churned]);
        let left = left.fold(Outcome::default(), Outcome::and);

        let began = Instant::now();
        let mut agent = ns.agent_that_starts(&setup.own, setup.options()).await?;
        setup.wait_until_annotated(BACK + CHECK, &left).await?;
        println!(
            "{} pods are right {:?} after the agent's start",
            left.pods.len(),
            began.elapsed()
        );
        let late = Duration::from_secs(GRACE) + BACK;
        setup.wait_until_hung_are_done(late, &hung).await?;
        agent.stop().await
    })
    .await
}

/// The fault of the chaos run: the pod starts with one network while no agent runs, and is edited
/// to another network on the same interface.
#[tokio::test]
async fn replaces_a_network_that_came_while_it_was_away() -> Result<()> {
    alone_in_namespace("chaos", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let red = ns.create_nad("red", macvlan().host_local().recorded()).await?;
        ns.cluster.stop_agent().await?;
        let pod = ns.running_pod("p", "blue@hot0").await?;
        pod.annotate("red@hot0").await?;
        ns.cluster.start_agent().await?;

        eventually(BACK, "red is on hot0, and nothing of blue is left", async || {
            let status = pod.network_status().await?;
            let on: Vec<_> = status.iter().map(|e| (e.interface.as_str(), &e.name)).collect();
            let leases = pod.leases(&blue).await?;
            let cached = ns.cluster.node.cached_results(&pod.sandbox().await?.id).await?;
            let left = cached.iter().any(|name| name.starts_with(&blue.config_name));
            if on == [("hot0", &red.full_name())] && leases.is_empty() && !left {
                return Ok(());
            }
            Err(Error::Unexpected(format!("{on:?}, {leases:?}, {cached:?}")))
        })
        .await?;
        ns.is_at_rest(&[(&pod, &["hot0"])], &[], &[&blue, &red]).await
    })
    .await
}

/// Only a call that was in flight when the agent ended may be waited for after its start.
#[tokio::test]
async fn queued_calls_are_done_soon_after_a_restart() -> Result<()> {
    alone_in_namespace("queue", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pods = ns.running_pods("p", QUEUED, NO_NETWORKS).await?;
        let options = || AgentOptions::default().call_timeout(GRACE);
        let mut agent = ns.agent(&own, options()).await?;
        ns.order(&blue, "ADD", Order::Hang).await?;
        try_join_all(pods.iter().map(|pod| pod.annotate("blue@net1"))).await?;
        let in_flight = eventually(PLUG, "plugins run", async || {
            let running = running(&pods).await?;
            let some = running.iter().any(|runs| *runs);
            some.then_some(running)
                .ok_or_else(|| Error::Unexpected("none does".to_owned()))
        });
        in_flight.await?;
        agent.kill().await?;
        let in_flight = running(&pods).await?;
        ns.no_orders().await?;

        let began = Instant::now();
        let mut agent = ns.agent_that_starts(&own, options()).await?;
        let queued: Vec<_> = pods.iter().zip(&in_flight).filter(|(_, runs)| !**runs).collect();
        println!("{} of {QUEUED} were queued", queued.len());
        assert!(!queued.is_empty(), "all run at once: no queue to look at");
        let plugged = join_all(queued.iter().map(async |(pod, _)| {
            pod.has_exactly(&["net1"]).await?;
            Ok::<_, Error>(began.elapsed())
        }));
        let slowest = plugged
            .await
            .into_iter()
            .try_fold(Duration::ZERO, |slowest, took| took.map(|took| slowest.max(took)))?;
        println!("the slowest of them is plugged {slowest:?} after the agent's start");
        assert!(slowest <= BACK, "{slowest:?} after the start");

        let rest: Vec<(&Pod, &[&str])> = pods.iter().map(|pod| (pod, &["net1"][..])).collect();
        ns.is_at_rest(&rest, &[], &[&blue]).await?;
        agent.stop().await
    })
    .await
}

/// For each pod, whether the recorder has begun an ADD of `net1` and not ended it.
async fn running(pods: &[Pod]) -> Result<Vec<bool>> {
    let runs = pods.iter().map(async |pod| {
        let calls = pod.recorded("net1").await?;
        Ok(calls.iter().any(|recorded| recorded.call.ended.is_none()))
    });
    try_join_all(runs).await
}
