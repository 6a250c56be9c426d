//! Everything that the core touches outside itself, as one trait: multus, the container runtime, libcni's cache, the records, the
//! API server and the clock. The agent runs it on the real ones ([`crate::live`]), tests on a simulated node.

use std::{path::Path, time::Duration};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    cni_cache::{CacheError, Delegate, Entry},
    cri::{CriError, Network, Sandbox},
    events::Event,
    identity::{PodIdentity, SandboxId},
    multus::{Answer, Call},
    records::{AttachmentRecord, RecordsError, SandboxRecord},
};

/// A NetworkAttachmentDefinition as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDefinition {
    /// The version of the object; a change of it is worth another try.
    pub resource_version: String,
    /// `spec.config`, or the content of the node's CNI file for an empty spec.
    pub config: String,
    /// The annotation of that name: a device plugin's resource, or a mark of nodes.
    pub resource_name: Option<String>,
}

/// A network that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is none of that name.
    #[error("the NetworkAttachmentDefinition {0} does not exist")]
    Missing(NetworkName),
    /// The cluster has no NetworkAttachmentDefinitions at all.
    #[error("the cluster does not know the kind NetworkAttachmentDefinition (is its CRD installed?)")]
    NoSuchKind,
    /// Its spec is empty, and so no CNI file of the node has its name.
    #[error("the NetworkAttachmentDefinition {network} has no config, and no file in {dir} is named {:?}", network.name())]
    NoFile {
        /// The network.
        network: NetworkName,
        /// The directory that was looked through.
        dir: String,
    },
    /// The API server said no, or nothing.
    #[error("reading the NetworkAttachmentDefinition {network}: {cause}")]
    Api {
        /// The network.
        network: NetworkName,
        /// The cause.
        cause: String,
    },
}

/// The part of a pod object that a status patch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// The pod's uid.
    pub uid: String,
    /// The network-status annotation.
    pub status: Option<String>,
    /// Bytes of all annotations, keys and values: the API server has a limit for the sum.
    pub annotation_bytes: usize,
}

/// What came of a status patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchOutcome {
    /// It is written; this is what the pod has now.
    Written(StatusView),
    /// Somebody else wrote first, or it is another pod by now: read again.
    Conflict,
    /// The pod is gone.
    Gone,
    /// Anything else; the text says what.
    Failed(String),
}

/// The neighbours. Every `async` method is one effect: a crash can fall between any two of them.
#[expect(async_fn_in_trait, reason = "the core runs on one thread")]
pub trait World {
    /// Seconds since the epoch: what records are stamped with.
    fn epoch(&self) -> u64;
    /// Time since the program started; never goes back.
    fn now(&self) -> Duration;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
    /// A number from 0 to 1.
    fn jitter(&self) -> f64;

    /// See [`crate::multus::Multus::delegate`]. `late` is called once when the answer takes longer than
    /// [`crate::execute::LATE`]; the call goes on, but no longer counts against the limit of calls at once.
    async fn delegate(&self, call: &Call, late: &dyn Fn()) -> Answer;

    /// See [`crate::cri::Cri::sandboxes_of`].
    async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<Sandbox>, CriError>;
    /// The network of a sandbox; `None`: the runtime does not know it.
    async fn sandbox_network(&self, sandbox: &SandboxId) -> Result<Option<Network>, CriError>;
    /// See [`crate::cri::Cri::has_running_containers`].
    async fn has_running_containers(&self, sandbox: &SandboxId) -> Result<bool, CriError>;
    /// Whether the path of a network namespace, as the node sees it, exists.
    async fn netns_exists(&self, path: &Path) -> bool;

    /// See [`crate::cni_cache::CniCache::delegates`].
    async fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError>;
    /// See [`crate::cni_cache::CniCache::entries`].
    async fn cache_entries(&self, sandbox: &SandboxId) -> Result<Vec<Entry>, CacheError>;
    /// See [`crate::cni_cache::CniCache::entry`].
    async fn cache_entry(
        &self,
        config_name: &str,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<Option<Entry>, CacheError>;

    /// See [`crate::records::Records::put`].
    async fn put_record(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), RecordsError>;
    /// See [`crate::records::Records::remove`].
    async fn remove_record(&self, sandbox: &SandboxId, interface: &InterfaceName)
    -> Result<(), RecordsError>;
    /// See [`crate::records::Records::put_sandbox`].
    async fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError>;
    /// See [`crate::records::Records::remove_sandbox`].
    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RecordsError>;

    /// Reads a network.
    async fn network(&self, network: &NetworkName) -> Result<NetworkDefinition, NetworkError>;
    /// The uid of the pod of that name, whatever its uid; `None`: there is none.
    ///
    /// # Errors
    /// Why the API server did not tell.
    async fn pod_uid(&self, pod: &PodIdentity) -> Result<Option<String>, String>;
    /// Reads what a status patch needs; `None`: the pod (by name) is gone.
    ///
    /// # Errors
    /// Why the API server did not tell.
    async fn read_status(&self, pod: &PodIdentity) -> Result<Option<StatusView>, String>;
    /// Writes the network-status annotation, if uid and old value are still as in `old`.
    async fn patch_status(&self, pod: &PodIdentity, old: &StatusView, new: &str) -> PatchOutcome;
    /// Has an event written, soon.
    fn event(&self, pod: &PodIdentity, event: Event);
}
