//! A pod's interfaces as the kernel has them, read in the pod's network namespace.

use serde::Deserialize;

use crate::{
    error::Result,
    node::{Node, Sandbox, parse},
};

/// One interface inside a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's index: higher is younger, so it tells order and re-creation.
    pub index: u32,
    /// Hardware address.
    pub mac: String,
    /// The kind of link: `macvlan`, `veth`…
    pub kind: String,
    /// Addresses with prefix, without the link-local ones that the kernel gives by itself.
    pub addresses: Vec<String>,
}

impl Node {
    /// The interfaces in a sandbox, but for `lo`, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Command`] when the namespace is gone.
    pub async fn interfaces(&self, sandbox: &Sandbox) -> Result<Vec<Interface>> {
        let namespace = format!("--net={}", sandbox.namespace_path);
        let printed = self
            .run(&["nsenter", &namespace, "ip", "-j", "-d", "address", "show"])
            .await?;
        interfaces(&printed)
    }
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    ifindex: u32,
    #[serde(default)]
    address: String,
    #[serde(default)]
    linkinfo: LinkInfo,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize, Default)]
struct LinkInfo {
    #[serde(default)]
    info_kind: String,
}

#[derive(Deserialize)]
struct Address {
    local: String,
    prefixlen: u8,
    scope: String,
}

pub(crate) fn interfaces(json: &str) -> Result<Vec<Interface>> {
    let links: Vec<Link> = parse(json)?;
    let mut interfaces: Vec<_> = links
        .into_iter()
        .filter(|link| link.ifname != "lo")
        .map(interface)
        .collect();
    interfaces.sort_by_key(|i| i.index);
    Ok(interfaces)
}

fn interface(link: Link) -> Interface {
    let addresses = link.addr_info.iter().filter(|a| a.scope != "link");
    Interface {
        addresses: addresses
            .map(|a| format!("{}/{}", a.local, a.prefixlen))
            .collect(),
        name: link.ifname,
        index: link.ifindex,
        mac: link.address,
        kind: link.linkinfo.info_kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_the_loopback_and_link_local_addresses() {
        let json = r#"[{"ifindex":1,"ifname":"lo","addr_info":[]},
            {"ifindex":3,"ifname":"net1","address":"02:00:00:00:00:01","linkinfo":{"info_kind":"macvlan"},
             "addr_info":[{"local":"10.1.1.2","prefixlen":24,"scope":"global"},
                          {"local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
        let seen = interfaces(json).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].name.as_str(), seen[0].kind.as_str()),
            ("net1", "macvlan")
        );
        assert_eq!(seen[0].addresses, ["10.1.1.2/24"]);
    }
}
