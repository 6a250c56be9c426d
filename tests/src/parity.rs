//! Naming parity: random lists of named and unnamed networks, and the interfaces that pods get from
//! them by multus alone and through the gate.

use fastrand::Rng;
use shared::{naming, selection::SelectionList};

use crate::{
    error::{Error, Result},
    namespace::Namespace,
    network::macvlan,
    pod::Pod,
};

const SEED: u64 = 7;

/// Fails unless pods get the same interfaces with the gate in place as multus alone gives them, and
/// unless lists that multus alone cannot start are made to work: `count` lists of the first kind,
/// two of the second. Multus attaches `offset` networks of its own before these.
///
/// # Errors
/// What is different, and whatever goes wrong on the way.
pub async fn same_names(ns: &Namespace, offset: u32, count: usize) -> Result<()> {
    for name in NETWORKS {
        ns.create_nad(name, macvlan()).await?;
    }
    let lists = lists(offset, count);
    ns.label(shared::annotations::INTERFACE_NAMES_LABEL, "off")
        .await?;
    ns.is_filled(false).await?;
    let alone = created(ns, "multus", &lists.startable).await?;
    ns.label(shared::annotations::INTERFACE_NAMES_LABEL, "fill")
        .await?;
    ns.is_filled(true).await?;
    let gated = created(ns, "gate", &lists.startable).await?;
    let clashing = created(ns, "clash", &lists.clashing).await?;
    for (list, (alone, gated)) in lists.startable.iter().zip(alone.iter().zip(&gated)) {
        let (alone, gated) = (networks_of(alone).await?, networks_of(gated).await?);
        differs_unless(
            alone == gated,
            list,
            &format!("{alone:?} by multus alone, {gated:?} through the gate"),
        )?;
    }
    for (list, pod) in lists.clashing.iter().zip(&clashing) {
        let networks = networks_of(pod).await?;
        let all = list.split(',').count() + usize::try_from(offset).unwrap_or_default();
        differs_unless(networks.len() == all, list, &format!("{networks:?}"))?;
    }
    Ok(())
}

fn differs_unless(same: bool, list: &str, seen: &str) -> Result<()> {
    if same {
        Ok(())
    } else {
        Err(Error::Unexpected(format!("{list}: {seen}")))
    }
}

const NETWORKS: [&str; 3] = ["blue", "red", "green"];

/// Random lists, by whether multus alone can start them.
struct Lists {
    startable: Vec<String>,
    clashing: Vec<String>,
}

fn lists(offset: u32, count: usize) -> Lists {
    let mut rng = Rng::with_seed(SEED);
    let mut lists = Lists {
        startable: Vec::new(),
        clashing: Vec::new(),
    };
    while lists.startable.len() < count || lists.clashing.len() < 2 {
        let list = random(&mut rng, offset);
        let (kind, enough) = if clashes(&list, offset) {
            (&mut lists.clashing, 2)
        } else {
            (&mut lists.startable, count)
        };
        if kind.len() < enough {
            kind.push(list);
        }
    }
    lists
}

fn random(rng: &mut Rng, offset: u32) -> String {
    // Those before are multus' own, and the gate refuses them.
    let mut free: Vec<u32> = (1 + offset..=6 + offset).collect();
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

async fn created(ns: &Namespace, prefix: &str, lists: &[String]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        pods.push(ns.create_pod(&format!("{prefix}-{index}"), list.as_str()).await?);
    }
    Ok(pods)
}

/// Interface and network of each attachment, as multus wrote them at pod start.
async fn networks_of(pod: &Pod) -> Result<Vec<(String, String)>> {
    pod.is_ready().await?;
    let mut networks: Vec<_> = pod
        .network_status()
        .await?
        .into_iter()
        .map(|entry| (entry.interface, entry.name))
        .collect();
    networks.sort();
    Ok(networks)
}
