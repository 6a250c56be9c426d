//! The CNI capabilities through which plugins receive fields of an element at run time.

use super::NetworkConfig;
use super::config::Plugin;

/// A capability, as plugins declare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Requested addresses.
    Ips,
    /// Requested hardware address.
    Mac,
    /// Ports of the host.
    PortMappings,
    /// Rates and bursts.
    Bandwidth,
    /// GUID of an InfiniBand device.
    InfinibandGuid,
}

impl Capability {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Ips,
        Self::Mac,
        Self::PortMappings,
        Self::Bandwidth,
        Self::InfinibandGuid,
    ];

    /// The key under `capabilities` and `runtimeConfig`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Mac => "mac",
            Self::PortMappings => "portMappings",
            Self::Bandwidth => "bandwidth",
            Self::InfinibandGuid => "infinibandGUID",
        }
    }

    /// Whether `plugin` declares it as true.
    pub(super) fn is_declared_by(self, plugin: &Plugin) -> bool {
        declares(plugin, self.name())
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Whether `plugin` declares the capability `name` as true.
pub(super) fn declares(plugin: &Plugin, name: &str) -> bool {
    let declared = plugin.get("capabilities").and_then(|all| all.get(name));
    declared.and_then(|value| value.as_bool()).unwrap_or_default()
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Whether `capability` is in the set.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().fold(0, |set, one| set | one.bit()))
    }
}

impl NetworkConfig {
    /// What at least one plugin declares.
    pub fn capabilities(&self) -> Capabilities {
        let declared = |capability: &Capability| {
            self.plugins
                .iter()
                .any(|plugin| capability.is_declared_by(plugin))
        };
        Capability::ALL.into_iter().filter(declared).collect()
    }
}
