//! multus' file of one sandbox: `<dir>/<sandbox id>`, a JSON list of its delegates. Written when the sandbox starts, read again and
//! removed at its teardown.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use shared::names::{InterfaceName, NetworkName};

/// The interface of the cluster network: what kubelet's runtimes ask for.
const DEFAULT_INTERFACE: &str = "eth0";

/// One network that multus attached when the sandbox started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// The NAD; `None` when the entry is not from one (a static delegate, a default network from a file).
    pub network: Option<NetworkName>,
    /// The interface that it got: the requested one, else `net<k>` with k the position in the list, and `eth0` for the first. `None`
    /// when an impossible name was requested.
    pub interface: Option<InterfaceName>,
    /// The CNI configuration as multus held it, `cni-args` included.
    pub config: Vec<u8>,
    /// The cluster network: the first entry.
    pub default: bool,
}

/// The fields that matter of multus' `DelegateNetConf`, as Go writes them.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "ifnameRequest", default)]
    requested_interface: String,
    #[serde(rename = "Bytes")]
    config: String,
}

/// Reads a whole file.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Delegate>, String> {
    let stored: Vec<Stored> = serde_json::from_slice(file).map_err(|error| error.to_string())?;
    (0..)
        .zip(stored)
        .map(|(position, stored)| delegate(position, &stored))
        .collect()
}

fn delegate(position: u32, stored: &Stored) -> Result<Delegate, String> {
    let default = position == 0;
    let interface = match stored.requested_interface.as_str() {
        "" if default => InterfaceName::parse(DEFAULT_INTERFACE).ok(),
        "" => Some(InterfaceName::net(position)),
        requested => InterfaceName::parse(requested).ok(),
    };
    let config = BASE64_STANDARD.decode(&stored.config);
    Ok(Delegate {
        network: NetworkName::parse(&stored.name).ok(),
        interface,
        config: config
            .map_err(|error| format!("the config of delegate {position} is not base64: {error}"))?,
        default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As multus 4.3 writes it, without the fields that are not read.
    const FILE: &str = r#"[
        {"Conf":{"name":"podnet","type":"bridge"},"Name":"podnet","IsFilterV4Gateway":false,"Bytes":"e30="},
        {"Name":"default/a","ifnameRequest":"ens4","Bytes":"e30="},
        {"Name":"default/b.c","Bytes":"e30="},
        {"Name":"static","ifnameRequest":"a/b","Bytes":"e30="}
    ]"#;

    #[test]
    fn names_each_interface_as_multus_does() {
        let delegates = parse(FILE.as_bytes()).unwrap();
        let names: Vec<_> = delegates
            .iter()
            .map(|delegate| delegate.interface.as_ref().map(InterfaceName::as_str))
            .collect();
        assert_eq!(names, [Some("eth0"), Some("ens4"), Some("net2"), None]);
    }

    #[test]
    fn tells_nads_from_other_networks() {
        let delegates = parse(FILE.as_bytes()).unwrap();
        let networks: Vec<_> = delegates
            .iter()
            .map(|delegate| delegate.network.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(
            networks,
            [
                None,
                Some("default/a".to_owned()),
                Some("default/b.c".to_owned()),
                None
            ]
        );
        assert!(delegates[0].default && !delegates[1].default);
    }

    #[test]
    fn refuses_a_damaged_file() {
        for damaged in [
            "",
            "{}",
            "null",
            r#"[{"Name":"default/a"}]"#,
            r#"[{"Name":"default/a","Bytes":"*"}]"#,
        ] {
            assert!(parse(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }
}
