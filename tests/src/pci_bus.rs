//! A PCI bus without hardware: a directory in which the real host-device plugin finds the links of
//! addresses, and moves them into pods.

use crate::{
    error::{Error, Result},
    namespace::Namespace,
    node::Node,
};

/// Where host-device looks for the link of a PCI address.
const BUS: &str = "/sys/bus/pci/devices";

/// See the module.
pub struct PciBus {
    /// Each device, and the name of its link on the node.
    pub devices: Vec<(String, String)>,
    node: Node,
}

impl PciBus {
    /// Makes so many links, and the bus with an address for each of them. A bus of an earlier test
    /// that failed goes first.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn mount(ns: &Namespace, count: u8) -> Result<Self> {
        let node = ns.cluster.node.clone();
        let mut devices = Vec::new();
        for number in 1..=count {
            devices.push((format!("0000:aa:00.{number}"), ns.device_number(number).await?));
        }
        let script = r#"bus=$1; shift
            while umount "$bus" 2>/dev/null; do :; done
            mount -t tmpfs tmpfs "$bus" && mkdir "$bus/driver" || exit
            while [ $# -gt 0 ]; do
                mkdir -p "$bus/$1/net/$2" && ln -s ../driver "$bus/$1/driver" || exit
                shift 2
            done"#;
        let links = devices.iter().flat_map(|(id, link)| [id.as_str(), link.as_str()]);
        let fixed = ["sh", "-c", script, "sh", BUS];
        let command: Vec<_> = fixed.into_iter().chain(links).collect();
        node.run(&command).await?;
        Ok(Self { devices, node })
    }

    /// Waits until a device is back on the node under its own name.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub async fn wait_home(&self, id: &str) -> Result<()> {
        let link = self.devices.iter().find(|(of, _)| of == id);
        let (_, link) = link.ok_or_else(|| Error::Unexpected(format!("no device {id}")))?;
        self.node.wait_device(link).await
    }

    /// Makes the links again that ended together with a network namespace. The kernel gives a real
    /// device back to the node then.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn restore(&self) -> Result<()> {
        let script = r#"for link; do
            ip link show "$link" >/dev/null 2>&1 ||
                ip link add "$link" type veth peer name "${link}p" || exit
        done"#;
        let links = self.devices.iter().map(|(_, link)| link.as_str());
        let fixed = ["sh", "-c", script, "sh"];
        let command: Vec<_> = fixed.into_iter().chain(links).collect();
        self.node.run(&command).await.map(drop)
    }

    /// Takes the bus away. No pod may have a device of it any more: host-device reads it at DEL,
    /// too.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn remove(self) -> Result<()> {
        self.node.run(&["umount", BUS]).await.map(drop)
    }
}
