//! A pod in another namespace than an attack's: how long its edits take while the attack goes on.

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

/// How many edits give the usual time, and the least number of edits during an attack.
const ROUNDS: usize = 5;
/// The lowest limit for the median: on two cores the attacking test, the API server and another
/// cluster's tests slow the victim by this much, whatever the agent does.
const FLOOR: Duration = Duration::from_secs(1);
/// The limit for a single edit: one that waits for another pod's call or timer takes longer.
const WORST: Duration = Duration::from_secs(5);

/// The pod, in a namespace of its own.
pub struct Victim {
    pod: Pod,
    links: tokio::sync::Mutex<Links>,
    usual: Duration,
    round: AtomicU32,
}

impl Victim {
    /// Starts it and measures the usual time of an edit.
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

    /// Plugs and unplugs one interface; returns the time from the edit to its address. A new
    /// interface name each time: the agent delays one that is plugged again and again.
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

    /// Edits it without a pause while `attack` goes on.
    ///
    /// # Errors
    /// What `attack` returns; [`Error::Unexpected`] when the median is above twice the usual time
    /// (at least half a second), or a single edit takes longer than five seconds.
    pub async fn serve_during(&self, name: &str, attack: impl Future<Output = Result<()>>) -> Result<()> {
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
        (middle <= limit && worst <= WORST)
            .then_some(())
            .ok_or(Error::Unexpected(said))
    }
}
