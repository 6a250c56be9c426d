//! How long edits take, from the API server to the kernel and to network-status, held against two
//! floors and a peer in the same run:
//! - *bare*: the same ADDs and DELs sent straight to multus;
//! - *full*: what every controller has to send. The bench itself sends the same PATCH through both
//!   webhooks, the same call to multus and the same patch of pods/status, and nothing else. The
//!   patches go to a pod that is never scheduled, so that no agent acts; in bursts they go to the
//!   very pods, while no agent runs, and their kubelet has its part of the work;
//! - `podman network connect`, the verb of a peer.
//!
//! `cargo bench -p tests --bench plug` on a cluster with the manifests installed prints
//! the rows of the table of `make bench`. As root: multus' socket is root's. Nothing is asserted:
//! figures are for people. `BURST` (240): the most pods at once. `CHURN_SECONDS` (300). `ELSEWHERE`
//! (5000): pods of other nodes, and twice as many networks.

mod agent;
mod burst;
mod podman;
mod single;
mod statuses;
mod twin;
mod unit_costs;

use std::time::Duration;

use tests::{Result, alone_for};

/// The whole takes so long on a slow machine.
const LONGEST: Duration = Duration::from_secs(3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    alone_for(LONGEST, "bench", async |ns| {
        let podman = podman::connect().await;
        single::one_by_one(ns, podman).await?;
        single::several_in_one_edit(ns).await?;
        agent::costs(ns).await?;
        unit_costs::sizes(ns).await?;
        burst::bursts(ns).await?;
        agent::memory(ns).await
    })
    .await
}

/// A number of the environment.
fn number(variable: &str, otherwise: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
