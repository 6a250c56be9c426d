//! The node's own components, stopped and started, and the whole node without power.

use crate::{cluster::Cluster, error::Result, repository};

const CONTROL: &str = "tests/cluster/ctl.sh";

impl Cluster {
    /// The node loses its power and starts again with what is on its disk. Waits until its
    /// components serve; its pods come later.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn reboot(&self) -> Result<()> {
        repository::run(CONTROL, &["reboot"], &[]).await.map(drop)
    }

    /// Starts every component that a test has stopped and left so.
    pub(crate) async fn start_what_is_stopped(&self) -> Result<()> {
        let script =
            "cd /run/supervisor && for mark in */stopped; do [ ! -e \"$mark\" ] || echo \"${mark%/*}\"; done";
        let stopped = self.node.run(&["sh", "-c", script]).await?;
        for component in stopped.lines() {
            self.component("start", component).await?;
        }
        Ok(())
    }
}
