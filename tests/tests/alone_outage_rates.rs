//! Pods end while multus, the container runtime or the API server is away. Meanwhile the agent's
//! CRI calls and API requests stay within DESIGN §7, and afterwards it releases everything.
//!
//! `OUTAGE_PODS`: how many pods end in each outage, 8 by default. The bound does not depend on it;
//! a full node has 110.

use std::time::{Duration, Instant};

use tests::{
    AgentOptions, ApiDouble, CriDouble, Error, LONG, NO_NETWORKS, Nad, Namespace, NodeAgent, Pod, Result,
    Traffic, alone_for, eventually, macvlan,
};

/// How long rates are measured.
const WINDOW: Duration = Duration::from_secs(5);
/// The backoff of a failed release is up to a minute.
const RELEASED: Duration = Duration::from_secs(80);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Multus,
    /// For the agent only: the kubelet needs the runtime to end the pods.
    Runtime,
    ApiServer,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ended_pods_cause_no_storm_during_an_outage() -> Result<()> {
    let count = std::env::var("OUTAGE_PODS").ok();
    let count = count.and_then(|text| text.parse().ok()).unwrap_or(8);
    alone_for(Duration::from_secs(10 * count as u64), "outage", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        ns.cluster.node.drop_unreleased_records().await?;
        let outages = [Away::Multus, Away::Runtime, Away::ApiServer];
        let mut pods = ns.running_pods("p", count * outages.len(), NO_NETWORKS).await?;
        let api = ApiDouble::start(&ns.cluster).await?;
        let cri = CriDouble::start(&ns.cluster.node).await?;
        let options = AgentOptions::default()
            .call_timeout(30)
            .with("criSocketPath", CriDouble::SOCKET)
            .behind(&api);
        let node = Outages {
            ns,
            blue,
            agent: ns.agent(&own, options).await?,
            traffic: Traffic { api, cri },
        };
        futures::future::try_join_all(pods.iter().map(|pod| pod.annotate("blue@net1"))).await?;
        for pod in &pods {
            pod.has_exactly(&["net1"]).await?;
        }
        let mut failures = Vec::new();
        if let Err(error) = node.comes_to_rest().await {
            failures.push(error.to_string());
        }
        for away in outages {
            let ending = pods.split_off(pods.len() - count);
            if let Err(error) = node.during(away, &ending).await {
                failures.push(format!("{away:?}: {error}"));
            }
        }
        node.end(&failures).await
    })
    .await
}

struct Outages<'a> {
    ns: &'a Namespace,
    blue: Nad,
    agent: NodeAgent,
    traffic: Traffic,
}

impl Outages<'_> {
    /// DESIGN §7: one CRI call a second and no API request but the watch, renewed once a minute.
    async fn comes_to_rest(&self) -> Result<()> {
        let rates = eventually(LONG, "the agent is at rest", async || {
            let rates = self.traffic.rates(WINDOW).await?;
            let rests = rates.calls <= 1.25 && rates.requests <= 0.5;
            rests.then_some(rates).ok_or_else(|| rates.excess())
        });
        println!("at rest: {:?}", rates.await?);
        Ok(())
    }

    async fn during(&self, away: Away, pods: &[Pod]) -> Result<()> {
        let mut ended = Vec::new();
        for pod in pods {
            ended.push(pod.sandbox().await?.id.clone());
        }
        self.goes(away).await?;
        futures::future::try_join_all(pods.iter().map(|pod| pod.begin_deletion(None))).await?;
        self.have_ended(pods).await?;
        let rates = self.traffic.rates(WINDOW).await;
        self.returns(away).await?;
        let rates = rates?;
        println!("{away:?} away, {} pods have ended: {rates:?}", pods.len());

        let back = Instant::now();
        for sandbox in &ended {
            self.ns.cluster.node.forgets(sandbox).await?;
        }
        self.holds_nothing_of(&ended).await?;
        println!("{away:?} back: released {:?} later", back.elapsed());
        rates.is_bounded().then_some(()).ok_or_else(|| rates.excess())
    }

    async fn goes(&self, away: Away) -> Result<()> {
        match away {
            Away::Multus => self.ns.cluster.component("stop", "multus").await,
            Away::Runtime => self.traffic.cri.refuse_connections().await,
            Away::ApiServer => {
                self.traffic.api.refuse_connections();
                Ok(())
            }
        }
    }

    async fn returns(&self, away: Away) -> Result<()> {
        match away {
            Away::Multus => self.ns.cluster.component("start", "multus").await,
            Away::Runtime => self.traffic.cri.accept_connections().await,
            Away::ApiServer => {
                self.traffic.api.accept_connections();
                Ok(())
            }
        }
    }

    /// Waits until their objects and their network namespaces are gone.
    async fn have_ended(&self, pods: &[Pod]) -> Result<()> {
        for pod in pods {
            pod.is_gone().await?;
            let path = &pod.sandbox().await?.namespace_path;
            eventually(LONG, format!("the network of {} is gone", pod.name), async || {
                self.ns.cluster.node.run(&["test", "!", "-e", path]).await
            })
            .await?;
        }
        Ok(())
    }

    async fn holds_nothing_of(&self, ended: &[String]) -> Result<()> {
        eventually(RELEASED, "every lease of the pods is freed", async || {
            let mut leases = self.ns.cluster.node.leases(&self.blue.config_name).await?;
            leases.retain(|lease| ended.contains(&lease.sandbox));
            leases
                .is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{leases:?}")))
        })
        .await
    }

    async fn end(mut self, failures: &[String]) -> Result<()> {
        self.agent.stop().await?;
        failures
            .is_empty()
            .then_some(())
            .ok_or_else(|| Error::Unexpected(failures.join("\n")))
    }
}
