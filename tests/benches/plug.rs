//! How long an edit takes until it is in the kernel, against the least that it could take: multus asked directly for the very same
//! attachment, in the same pod, in turn with the edits.
//!
//! `cargo bench -p webhook -p tests --bench plug` on a cluster with the manifests installed prints the rows of the table of `make bench`.
//! As root: multus' socket is root's. Nothing is asserted: figures are for people.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use shared::annotations::NETWORK_STATUS;
use tests::{
    Error, Links, NO_NETWORKS, Namespace, Pod, Result, alone_in_namespace,
    figures::{milliseconds, quantile, row},
    macvlan,
};
use tokio::sync::watch;

/// Edits, and direct calls between them.
const ROUNDS: usize = 40;
/// Networks in one edit.
const MANY: usize = 8;
/// Pods that are edited at once.
const PODS: usize = 30;

/// From the edit to the kernel, in the middle.
const GOAL: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    alone_in_namespace("bench", async |ns| {
        one_by_one(ns).await?;
        several_in_one_edit(ns).await?;
        many_pods_at_once(ns).await?;
        let memory = ns.cluster.agent_memory().await?;
        row("the agent's memory (RSS)", &memory, "", "", None);
        Ok(())
    })
    .await
}

/// One attachment's times, by what they count from the edit or the call to.
#[derive(Default)]
struct Times {
    bare_add: Vec<Duration>,
    bare_del: Vec<Duration>,
    answered: Vec<Duration>,
    plugged: Vec<Duration>,
    told: Vec<Duration>,
    unplugged: Vec<Duration>,
}

async fn one_by_one(ns: &Namespace) -> Result<()> {
    eprintln!(
        "{ROUNDS} edits and as many direct calls, in turn; then several networks in one edit, and {PODS} pods at once"
    );
    ns.create_nad("blue", macvlan().host_local()).await?;
    let config = ns.conflist("blue").await?;
    let pod = ns.running_pod("p", NO_NETWORKS).await?;
    let mut links = ns.cluster.node.links(pod.sandbox().await?).await?;
    let mut status = follow_status(ns, &pod);
    let mut times = Times::default();
    for round in 0..ROUNDS {
        bare(ns, &pod, &mut links, &config, &mut times).await?;
        edit(&pod, &mut links, &mut status, &format!("net{round}"), &mut times).await?;
    }
    times.print();
    Ok(())
}

impl Times {
    fn print(&self) {
        let direct =
            |times: &[Duration]| format!("multus asked directly: {}", milliseconds(quantile(times, 50)));
        let (add, del) = (direct(&self.bare_add), direct(&self.bare_del));
        let show = |what: &str, times: &[Duration], hundredths, held: &str| {
            row(what, &milliseconds(quantile(times, hundredths)), held, "", None);
        };
        let plugged = quantile(&self.plugged, 50);
        row(
            "edit until the address is in the pod, p50",
            &milliseconds(plugged),
            &add,
            "<= 100 ms",
            Some(plugged <= GOAL),
        );
        show("edit until the address is in the pod, p90", &self.plugged, 90, "");
        show("edit until the API server answers, p50", &self.answered, 50, "");
        show("edit until network-status tells, p50", &self.told, 50, &add);
        show("edit until the link is gone, p50", &self.unplugged, 50, &del);
    }
}

async fn bare(ns: &Namespace, pod: &Pod, links: &mut Links, config: &str, times: &mut Times) -> Result<()> {
    let node = &ns.cluster.node;
    let began = Instant::now();
    let add = node.delegate("ADD", &ns.name, pod, "bare", config);
    let (answer, there) = tokio::join!(add, links.has_address("bare"));
    answer?;
    times.bare_add.push(there? - began);
    let began = Instant::now();
    let del = node.delegate("DEL", &ns.name, pod, "bare", config);
    let (answer, gone) = tokio::join!(del, links.is_gone("bare"));
    answer?;
    times.bare_del.push(gone? - began);
    Ok(())
}

/// Another interface in each round: the agent slows down when one and the same goes back and forth.
async fn edit(
    pod: &Pod,
    links: &mut Links,
    status: &mut watch::Receiver<(Instant, String)>,
    interface: &str,
    times: &mut Times,
) -> Result<()> {
    let began = Instant::now();
    let answer = async {
        pod.annotate(&format!("blue@{interface}"))
            .await
            .map(|()| began.elapsed())
    };
    let (answered, there, told) = tokio::join!(
        answer,
        links.has_address(interface),
        tells(status, interface, true)
    );
    times.answered.push(answered?);
    times.plugged.push(there? - began);
    times.told.push(told? - began);
    let began = Instant::now();
    let (answered, gone, told) = tokio::join!(
        pod.annotate("[]"),
        links.is_gone(interface),
        tells(status, interface, false)
    );
    answered?;
    times.unplugged.push(gone? - began);
    told.map(drop)
}

/// The pod's network-status as the watch brings it, and when it came.
fn follow_status(ns: &Namespace, pod: &Pod) -> watch::Receiver<(Instant, String)> {
    let (sender, receiver) = watch::channel((Instant::now(), String::new()));
    let api: Api<ApiPod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", pod.name));
    let mut stream = watcher(api, config).default_backoff().applied_objects().boxed();
    tokio::spawn(async move {
        while let Ok(Some(pod)) = stream.try_next().await {
            let told = pod.annotations().get(NETWORK_STATUS).cloned();
            if sender.send((Instant::now(), told.unwrap_or_default())).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn tells(
    status: &mut watch::Receiver<(Instant, String)>,
    interface: &str,
    there: bool,
) -> Result<Instant> {
    let quoted = format!("\"{interface}\"");
    let told = status.wait_for(|(_, text)| text.contains(&quoted) == there).await;
    told.map(|told| told.0)
        .map_err(|e| Error::Unexpected(format!("the watch of the pod: {e}")))
}

/// So many networks in one edit, against as many direct calls one after the other.
async fn several_in_one_edit(ns: &Namespace) -> Result<()> {
    ns.create_nad("many", macvlan().host_local()).await?;
    let config = ns.conflist("many").await?;
    let pod = ns.running_pod("several", NO_NETWORKS).await?;
    let mut links = ns.cluster.node.links(pod.sandbox().await?).await?;
    let (mut direct, mut edited) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS / MANY {
        let names: Vec<String> = (0..MANY).map(|n| format!("net{}", 100 * round + n)).collect();
        let list: Vec<_> = names.iter().map(|name| format!("many@{name}")).collect();
        let began = Instant::now();
        for name in &names {
            ns.cluster
                .node
                .delegate("ADD", &ns.name, &pod, name, &config)
                .await?;
        }
        direct.push(began.elapsed());
        for name in &names {
            ns.cluster
                .node
                .delegate("DEL", &ns.name, &pod, name, &config)
                .await?;
        }
        links.is_gone(&names[MANY - 1]).await?;
        let began = Instant::now();
        pod.annotate(&list.join(",")).await?;
        edited.push(links.has_address(&names[MANY - 1]).await? - began);
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        links.is_gone(&names[0]).await?;
    }
    row(
        &format!("one edit with {MANY} networks until the last is there, p50"),
        &milliseconds(quantile(&edited, 50)),
        &format!("multus asked directly: {}", milliseconds(quantile(&direct, 50))),
        "",
        None,
    );
    Ok(())
}

/// As many pods edited at the same moment: until the last one has its interface.
async fn many_pods_at_once(ns: &Namespace) -> Result<()> {
    ns.create_nad("crowd", macvlan().host_local()).await?;
    let names: BTreeSet<String> = (0..PODS).map(|n| format!("crowd-{n}")).collect();
    let pods = try_join_all(names.iter().map(|name| ns.running_pod(name, NO_NETWORKS))).await?;
    let mut links = Vec::new();
    for pod in &pods {
        links.push(ns.cluster.node.links(pod.sandbox().await?).await?);
    }
    let began = Instant::now();
    let edits = pods.iter().zip(&mut links).map(async |(pod, links)| {
        let (answer, there) = tokio::join!(pod.annotate("crowd@net1"), links.has_address("net1"));
        answer?;
        Ok::<_, Error>(there? - began)
    });
    let times = try_join_all(edits).await?;
    for hundredths in [50, 100] {
        let what = format!("{PODS} pods edited at once, each until its address is there, p{hundredths}");
        row(&what, &milliseconds(quantile(&times, hundredths)), "", "", None);
    }
    Ok(())
}
