//! The pods of `long_restart`: what happens to each while the agent is away, and what it must have
//! when the agent is back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::json;
use shared::annotations::{INTERFACE_NAMES_LABEL, NETWORK_STATUS};
use tests::{
    AgentOptions, Error, Interface, NO_NETWORKS, Nad, Namespace, Order, PLUG, Pod, Result, eventually,
    macvlan,
};

use super::{GRACE, scenario::Scenario};

/// A pod with the attachments that it must have when the agent is back.
pub(crate) struct ExpectedPod {
    pod: Pod,
    /// Interface and network.
    wanted: BTreeMap<String, String>,
    /// Those that must not be touched.
    kept: Vec<Interface>,
}

/// The pods that run when the agent starts again, and the sandboxes that have ended before.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) pods: Vec<ExpectedPod>,
    ended: Vec<String>,
}

impl Outcome {
    fn pod(expected: ExpectedPod) -> Self {
        Self {
            pods: vec![expected],
            ended: Vec::new(),
        }
    }

    fn ended(sandbox: String) -> Self {
        Self {
            pods: Vec::new(),
            ended: vec![sandbox],
        }
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.pods.extend(other.pods);
        self.ended.extend(other.ended);
        self
    }
}

/// One namespace with its networks, and an agent that a test stops and starts.
pub(crate) struct Setup<'a> {
    ns: &'a Namespace,
    pub(crate) own: Pod,
    blue: Nad,
    red: Nad,
    /// Networks whose plugin is told to hang: at ADD, and at DEL.
    slow: [Nad; 2],
    /// How many networks multus attaches before those of the annotation.
    offset: usize,
}

impl<'a> Setup<'a> {
    pub(crate) async fn new(ns: &'a Namespace, offset: usize) -> Result<Self> {
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

    pub(crate) fn options(&self) -> AgentOptions {
        AgentOptions::default()
            .call_timeout(GRACE)
            .with("interfaceOffset", self.offset)
    }

    /// The interfaces of `defaultNetworks`.
    fn foreign(&self) -> &'static [&'static str] {
        if self.offset > 0 { &["net1"] } else { &[] }
    }

    fn named(&self, text: &str) -> String {
        text.replace("{0}", &format!("net{}", 1 + self.offset))
            .replace("{1}", &format!("net{}", 2 + self.offset))
    }

    /// Interface and network of each element of a list, and of `defaultNetworks`.
    fn wants(&self, list: &str) -> BTreeMap<String, String> {
        let named = self.named(list);
        let elements = named.split(',').filter_map(|element| element.split_once('@'));
        let foreign = self.foreign().iter().map(|name| ("everywhere", *name));
        elements
            .chain(foreign)
            .map(|(network, interface)| (interface.to_owned(), network.to_owned()))
            .collect()
    }

    async fn expected(&self, pod: Pod, wanted: &str, kept: &[&str]) -> Result<ExpectedPod> {
        let mut kept: Vec<_> = kept.iter().map(|name| self.named(name)).collect();
        kept.extend(self.foreign().iter().map(|&name| name.to_owned()));
        let mut interfaces = pod.interfaces().await?;
        interfaces.retain(|interface| kept.contains(&interface.name));
        assert_eq!(interfaces.len(), kept.len(), "{}: {interfaces:?}", pod.name);
        Ok(ExpectedPod {
            wanted: self.wants(wanted),
            kept: interfaces,
            pod,
        })
    }

    /// Pods that the agent has seen and plugged something into.
    pub(crate) async fn known_pods(&self) -> Result<Vec<Pod>> {
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
            "unnamed" => self.wait_exactly(pod, &["{0}", "{1}"]).await,
            _ => self.wait_exactly(pod, &["cold", "hot"]).await,
        });
        try_join_all(wanted).await?;
        // Without a record, only the annotation could tell that an unnamed element is the pod's.
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

    async fn wait_exactly(&self, pod: &Pod, interfaces: &[&str]) -> Result<()> {
        let mut wanted: Vec<_> = interfaces.iter().map(|name| self.named(name)).collect();
        wanted.extend(self.foreign().iter().map(|&name| name.to_owned()));
        let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
        pod.has_exactly(&wanted).await
    }

    /// A pod with an ADD in flight, and one with a DEL in flight.
    pub(crate) async fn hung_pods(&self) -> Result<[ExpectedPod; 2]> {
        let [adding, leaving] = &self.slow;
        let (add, del) = futures::try_join!(
            self.ns.running_pod("adding", NO_NETWORKS),
            self.ns.running_pod("leaving", NO_NETWORKS)
        )?;
        del.annotate("leaving@hot").await?;
        self.wait_exactly(&del, &["hot"]).await?;
        futures::try_join!(
            self.ns.order(adding, "ADD", Order::Hang),
            self.ns.order(leaving, "DEL", Order::Hang)
        )?;
        futures::try_join!(add.annotate("adding@hot"), del.annotate("[]"))?;
        futures::try_join!(
            add.wait_call_running("hot", "ADD"),
            del.wait_call_running("hot", "DEL")
        )?;
        Ok([
            self.expected(add, "adding@hot", &[]).await?,
            self.expected(del, "", &[]).await?,
        ])
    }

    /// Pods that start at once. Returns when the first one has its network: the others are at
    /// different places of their start, some without a sandbox.
    pub(crate) async fn pods_about_to_start(&self) -> Result<Vec<Pod>> {
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

    pub(crate) async fn replace_networks(&self, pod: Pod) -> Result<Outcome> {
        pod.is_ready().await?;
        pod.annotate("red@cold,blue@hot").await?;
        let expected = self.expected(pod, "red@cold,blue@hot", &[]);
        expected.await.map(Outcome::pod)
    }

    /// Edits, deletes or re-creates a pod that the agent knows.
    pub(crate) async fn change_known(&self, pod: Pod) -> Result<Outcome> {
        let sandbox = pod.sandbox().await?.id.clone();
        match pod.name.as_str() {
            "edited" => {
                pod.annotate("red@cold").await?;
                self.expected(pod, "red@cold", &[]).await.map(Outcome::pod)
            }
            "unnamed" => {
                pod.annotate("red").await?;
                self.expected(pod, "red@{1}", &["{1}"]).await.map(Outcome::pod)
            }
            "deleted" => {
                pod.delete().await?;
                Ok(Outcome::ended(sandbox))
            }
            name => {
                pod.delete().await?;
                let next = self.ns.running_pod(name, "red@cold").await?;
                next.annotate("red@cold,blue@hot").await?;
                let next = self.expected(next, "red@cold,blue@hot", &["cold"]).await?;
                Ok(Outcome::pod(next).and(Outcome::ended(sandbox)))
            }
        }
    }

    pub(crate) async fn run_while_away(&self, scenario: &Scenario) -> Result<Outcome> {
        let lists: Vec<_> = scenario.lists.iter().map(|list| self.named(list)).collect();
        let pod = self.ns.create_pod(scenario.name, lists[0].as_str()).await?;
        if !scenario.early {
            pod.is_ready().await?;
        }
        for list in &lists[1..] {
            pod.annotate(list).await?;
        }
        pod.is_ready().await?;
        if scenario.deleted {
            let sandbox = pod.sandbox().await?.id.clone();
            pod.delete().await?;
            return Ok(Outcome::ended(sandbox));
        }
        self.expected(pod, scenario.wanted, scenario.kept)
            .await
            .map(Outcome::pod)
    }

    /// Creates, edits and deletes one pod after the other for so long. The last one stays.
    pub(crate) async fn churn(&self, length: Duration) -> Result<Outcome> {
        const LISTS: [&str; 4] = ["blue@cold,red@hot", "red@cold", "[]", "red@net8,blue@net9"];
        let (end, mut left) = (Instant::now() + length, Outcome::default());
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
        let last = self.expected(pod, "red@cold,blue@hot", &[]).await?;
        Ok(left.and(Outcome::pod(last)))
    }

    /// Waits until all pods have what their annotations say, and nothing is left of ended ones.
    pub(crate) async fn wait_until_annotated(&self, within: Duration, left: &Outcome) -> Result<()> {
        let nads = [&self.blue, &self.red];
        self.wait_at_rest(within, &left.pods, &left.ended, &nads).await?;
        for expected in &left.pods {
            let now = expected.pod.interfaces().await?;
            for kept in &expected.kept {
                let name = &expected.pod.name;
                assert!(now.contains(kept), "{name}: {kept:?} is not in {now:?}");
            }
        }
        Ok(())
    }

    /// The same for [`Self::hung_pods`].
    pub(crate) async fn wait_until_hung_are_done(
        &self,
        within: Duration,
        hung: &[ExpectedPod],
    ) -> Result<()> {
        let [adding, leaving] = &self.slow;
        self.wait_at_rest(within, hung, &[], &[adding, leaving]).await
    }

    async fn wait_at_rest(
        &self,
        within: Duration,
        expected: &[ExpectedPod],
        ended: &[String],
        nads: &[&Nad],
    ) -> Result<()> {
        let foreign = self.foreign();
        let wanted: Vec<Vec<&str>> = expected
            .iter()
            .map(|expected| expected.wanted.keys().map(String::as_str).collect())
            .map(|names: Vec<&str>| names.into_iter().filter(|name| !foreign.contains(name)).collect())
            .collect();
        let pods: Vec<(&Pod, &[&str])> = expected
            .iter()
            .zip(&wanted)
            .map(|(expected, wanted)| (&expected.pod, &wanted[..]))
            .collect();
        self.ns
            .comes_to_rest_beside(foreign, within, &pods, ended, nads)
            .await?;
        for expected in expected {
            let status = expected.pod.network_status().await?.into_iter();
            let status: BTreeMap<_, _> = status.map(|entry| (entry.interface, entry.name)).collect();
            let full = |name: &str| format!("{}/{name}", self.ns.name);
            let wanted = expected
                .wanted
                .iter()
                .map(|(interface, network)| (interface.clone(), full(network)));
            assert_eq!(status, wanted.collect(), "{}", expected.pod.name);
        }
        Ok(())
    }
}
