//! Pod sandboxes as the container runtime reports them (CRI v1).

use std::path::{Component, Path, PathBuf};

use crate::identity::{PodIdentity, SandboxId};

/// A pod sandbox as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Its pod.
    pub pod: PodIdentity,
    /// SANDBOX_READY.
    pub ready: bool,
    /// Creation time, nanoseconds since the epoch.
    pub created_at: i64,
}

/// The network of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The node's own: a host-network pod.
    Host,
    /// A namespace of its own, at this absolute path on the node. The path may be gone already.
    Namespace(PathBuf),
    /// The runtime does not tell; why.
    Unknown(String),
}

impl Network {
    /// The namespace at a path that another program reports; unknown when it is no plain absolute
    /// path.
    pub fn at(path: &str) -> Self {
        let is_plain = |path: &Path| {
            path.is_absolute()
                && path
                    .components()
                    .all(|part| !matches!(part, Component::ParentDir))
        };
        if is_plain(Path::new(path)) {
            Self::Namespace(path.into())
        } else {
            Self::Unknown(format!("{path:?} is no absolute path of a network namespace"))
        }
    }
}

/// The newest ready sandbox: the one that the pod's containers run in.
pub fn newest_ready(sandboxes: &[Sandbox]) -> Option<&Sandbox> {
    sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .max_by_key(|sandbox| sandbox.created_at)
}
