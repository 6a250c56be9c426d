//! A double between one agent and the container runtime. It passes everything on and counts the
//! calls. It can refuse connections while the kubelet still reaches the runtime.

use crate::{
    daemon::Daemon,
    error::{Error, Result},
    node::Node,
    wait::{PLUG, eventually},
};

/// Stands before the real runtime: see `src/bin/cri-double.rs`.
pub struct CriDouble(Daemon);

impl CriDouble {
    /// Where agents find it.
    pub const SOCKET: &str = "/run/tests/cri/cri.sock";
    const DIRECTORY: &str = "/run/tests/cri";
    const REAL: &str = "/run/containerd/containerd.sock";

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not listen.
    pub async fn start(node: &Node) -> Result<Self> {
        node.run(&["rm", "-rf", Self::DIRECTORY]).await?;
        node.run(&["mkdir", "-p", Self::DIRECTORY]).await?;
        let arguments = [Self::SOCKET, Self::REAL, Self::DIRECTORY].map(str::to_owned);
        let daemon = Daemon::start(node, ("cri-double", 1), &[], &arguments).await?;
        eventually(PLUG, "the double of the runtime listens", async || {
            node.run(&["test", "-S", Self::SOCKET]).await
        })
        .await?;
        Ok(Self(daemon))
    }

    /// How many calls it has seen.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn calls(&self) -> Result<u64> {
        let path = format!("{}/calls", Self::DIRECTORY);
        let size = self.0.node.run(&["stat", "-c", "%s", &path]).await?;
        size.trim().parse().map_err(|_| Error::Unexpected(size))
    }

    /// Closes every connection, and new ones at once.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn refuse_connections(&self) -> Result<()> {
        self.0.node.write(&format!("{}/away", Self::DIRECTORY), "").await
    }

    /// Passes everything on again.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn accept_connections(&self) -> Result<()> {
        let away = format!("{}/away", Self::DIRECTORY);
        self.0.node.run(&["rm", "-f", &away]).await.map(drop)
    }

    /// Answers no longer say where network namespaces are, as those of cri-dockerd and Kata.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn hide_namespaces(&self) -> Result<()> {
        self.0
            .node
            .write(&format!("{}/silent", Self::DIRECTORY), "")
            .await
    }

    /// In how many places one was hidden.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn hidden_namespaces(&self) -> Result<u64> {
        let path = format!("{}/silent", Self::DIRECTORY);
        let size = self.0.node.run(&["stat", "-c", "%s", &path]).await?;
        size.trim().parse().map_err(|_| Error::Unexpected(size))
    }
}
