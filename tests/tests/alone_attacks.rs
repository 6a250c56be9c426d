//! Attacks with the rights of a tenant. Meanwhile a pod of another namespace is plugged about as
//! fast as usual, and the agent's memory, open files, events, CRI calls and API requests stay
//! within DESIGN §7.
//!
//! `ATTACK_PODS`: how many pods attack, 16 by default. The bounds do not depend on it; 60 pods take
//! another half a minute to start and end on two cores. More than 100 do not fit: etcd keeps every
//! value of the long annotations for minutes, and its limit is 2 GiB.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tests::{
    AgentOptions, ApiDouble, CriDouble, Error, NO_NETWORKS, Namespace, NodeAgent, Pod, RequestKind, Result,
    Traffic, Victim, Vitals, alone_for, hold_connections, macvlan,
};

/// In KiB.
const MEMORY: u64 = 64 * 1024;
/// Open files beyond one per pod at work.
const FILES: u64 = 100;
/// Requests about events of one pod. The budget is 25 events, then one in five minutes, and the
/// test takes less than ten minutes; a create that finds the event there is followed by a patch.
const EVENTS: u64 = 2 * (25 + 2);
const NETWORKS: usize = 64;
/// In bytes. All annotations of one object together may have 256 KiB.
const LONG_TEXT: usize = 250_000;
const TEXTS: usize = 16;
const LARGE_NETWORK: usize = 1 << 20;
/// How long an attack without an end of its own goes on.
const SECONDS: u32 = 4;
const CONNECTIONS: u32 = 2000;
/// How long rates are measured.
const WINDOW: Duration = Duration::from_secs(3);
/// How long after an attack the agent may still work on it.
const CALM: Duration = Duration::from_secs(60);
/// Edits at once. More would take the processor from the API server, which serves the victim too.
const AT_ONCE: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_attacks_slow_no_other_pod_and_stay_bounded() -> Result<()> {
    let count = std::env::var("ATTACK_PODS").ok();
    let count = count.and_then(|text| text.parse().ok()).unwrap_or(16);
    alone_for(Duration::from_secs(10 * count as u64), "attack", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        // The agent must hold without the webhook, which limits annotations to 64 KiB.
        ns.cluster.stop_webhook().await?;
        ns.beside("victim", async |other| {
            let arena = Arena::open(ns, &own, other, count).await?;
            arena.unknown_networks().await;
            arena.event_flood().await;
            arena.label_churn().await;
            arena.long_annotations().await;
            arena.large_network().await;
            arena.held_connections().await;
            arena.close().await
        })
        .await
    })
    .await
}

struct Arena<'a> {
    ns: &'a Namespace,
    agent: NodeAgent,
    traffic: Traffic,
    vitals: Vitals,
    victim: Victim,
    pods: Vec<Pod>,
    /// Of all attacks: the next one runs also when one has failed.
    failures: RefCell<Vec<String>>,
    fresh: AtomicUsize,
    begun: Instant,
}

impl<'a> Arena<'a> {
    async fn open(ns: &'a Namespace, own: &Pod, other: &Namespace, count: usize) -> Result<Self> {
        let begun = Instant::now();
        ns.cluster.node.drop_unreleased_records().await?;
        let api = ApiDouble::start(&ns.cluster).await?;
        let cri = CriDouble::start(&ns.cluster.node).await?;
        let options = AgentOptions::default()
            .call_timeout(30)
            .with("criSocketPath", CriDouble::SOCKET)
            .behind(&api);
        let agent = ns.agent(own, options).await?;
        let vitals = agent.vitals().await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pods = ns.running_pods("p", count, NO_NETWORKS).await?;
        let victim = Victim::start(other).await?;
        println!("before all: {:?} after {:?}", vitals.most(), begun.elapsed());
        Ok(Self {
            victim,
            ns,
            agent,
            traffic: Traffic { api, cri },
            vitals,
            pods,
            failures: RefCell::default(),
            fresh: AtomicUsize::default(),
            begun,
        })
    }

    async fn unknown_networks(&self) {
        self.during("unknown networks", async {
            self.annotate_all(&self.pods, || self.list_of_unknown()).await?;
            lasts().await;
            Ok(())
        })
        .await;
        self.rests("unknown networks").await;
    }

    async fn event_flood(&self) {
        let flooding = &self.pods[..self.pods.len().min(8)];
        self.during("event flood", async {
            let end = Instant::now() + Duration::from_secs(SECONDS.into());
            while Instant::now() < end {
                self.annotate_all(flooding, || self.list_of_unknown()).await?;
            }
            Ok(())
        })
        .await;
        self.rests("event flood").await;
        let of_attackers =
            |kind: RequestKind, namespace: &str| kind == RequestKind::Event && namespace == self.ns.name;
        let (written, pods) = (self.traffic.api.asked(of_attackers), self.pods.len() as u64);
        println!("event flood: {written} writes of events about {pods} pods, with those of before");
        self.check(written <= EVENTS * pods, || {
            format!("{written} writes of events about {pods} pods")
        });
        let emptied = self.annotate_all(&self.pods, || "[]".to_owned()).await;
        self.note("event flood", emptied);
    }

    /// A changed label needs no CRI call and no API request.
    async fn label_churn(&self) {
        self.vitals.forget();
        let churned = &self.pods[..self.pods.len().min(AT_ONCE)];
        let plugged = async {
            self.annotate_all(churned, || "blue@net1".to_owned()).await?;
            for pod in churned {
                pod.has_exactly(&["net1"]).await?;
            }
            Ok(())
        };
        self.note("before the label churn", plugged.await);
        self.rests("before the label churn").await;
        let patched = AtomicUsize::default();
        let churn = async || -> Result<()> {
            futures::future::try_join_all(churned.iter().map(async |pod| {
                let end = Instant::now() + Duration::from_secs(SECONDS.into());
                while Instant::now() < end {
                    let number = patched.fetch_add(1, Ordering::Relaxed);
                    pod.label("churn", &number.to_string()).await?;
                }
                Ok(())
            }))
            .await
            .map(drop)
        };
        let (churning, rates) = futures::join!(churn(), self.traffic.rates(WINDOW));
        println!(
            "label churn: {} patches, {rates:?}",
            patched.load(Ordering::Relaxed)
        );
        self.note("label churn", churning);
        let bounded = rates.and_then(|rates| rates.is_bounded().then_some(()).ok_or_else(|| rates.excess()));
        self.note("label churn", bounded);
        self.during("label churn", churn()).await;
    }

    async fn long_annotations(&self) {
        self.during("long annotations", async {
            for _ in 0..TEXTS {
                let text = || format!("{}{}", self.name(), "a".repeat(LONG_TEXT));
                self.annotate_all(&self.pods, text).await?;
            }
            self.annotate_all(&self.pods, || "[]".to_owned()).await
        })
        .await;
        self.rests("long annotations").await;
    }

    async fn large_network(&self) {
        let config = json!({
            "cniVersion": "1.0.0", "name": "large", "type": "macvlan", "master": "eth1",
            "padding": "a".repeat(LARGE_NETWORK),
        });
        let made = self.ns.create_raw_nad("large", &config.to_string()).await;
        self.note("large network", made);
        let lists: Vec<_> = (0..8).map(|number| format!("large@net{number}")).collect();
        self.during("large network", async {
            self.annotate_all(&self.pods, || lists.join(",")).await?;
            lasts().await;
            self.annotate_all(&self.pods, || "[]".to_owned()).await
        })
        .await;
        self.rests("large network").await;
    }

    async fn held_connections(&self) {
        let (node, admin) = (&self.ns.cluster.node, self.agent.admin());
        self.during("held connections", async {
            let held = hold_connections(node, &self.pods[0], admin, CONNECTIONS, 2 * SECONDS).await?;
            println!(
                "held connections: {} at most, {} closed by the agent",
                held.0, held.1
            );
            Ok(())
        })
        .await;
    }

    /// Runs one attack. Meanwhile the victim is served, the agent answers its probes, and its
    /// memory and open files stay within the bounds.
    async fn during(&self, name: &str, attack: impl Future<Output = Result<()>>) {
        self.vitals.forget();
        let probed = async {
            loop {
                self.is_alive().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let outcome = tokio::select! {
            served = self.victim.serve_during(name, attack) => served,
            dead = probed => dead,
        };
        self.note(name, outcome);
        self.holds_little(name);
    }

    fn holds_little(&self, name: &str) {
        let (held, files) = (self.vitals.most(), FILES + self.pods.len() as u64);
        println!("{name}: {held:?}; {:?} so far", self.begun.elapsed());
        self.check(held.memory <= MEMORY, || {
            format!("{name}: {} KiB of memory", held.memory)
        });
        self.check(held.files <= files, || {
            format!("{name}: {} open files", held.files)
        });
    }

    /// The kubelet's liveness probe, from the node: three failures in a row restart the agent.
    async fn is_alive(&self) -> Result<()> {
        let url = format!("http://{}/livez", self.agent.admin());
        let mut said = String::new();
        for _ in 0..3 {
            match self.ns.cluster.node.page(&url).await {
                Ok((200, _)) => return Ok(()),
                other => said = format!("{other:?}"),
            }
        }
        Err(Error::Unexpected(format!(
            "the kubelet would end the agent: {said}"
        )))
    }

    async fn rests(&self, name: &str) {
        let begun = Instant::now();
        let calm = self.traffic.wait_until_calm(CALM, WINDOW).await;
        println!("{name}: calm after {:?}: {calm:?}", begun.elapsed());
        self.note(name, calm.map(drop));
        self.holds_little(name);
    }

    fn note(&self, name: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.failures.borrow_mut().push(format!("{name}: {error}"));
        }
    }

    fn check(&self, holds: bool, said: impl FnOnce() -> String) {
        if !holds {
            self.failures.borrow_mut().push(said());
        }
    }

    async fn annotate_all(&self, pods: &[Pod], text: impl Fn() -> String) -> Result<()> {
        let edits = pods.iter().map(async |pod| pod.annotate(&text()).await);
        futures::stream::iter(edits)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// A network name that was not used before.
    fn name(&self) -> String {
        format!("none{}", self.fresh.fetch_add(1, Ordering::Relaxed))
    }

    fn list_of_unknown(&self) -> String {
        let list: Vec<_> = (0..NETWORKS)
            .map(|number| format!("{}@a{number}", self.name()))
            .collect();
        list.join(",")
    }

    async fn close(mut self) -> Result<()> {
        let failures = self.failures.take();
        self.agent.stop().await?;
        failures
            .is_empty()
            .then_some(())
            .ok_or_else(|| Error::Unexpected(failures.join("\n")))
    }
}

async fn lasts() {
    tokio::time::sleep(Duration::from_secs(SECONDS.into())).await;
}
