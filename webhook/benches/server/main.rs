//! The server alone: how much of its work is the gate's own, how long a client waits, and how much
//! memory it takes.
//!
//! A child process serves with one thread, over TLS and HTTP/2 as API servers do; this process is
//! the client, on another core. The *floor* is the same server with a handler that reads and parses
//! the review and allows it. Rounds of both are interleaved. Throughput is per second of the
//! server's processor time, so a busy machine or a slow client does not show in it. Memory is that
//! of the program itself, which gets its networks from a scripted API server, page by page as from
//! a real one.
//!
//! `cargo bench -p webhook --bench server` prints the rows of the table of `make bench`: what,
//! figure, what it is held against, goal, verdict, with tabs between. Nothing is asserted: figures
//! are for people.

mod child;
mod client;
mod memory;
mod reviews;
mod serve;

use std::{env, error::Error, time::Duration};

use hyper::body::Bytes;

use child::Child;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The Service that the server is called by.
const SERVICE: [&str; 2] = ["dynamic-networks-webhook", "kube-system"];
const ROUNDS: usize = 15;
/// Networks in the cache of the server, which the reviews name.
const NETWORKS: usize = 1_000;
const KIB: f64 = 1024.0;
/// So many times the requests of the Go peer.
const GOAL: f64 = 4.0;
/// In MiB, with 10,000 networks.
const IDLE: f64 = 16.0;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments.get(1..) {
        Some([serve, what]) if serve == "serve" => runtime.block_on(serve::until_killed(what)),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() -> Outcome<()> {
    for elements in [1, 64] {
        throughput("/mutate", elements, "without a name", reviews::unnamed(elements)).await?;
    }
    throughput("/validate", 64, "with names", reviews::named(64)).await?;
    for elements in [1, 64] {
        latency(elements).await?;
    }
    memory().await
}

/// Requests per second of processor time, against the floor.
async fn throughput(path: &'static str, elements: usize, names: &str, review: Bytes) -> Outcome<()> {
    eprintln!("{path}, {elements} elements {names}: {ROUNDS} rounds of gate and floor");
    let (gate, floor) = (Child::serving("gate")?, Child::serving("floor")?);
    gate.connect().await?.fills(path, &review).await?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (server, rates) in [&gate, &floor].into_iter().zip(&mut rates) {
            let rate = client::rate(server, path, &review).await?;
            // The first round warms up.
            rates.extend((round > 0).then_some(rate));
        }
    }
    // Of each round by itself: what slows the machine for a second slows both.
    let ratio = client::median(
        rates[0]
            .iter()
            .zip(&rates[1])
            .map(|(ours, floor)| ours / floor)
            .collect(),
    );
    let [ours, theirs] = rates.map(client::median);
    let what = format!("{path}, {elements} element(s) {names}, requests per core");
    let held = format!("floor {theirs:.0}/s, ratio {ratio:.2}");
    row(&what, &format!("{ours:.0}/s"), &held, "", None);
    if let Some(peer) = peer(path, elements) {
        let goal = GOAL * peer;
        row(
            &what,
            &format!("{ours:.0}/s"),
            &format!("Go peer, measured elsewhere: {peer:.0}/s"),
            &format!(">= {goal:.0}/s"),
            Some(ours >= goal),
        );
    }
    let resident = gate.process.resident()? / KIB;
    row(
        &format!(
            "{path}, {elements} element(s), memory after {} requests",
            client::REQUESTS * (ROUNDS + 1)
        ),
        &format!("{resident:.1} MiB"),
        &format!("floor {:.1} MiB", floor.process.resident()? / KIB),
        "",
        None,
    );
    Ok(())
}

/// Requests per core and second of a webhook in Go that does the same.
fn peer(path: &str, elements: usize) -> Option<f64> {
    match (path, elements) {
        ("/mutate", 1) => Some(7086.0),
        ("/mutate", 64) => Some(1867.0),
        _ => None,
    }
}

async fn latency(elements: usize) -> Outcome<()> {
    let server = Child::serving("gate")?;
    eprintln!(
        "latency with {elements} elements: {} s",
        client::PACED_FOR.as_secs()
    );
    let (p50, p99) = client::paced(&server, "/mutate", &reviews::unnamed(elements)).await?;
    let what =
        |quantile| format!("/mutate, {elements} element(s) without a name, {quantile} at 500 requests/s");
    let milliseconds = |latency: Duration| format!("{:.2} ms", latency.as_secs_f64() * 1e3);
    row(&what("p50"), &milliseconds(p50), "", "", None);
    let goal = Duration::from_millis(5);
    row(&what("p99"), &milliseconds(p99), "", "<= 5 ms", Some(p99 <= goal));
    Ok(())
}

async fn memory() -> Outcome<()> {
    let mut sizes = Vec::new();
    for networks in [0, 10_000, 20_000] {
        eprintln!("memory of the program with {networks} networks");
        sizes.push(memory::idle(networks).await? / KIB);
    }
    let &[none, many, more] = sizes.as_slice() else {
        return Err("three sizes".into());
    };
    row(
        "the program, idle, no networks",
        &format!("{none:.1} MiB"),
        "Go peer, seen elsewhere: 32 MiB",
        "",
        None,
    );
    row(
        "the program, idle, 10000 networks",
        &format!("{many:.1} MiB"),
        "",
        &format!("<= {IDLE} MiB"),
        Some(many <= IDLE),
    );
    let each = (more - many) * KIB / 10_000.0;
    row(
        "each network beyond these",
        &format!("{each:.2} KiB"),
        "",
        "<= 1 KiB",
        Some(each <= 1.0),
    );
    Ok(())
}

/// One row of the table.
fn row(what: &str, figure: &str, held_against: &str, goal: &str, met: Option<bool>) {
    let verdict = match met {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    println!("{what}\t{figure}\t{held_against}\t{goal}\t{verdict}");
}
