//! Naming parity: a pod gets the same interfaces with the gate in place as multus alone would give it, and a list that multus alone cannot
//! start (two elements under one name) is made to work.

use fastrand::Rng;
use shared::{naming, selection::SelectionList};
use tests::{Namespace, Pod, Result, in_namespace, macvlan};

const SEED: u64 = 7;
const LISTS: usize = 8;

#[tokio::test]
async fn names_are_those_that_multus_would_give() -> Result<()> {
    in_namespace("parity", async |ns| same_names(ns, 0).await).await
}

/// The same lists, first with the gate's hands off, then with names filled in.
async fn same_names(ns: &Namespace, offset: u32) -> Result<()> {
    for name in NETWORKS {
        ns.create_nad(name, macvlan()).await?;
    }
    let lists = lists(offset);
    ns.label(shared::annotations::INTERFACE_NAMES_LABEL, "off")
        .await?;
    ns.is_filled(false).await?;
    let alone = started(ns, "multus", &lists.startable).await?;
    ns.label(shared::annotations::INTERFACE_NAMES_LABEL, "fill")
        .await?;
    ns.is_filled(true).await?;
    let gated = started(ns, "gate", &lists.startable).await?;
    for (list, (alone, gated)) in lists.startable.iter().zip(alone.iter().zip(&gated)) {
        assert_eq!(networks_of(alone).await?, networks_of(gated).await?, "{list}");
    }
    for (list, pod) in lists
        .clashing
        .iter()
        .zip(started(ns, "clash", &lists.clashing).await?)
    {
        assert_eq!(networks_of(&pod).await?.len(), list.split(',').count(), "{list}");
    }
    Ok(())
}

const NETWORKS: [&str; 3] = ["blue", "red", "green"];

/// Random lists, by whether multus alone can start them.
struct Lists {
    startable: Vec<String>,
    clashing: Vec<String>,
}

fn lists(offset: u32) -> Lists {
    let mut rng = Rng::with_seed(SEED);
    let mut lists = Lists {
        startable: Vec::new(),
        clashing: Vec::new(),
    };
    while lists.startable.len() < LISTS || lists.clashing.len() < 2 {
        let list = random(&mut rng);
        let kind = if clashes(&list, offset) {
            &mut lists.clashing
        } else {
            &mut lists.startable
        };
        if kind.len() < LISTS {
            kind.push(list);
        }
    }
    lists
}

fn random(rng: &mut Rng) -> String {
    let mut free: Vec<u8> = (1..=6).collect();
    let items: Vec<String> = (0..rng.usize(1..=5))
        .map(|_| {
            let network = NETWORKS[rng.usize(0..NETWORKS.len())];
            if rng.bool() {
                network.to_owned()
            } else {
                format!("{network}@net{}", free.swap_remove(rng.usize(0..free.len())))
            }
        })
        .collect();
    items.join(",")
}

fn clashes(list: &str, offset: u32) -> bool {
    let Ok(list) = SelectionList::parse(Some(list), "any") else {
        return false;
    };
    let by_multus = naming::multus_names(&list, offset);
    by_multus.iter().flatten().any(|name| {
        list.elements
            .iter()
            .any(|element| element.interface.as_ref() == Some(name))
    })
}

async fn started(ns: &Namespace, prefix: &str, lists: &[String]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        pods.push(ns.create_pod(&format!("{prefix}-{index}"), list.as_str()).await?);
    }
    for pod in &pods {
        pod.is_ready().await?;
    }
    Ok(pods)
}

/// Interface and network of each attachment, as multus wrote them at pod start.
async fn networks_of(pod: &Pod) -> Result<Vec<(String, String)>> {
    let mut networks: Vec<_> = pod
        .network_status()
        .await?
        .into_iter()
        .map(|entry| (entry.interface, entry.name))
        .collect();
    networks.sort();
    Ok(networks)
}
