//! The network of a sandbox: as the runtime reports it over the CRI, else as libcni wrote it down
//! when it attached the cluster network. cri-dockerd reports no path, and some runtimes for virtual
//! machines do not either.

use agent_core::{
    cni_state::Entry,
    identity::SandboxId,
    sandbox::{Network, Sandbox},
};
use shared::selection::DEFAULT_INTERFACE;

use super::cache::{CacheError, CniCache, DamagedEntry, Entries};
use crate::cri::{Cri, CriError};

const POD_UID: &str = "K8S_POD_UID";

/// Why nothing can be said about a sandbox's network now.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The runtime does not answer.
    #[error(transparent)]
    Cri(#[from] CriError),
    /// libcni's files cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The network of a sandbox; `None` when the runtime does not know it (any more).
///
/// # Errors
/// [`NetworkError::Cri`]; [`NetworkError::Cache`] only for a runtime that does not report the path.
pub async fn read(cri: &Cri, cache: &CniCache, sandbox: &SandboxId) -> Result<Option<Network>, NetworkError> {
    let Some((sandbox, network)) = cri.sandbox(sandbox).await? else {
        return Ok(None);
    };
    let Network::Unknown(unreported) = network else {
        return Ok(Some(network));
    };
    let entries = cache.entries(&sandbox.id).await?;
    Ok(Some(match of_entries(&sandbox, entries)? {
        Network::Unknown(unrecorded) => Network::Unknown(format!("{unreported}; {unrecorded}")),
        network => network,
    }))
}

/// What the entries of the cluster network's interface agree on.
fn of_entries(sandbox: &Sandbox, entries: Entries) -> Result<Network, CacheError> {
    // libcni does not write atomically: a moment later it may be whole.
    let is_damaged = |entry: &DamagedEntry| {
        let interface = entry.interface.as_ref();
        interface.is_some_and(|interface| interface.as_str() == DEFAULT_INTERFACE)
    };
    if let Some(damaged) = entries.damaged.into_iter().find(is_damaged) {
        return Err(damaged.error);
    }
    let mut paths = entries
        .entries
        .iter()
        .filter(|entry| entry.interface.as_str() == DEFAULT_INTERFACE && is_about(sandbox, entry))
        .map(|entry| entry.netns.as_str());
    let Some(path) = paths.next() else {
        return Ok(Network::Unknown(format!(
            "libcni has no entry of {DEFAULT_INTERFACE} for this sandbox either"
        )));
    };
    Ok(match paths.find(|other| *other != path) {
        Some(other) => Network::Unknown(format!(
            "libcni's entries of {DEFAULT_INTERFACE} name two network namespaces, {path:?} and {other:?}"
        )),
        None => Network::at(path),
    })
}

/// cri-dockerd passes no uid.
fn is_about(sandbox: &Sandbox, entry: &Entry) -> bool {
    let mut uids = entry.cni_args.iter().filter(|(key, _)| key == POD_UID);
    entry.sandbox == sandbox.id && uids.all(|(_, uid)| uid == sandbox.pod.uid())
}
