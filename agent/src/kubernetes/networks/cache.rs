//! Which pods use which networks, and what is known of those networks. Pure.
//!
//! Guarantees: nothing is kept of a network that no followed pod, nor [`LINGERING`], names. What is
//! held is what the API server answered after the watch had begun, and no event of that network has
//! come since. Configs take at most [`MAX_HELD_BYTES`]; the least recently used go first.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use shared::names::NetworkName;

/// Stands for a pod where networks are followed a while longer; no uid is empty.
pub const LINGERING: &str = "";
/// All configs together.
pub const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// An object and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: String,
}

/// What the API server answers about a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none of that name.
    Missing,
    /// Its config is too long.
    TooLarge(Version),
    /// This.
    Network(Network),
}

/// A NetworkAttachmentDefinition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Which one.
    pub version: Version,
    /// `spec.config`; empty: a file of the node has it.
    pub config: String,
    /// The annotation that names a device-plugin resource.
    pub resource_name: Option<String>,
}

/// A moment in the life of what is known about one network: an answer counts only if no event came
/// since it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    pods: BTreeMap<String, BTreeSet<NetworkName>>,
    networks: BTreeMap<NetworkName, Known>,
    /// Known to have changed, and not told yet.
    changed: BTreeSet<NetworkName>,
    /// Whether the watch has begun, so that what is read now stays true until an event says
    /// otherwise.
    watched: bool,
    clock: u64,
    held_bytes: usize,
}

#[derive(Debug)]
struct Known {
    pods: usize,
    /// Of the last event.
    stamp: u64,
    /// The last version heard of, in whatever way. The inner `None`: there is no such network.
    version: Option<Option<Version>>,
    held: Option<Rc<Found>>,
    /// When it was used last.
    used: u64,
}

impl Found {
    /// The version; `None`: there is none.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Missing => None,
            Self::TooLarge(version) => Some(version),
            Self::Network(network) => Some(&network.version),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Missing | Self::TooLarge(_) => 0,
            Self::Network(network) => {
                network.config.len() + network.resource_name.as_ref().map_or(0, String::len)
            }
        }
    }
}

impl Cache {
    /// The pod uses exactly these networks; none: it is forgotten.
    pub fn follow(&mut self, pod: &str, networks: BTreeSet<NetworkName>) {
        let before = self.pods.remove(pod).unwrap_or_default();
        for network in networks.difference(&before) {
            self.clock += 1;
            let stamp = self.clock;
            let known = self.networks.entry(network.clone());
            known.or_insert_with(|| Known::new(stamp)).pods += 1;
        }
        for network in before.difference(&networks) {
            self.leave(network);
        }
        if !networks.is_empty() {
            self.pods.insert(pod.to_owned(), networks);
        }
    }

    fn leave(&mut self, network: &NetworkName) {
        let Some(known) = self.networks.get_mut(network) else {
            return;
        };
        known.pods = known.pods.saturating_sub(1);
        if known.pods == 0 {
            self.held_bytes -= known.held_bytes();
            self.networks.remove(network);
            self.changed.remove(network);
        }
    }

    /// Whether any pod uses any network.
    pub fn is_followed(&self) -> bool {
        !self.pods.is_empty()
    }

    /// Whether any pod uses this one.
    pub fn uses(&self, network: &NetworkName) -> bool {
        self.networks.contains_key(network)
    }

    /// What the pod uses.
    pub fn networks_of(&self, pod: &str) -> BTreeSet<NetworkName> {
        self.pods.get(pod).cloned().unwrap_or_default()
    }

    /// The uids of the pods that use it.
    pub fn pods_of(&self, network: &NetworkName) -> Vec<String> {
        let using = self
            .pods
            .iter()
            .filter(|(pod, networks)| *pod != LINGERING && networks.contains(network));
        using.map(|(pod, _)| pod.clone()).collect()
    }

    /// What is held of a network.
    pub fn held(&mut self, network: &NetworkName) -> Option<Rc<Found>> {
        self.clock += 1;
        let known = self.networks.get_mut(network)?;
        known.used = self.clock;
        known.held.clone()
    }

    /// To be asked for before a network is read.
    pub fn stamp(&self, network: &NetworkName) -> Option<Stamp> {
        let known = self.networks.get(network).filter(|_| self.watched)?;
        Some(Stamp(known.stamp))
    }

    /// Learns what was read after `stamp`. What an event has overtaken is forgotten at once.
    /// Without a watch only the version is kept, to be compared when the watch begins.
    pub fn learn(&mut self, network: &NetworkName, stamp: Option<Stamp>, found: &Rc<Found>) {
        if stamp != self.stamp(network) {
            return;
        }
        self.heard_of(network, found.version().cloned(), false);
        self.clock += 1;
        let Some(known) = self.networks.get_mut(network).filter(|_| stamp.is_some()) else {
            return;
        };
        self.held_bytes -= known.held_bytes();
        self.held_bytes += found.bytes();
        known.held = Some(Rc::clone(found));
        known.used = self.clock;
        while self.held_bytes > MAX_HELD_BYTES && self.drop_oldest() {}
    }

    /// An event: the network has this version now; `None`: it was deleted.
    pub fn event(&mut self, network: &NetworkName, version: Option<Version>) {
        self.clock += 1;
        let Some(known) = self.networks.get_mut(network) else {
            return;
        };
        let held = known.held.as_deref();
        if held.is_some_and(|found| found.version() == version.as_ref()) {
            return;
        }
        known.stamp = self.clock;
        self.held_bytes -= known.held_bytes();
        known.held = version.is_none().then(|| Rc::new(Found::Missing));
        self.heard_of(network, version, true);
    }

    /// The watch begins, perhaps once more: what happened before is not told. The answer is what
    /// has to be read again, because it may have changed.
    pub fn begin(&mut self) -> Vec<NetworkName> {
        self.forget_held();
        self.watched = true;
        let known = self.networks.iter().filter(|(_, known)| known.version.is_some());
        known.map(|(network, _)| network.clone()).collect()
    }

    /// The watch is closed: what is read from now on may change unnoticed.
    pub fn close(&mut self) {
        self.forget_held();
        self.watched = false;
    }

    /// Takes the changed networks, each with its version if that is known.
    pub fn take_changed(&mut self) -> Vec<(NetworkName, Option<String>)> {
        let changed = std::mem::take(&mut self.changed);
        let version = |network: &NetworkName| {
            let version = self.networks.get(network)?.version.clone()??;
            Some(version.version)
        };
        changed
            .into_iter()
            .map(|network| {
                let version = version(&network);
                (network, version)
            })
            .collect()
    }

    /// Whether there is anything to take.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The first version that an event tells is a change, because a pod may wait for it after a
    /// read without a watch.
    fn heard_of(&mut self, network: &NetworkName, version: Option<Version>, by_event: bool) {
        let Some(known) = self.networks.get_mut(network) else {
            return;
        };
        let before = known.version.replace(version);
        let is_new = before.map_or(by_event, |before| Some(before) != known.version);
        if is_new {
            self.changed.insert(network.clone());
        }
    }

    fn forget_held(&mut self) {
        self.clock += 1;
        for known in self.networks.values_mut() {
            known.held = None;
            known.stamp = self.clock;
        }
        self.held_bytes = 0;
    }

    fn drop_oldest(&mut self) -> bool {
        let held = self.networks.values_mut().filter(|known| known.held_bytes() > 0);
        let Some(oldest) = held.min_by_key(|known| known.used) else {
            return false;
        };
        self.held_bytes -= oldest.held_bytes();
        oldest.held = None;
        true
    }
}

impl Known {
    fn new(stamp: u64) -> Self {
        Self {
            pods: 0,
            stamp,
            version: None,
            held: None,
            used: 0,
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.as_deref().map_or(0, Found::bytes)
    }
}

#[cfg(test)]
mod tests;
