//! What the pods of a namespace show, as a watch brings it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::Value;
use shared::{
    annotations::{NETWORK_STATUS, NETWORKS},
    readiness::{NETWORKS_READY, NetworksDigest},
};
use tests::{Error, Namespace, Result, condition};
use tokio::{sync::watch, time::timeout};

const LONGEST: Duration = Duration::from_secs(120);

/// Since when each pod shows what it shows.
pub struct Statuses(watch::Receiver<HashMap<String, Shown>>);

/// What one pod shows.
#[derive(Clone)]
struct Shown {
    since: Instant,
    interfaces: Vec<String>,
    /// The condition is True, and speaks of the annotation that the pod has.
    settled: bool,
}

impl Statuses {
    /// Watches from now on.
    pub fn follow(ns: &Namespace) -> Self {
        let (sender, receiver) = watch::channel(HashMap::<String, Shown>::new());
        let api: Api<ApiPod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let mut stream = events.applied_objects().boxed();
        tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                // A watch that broke, or that brought nothing for a while, is followed by a list.
                let Ok(pod) = event else { continue };
                let shown = Shown::of(&pod);
                sender.send_modify(|all| {
                    if all
                        .get(&pod.name_any())
                        .is_none_or(|before| !before.equals(&shown))
                    {
                        all.insert(pod.name_any(), shown);
                    }
                });
            }
        });
        Self(receiver)
    }

    /// When the pod showed, in one, network-status with exactly these interfaces besides `eth0`,
    /// and the condition for its annotation.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it does not come to that.
    pub async fn shows(&self, pod: &str, interfaces: &[&str]) -> Result<Instant> {
        let is_so = |shown: &&Shown| shown.settled && shown.interfaces == interfaces;
        let mut seen = self.0.clone();
        let shows = seen.wait_for(|all| all.get(pod).filter(is_so).is_some());
        let late = || Error::Unexpected(format!("{pod} does not show {interfaces:?} within {LONGEST:?}"));
        let all = timeout(LONGEST, shows).await.map_err(|_| late())?;
        let all = all.map_err(|error| Error::Unexpected(error.to_string()))?;
        all.get(pod).map(|shown| shown.since).ok_or_else(late)
    }
}

impl Shown {
    /// Whenever that was.
    fn equals(&self, other: &Self) -> bool {
        (&self.interfaces, self.settled) == (&other.interfaces, other.settled)
    }

    fn of(pod: &ApiPod) -> Self {
        let annotation = |key: &str| pod.annotations().get(key).map(String::as_str).unwrap_or_default();
        let entries: Vec<Value> = serde_json::from_str(annotation(NETWORK_STATUS)).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| entry["interface"].as_str());
        let mut interfaces: Vec<_> = names.filter(|name| *name != "eth0").map(str::to_owned).collect();
        interfaces.sort();
        let digest = NetworksDigest::of(annotation(NETWORKS)).to_string();
        let settled = condition(pod, NETWORKS_READY).is_some_and(|condition| {
            let message = condition.message.as_deref().unwrap_or_default();
            condition.status == "True" && message.ends_with(&digest)
        });
        Self {
            since: Instant::now(),
            interfaces,
            settled,
        }
    }
}
