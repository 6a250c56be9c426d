//! The result of a plugin chain, read as libcni's Go types read it, for every version of the CNI
//! specification.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::{go_net, names::InterfaceName};

/// A CNI result of any version (0.1.0 to 1.1.0): unknown keys are ignored, wrong types are an
/// error.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CniResult {
    /// `interfaces`, in order.
    pub interfaces: Vec<ResultInterface>,
    /// `ips` (`ip4` and `ip6` of versions before 0.3.0), in order.
    pub ips: Vec<ResultIp>,
    /// `routes`.
    pub routes: Vec<ResultRoute>,
    /// `dns`.
    pub dns: Dns,
}

/// An interface that a plugin made, in the pod or on the host.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ResultInterface {
    /// Its name, unchecked.
    pub name: String,
    /// Its hardware address, as the plugin wrote it; may be empty.
    pub mac: String,
    /// 0: not reported (never reported before version 1.0.0).
    pub mtu: i64,
    /// The network namespace; empty: on the host.
    pub sandbox: String,
}

/// An address that a plugin gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultIp {
    /// The address and its prefix length; `None` when the entry has no `address`.
    pub address: Option<(IpAddr, u8)>,
    /// Index into `interfaces`.
    pub interface: Option<i64>,
    /// The gateway of the subnet.
    pub gateway: Option<IpAddr>,
}

/// A route that a plugin set.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRoute {
    /// The destination's address as written; `None`: missing, which means everywhere.
    pub destination: Option<IpAddr>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
}

/// DNS of a result and of network-status; keys that are empty are left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A result that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CNI result cannot be read: {0}")]
pub struct ResultError(pub String);

/// The keys of versions 0.3.0 to 1.1.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Current {
    interfaces: Vec<ResultInterface>,
    ips: Vec<WireIp>,
    routes: Vec<WireRoute>,
    dns: Dns,
}

/// The keys of versions 0.1.0 and 0.2.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Old {
    ip4: Option<OldIp>,
    ip6: Option<OldIp>,
    dns: Dns,
}

#[derive(Deserialize)]
struct OldIp {
    ip: String,
    gateway: Option<String>,
    #[serde(default)]
    routes: Vec<WireRoute>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireIp {
    interface: Option<i64>,
    address: Option<String>,
    gateway: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireRoute {
    dst: Option<String>,
    gw: Option<String>,
}

impl CniResult {
    /// Parses the value of `Result` in multus' answer, or `result` in libcni's cache.
    ///
    /// # Errors
    /// Not an object, an unknown version, or a known key with a wrong type.
    pub fn parse(result: &Value) -> Result<Self, ResultError> {
        if !result.is_object() {
            return Err(ResultError("it is not a JSON object".to_owned()));
        }
        let version = result.get("cniVersion").filter(|version| !version.is_null());
        match version.map(|version| version.as_str().unwrap_or("of another type than string")) {
            None | Some("" | "0.1.0" | "0.2.0") => read::<Old>(result)?.try_into(),
            Some("0.3.0" | "0.3.1" | "0.4.0") => {
                let mut result = Self::try_from(read::<Current>(result)?)?;
                // The Go types of these versions have no mtu.
                result
                    .interfaces
                    .iter_mut()
                    .for_each(|interface| interface.mtu = 0);
                Ok(result)
            }
            Some("1.0.0" | "1.1.0") => read::<Current>(result)?.try_into(),
            Some(other) => Err(ResultError(format!("its cniVersion {other:?} is unknown"))),
        }
    }

    /// Names of the interfaces inside the sandbox.
    pub fn interface_names(&self) -> Vec<InterfaceName> {
        let inside = self
            .interfaces
            .iter()
            .filter(|interface| !interface.sandbox.is_empty());
        inside
            .filter_map(|interface| InterfaceName::parse(&interface.name).ok())
            .collect()
    }
}

/// A null under any key is as good as no key, as in Go.
fn read<T: for<'de> Deserialize<'de>>(result: &Value) -> Result<T, ResultError> {
    serde_json::from_value(without_nulls(result)).map_err(|error| ResultError(error.to_string()))
}

pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        // A null in a list stays: it is no interface, address or route.
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

impl TryFrom<Current> for CniResult {
    type Error = ResultError;
    fn try_from(wire: Current) -> Result<Self, ResultError> {
        Ok(Self {
            interfaces: wire.interfaces,
            ips: wire
                .ips
                .into_iter()
                .map(ResultIp::try_from)
                .collect::<Result<_, _>>()?,
            routes: wire
                .routes
                .into_iter()
                .map(ResultRoute::try_from)
                .collect::<Result<_, _>>()?,
            dns: wire.dns,
        })
    }
}

impl TryFrom<Old> for CniResult {
    type Error = ResultError;
    fn try_from(wire: Old) -> Result<Self, ResultError> {
        let mut result = Self {
            dns: wire.dns,
            ..Self::default()
        };
        for old in [wire.ip4, wire.ip6].into_iter().flatten() {
            let ip = WireIp {
                interface: None,
                address: Some(old.ip),
                gateway: old.gateway,
            };
            result.ips.push(ip.try_into()?);
            for route in old.routes {
                result.routes.push(route.try_into()?);
            }
        }
        Ok(result)
    }
}

impl TryFrom<WireIp> for ResultIp {
    type Error = ResultError;
    fn try_from(wire: WireIp) -> Result<Self, ResultError> {
        let address = wire.address.as_deref().map(cidr).transpose()?;
        Ok(Self {
            address,
            interface: wire.interface,
            gateway: gateway(wire.gateway)?,
        })
    }
}

impl TryFrom<WireRoute> for ResultRoute {
    type Error = ResultError;
    fn try_from(wire: WireRoute) -> Result<Self, ResultError> {
        let destination = wire
            .dst
            .as_deref()
            .map(cidr)
            .transpose()?
            .map(|(address, _)| address);
        Ok(Self {
            destination,
            gateway: gateway(wire.gw)?,
        })
    }
}

fn cidr(text: &str) -> Result<(IpAddr, u8), ResultError> {
    go_net::parse_cidr(text)
        .ok_or_else(|| ResultError(format!("{text:?} is no address with a prefix length")))
}

/// An empty gateway is none, as Go's net.IP reads it.
fn gateway(text: Option<String>) -> Result<Option<IpAddr>, ResultError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    go_net::parse_ip(&text)
        .map(Some)
        .ok_or_else(|| ResultError(format!("{text:?} is no address")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_key_of_a_current_result() {
        let result = CniResult::parse(&json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "br0"},
                {"name": "net1", "mac": "02:11:22:33:44:55", "mtu": 1400, "sandbox": "/run/netns/x", "socketPath": "/s"},
            ],
            "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 1}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1, "priority": 2}, {"dst": "fd00::/8"}],
            "dns": {"nameservers": ["10.0.0.53"], "domain": "x", "search": ["y"], "options": ["z"]},
        }))
        .unwrap();
        assert_eq!(result.interface_names(), [InterfaceName::net(1)]);
        assert_eq!(result.interfaces[1].mtu, 1400);
        assert_eq!(result.ips[0].address, go_net::parse_cidr("10.0.0.2/24"));
        assert_eq!(
            (result.ips[0].interface, result.ips[0].gateway),
            (Some(1), go_net::parse_ip("10.0.0.1"))
        );
        assert_eq!(result.routes[0].gateway, go_net::parse_ip("10.0.0.1"));
        assert_eq!(
            (result.routes[1].destination, result.routes[1].gateway),
            (go_net::parse_ip("fd00::"), None)
        );
        assert_eq!(result.dns.search, ["y"]);
    }

    #[rstest]
    #[case(json!({"cniVersion": "0.2.0"}))]
    #[case(json!({}))]
    fn reads_the_two_addresses_of_an_old_result(#[case] mut result: Value) {
        result["ip4"] = json!({"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]});
        result["ip6"] = json!({"ip": "fd00::2/64"});
        result["interfaces"] = json!("ignored");
        let result = CniResult::parse(&result).unwrap();
        assert_eq!(
            (result.ips.len(), result.routes.len(), result.interfaces.len()),
            (2, 1, 0)
        );
    }

    #[test]
    fn ignores_the_mtu_of_versions_that_have_none() {
        let result = json!({"cniVersion": "0.4.0", "interfaces": [{"name": "net1", "mtu": 1400}]});
        assert_eq!(CniResult::parse(&result).unwrap().interfaces[0].mtu, 0);
    }

    #[test]
    fn takes_a_result_with_nothing_in_it() {
        let nothing = json!({"cniVersion": "1.1.0", "interfaces": null, "ips": null, "dns": null});
        assert_eq!(CniResult::parse(&nothing).unwrap(), CniResult::default());
    }

    #[rstest]
    #[case(json!(null))]
    #[case(json!([]))]
    #[case(json!({"cniVersion": "9.9.9"}))]
    #[case(json!({"cniVersion": 1}))]
    #[case(json!({"cniVersion": "1.0.0", "interfaces": {}}))]
    #[case(json!({"cniVersion": "1.0.0", "interfaces": [null]}))]
    #[case(json!({"cniVersion": "1.0.0", "interfaces": [{"mtu": 1.5}]}))]
    #[case(json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1"}]}))]
    #[case(json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24", "gateway": "x"}]}))]
    #[case(json!({"cniVersion": "1.0.0", "routes": [{"dst": "x"}]}))]
    #[case(json!({"cniVersion": "0.2.0", "ip4": {}}))]
    fn refuses_what_is_no_result(#[case] result: Value) {
        assert!(CniResult::parse(&result).is_err());
    }
}
