//! What the agent depends on.

/// A dependency: a metric label, and the first word of its line in `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// The multus daemon.
    Multus,
    /// The container runtime.
    Cri,
    /// The records on the disk, held by this agent alone.
    Records,
    /// multus' data directory.
    CniCache,
    /// The watch of this node's pods.
    Pods,
    /// That no other dynamic-networks controller works on the node.
    SoleController,
}

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Multus,
        Self::Cri,
        Self::Records,
        Self::CniCache,
        Self::Pods,
        Self::SoleController,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Multus => "multus",
            Self::Cri => "cri",
            Self::Records => "records",
            Self::CniCache => "cni-cache",
            Self::Pods => "pods",
            Self::SoleController => "sole-controller",
        }
    }
}
