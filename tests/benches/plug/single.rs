//! One edit after the other, in turn with both floors.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tests::{
    Links, NO_NETWORKS, Namespace, Result,
    figures::{milliseconds, quantile, ratio, row},
    macvlan,
};

use crate::{
    statuses::Statuses,
    twin::{Twin, Wanted, list},
};

/// Rounds of each.
const ROUNDS: usize = 100;
/// Networks in one edit.
const MANY: usize = 8;
/// Rounds with so many.
const ROUNDS_OF_MANY: usize = 20;

/// Times of one verb.
#[derive(Default)]
struct Times {
    bare: Vec<Duration>,
    full: Vec<Duration>,
    /// PATCH sent → the API server answers.
    answered: Vec<Duration>,
    /// PATCH sent → in the kernel.
    kernel: Vec<Duration>,
    /// PATCH sent → network-status and the condition show it.
    shown: Vec<Duration>,
}

/// One plug and one unplug.
pub async fn one_by_one(ns: &Namespace, podman: Option<(Vec<Duration>, Vec<Duration>)>) -> Result<()> {
    eprintln!("{ROUNDS} plugs and unplugs, in turn with both floors");
    ns.create_nad("blue", macvlan().host_local()).await?;
    let config: Rc<str> = ns.conflist("blue").await?.into();
    let one = |interface: &str| {
        [Wanted {
            network: "blue".to_owned(),
            interface: interface.to_owned(),
            config: Rc::clone(&config),
        }]
    };
    let twin = Twin::of(ns, ns.running_pod("p", NO_NETWORKS).await?).await?;
    let mut links = ns.cluster.node.links(twin.pod.sandbox().await?).await?;
    let statuses = Statuses::follow(ns);
    let (mut plug, mut unplug) = (Times::default(), Times::default());
    for round in 0..ROUNDS {
        for (times, command) in [(&mut plug, "ADD"), (&mut unplug, "DEL")] {
            times.bare.push(twin.bare(command, &one("bare")).await?);
        }
        for (times, command) in [(&mut plug, "ADD"), (&mut unplug, "DEL")] {
            times.full.push(twin.full(command, &one("full")).await?);
        }
        // Another interface each time: the agent slows down when one and the same goes back and
        // forth.
        let interface = format!("net{round}");
        edit(&twin, &mut links, &statuses, &interface, true, &mut plug).await?;
        edit(&twin, &mut links, &statuses, &interface, false, &mut unplug).await?;
    }
    let (connect, disconnect) = podman.unwrap_or_default();
    plug.print("plug", "podman network connect", &connect);
    unplug.print("unplug", "podman network disconnect", &disconnect);
    Ok(())
}

async fn edit(
    twin: &Twin<'_>,
    links: &mut Links,
    statuses: &Statuses,
    interface: &str,
    plug: bool,
    times: &mut Times,
) -> Result<()> {
    let (list, wanted) = if plug {
        (format!("blue@{interface}"), vec![interface])
    } else {
        ("[]".to_owned(), Vec::new())
    };
    let began = Instant::now();
    let answer = async { twin.pod.annotate(&list).await.map(|()| began.elapsed()) };
    let kernel = async {
        if plug {
            links.has_address(interface).await
        } else {
            links.is_gone(interface).await
        }
    };
    let (answered, kernel, shown) = tokio::join!(answer, kernel, statuses.shows(&twin.pod.name, &wanted));
    times.answered.push(answered?);
    times.kernel.push(kernel? - began);
    times.shown.push(shown? - began);
    Ok(())
}

impl Times {
    fn print(&self, verb: &str, peer: &str, of_peer: &[Duration]) {
        let shown = quantile(&self.shown, 50);
        let (full, bare) = (quantile(&self.full, 50), quantile(&self.bare, 50));
        let (to_full, to_bare) = (ratio(shown, full), ratio(shown, bare));
        row(
            &format!("one {verb}, PATCH until network-status and condition show it, p50"),
            &milliseconds(shown),
            &format!(
                "full {} (ratio {to_full:.2}), bare {} (ratio {to_bare:.2})",
                milliseconds(full),
                milliseconds(bare)
            ),
            "<= 1.25 x full, <= 1.8 x bare",
            Some(to_full <= 1.25 && to_bare <= 1.8),
        );
        let (shown, full) = (quantile(&self.shown, 99), quantile(&self.full, 99));
        let to_full = ratio(shown, full);
        row(
            &format!("one {verb}, the same, p99"),
            &milliseconds(shown),
            &format!("full {} (ratio {to_full:.2})", milliseconds(full)),
            "<= 1.5 x full",
            Some(to_full <= 1.5),
        );
        let kernel = quantile(&self.kernel, 50);
        let peers = quantile(of_peer, 50);
        let (held, met) = if of_peer.is_empty() {
            (format!("{peer}: no podman here"), None)
        } else {
            let to_peer = ratio(kernel, peers);
            let held = format!("{peer} {} (ratio {to_peer:.2})", milliseconds(peers));
            (held, Some(to_peer <= 0.5))
        };
        row(
            &format!("one {verb}, PATCH until the kernel has it, p50"),
            &milliseconds(kernel),
            &held,
            "<= 0.5 x podman",
            met,
        );
        row(
            &format!("one {verb}, PATCH until the API server answers, p50"),
            &milliseconds(quantile(&self.answered, 50)),
            "",
            "",
            None,
        );
    }
}

/// Several networks in one edit.
pub async fn several_in_one_edit(ns: &Namespace) -> Result<()> {
    eprintln!("{ROUNDS_OF_MANY} edits with {MANY} networks, in turn with both floors");
    ns.create_nad("many", macvlan().host_local()).await?;
    let config: Rc<str> = ns.conflist("many").await?.into();
    let twin = Twin::of(ns, ns.running_pod("several", NO_NETWORKS).await?).await?;
    let statuses = Statuses::follow(ns);
    let (mut plug, mut unplug) = (Times::default(), Times::default());
    for round in 0..ROUNDS_OF_MANY {
        let of = |prefix: &str| -> Vec<Wanted> {
            let one = |n| Wanted {
                network: "many".to_owned(),
                interface: format!("{prefix}{round}x{n}"),
                config: Rc::clone(&config),
            };
            (0..MANY).map(one).collect()
        };
        let (bare, full, names) = (of("b"), of("f"), of("n"));
        for (times, command) in [(&mut plug, "ADD"), (&mut unplug, "DEL")] {
            times.bare.push(twin.bare(command, &bare).await?);
        }
        for (times, command) in [(&mut plug, "ADD"), (&mut unplug, "DEL")] {
            times.full.push(twin.full(command, &full).await?);
        }
        let wanted: Vec<&str> = names.iter().map(|one| one.interface.as_str()).collect();
        for (times, list, wanted) in [
            (&mut plug, list(&names), &wanted[..]),
            (&mut unplug, "[]".to_owned(), &[]),
        ] {
            let began = Instant::now();
            let (answer, shown) =
                tokio::join!(twin.pod.annotate(&list), statuses.shows(&twin.pod.name, wanted));
            answer?;
            times.shown.push(shown? - began);
        }
    }
    for (verb, times) in [("plugged", plug), ("unplugged", unplug)] {
        let [shown, full, bare] = [&times.shown, &times.full, &times.bare].map(|times| quantile(times, 50));
        let (to_full, to_bare) = (ratio(shown, full), ratio(shown, bare));
        row(
            &format!("{MANY} networks {verb} by one edit, until all are shown, p50"),
            &milliseconds(shown),
            &format!(
                "full {} (ratio {to_full:.2}), bare {} (ratio {to_bare:.2})",
                milliseconds(full),
                milliseconds(bare)
            ),
            "<= 1.25 x full",
            Some(to_full <= 1.25),
        );
    }
    Ok(())
}
