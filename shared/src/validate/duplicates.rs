//! Addresses that a list requests twice on one network.
//!
//! Warnings, not refusals: the annotation does not show which plugin fails. host-local refuses
//! the second request for an address and macvlan the second request for a hardware address on its
//! parent, but static gives the same address to two interfaces, and a bridge takes two ports with
//! one hardware address (a bond of both wants that).

use std::collections::{HashMap, hash_map::Entry};

use super::{Found, PodContext, Previous, Warning, changed_field::ChangedField, isolation_allows};
use crate::{config::Config, go_net, names::NetworkName, selection::Selection, violation::shown};

pub(super) fn judge(
    context: &PodContext<'_>,
    config: &Config,
    previous: &[Previous<'_>],
    findings: &mut Found,
) {
    // A network that the pod may not use gets no further findings.
    let is_allowed = |element: &Selection| isolation_allows(context.namespace, &element.network, config);
    let elements = context.list.elements.iter().zip(previous).enumerate();
    let mut ips = Seen::default();
    let mut macs = Seen::default();
    for (index, (element, previous)) in elements.filter(|(_, (element, _))| is_allowed(element)) {
        let changed = ChangedField::by(element, *previous);
        let asks = |field: ChangedField| Asker {
            index,
            is_new: changed.contains(&field),
        };
        let attributes = element.attributes();
        let mut warn = |warning, value: &str, first: Asker| {
            let place = first.index.to_string();
            findings.warn_of(index, element, warning, &[&shown(value), &place]);
        };
        let mac = attributes.mac.as_deref().unwrap_or_default();
        if let Some(bytes) = go_net::parse_mac(mac)
            && let Some(first) = macs.add(&element.network, bytes, asks(ChangedField::Mac))
        {
            warn(Warning::SameMac, mac, first);
        }
        // One warning an element, not one an address.
        let repeated = attributes.ips.iter().filter_map(|ip| {
            let first = ips.add(&element.network, go_net::of_entry(ip)?, asks(ChangedField::Ips))?;
            Some((ip, first))
        });
        // All are added, also those behind the first that is repeated.
        if let Some((ip, first)) = repeated.collect::<Vec<_>>().into_iter().next() {
            warn(Warning::SameIp, ip, first);
        }
    }
}

/// An element that requests an address, and whether the request is new.
#[derive(Clone, Copy)]
struct Asker {
    index: usize,
    is_new: bool,
}

/// Which element used an address on a network first.
struct Seen<'a, Address>(HashMap<(&'a NetworkName, Address), Asker>);

impl<Address> Default for Seen<'_, Address> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'a, Address: Eq + std::hash::Hash> Seen<'a, Address> {
    /// The element that used the address first, when the use of one of both is new: what was
    /// there before an edit is not warned about again.
    fn add(&mut self, network: &'a NetworkName, address: Address, asker: Asker) -> Option<Asker> {
        match self.0.entry((network, address)) {
            Entry::Vacant(entry) => {
                entry.insert(asker);
                None
            }
            Entry::Occupied(entry) => Some(*entry.get()).filter(|first| first.is_new || asker.is_new),
        }
    }
}
