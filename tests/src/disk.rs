//! A file system of the node that is full soon.

use crate::{
    error::Result,
    node::{Node, RECORDS},
};

/// What it is called among the node's mounts.
const NAME: &str = "tests-disk";

/// A file system for records, until it is unmounted.
#[derive(Debug)]
pub struct SmallDisk {
    node: Node,
    path: String,
}

impl SmallDisk {
    /// One of so many KiB at a path of the node.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn mount(node: &Node, path: &str, kib: u32) -> Result<Self> {
        node.run(&["mkdir", "-p", path]).await?;
        let disk = Self {
            node: node.clone(),
            path: path.to_owned(),
        };
        disk.unmount().await?;
        let size = format!("size={kib}k,mode=700");
        node.run(&["mount", "-t", "tmpfs", "-o", &size, NAME, path])
            .await?;
        Ok(disk)
    }

    /// One where agents keep their records unless they are told otherwise.
    ///
    /// # Errors
    /// As [`Self::mount`].
    pub async fn for_records(node: &Node, kib: u32) -> Result<Self> {
        Self::mount(node, RECORDS, kib).await
    }

    /// Leaves no byte free.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn fill(&self) -> Result<()> {
        let script =
            "mkdir -p \"$1/.set-aside\" && ! dd if=/dev/zero of=\"$1/.set-aside/fill\" bs=4k 2>/dev/null";
        self.script(script).await
    }

    /// Takes away what filled it.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn free(&self) -> Result<()> {
        self.script("rm -f \"$1/.set-aside/fill\"").await
    }

    /// Makes it read-only. The file system itself cannot become so while the agent holds its lock:
    /// what can is another mount of it, on top.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn seal(&self) -> Result<()> {
        self.script("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"")
            .await
    }

    /// Undoes that.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn unseal(&self) -> Result<()> {
        self.script("umount \"$1\"").await
    }

    /// Takes it away with all that is on it.
    ///
    /// # Errors
    /// [`crate::Error::Command`].
    pub async fn unmount(&self) -> Result<()> {
        let mounted =
            format!("while grep -q \"^{NAME} $1 tmpfs \" /proc/mounts; do umount \"$1\" || exit; done");
        self.script(&mounted).await
    }

    async fn script(&self, script: &str) -> Result<()> {
        let command = ["sh", "-c", script, "sh", &self.path];
        self.node.run(&command).await.map(drop)
    }
}

impl Node {
    /// Takes away a disk for records that a test has left.
    pub(crate) async fn has_its_own_disk(&self) -> Result<()> {
        let left = SmallDisk {
            node: self.clone(),
            path: RECORDS.to_owned(),
        };
        left.unmount().await
    }
}
