//! The networks annotation as data: both formats into elements and back, byte for byte.

mod draft;
mod edit;
mod fields;
mod json;
mod parse;
mod reader;
mod same;
mod syntax;
mod text;
mod unknown;

use std::{net::IpAddr, ops::Range};

use serde::Serialize;
use serde_json::{Map, Value};

pub use self::{edit::NewElement, unknown::UnknownKeys};
use crate::{
    names::{InterfaceName, NetworkName},
    violation::Violations,
};

/// The interface of a pod's cluster network: never an element's.
pub const DEFAULT_INTERFACE: &str = "eth0";
/// An annotation may be this long, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// An annotation may list this many networks.
pub const MAX_ELEMENTS: usize = 64;
/// An element may ask for this many addresses.
pub const MAX_IPS: usize = 64;
/// An element may ask for this many port mappings.
pub const MAX_PORT_MAPPINGS: usize = 256;
/// An element may name this many gateways: one of each family.
pub const MAX_DEFAULT_ROUTES: usize = 2;
/// JSON in the annotation may be nested this deep.
pub const MAX_DEPTH: usize = 16;

/// Bytes that an interface name takes of an annotation, with its key, as an estimate.
const BYTES_A_NAME: usize = 32;

/// Which of the two formats an annotation is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `[namespace/]name[@interface]`, comma-separated.
    Text,
    /// A JSON list of objects.
    Json,
}

/// One entry of `portMappings`, as multus hands it to plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// 1..=65535.
    pub host_port: u16,
    /// 1..=65535.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp` in any case; empty: the plugin's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// An address of the host; empty: all.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// `bandwidth`, as multus hands it to plugins: rates in bit/s, bursts in bit; 0 is "no limit".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// Into the pod.
    pub ingress_rate: u64,
    /// Into the pod.
    pub ingress_burst: u64,
    /// Out of the pod.
    pub egress_rate: u64,
    /// Out of the pod.
    pub egress_burst: u64,
}

/// One network selection element, every field checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The NetworkAttachmentDefinition; a missing namespace became the pod's.
    pub network: NetworkName,
    /// The wanted interface name (`interface`, else its deprecated alias `interfaceRequest`);
    /// `None`: multus or the webhook chooses one.
    pub interface: Option<InterfaceName>,
    /// Boxed, since most elements have none; `None` also where every field is empty.
    attributes: Option<Box<Attributes>>,
    /// Boxed for the same reason.
    unknown_keys: Option<Box<UnknownKeys>>,
}

/// What an element asks for beyond a network and a name. A field that is absent means "no opinion".
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// Requested addresses, as written (`10.0.0.1`, `10.0.0.1/24`, `fd00::1/64`).
    pub ips: Vec<String>,
    /// Requested hardware address, as written.
    pub mac: Option<String>,
    /// `cni-args`, as written.
    pub cni_args: Option<Map<String, Value>>,
    /// `portMappings`.
    pub port_mappings: Vec<PortMapping>,
    /// `bandwidth`.
    pub bandwidth: Option<Bandwidth>,
    /// `infiniband-guid`, as written.
    pub infiniband_guid: Option<String>,
    /// `default-route`: gateways. An empty list means the network's own gateway.
    pub default_route: Option<Vec<IpAddr>>,
    /// `ipam-claim-reference`.
    pub ipam_claim_reference: Option<String>,
    /// `deviceID`: multus only.
    pub device_id: Option<String>,
}

impl Attributes {
    /// No request at all.
    pub const NONE: &'static Self = &Self {
        ips: Vec::new(),
        mac: None,
        cni_args: None,
        port_mappings: Vec::new(),
        bandwidth: None,
        infiniband_guid: None,
        default_route: None,
        ipam_claim_reference: None,
        device_id: None,
    };

    /// Whether both ask for the same ips.
    pub fn same_ips(&self, other: &Self) -> bool {
        same::ips(&self.ips, &other.ips)
    }

    /// Whether both ask for the same mac.
    pub fn same_mac(&self, other: &Self) -> bool {
        same::mac(self.mac.as_deref(), other.mac.as_deref())
    }

    /// Whether both have the same cni-args.
    pub fn same_cni_args(&self, other: &Self) -> bool {
        match (&self.cni_args, &other.cni_args) {
            (Some(a), Some(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, a)| b.get(key).is_some_and(|b| same::value(a, b)))
            }
            (a, b) => a == b,
        }
    }

    /// Whether both have the same portMappings.
    pub fn same_port_mappings(&self, other: &Self) -> bool {
        same::port_mappings(&self.port_mappings, &other.port_mappings)
    }

    /// Whether both ask for the same infiniband-guid.
    pub fn same_infiniband_guid(&self, other: &Self) -> bool {
        same::mac(self.infiniband_guid.as_deref(), other.infiniband_guid.as_deref())
    }

    /// Whether both ask for the same, however it is written.
    pub fn same_as(&self, other: &Self) -> bool {
        self.same_ips(other)
            && self.same_mac(other)
            && self.same_cni_args(other)
            && self.same_port_mappings(other)
            && self.bandwidth == other.bandwidth
            && self.same_infiniband_guid(other)
            && self.default_route == other.default_route
            && self.ipam_claim_reference == other.ipam_claim_reference
            && self.device_id == other.device_id
    }

    /// `None` when no field asks for anything.
    fn boxed(self) -> Option<Box<Self>> {
        (self != *Self::NONE).then(|| Box::new(self))
    }
}

impl Selection {
    /// An element that has a network and nothing else.
    pub fn new(network: NetworkName) -> Self {
        Self {
            network,
            interface: None,
            attributes: None,
            unknown_keys: None,
        }
    }

    /// The same element with other `attributes`.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes.boxed();
        self
    }

    /// What it asks for beyond a network and a name.
    pub fn attributes(&self) -> &Attributes {
        self.attributes.as_deref().unwrap_or(Attributes::NONE)
    }

    /// The keys that multus ignores, if it has any.
    pub fn unknown_keys(&self) -> Option<&UnknownKeys> {
        self.unknown_keys.as_deref()
    }

    /// Whether both ask for the same network and attributes; interface names may differ.
    pub fn asks_as(&self, other: &Self) -> bool {
        self.network == other.network && self.attributes().same_as(other.attributes())
    }
}

/// The place of an interface name: bytes `start..end` of the source are replaced by `prefix` and
/// the name (in JSON: as a JSON string).
#[derive(Clone, Debug, PartialEq)]
struct InsertionPoint {
    start: usize,
    end: usize,
    prefix: Prefix,
}

/// What must be written ahead of the name.
#[derive(Clone, Debug, PartialEq)]
enum Prefix {
    /// Nothing: an empty value is replaced.
    Nothing,
    /// `@`.
    At,
    /// A comma, and the key with the space and the colon that another member of the object has, at
    /// these bytes of the source.
    Key {
        space: Range<usize>,
        colon: Range<usize>,
    },
}

/// A parsed networks annotation. Keeps its source, so that filling in a name changes those bytes
/// only.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectionList {
    /// The format of the source.
    pub format: Format,
    /// The elements in annotation order.
    pub elements: Vec<Selection>,
    source: String,
    /// Where an interface name goes into each element; `None` for those that have one.
    insertion_points: Vec<Option<InsertionPoint>>,
}

impl SelectionList {
    /// Parses an annotation value (`None`: the key is missing) of a pod in `pod_namespace`.
    ///
    /// # Errors
    /// The violations that one element or the list shows by itself, in element order. Never panics;
    /// the time is linear in the size, which is bounded.
    pub fn parse(annotation: Option<&str>, pod_namespace: &str) -> Result<Self, Violations> {
        parse::list(annotation.unwrap_or_default(), pod_namespace)
    }

    /// A list without networks, as of a pod without the annotation.
    pub fn empty() -> Self {
        Self {
            format: Format::Text,
            elements: Vec::new(),
            source: String::new(),
            insertion_points: Vec::new(),
        }
    }

    /// The parsed annotation, unchanged.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The annotation with `names[i]` written into element i, where that is `Some` and the element
    /// is unnamed; other bytes do not change. A name that the format cannot hold (see
    /// [`SelectionList::can_hold`]) is left out.
    pub fn with_interfaces(&self, names: &[Option<InterfaceName>]) -> String {
        let mut filled =
            String::with_capacity(self.source.len() + BYTES_A_NAME * self.insertion_points.len());
        let mut copied = 0;
        for (point, name) in self.gaps(names) {
            filled.push_str(self.at(copied..point.start));
            let name = name.as_str();
            match (&point.prefix, self.format) {
                (Prefix::Nothing, Format::Text) => filled.push_str(name),
                (Prefix::Nothing, Format::Json) => json::push_name(&mut filled, name),
                (Prefix::At, _) => filled.extend(["@", name]),
                (Prefix::Key { space, colon }, _) => {
                    let (space, colon) = (self.at(space.clone()), self.at(colon.clone()));
                    filled.extend([",", space, "\"interface\"", colon]);
                    json::push_name(&mut filled, name);
                }
            }
            copied = point.end;
        }
        filled.push_str(self.at(copied..self.source.len()));
        filled
    }

    /// Whether any of `names` would be written.
    pub fn takes_any(&self, names: &[Option<InterfaceName>]) -> bool {
        self.gaps(names).next().is_some()
    }

    fn gaps<'a>(
        &'a self,
        names: &'a [Option<InterfaceName>],
    ) -> impl Iterator<Item = (&'a InsertionPoint, &'a InterfaceName)> {
        self.insertion_points
            .iter()
            .zip(names)
            .filter_map(|(point, name)| point.as_ref().zip(name.as_ref()))
            .filter(|(_, name)| self.can_hold(name))
    }

    fn at(&self, bytes: Range<usize>) -> &str {
        self.source.get(bytes).unwrap_or_default()
    }

    /// Whether this list's format can express `name`: text has no way to write a comma, an `@` or
    /// what makes it JSON.
    pub fn can_hold(&self, name: &InterfaceName) -> bool {
        self.format == Format::Json || !name.as_str().contains([',', '@', '[', '{', '"'])
    }
}

#[cfg(test)]
mod tests;
