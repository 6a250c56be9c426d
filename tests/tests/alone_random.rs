//! A random history: edits, pods that come and go, networks that change and go, kills of the agent,
//! of multus and of the runtime, a full disk, a clock that is moved and an API server that answers
//! badly or not at all, one after the other and several at once; then the node comes to rest,
//! without a breach of any invariant. The seed is printed and replays the history.
//!
//! `RANDOM_FAULTS_SEED`, `RANDOM_FAULTS_PODS`, `RANDOM_FAULTS_SECONDS`: for longer ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::Value;
use tests::{
    AgentOptions, Answer, ApiDouble, Error, LONG, NO_NETWORKS, Nad, Namespace, NodeAgent, PLUG, Pod,
    RequestKind, Result, SmallDisk, alone_for, eventually, macvlan,
};

const INTERFACES: [&str; 4] = ["net1", "net2", "net3", "net4"];
/// Pods start with the first, so only the second goes.
const NETWORKS: [&str; 2] = ["blue", "red"];
/// How the API server answers badly.
const BAD_ANSWERS: [(RequestKind, Answer); 13] = [
    (RequestKind::PodList, Answer::Hangup),
    (RequestKind::PodList, Answer::Unavailable),
    (RequestKind::PodWatch, Answer::Gone),
    (RequestKind::PodWatch, Answer::GoneEvent),
    (RequestKind::PodWatch, Answer::TooMany(1)),
    (RequestKind::StatusPatch, Answer::Conflict),
    (RequestKind::StatusPatch, Answer::Hangup),
    (RequestKind::StatusPatch, Answer::Lost),
    (RequestKind::StatusPatch, Answer::TooMany(1)),
    (RequestKind::Network, Answer::Hangup),
    (RequestKind::Network, Answer::Unavailable),
    (RequestKind::Event, Answer::Hangup),
    (RequestKind::Other, Answer::Unavailable),
];
/// Room for the records of some hundred pods.
const DISK_KIB: u32 = 4096;
/// How fast the history goes, but for what takes longer.
const PACE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn any_history_ends_at_rest() -> Result<()> {
    let setting = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let seed = setting("RANDOM_FAULTS_SEED", 1);
    let pods = setting("RANDOM_FAULTS_PODS", 8);
    let length = Duration::from_secs(setting("RANDOM_FAULTS_SECONDS", 12));
    println!("RANDOM_FAULTS_SEED={seed}");
    alone_for(length, "random", async move |ns| {
        let mut history = History::begin(ns, Rng::with_seed(seed), pods).await?;
        let end = Instant::now() + length;
        while Instant::now() < end {
            history.go_on().await?;
        }
        println!("{:?}", history.counts);
        history.ends_at_rest().await
    })
    .await
    .map_err(|error| Error::Unexpected(format!("RANDOM_FAULTS_SEED={seed}: {error}")))
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Edit,
    Replacement,
    AgentKilled,
    AgentStopped,
    MultusKilled,
    MultusRestarted,
    RuntimeKilled,
    NetworkChanged,
    NetworkDeleted,
    DiskFull,
    ApiAnswersBadly,
    ApiCut,
    ApiSilent,
    /// The agent's, by up to a day.
    ClockMoved,
    /// The disk has room, the API server answers, every network exists again.
    Relief,
}

/// How often each happens, of a hundred.
const OFTEN: [(Happening, u32); 15] = [
    (Happening::Edit, 60),
    (Happening::Replacement, 5),
    (Happening::AgentKilled, 5),
    (Happening::AgentStopped, 2),
    (Happening::MultusKilled, 2),
    (Happening::MultusRestarted, 1),
    (Happening::RuntimeKilled, 2),
    (Happening::NetworkChanged, 3),
    (Happening::NetworkDeleted, 3),
    (Happening::DiskFull, 3),
    (Happening::ApiAnswersBadly, 4),
    (Happening::ApiCut, 2),
    (Happening::ApiSilent, 2),
    (Happening::ClockMoved, 2),
    (Happening::Relief, 4),
];

const DAY: i64 = 24 * 60 * 60;

fn options(api: &ApiDouble, clock: i64) -> AgentOptions {
    AgentOptions::default()
        .behind(api)
        .read_timeout(3)
        .with_clock(clock)
}

struct History<'a> {
    ns: &'a Namespace,
    rng: Rng,
    own: Pod,
    nads: Vec<Nad>,
    agent: NodeAgent,
    api: ApiDouble,
    /// By so many seconds the agent's clock is ahead.
    clock: i64,
    disk: SmallDisk,
    full: bool,
    /// What the second network is configured to, while there is none.
    away: Option<Value>,
    /// Each with the networks that it is to have, by interface.
    pods: Vec<(Pod, BTreeMap<&'static str, &'static str>)>,
    /// Those of them that may still be starting.
    coming: BTreeSet<usize>,
    made: usize,
    ended: Vec<String>,
    counts: BTreeMap<Happening, u32>,
}

impl<'a> History<'a> {
    async fn begin(ns: &'a Namespace, rng: Rng, count: u64) -> Result<Self> {
        let own = ns.instead_of_the_agent().await?;
        let api = ApiDouble::start(&ns.cluster).await?;
        let disk = SmallDisk::for_records(&ns.cluster.node, DISK_KIB).await?;
        let mut nads = Vec::new();
        for name in NETWORKS {
            nads.push(ns.create_nad(name, macvlan().host_local().recorded()).await?);
        }
        let names: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
        let started = names.iter().map(|name| ns.running_pod(name, NO_NETWORKS));
        let pods = futures::future::try_join_all(started).await?;
        let agent = ns.agent(&own, options(&api, 0)).await?;
        Ok(Self {
            made: pods.len(),
            pods: pods.into_iter().map(|pod| (pod, BTreeMap::new())).collect(),
            ns,
            rng,
            own,
            nads,
            agent,
            api,
            clock: 0,
            disk,
            full: false,
            away: None,
            coming: BTreeSet::new(),
            ended: Vec::new(),
            counts: BTreeMap::new(),
        })
    }

    async fn go_on(&mut self) -> Result<()> {
        let mut at = self
            .rng
            .u32(..OFTEN.iter().map(|(_, weight)| weight).sum::<u32>());
        let next = OFTEN.iter().find(|(_, weight)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        let happening = next.map_or(Happening::Edit, |(happening, _)| *happening);
        *self.counts.entry(happening).or_default() += 1;
        match happening {
            Happening::Edit => self.edit().await?,
            Happening::Replacement => self.replace().await?,
            Happening::AgentKilled => {
                // A disk that refuses to note that a DEL has begun keeps an agent that dies in it
                // from being followed by one that knows.
                self.free_disk().await?;
                self.agent.kill().await?;
                self.agent = self.next_agent().await?;
            }
            Happening::AgentStopped => {
                self.agent.stop().await?;
                self.agent = self.next_agent().await?;
            }
            Happening::MultusKilled => self.disturb("kill", "multus").await?,
            Happening::MultusRestarted => self.disturb("restart", "multus").await?,
            Happening::RuntimeKilled => self.disturb("kill", "containerd").await?,
            Happening::NetworkChanged => self.change_network().await?,
            Happening::NetworkDeleted => self.delete_network().await?,
            Happening::DiskFull => {
                self.disk.fill().await?;
                self.full = true;
            }
            Happening::ApiAnswersBadly => {
                let (asked, answer) = BAD_ANSWERS[self.rng.usize(..BAD_ANSWERS.len())];
                self.api.plays(asked, "", answer);
            }
            Happening::ApiCut => self.api.cuts(),
            Happening::ApiSilent => self.api.falls_silent(),
            Happening::ClockMoved => {
                self.clock = self.rng.i64(-DAY..=DAY);
                self.agent.move_clock(self.clock).await?;
            }
            Happening::Relief => self.relieve().await?,
        }
        tokio::time::sleep(PACE).await;
        Ok(())
    }

    /// What still comes back from an earlier kill cannot be killed. And a pod's start or end in the
    /// middle of it would be a loss that no agent can help: a killed runtime forgets the network
    /// that it had asked for, and without its daemon multus calls a teardown done that it never
    /// began.
    async fn disturb(&mut self, verb: &str, component: &str) -> Result<()> {
        self.ns.cluster.component("wait", component).await?;
        for index in self.coming.clone() {
            self.has_come(index).await?;
        }
        let node = &self.ns.cluster.node;
        eventually(LONG, "multus has torn down what has ended", async || {
            let mut left = node.cold_plugged().await?;
            left.retain(|sandbox| self.ended.contains(sandbox));
            left.is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(left.join(", ")))
        })
        .await?;
        self.ns.cluster.component(verb, component).await
    }

    /// Waits until a pod has started and the agent has seen what with: an interface that was edited
    /// away before that is none of its own.
    async fn has_come(&mut self, index: usize) -> Result<()> {
        if !self.coming.remove(&index) {
            return Ok(());
        }
        self.relieve().await?;
        let (pod, _) = &self.pods[index];
        pod.is_ready().await?;
        eventually(LONG, format!("the agent knows {}", pod.name), async || {
            let known = !pod.records().await?.is_empty();
            known
                .then_some(())
                .ok_or_else(|| Error::Unexpected("no record".to_owned()))
        })
        .await
    }

    /// It need not be ready: a neighbour may be gone just now.
    async fn next_agent(&self) -> Result<NodeAgent> {
        self.ns
            .agent_that_starts(&self.own, options(&self.api, self.clock))
            .await
    }

    /// Another MTU for what is plugged from now on.
    async fn change_network(&mut self) -> Result<()> {
        let nad = &self.nads[self.rng.usize(..self.there())];
        let mut config: Value = self.config_of(nad).await?;
        config["plugins"][0]["mtu"] = self.rng.u32(1280..=1500).into();
        self.ns.change_nad(nad, &config.to_string()).await
    }

    async fn config_of(&self, nad: &Nad) -> Result<Value> {
        let config = self.ns.nad_config(&nad.name).await?;
        serde_json::from_str(&config).map_err(|error| Error::Unexpected(format!("{config}: {error}")))
    }

    async fn delete_network(&mut self) -> Result<()> {
        if self.away.is_none() {
            let nad = &self.nads[1];
            self.away = Some(self.config_of(nad).await?);
            self.ns.delete_nad(nad).await?;
        }
        Ok(())
    }

    /// How many networks there are.
    fn there(&self) -> usize {
        self.nads.len() - usize::from(self.away.is_some())
    }

    async fn free_disk(&mut self) -> Result<()> {
        if std::mem::take(&mut self.full) {
            self.disk.free().await?;
        }
        Ok(())
    }

    async fn relieve(&mut self) -> Result<()> {
        self.free_disk().await?;
        self.api.steps_aside();
        self.api.heals();
        if let Some(config) = self.away.take() {
            self.ns.create_raw_nad(NETWORKS[1], &config.to_string()).await?;
        }
        Ok(())
    }

    /// Some other networks for one of the pods, in any order.
    async fn edit(&mut self) -> Result<()> {
        let index = self.rng.usize(..self.pods.len());
        self.has_come(index).await?;
        let mut interfaces = INTERFACES;
        self.rng.shuffle(&mut interfaces);
        let count = self.rng.usize(..=INTERFACES.len());
        // The gate refuses a network that does not exist.
        let there = self.there();
        let wanted: Vec<_> = interfaces
            .into_iter()
            .take(count)
            .map(|interface| (interface, NETWORKS[self.rng.usize(..there)]))
            .collect();
        let list: Vec<_> = wanted
            .iter()
            .map(|(interface, network)| format!("{network}@{interface}"))
            .collect();
        let (pod, networks) = &mut self.pods[index];
        pod.annotate(&list.join(",")).await?;
        *networks = wanted.into_iter().collect();
        Ok(())
    }

    /// One pod goes, with everything that it has, and another one comes, with networks from its
    /// start.
    async fn replace(&mut self) -> Result<()> {
        let index = self.rng.usize(..self.pods.len());
        self.has_come(index).await?;
        for component in ["containerd", "multus"] {
            self.ns.cluster.component("wait", component).await?;
        }
        let sandbox = eventually(PLUG, "the runtime tells the sandbox", async || {
            Ok(self.pods[index].0.sandbox().await?.id.clone())
        });
        self.ended.push(sandbox.await?);
        let name = format!("p{}", self.made);
        self.made += 1;
        let networks = BTreeMap::from([(INTERFACES[0], NETWORKS[0])]);
        let pod = self.ns.create_pod(&name, "blue@net1").await?;
        let (old, _) = std::mem::replace(&mut self.pods[index], (pod, networks));
        self.coming.insert(index);
        old.begin_deletion(None).await
    }

    async fn ends_at_rest(mut self) -> Result<()> {
        self.relieve().await?;
        for component in ["containerd", "multus"] {
            self.ns.cluster.component("wait", component).await?;
        }
        self.agent.is_ready().await?;
        for (pod, _) in &self.pods {
            pod.is_ready().await?;
        }
        let wanted: Vec<Vec<&str>> = self
            .pods
            .iter()
            .map(|(_, wanted)| wanted.keys().copied().collect())
            .collect();
        let pods: Vec<(&Pod, &[&str])> = self
            .pods
            .iter()
            .zip(&wanted)
            .map(|((pod, _), w)| (pod, &w[..]))
            .collect();
        let nads: Vec<&Nad> = self.nads.iter().collect();
        self.ns.comes_to_rest(LONG, &pods, &self.ended, &nads).await?;
        for (pod, wanted) in &self.pods {
            let status = pod.network_status().await?.into_iter();
            let status: BTreeMap<_, _> = status.map(|entry| (entry.interface, entry.name)).collect();
            let wanted = wanted
                .iter()
                .map(|(interface, network)| ((*interface).to_owned(), format!("{}/{network}", self.ns.name)));
            assert_eq!(status, wanted.collect(), "{}", pod.name);
        }
        self.agent.stop().await?;
        self.disk.unmount().await
    }
}
