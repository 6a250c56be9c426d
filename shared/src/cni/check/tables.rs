//! The keys of the plugins of containernetworking/plugins 1.9.1, as their Go structs declare them.

use super::schema::{
    Key,
    Kind::{self, Address, Bool, Cidr, Int, IntIn, List, Map, Object, Text, Uint32, Uint64, Words},
};

/// Whether a plugin runs an IPAM plugin.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ipam {
    Never,
    Optional,
    Required,
    /// Unless an earlier plugin of the chain brought addresses.
    RequiredAlone,
}

/// A plugin that is known.
pub(super) struct PluginSchema {
    pub keys: &'static Kind,
    pub ipam: Ipam,
    /// It fails without the result of a plugin before it.
    pub is_chained: bool,
    /// The oldest specification that it supports.
    pub oldest: &'static str,
}

impl PluginSchema {
    const fn interface(keys: &'static Kind, ipam: Ipam) -> Self {
        Self {
            keys,
            ipam,
            is_chained: false,
            oldest: "0.1.0",
        }
    }

    const fn chained(keys: &'static Kind, oldest: &'static str) -> Self {
        Self {
            keys,
            ipam: Ipam::Never,
            is_chained: true,
            oldest,
        }
    }
}

/// What is known of plugin `name`.
pub(super) fn plugin(name: &str) -> Option<&'static PluginSchema> {
    let found = PLUGINS.iter().find(|(plugin, _)| *plugin == name);
    found.map(|(_, schema)| schema)
}

/// The keys of IPAM plugin `name`.
pub(super) fn ipam(name: &str) -> Option<&'static Kind> {
    match name {
        "host-local" => Some(&HOST_LOCAL),
        "static" => Some(&STATIC),
        "dhcp" => Some(&DHCP),
        _ => None,
    }
}

/// What multus and libcni read of any plugin and [`super::super::NetworkConfig::parse`] does not.
pub(super) static ANY_PLUGIN: Kind = Object(&[("dns", DNS)]);

/// What multus reads beside `plugins`, and parse does not.
pub(super) static CONFLIST: Kind = Object(&[
    ("disableCheck", Bool),
    ("disableGC", Bool),
    ("capabilities", Map(&Bool)),
    ("ipam", Object(&[("type", Text)])),
    ("dns", DNS),
]);

pub(super) static PLUGINS: [(&str, PluginSchema); 15] = [
    ("bridge", PluginSchema::interface(&BRIDGE, Ipam::Optional)),
    ("macvlan", PluginSchema::interface(&MACVLAN, Ipam::Optional)),
    ("ipvlan", PluginSchema::interface(&IPVLAN, Ipam::RequiredAlone)),
    (
        "host-device",
        PluginSchema::interface(&HOST_DEVICE, Ipam::Optional),
    ),
    ("vlan", PluginSchema::interface(&VLAN, Ipam::Required)),
    ("ptp", PluginSchema::interface(&PTP, Ipam::Required)),
    ("dummy", PluginSchema::interface(&NO_KEYS, Ipam::Required)),
    ("tap", PluginSchema::interface(&TAP, Ipam::Optional)),
    ("loopback", PluginSchema::interface(&NO_KEYS, Ipam::Never)),
    ("bandwidth", PluginSchema::chained(&BANDWIDTH, "0.3.0")),
    ("firewall", PluginSchema::chained(&FIREWALL, "0.4.0")),
    ("portmap", PluginSchema::chained(&PORTMAP, "0.1.0")),
    ("sbr", PluginSchema::chained(&SBR, "0.1.0")),
    ("tuning", PluginSchema::chained(&TUNING, "0.1.0")),
    ("vrf", PluginSchema::chained(&VRF, "0.3.1")),
];

const ANY_SIZE: Kind = IntIn(0, i64::MAX);

static NO_KEYS: Kind = Object(&[]);

static BRIDGE: Kind = Object(&[
    ("bridge", Text),
    ("isGateway", Bool),
    ("isDefaultGateway", Bool),
    ("forceAddress", Bool),
    ("ipMasq", Bool),
    ("ipMasqBackend", Text),
    ("mtu", Int),
    ("hairpinMode", Bool),
    ("promiscMode", Bool),
    ("vlan", IntIn(0, 4094)),
    (
        "vlanTrunk",
        List(&Object(&[
            ("minID", IntIn(1, 4094)),
            ("maxID", IntIn(1, 4094)),
            ("id", IntIn(1, 4094)),
        ])),
    ),
    ("preserveDefaultVlan", Bool),
    ("macspoofchk", Bool),
    ("enabledad", Bool),
    ("disableContainerInterface", Bool),
    ("portIsolation", Bool),
]);

static MACVLAN: Kind = Object(&[
    ("master", Text),
    ("mode", Words(&["", "bridge", "private", "vepa", "passthru"])),
    ("mtu", ANY_SIZE),
    ("mac", Text),
    ("linkInContainer", Bool),
    ("bcqueuelen", Uint32),
]);

static IPVLAN: Kind = Object(&[
    ("master", Text),
    ("mode", Words(&["", "l2", "l3", "l3s"])),
    ("mtu", Int),
    ("linkInContainer", Bool),
]);

static HOST_DEVICE: Kind = Object(&[
    ("device", Text),
    ("hwaddr", Text),
    ("dpdkMode", Bool),
    ("kernelpath", Text),
    ("pciBusID", Text),
]);

static VLAN: Kind = Object(&[
    ("master", Text),
    ("vlanId", IntIn(0, 4094)),
    ("mtu", ANY_SIZE),
    ("linkInContainer", Bool),
]);

static PTP: Kind = Object(&[("ipMasq", Bool), ("ipMasqBackend", Text), ("mtu", Int)]);

static TAP: Kind = Object(&[
    ("multiQueue", Bool),
    ("mtu", Int),
    ("mac", Text),
    ("owner", Uint32),
    ("group", Uint32),
    ("selinuxContext", Text),
    ("bridge", Text),
]);

static BANDWIDTH: Kind = Object(&[
    ("ingressRate", Uint64),
    ("ingressBurst", Uint64),
    ("egressRate", Uint64),
    ("egressBurst", Uint64),
]);

static FIREWALL: Kind = Object(&[
    ("backend", Text),
    ("iptablesAdminChainName", Text),
    ("firewalldZone", Text),
    ("ingressPolicy", Words(&["", "open", "same-bridge", "isolated"])),
]);

static PORTMAP: Kind = Object(&[
    ("backend", Words(&["iptables", "nftables"])),
    ("snat", Bool),
    ("conditionsV4", List(&Text)),
    ("conditionsV6", List(&Text)),
    ("masqAll", Bool),
    ("markMasqBit", IntIn(0, 31)),
    ("externalSetMarkChain", Text),
]);

static SBR: Kind = Object(&[("table", Int)]);

static TUNING: Kind = Object(&[
    ("dataDir", Text),
    ("sysctl", Map(&Text)),
    ("mac", Text),
    ("promisc", Bool),
    ("mtu", Int),
    ("txQLen", Int),
    ("allmulti", Bool),
]);

static VRF: Kind = Object(&[("vrfname", Text), ("table", Uint32)]);

const DNS: Kind = Object(&[
    ("nameservers", List(&Text)),
    ("domain", Text),
    ("search", List(&Text)),
    ("options", List(&Text)),
]);

const ROUTES: Kind = List(&Object(&[
    ("dst", Cidr),
    ("gw", Address),
    ("mtu", Int),
    ("advmss", Int),
    ("priority", Int),
    ("table", Int),
    ("scope", Int),
]));

const RANGE_KEYS: &[Key] = &[
    ("subnet", Cidr),
    ("rangeStart", Address),
    ("rangeEnd", Address),
    ("gateway", Address),
];

static HOST_LOCAL: Kind = Object(&[
    ("subnet", Cidr),
    ("rangeStart", Address),
    ("rangeEnd", Address),
    ("gateway", Address),
    ("ranges", List(&List(&Object(RANGE_KEYS)))),
    ("routes", ROUTES),
    ("dataDir", Text),
    ("resolvConf", Text),
    ("name", Text),
]);

/// An `address` is judged apart: only in that very spelling it is a string.
static STATIC: Kind = Object(&[
    (
        "addresses",
        List(&Object(&[("gateway", Address), ("version", Text)])),
    ),
    ("routes", ROUTES),
    ("dns", DNS),
    ("name", Text),
]);

static DHCP: Kind = Object(&[
    ("daemonSocketPath", Text),
    (
        "provide",
        List(&Object(&[("option", Text), ("value", Text), ("fromArg", Text)])),
    ),
    (
        "request",
        List(&Object(&[("skipDefault", Bool), ("option", Text)])),
    ),
    ("priority", Int),
]);
