//! A pod that has nothing to do with what a test does to an agent, and how long it waits for its interfaces meanwhile.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    figures::quantile,
    links::Links,
    namespace::{NO_NETWORKS, Namespace},
    network::macvlan,
    pod::Pod,
};

/// In how many edits its usual time is measured, and how many it makes at least while something goes on.
const ROUNDS: usize = 5;
/// Below this, twice the usual time is not asked for: on a small machine the processor's own queue is longer.
const FLOOR: Duration = Duration::from_secs(1);

/// The pod, in a namespace of its own.
pub struct Victim {
    pod: Pod,
    links: tokio::sync::Mutex<Links>,
    usual: Duration,
    round: AtomicU32,
}

impl Victim {
    /// Starts it and measures how long it usually waits.
    ///
    /// # Errors
    /// Whatever a step returns.
    pub async fn start(ns: &Namespace) -> Result<Self> {
        ns.create_nad("calm", macvlan().host_local()).await?;
        let pod = ns.running_pod("victim", NO_NETWORKS).await?;
        let links = ns.cluster.node.links(pod.sandbox().await?).await?;
        let mut victim = Self {
            pod,
            links: tokio::sync::Mutex::new(links),
            usual: Duration::ZERO,
            round: AtomicU32::default(),
        };
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(victim.is_plugged().await?);
        }
        victim.usual = quantile(&times, 50);
        Ok(victim)
    }

    /// One edit: how long until the interface has its address. Every time another interface: the agent slows down when one and the same
    /// goes back and forth.
    async fn is_plugged(&self) -> Result<Duration> {
        let mut links = self.links.lock().await;
        let interface = format!("net{}", self.round.fetch_add(1, Ordering::Relaxed));
        let began = Instant::now();
        self.pod.annotate(&format!("calm@{interface}")).await?;
        let took = links.has_address(&interface).await? - began;
        self.pod.annotate("[]").await?;
        links.is_gone(&interface).await?;
        Ok(took)
    }

    /// Edits it again and again while `attack` goes on, and a few times at least.
    ///
    /// # Errors
    /// What `attack` returns, and [`Error::Unexpected`] when the victim waits more than twice its usual time, or a second if that is more,
    /// in the middle of its edits.
    pub async fn is_served_while(&self, name: &str, attack: impl Future<Output = Result<()>>) -> Result<()> {
        let over = AtomicBool::new(false);
        let edits = async {
            let mut times = Vec::new();
            while times.len() < ROUNDS || !over.load(Ordering::Relaxed) {
                times.push(self.is_plugged().await?);
            }
            Ok::<_, Error>(times)
        };
        let attack = async {
            let outcome = attack.await;
            over.store(true, Ordering::Relaxed);
            outcome
        };
        let (outcome, times) = futures::join!(attack, edits);
        outcome?;
        let times = times?;
        let (middle, worst) = (quantile(&times, 50), quantile(&times, 100));
        let limit = FLOOR.max(self.usual * 2);
        let said = format!(
            "{name}: the victim is plugged in {middle:?}, at worst {worst:?}, in {} edits; usually {:?}",
            times.len(),
            self.usual
        );
        println!("{said}");
        (middle <= limit).then_some(()).ok_or(Error::Unexpected(said))
    }
}
