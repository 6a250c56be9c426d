//! Many pods at once, and edits without a pause.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use tests::{
    NO_NETWORKS, Namespace, Result,
    figures::{milliseconds, quantile, ratio, row},
    macvlan,
};

use crate::{
    agent, number,
    statuses::Statuses,
    twin::{Twin, Wanted, list},
    unit_costs,
};

/// So many pods in each burst.
const SIZES: [usize; 4] = [1, 10, 100, 240];
/// The size that the goals are about.
const GOALS_AT: usize = 100;
/// Pods of a full node by the kubelet's default.
const USUAL: usize = 110;
/// Networks in each edit: an address range has room for one interface of each pod.
const NETWORKS: [&str; 2] = ["crowd0", "crowd1"];
/// Edits that are sent at once, by the bench as by the full floor.
const EDITS_AT_ONCE: usize = 16;
/// Calls at once that the floors are tried with; the fastest counts.
const CALLS_AT_ONCE: [usize; 3] = [4, 8, 16];
/// Edits one after the other, for the time beside many pods.
const EDITS: usize = 40;

/// Times from each pod's PATCH until it is shown, and of the whole.
struct Burst {
    each: Vec<Duration>,
    whole: Duration,
}

/// Bursts, what the agent needs at rest with many pods, and churn.
pub async fn bursts(ns: &Namespace) -> Result<()> {
    let most = number("BURST", 240);
    for network in NETWORKS {
        ns.create_nad(network, macvlan().host_local()).await?;
    }
    let statuses = Statuses::follow(ns);
    let mut twins = Vec::new();
    for size in [USUAL.min(most), most] {
        eprintln!("{size} pods start");
        let pods = ns
            .running_pods(&format!("crowd{size}x"), size - twins.len(), NO_NETWORKS)
            .await?;
        let made = futures::stream::iter(pods)
            .map(|pod| Twin::of(ns, pod))
            .buffered(4);
        twins.extend(made.try_collect::<Vec<_>>().await?);
        agent::at_rest(ns, &format!("{size} pods without networks")).await?;
    }
    let sizes = || SIZES.into_iter().filter(|size| *size <= most);
    let mut floors = Vec::new();
    ns.cluster.stop_agent().await?;
    for size in sizes() {
        for networks in 1..=NETWORKS.len() {
            floors.push(floors_of(ns, &twins[..size], networks).await?);
        }
    }
    ns.cluster.start_agent().await?;
    // It looks at all pods first.
    tokio::time::sleep(agent::QUIET).await;
    for size in sizes() {
        for networks in 1..=NETWORKS.len() {
            let floors = floors.remove(0);
            burst(ns, &statuses, &twins[..size], networks, &floors).await?;
        }
    }
    beside(ns, &statuses, &twins).await?;
    mixed(ns, &statuses, &twins[..GOALS_AT.min(most)]).await?;
    churn(ns, &statuses, &twins[..GOALS_AT.min(most)]).await?;
    roll(ns, &statuses, &twins).await
}

async fn wanted(ns: &Namespace, networks: usize, suffix: &str) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for (index, network) in NETWORKS.into_iter().take(networks).enumerate() {
        wanted.push(Wanted {
            network: network.to_owned(),
            interface: format!("{}{suffix}", ["a", "b"][index]),
            config: Rc::from(ns.conflist(network).await?),
        });
    }
    Ok(wanted)
}

/// The fastest ADD and DEL of both floors.
struct Floors {
    bare: [Duration; 2],
    full: [Duration; 2],
}

/// While no agent runs: the full floor edits the very pods.
async fn floors_of(ns: &Namespace, twins: &[Twin<'_>], networks: usize) -> Result<Floors> {
    eprintln!("{} pods at once, {networks} network(s): floors", twins.len());
    let (mut bare, mut full) = ([Duration::MAX; 2], [Duration::MAX; 2]);
    let floor = wanted(ns, networks, "f").await?;
    for at_once in CALLS_AT_ONCE {
        for (verb, command) in ["ADD", "DEL"].into_iter().enumerate() {
            let began = Instant::now();
            let calls = futures::stream::iter(twins).map(|twin| twin.bare(command, &floor));
            calls.buffer_unordered(at_once).try_collect::<Vec<_>>().await?;
            bare[verb] = bare[verb].min(began.elapsed());
        }
        for (verb, command) in ["ADD", "DEL"].into_iter().enumerate() {
            let began = Instant::now();
            let edits = futures::stream::iter(twins).map(|twin| twin.full_without_agent(command, &floor));
            edits.buffer_unordered(at_once).try_collect::<Vec<_>>().await?;
            full[verb] = full[verb].min(began.elapsed());
        }
    }
    Ok(Floors { bare, full })
}

async fn burst(
    ns: &Namespace,
    statuses: &Statuses,
    twins: &[Twin<'_>],
    networks: usize,
    Floors { bare, full }: &Floors,
) -> Result<()> {
    let size = twins.len();
    eprintln!("{size} pods at once, {networks} network(s)");
    let ours = wanted(ns, networks, &format!("{size}x{networks}")).await?;
    let plugged = edit(statuses, twins, |_| ours.clone()).await?;
    let unplugged = edit(statuses, twins, |_| Vec::new()).await?;
    for (verb, burst) in [plugged, unplugged].into_iter().enumerate() {
        let (to_full, to_bare) = (ratio(burst.whole, full[verb]), ratio(burst.whole, bare[verb]));
        let goal = (size == GOALS_AT && networks == 1).then_some(to_full <= 1.2 && to_bare <= 1.6);
        row(
            &format!(
                "{size} pods at once, {networks} network(s), {}, until the last is shown",
                ["plug", "unplug"][verb]
            ),
            &milliseconds(burst.whole),
            &format!(
                "full {} (ratio {to_full:.2}), bare {} (ratio {to_bare:.2}); each pod p50 {}, p99 {}",
                milliseconds(full[verb]),
                milliseconds(bare[verb]),
                milliseconds(quantile(&burst.each, 50)),
                milliseconds(quantile(&burst.each, 99)),
            ),
            goal.map_or("", |_| "<= 1.2 x full, <= 1.6 x bare"),
            goal,
        );
    }
    Ok(())
}

/// Gives each pod, by its index, what `wanted` says, and waits until all show it.
async fn edit(
    statuses: &Statuses,
    twins: &[Twin<'_>],
    wanted: impl Fn(usize) -> Vec<Wanted>,
) -> Result<Burst> {
    let began = Instant::now();
    let wanted = &wanted;
    let patches = futures::stream::iter(twins.iter().enumerate()).map(async |(index, twin)| {
        let wanted = wanted(index);
        let sent = Instant::now();
        let text = if wanted.is_empty() {
            "[]".to_owned()
        } else {
            list(&wanted)
        };
        twin.pod.annotate(&text).await.map(|()| (twin, wanted, sent))
    });
    let sent: Vec<_> = patches.buffer_unordered(EDITS_AT_ONCE).try_collect().await?;
    let (mut each, mut last) = (Vec::new(), began);
    for (twin, wanted, sent) in sent {
        let mut names: Vec<_> = wanted.iter().map(|one| one.interface.as_str()).collect();
        names.sort_unstable();
        let shown = statuses.shows(&twin.pod.name, &names).await?;
        each.push(shown.saturating_duration_since(sent));
        last = last.max(shown);
    }
    Ok(Burst {
        each,
        whole: last - began,
    })
}

/// One edit at a time, beside 10 pods with networks and beside all.
async fn beside(ns: &Namespace, statuses: &Statuses, twins: &[Twin<'_>]) -> Result<()> {
    let [one, others @ ..] = twins else { return Ok(()) };
    let mut middle = Vec::new();
    for (count, name) in [(10.min(others.len()), "few"), (others.len(), "all")] {
        let theirs = wanted(ns, 1, name).await?;
        edit(statuses, &others[..count], |_| theirs.clone()).await?;
        let mut times = Vec::new();
        for round in 0..EDITS {
            let mine = wanted(ns, 2, &format!("{name}{round}")).await?.split_off(1);
            let plugged = edit(statuses, std::slice::from_ref(one), |_| mine.clone()).await?;
            edit(statuses, std::slice::from_ref(one), |_| Vec::new()).await?;
            times.push(plugged.whole);
        }
        middle.push((count, quantile(&times, 50)));
    }
    if let [(few, with_few), (all, with_all)] = middle[..] {
        let grows = ratio(with_all, with_few);
        row(
            &format!("one plug beside {all} pods with networks, p50"),
            &milliseconds(with_all),
            &format!("beside {few}: {} (ratio {grows:.2})", milliseconds(with_few)),
            "flat: <= 1.25",
            Some(grows <= 1.25),
        );
    }
    agent::at_rest(ns, &format!("{} pods with a network each", others.len())).await?;
    edit(statuses, others, |_| Vec::new()).await.map(drop)
}

/// Multus is restarted beside pods with networks. Last: the floors' connections to multus end with
/// it.
async fn roll(ns: &Namespace, statuses: &Statuses, twins: &[Twin<'_>]) -> Result<()> {
    let theirs = wanted(ns, 1, "roll").await?;
    edit(statuses, twins, |_| theirs.clone()).await?;
    unit_costs::multus_roll(ns, twins.len()).await?;
    edit(statuses, twins, |_| Vec::new()).await.map(drop)
}

/// Half of the pods are plugged while the other half is unplugged.
async fn mixed(ns: &Namespace, statuses: &Statuses, twins: &[Twin<'_>]) -> Result<()> {
    let (first, second) = (wanted(ns, 1, "m").await?, wanted(ns, 1, "n").await?);
    let half = |odd: usize, wanted: &[Wanted], index: usize| {
        if index % 2 == odd {
            wanted.to_vec()
        } else {
            Vec::new()
        }
    };
    edit(statuses, twins, |index| half(0, &first, index)).await?;
    let burst = edit(statuses, twins, |index| half(1, &second, index)).await?;
    row(
        &format!("{} pods at once, half plugged, half unplugged", twins.len()),
        &milliseconds(burst.whole),
        &format!("each pod p50 {}", milliseconds(quantile(&burst.each, 50))),
        "",
        None,
    );
    edit(statuses, twins, |_| Vec::new()).await.map(drop)
}

/// Random edits without a pause; then all is as the annotations say.
async fn churn(ns: &Namespace, statuses: &Statuses, twins: &[Twin<'_>]) -> Result<()> {
    let seconds = number("CHURN_SECONDS", 300);
    eprintln!("{seconds} s of churn on {} pods", twins.len());
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let before = agent::Vitals::of(ns).await?;
    let (mut round, mut edits, mut each) = (0, 0, Vec::new());
    while Instant::now() < until {
        round += 1;
        let some = wanted(ns, NETWORKS.len(), &format!("c{round}")).await?;
        let choices: Vec<usize> = twins.iter().map(|_| fastrand::usize(..=NETWORKS.len())).collect();
        let burst = edit(statuses, twins, |index| some[..choices[index]].to_vec()).await?;
        edits += twins.len();
        each.extend(burst.each);
    }
    edit(statuses, twins, |_| Vec::new()).await?;
    let after = agent::Vitals::of(ns).await?;
    row(
        &format!("{seconds} s of churn: edits, all shown"),
        &edits.to_string(),
        &format!(
            "each p50 {}, p99 {}; agent: {:.2} ms of CPU an edit, RSS {:.1} MB after it, {:.1} before",
            milliseconds(quantile(&each, 50)),
            milliseconds(quantile(&each, 99)),
            (after.cpu - before.cpu) * 1e3 / edits.max(1) as f64,
            after.rss,
            before.rss
        ),
        "",
        None,
    );
    Ok(())
}
