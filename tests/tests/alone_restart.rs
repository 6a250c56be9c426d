//! The agent away at every moment of a pod's life, with elements that have names and elements that have none, beside networks that multus
//! attaches by itself and without: soon after it is back, everything is as the annotations say.
//!
//! `RESTART_SECONDS`: pods come, are edited and go for so long while the agent is away.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use rstest::rstest;
use serde_json::json;
use shared::annotations::{INTERFACE_NAMES_LABEL, NETWORK_STATUS};
use tests::{
    AgentOptions, Error, Interface, NO_NETWORKS, Nad, Namespace, Order, PLUG, Pod, Result, alone_for,
    alone_in_namespace, eventually, macvlan,
};

/// What the agent promises after its start, for all that no call is in flight for.
const BACK: Duration = Duration::from_secs(10);
/// A call in flight is given so many seconds to finish.
const GRACE: u64 = 30;
/// More pods at once than an agent calls multus for.
const QUEUED: usize = 16;

#[rstest]
#[case::without_default_networks(0)]
#[case::beside_default_networks(1)]
#[tokio::test]
async fn ends_as_annotated_whenever_the_agent_was_away(#[case] offset: usize) -> Result<()> {
    let churn = std::env::var("RESTART_SECONDS").ok();
    let churn = Duration::from_secs(churn.and_then(|text| text.parse().ok()).unwrap_or(0));
    alone_for(churn, "away", async |ns| {
        let stage = Stage::set(ns, offset).await?;
        let mut agent = ns.agent(&stage.own, stage.options()).await?;
        let known = stage.known_pods().await?;
        let hung = stage.hung_pods().await?;
        let starting = stage.pods_about_to_start().await?;
        agent.kill().await?;
        // What was in flight is over from here on, and its answers are lost.
        ns.no_orders().await?;

        let lives = stage.lives();
        let (known, starting, new, churned) = futures::try_join!(
            try_join_all(known.into_iter().map(|pod| stage.changes(pod))),
            try_join_all(starting.into_iter().map(|pod| stage.replaces_all(pod))),
            try_join_all(lives.iter().map(|life| stage.lives_through(life))),
            stage.churn(churn),
        )?;
        let left = known.into_iter().chain(starting).chain(new).chain([churned]);
        let left = left.fold(Left::default(), Left::and);

        let began = Instant::now();
        let mut agent = ns.agent_that_starts(&stage.own, stage.options()).await?;
        stage.is_as_annotated(began, &left).await?;
        let late = Duration::from_secs(GRACE) + BACK;
        let [adding, leaving] = &stage.slow;
        stage.rests(late, &hung, &[], &[adding, leaving]).await?;
        agent.stop().await
    })
    .await
}

/// As the fault was found: the pod starts with one network while no agent is there, and is edited to another one on the same interface.
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

/// Only those whose plugin runs when the agent ends may keep it waiting afterwards.
#[tokio::test]
async fn queued_calls_are_done_soon_after_a_restart() -> Result<()> {
    alone_in_namespace("queue", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pods = ns.running_pods("p", QUEUED, NO_NETWORKS).await?;
        let options = || AgentOptions::default().patient(GRACE);
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

/// Of each pod, whether the recorder has begun to plug into it and not ended.
async fn running(pods: &[Pod]) -> Result<Vec<bool>> {
    let runs = pods.iter().map(async |pod| {
        let calls = pod.recorded("net1").await?;
        Ok(calls.iter().any(|recorded| recorded.call.ended.is_none()))
    });
    try_join_all(runs).await
}

/// A pod, what it is to have in the end, and what of it may not be touched.
struct Subject {
    pod: Pod,
    /// Interface and network.
    wanted: BTreeMap<String, &'static str>,
    kept: Vec<Interface>,
}

/// The pods that there are when the agent starts again, and the sandboxes that have ended by then.
#[derive(Default)]
struct Left {
    pods: Vec<Subject>,
    ended: Vec<String>,
}

impl Left {
    fn pod(subject: Subject) -> Self {
        Self {
            pods: vec![subject],
            ended: Vec::new(),
        }
    }

    fn nothing_of(sandbox: String) -> Self {
        Self {
            pods: Vec::new(),
            ended: vec![sandbox],
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.pods.extend(other.pods);
        self.ended.extend(other.ended);
        self
    }
}

/// A life that happens while no agent is there: the annotations one after the other, and which interfaces stay through all of it.
/// `{0}` and `{1}` are the names that multus gives to the first two elements without a name.
struct Life {
    name: &'static str,
    lists: &'static [&'static str],
    kept: &'static [&'static str],
    wanted: &'static [(&'static str, &'static str)],
    /// It is edited before it has started, not afterwards.
    early: bool,
    deleted: bool,
}

const LIFE: Life = Life {
    name: "",
    lists: &[],
    kept: &[],
    wanted: &[],
    early: false,
    deleted: false,
};

struct Stage<'a> {
    ns: &'a Namespace,
    own: Pod,
    blue: Nad,
    red: Nad,
    /// Their plugins hang.
    slow: [Nad; 2],
    offset: usize,
}

impl<'a> Stage<'a> {
    async fn set(ns: &'a Namespace, offset: usize) -> Result<Self> {
        ns.label(INTERFACE_NAMES_LABEL, "off").await?;
        let own = ns.instead_of_the_agent().await?;
        let nad = |name: &'static str| ns.create_nad(name, macvlan().host_local().recorded());
        let (blue, red, adding, leaving) =
            futures::try_join!(nad("blue"), nad("red"), nad("adding"), nad("leaving"))?;
        if offset > 0 {
            ns.create_nad("everywhere", macvlan().host_local()).await?;
            ns.cluster
                .configure_multus(|config| {
                    config["defaultNetworks"] = json!(["everywhere"]);
                    config["multusNamespace"] = json!(ns.name);
                })
                .await?;
        }
        Ok(Self {
            ns,
            own,
            blue,
            red,
            slow: [adding, leaving],
            offset,
        })
    }

    fn options(&self) -> AgentOptions {
        AgentOptions::default()
            .patient(GRACE)
            .with("interfaceOffset", self.offset)
    }

    /// What multus attaches by itself.
    fn foreign(&self) -> &'static [&'static str] {
        if self.offset > 0 { &["net1"] } else { &[] }
    }

    fn named(&self, text: &str) -> String {
        text.replace("{0}", &format!("net{}", 1 + self.offset))
            .replace("{1}", &format!("net{}", 2 + self.offset))
    }

    fn wants(&self, wanted: &[(&str, &'static str)]) -> BTreeMap<String, &'static str> {
        let named = wanted
            .iter()
            .map(|(interface, network)| (self.named(interface), *network));
        named
            .chain(
                self.foreign()
                    .iter()
                    .map(|name| ((*name).to_owned(), "everywhere")),
            )
            .collect()
    }

    async fn subject(&self, pod: Pod, wanted: &[(&str, &'static str)], kept: &[&str]) -> Result<Subject> {
        let kept: Vec<_> = kept.iter().map(|name| self.named(name)).collect();
        let mut interfaces = pod.interfaces().await?;
        interfaces.retain(|interface| {
            kept.contains(&interface.name) || self.foreign().contains(&interface.name.as_str())
        });
        assert_eq!(
            interfaces.len(),
            kept.len() + self.foreign().len(),
            "{}: {interfaces:?}",
            pod.name
        );
        Ok(Subject {
            pod,
            wanted: self.wants(wanted),
            kept: interfaces,
        })
    }

    /// Pods that the agent has seen and plugged something into, by name.
    async fn known_pods(&self) -> Result<Vec<Pod>> {
        let starts = [
            ("edited", "blue@cold"),
            ("unnamed", "blue,red"),
            ("deleted", "blue@cold"),
            ("again", "blue@cold"),
        ];
        let started = starts.map(|(name, list)| self.ns.running_pod(name, list));
        let pods = try_join_all(started).await?;
        for (pod, (name, list)) in pods.iter().zip(starts) {
            if name != "unnamed" {
                pod.annotate(&format!("{list},red@hot")).await?;
            }
        }
        let wanted = pods.iter().map(async |pod| match pod.name.as_str() {
            "unnamed" => self.has(pod, &["{0}", "{1}"]).await,
            _ => self.has(pod, &["cold", "hot"]).await,
        });
        try_join_all(wanted).await?;
        // Its attachments are recorded by the agent before it ends: nothing tells afterwards what it had seen.
        let unnamed = &pods[1];
        eventually(PLUG, "the agent knows the pod without names", async || {
            let known = unnamed.records().await?.len() == 2;
            known
                .then_some(())
                .ok_or_else(|| Error::Unexpected("it does not".to_owned()))
        })
        .await?;
        Ok(pods)
    }

    async fn has(&self, pod: &Pod, interfaces: &[&str]) -> Result<()> {
        let mut wanted: Vec<_> = interfaces.iter().map(|name| self.named(name)).collect();
        wanted.extend(self.foreign().iter().map(|&name| name.to_owned()));
        let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
        pod.has_exactly(&wanted).await
    }

    /// A pod with an ADD in flight, and one with a DEL in flight.
    async fn hung_pods(&self) -> Result<[Subject; 2]> {
        let [adding, leaving] = &self.slow;
        let (add, del) = futures::try_join!(
            self.ns.running_pod("adding", NO_NETWORKS),
            self.ns.running_pod("leaving", NO_NETWORKS)
        )?;
        del.annotate("leaving@hot").await?;
        self.has(&del, &["hot"]).await?;
        futures::try_join!(
            self.ns.order(adding, "ADD", Order::Hang),
            self.ns.order(leaving, "DEL", Order::Hang)
        )?;
        futures::try_join!(add.annotate("adding@hot"), del.annotate("[]"))?;
        futures::try_join!(runs(&add, "ADD"), runs(&del, "DEL"))?;
        Ok([
            self.subject(add, &[("hot", "adding")], &[]).await?,
            self.subject(del, &[], &[]).await?,
        ])
    }

    /// Several that start at once: when the first one has its network, the others are wherever they are, without a sandbox among it.
    async fn pods_about_to_start(&self) -> Result<Vec<Pod>> {
        let names = ["starting0", "starting1", "starting2", "starting3"];
        let made = names.map(|name| self.ns.create_pod(name, "blue@cold"));
        let pods = try_join_all(made).await?;
        let plugged = |pod: &k8s_openapi::api::core::v1::Pod| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|annotations| annotations.contains_key(NETWORK_STATUS))
        };
        pods[0].reaches(plugged).await?;
        Ok(pods)
    }

    async fn replaces_all(&self, pod: Pod) -> Result<Left> {
        pod.is_ready().await?;
        pod.annotate("red@cold,blue@hot").await?;
        let wanted = [("cold", "red"), ("hot", "blue")];
        self.subject(pod, &wanted, &[]).await.map(Left::pod)
    }

    /// What becomes of the pods that the agent knows.
    async fn changes(&self, pod: Pod) -> Result<Left> {
        let sandbox = pod.sandbox().await?.id.clone();
        match pod.name.as_str() {
            "edited" => {
                pod.annotate("red@cold").await?;
                self.subject(pod, &[("cold", "red")], &[]).await.map(Left::pod)
            }
            "unnamed" => {
                pod.annotate("red").await?;
                self.subject(pod, &[("{1}", "red")], &["{1}"])
                    .await
                    .map(Left::pod)
            }
            "deleted" => {
                pod.delete().await?;
                Ok(Left::nothing_of(sandbox))
            }
            name => {
                pod.delete().await?;
                let next = self.ns.running_pod(name, "red@cold").await?;
                next.annotate("red@cold,blue@hot").await?;
                let wanted = [("cold", "red"), ("hot", "blue")];
                let next = self.subject(next, &wanted, &["cold"]).await?;
                Ok(Left::pod(next).and(Left::nothing_of(sandbox)))
            }
        }
    }

    #[rustfmt::skip]
    fn lives(&self) -> Vec<Life> {
        vec![
            Life { name: "another", lists: &["blue@hot0", "red@hot0"], wanted: &[("hot0", "red")], ..LIFE },
            Life { name: "early", lists: &["blue@hot0", "red@hot0"], wanted: &[("hot0", "red")], early: true, ..LIFE },
            Life { name: "emptied", lists: &["blue@cold", "[]"], ..LIFE },
            Life { name: "swapped", lists: &["blue@a,red@b", "red@a,blue@b"], wanted: &[("a", "red"), ("b", "blue")], ..LIFE },
            Life { name: "more", lists: &["blue@cold", "blue@cold,red@hot"], kept: &["cold"], wanted: &[("cold", "blue"), ("hot", "red")], ..LIFE },
            Life { name: "back", lists: &["blue@cold", "[]", "red@cold", "blue@cold"], kept: &["cold"], wanted: &[("cold", "blue")], ..LIFE },
            Life { name: "bare-more", lists: &["blue,red", "blue,red,blue@hot"], kept: &["{0}", "{1}"], wanted: &[("{0}", "blue"), ("{1}", "red"), ("hot", "blue")], ..LIFE },
            Life { name: "bare-named", lists: &["blue,red", "red@{1},blue@{0}"], kept: &["{0}", "{1}"], wanted: &[("{0}", "blue"), ("{1}", "red")], ..LIFE },
            Life { name: "gone", lists: &["blue@cold", "red@hot"], deleted: true, ..LIFE },
        ]
    }

    async fn lives_through(&self, life: &Life) -> Result<Left> {
        let lists: Vec<_> = life.lists.iter().map(|list| self.named(list)).collect();
        let pod = self.ns.create_pod(life.name, lists[0].as_str()).await?;
        if !life.early {
            pod.is_ready().await?;
        }
        for list in &lists[1..] {
            pod.annotate(list).await?;
        }
        pod.is_ready().await?;
        if life.deleted {
            let sandbox = pod.sandbox().await?.id.clone();
            pod.delete().await?;
            return Ok(Left::nothing_of(sandbox));
        }
        self.subject(pod, life.wanted, life.kept).await.map(Left::pod)
    }

    /// One pod after the other that starts, is edited a few times and goes, for so long; the last one stays.
    async fn churn(&self, length: Duration) -> Result<Left> {
        const LISTS: [&str; 4] = ["blue@cold,red@hot", "red@cold", "[]", "red@net8,blue@net9"];
        let (end, mut left) = (Instant::now() + length, Left::default());
        while Instant::now() < end {
            let pod = self.ns.running_pod("churned", "blue@cold").await?;
            for list in LISTS {
                pod.annotate(list).await?;
            }
            left.ended.push(pod.sandbox().await?.id.clone());
            pod.delete().await?;
        }
        let pod = self.ns.running_pod("churned", "blue@cold").await?;
        pod.annotate("red@cold,blue@hot").await?;
        let wanted = [("cold", "red"), ("hot", "blue")];
        let last = self.subject(pod, &wanted, &[]).await?;
        Ok(left.and(Left::pod(last)))
    }

    async fn is_as_annotated(&self, began: Instant, left: &Left) -> Result<()> {
        let within = BACK.saturating_sub(began.elapsed());
        let nads = [&self.blue, &self.red];
        self.rests(within, &left.pods, &left.ended, &nads).await?;
        println!(
            "{} pods are as annotated {:?} after the agent's start",
            left.pods.len(),
            began.elapsed()
        );
        for subject in &left.pods {
            let now = subject.pod.interfaces().await?;
            for kept in &subject.kept {
                let name = &subject.pod.name;
                assert!(now.contains(kept), "{name}: {kept:?} is not in {now:?}");
            }
        }
        Ok(())
    }

    async fn rests(
        &self,
        within: Duration,
        subjects: &[Subject],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<()> {
        let foreign = self.foreign();
        let wanted: Vec<Vec<&str>> = subjects
            .iter()
            .map(|subject| subject.wanted.keys().map(String::as_str).collect())
            .map(|names: Vec<&str>| names.into_iter().filter(|name| !foreign.contains(name)).collect())
            .collect();
        let pods: Vec<(&Pod, &[&str])> = subjects
            .iter()
            .zip(&wanted)
            .map(|(subject, wanted)| (&subject.pod, &wanted[..]))
            .collect();
        self.ns
            .comes_to_rest_beside(foreign, within, &pods, ended, nads)
            .await?;
        for subject in subjects {
            let status = subject.pod.network_status().await?.into_iter();
            let status: BTreeMap<_, _> = status.map(|entry| (entry.interface, entry.name)).collect();
            let full = |name: &str| format!("{}/{name}", self.ns.name);
            let wanted = subject
                .wanted
                .iter()
                .map(|(interface, network)| (interface.clone(), full(network)));
            assert_eq!(status, wanted.collect(), "{}", subject.pod.name);
        }
        Ok(())
    }
}

/// Waits until the recorder has begun this call for `hot` and does not end it.
async fn runs(pod: &Pod, command: &str) -> Result<()> {
    eventually(PLUG, format!("{command} of {} runs", pod.name), async || {
        let calls = pod.recorded("hot").await?;
        let running = |seen: &tests::Recorded| seen.call.command == command && seen.call.ended.is_none();
        calls
            .iter()
            .any(running)
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{calls:?}")))
    })
    .await
}
