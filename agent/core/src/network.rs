//! NetworkAttachmentDefinitions as the agent needs them.

use shared::names::NetworkName;

/// A NetworkAttachmentDefinition at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDefinition {
    /// The version of the object; a change of it is worth another try.
    pub resource_version: String,
    /// `spec.config`, or the content of the node's CNI file for an empty spec.
    pub config: String,
    /// The resource that the annotation `k8s.v1.cni.cncf.io/resourceName` names.
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
    /// Its spec is empty, and no CNI file of the node has its name.
    #[error("the NetworkAttachmentDefinition {network} has no config, and no file in {dir} is named {:?}", network.name())]
    NoFile {
        /// The network.
        network: NetworkName,
        /// The directory that was searched.
        dir: String,
    },
    /// It is longer than the agent takes.
    #[error("the NetworkAttachmentDefinition {network} is too large: more than {limit} bytes of {part}")]
    TooLarge {
        /// The network.
        network: NetworkName,
        /// What of it is too long.
        part: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The API server refused or did not answer.
    #[error("reading the NetworkAttachmentDefinition {network}: {cause}")]
    Api {
        /// The network.
        network: NetworkName,
        /// The cause.
        cause: String,
    },
}
