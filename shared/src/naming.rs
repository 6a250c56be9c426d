//! Interface names for unnamed elements: those that multus chooses at pod start, and those that the
//! webhook fills in.

use std::collections::HashSet;

use crate::{
    go_net::{parse_ip, parse_mac},
    names::InterfaceName,
    selection::{Attributes, DEFAULT_INTERFACE, Selection, SelectionList},
    status::StatusEntry,
};

/// What multus would name each *unnamed* element at pod start: element i is `net{1+i+offset}`.
/// `None` for named ones.
pub fn multus_names(list: &SelectionList, offset: u32) -> Vec<Option<InterfaceName>> {
    let name = |(index, element): (usize, &Selection)| {
        let position = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        element
            .interface
            .is_none()
            .then(|| InterfaceName::net(position.saturating_add(offset)))
    };
    list.elements.iter().enumerate().map(name).collect()
}

/// Names for the unnamed elements of a new pod: the name that multus would choose where that is
/// free, else the lowest free `netN` above those of multus' default networks (`net1` to
/// `net<offset>`). `None` for elements that have a name.
pub fn fill_on_create(list: &SelectionList, offset: u32) -> Vec<Option<InterfaceName>> {
    let mut names = multus_names(list, offset);
    if names.iter().all(Option::is_some) {
        // No element has a name, so the names by position cannot clash.
        return names;
    }
    let mut taken = named(list);
    let unnamed: Vec<bool> = names.iter().map(Option::is_some).collect();
    for name in &mut names {
        if name.as_ref().is_some_and(|name| !taken.insert(name.clone())) {
            *name = None;
        }
    }
    assign_lowest(&mut names, &unnamed, offset.saturating_add(1), taken);
    names
}

/// Names for the unnamed elements of a pod that exists. `None` for elements that have a name. In
/// this order:
///
/// 1. An element that asks for the same as one of `old` keeps the interface of that one. So a file
///    without names can be applied again, also before network-status shows the interface, and also
///    after other elements were removed.
/// 2. An unnamed element adopts the unclaimed status entry of its network that shows the addresses
///    that it asks for; else the k-th unnamed element of a network adopts the k-th unclaimed status
///    entry of that network,
/// 3. An unnamed element takes the unclaimed name of an element of `old` on its network: that one
///    was not plugged, and the edit corrects it.
/// 4. The lowest `netN` free in `list`, `old` and `status`.
pub fn fill_on_update(
    list: &SelectionList,
    old: Option<&SelectionList>,
    status: &[StatusEntry],
) -> Vec<Option<InterfaceName>> {
    let before: Vec<(&Selection, InterfaceName)> = old.map(|old| interfaces(old, status)).unwrap_or_default();
    let mut assigner = NameAssigner::of(list);
    assigner.assign(|element, free| {
        let mut same = before.iter().filter(|(old, _)| old.asks_as(element));
        same.find(|(_, name)| free(name)).map(|(_, name)| name.clone())
    });
    assigner.adopt(status);
    assigner.assign(|element, free| {
        let mut there = before.iter().filter(|(old, _)| old.network == element.network);
        there.find(|(_, name)| free(name)).map(|(_, name)| name.clone())
    });
    let NameAssigner {
        mut names, mut taken, ..
    } = assigner;
    taken.extend(old.into_iter().flat_map(named));
    taken.extend(
        status
            .iter()
            .filter_map(|entry| InterfaceName::parse(&entry.interface).ok()),
    );
    let unnamed: Vec<bool> = list
        .elements
        .iter()
        .map(|element| element.interface.is_none())
        .collect();
    assign_lowest(&mut names, &unnamed, 1, taken);
    names
}

/// The elements of a stored list with their interfaces: the name in the list, or the one that
/// network-status shows.
fn interfaces<'a>(list: &'a SelectionList, status: &[StatusEntry]) -> Vec<(&'a Selection, InterfaceName)> {
    let mut assigner = NameAssigner::of(list);
    assigner.adopt(status);
    let named = list.elements.iter().zip(assigner.names);
    named
        .filter_map(|(element, adopted)| Some((element, element.interface.clone().or(adopted)?)))
        .collect()
}

/// Collects names for the unnamed elements of a list.
struct NameAssigner<'a> {
    list: &'a SelectionList,
    names: Vec<Option<InterfaceName>>,
    taken: HashSet<InterfaceName>,
}

impl<'a> NameAssigner<'a> {
    fn of(list: &'a SelectionList) -> Self {
        Self {
            list,
            names: vec![None; list.elements.len()],
            taken: named(list),
        }
    }

    /// Assigns the interfaces of status entries: first to elements that ask for the address of one,
    /// then by their order.
    fn adopt(&mut self, status: &[StatusEntry]) {
        self.assign(|element, free| {
            let fits = |entry: &StatusEntry| shows_all_addresses(entry, element.attributes());
            adopted(element, status, fits, free)
        });
        self.assign(|element, free| adopted(element, status, |_| true, free));
    }

    /// Assigns the name that `choose` finds to each element without one. `choose` gets a
    /// function that says whether a name is free.
    fn assign(
        &mut self,
        choose: impl Fn(&Selection, &dyn Fn(&InterfaceName) -> bool) -> Option<InterfaceName>,
    ) {
        for (element, name) in self.list.elements.iter().zip(&mut self.names) {
            if element.interface.is_some() || name.is_some() {
                continue;
            }
            let free = |name: &InterfaceName| !self.taken.contains(name) && self.list.can_hold(name);
            *name = choose(element, &free);
            self.taken.extend(name.clone());
        }
    }
}

fn named(list: &SelectionList) -> HashSet<InterfaceName> {
    // The names of unnamed elements are added later.
    let mut names = HashSet::with_capacity(list.elements.len());
    names.extend(
        list.elements
            .iter()
            .filter_map(|element| element.interface.clone()),
    );
    names
}

/// Whether an entry shows every address that is asked for, and at least one is asked for.
fn shows_all_addresses(entry: &StatusEntry, asked: &Attributes) -> bool {
    let shows = |ip: &String| {
        let address = ip.split('/').next().and_then(parse_ip);
        address.is_some() && entry.ips.iter().any(|shown| parse_ip(shown) == address)
    };
    let mac = asked.mac.as_deref();
    let has_mac = mac.is_none_or(|mac| parse_mac(mac) == parse_mac(&entry.mac));
    (mac.is_some() || !asked.ips.is_empty()) && has_mac && asked.ips.iter().all(shows)
}

/// The interface of the first status entry of the element's network that `fits`, is free and can be
/// an element's interface. Any client with the right to edit the pod can write the annotation, so
/// its entries are checked.
fn adopted(
    element: &Selection,
    status: &[StatusEntry],
    fits: impl Fn(&StatusEntry) -> bool,
    free: &dyn Fn(&InterfaceName) -> bool,
) -> Option<InterfaceName> {
    let network = element.network.as_str();
    let is_reserved = |name: &str| name == "lo" || name == DEFAULT_INTERFACE;
    status
        .iter()
        .filter(|entry| !entry.default && entry.name == network && !is_reserved(&entry.interface))
        .filter(|entry| fits(entry))
        .filter_map(|entry| InterfaceName::parse(&entry.interface).ok())
        .find(free)
}

/// Assigns the lowest free `netN` from `first` on to each unnamed element without a name.
fn assign_lowest(
    names: &mut [Option<InterfaceName>],
    unnamed: &[bool],
    first: u32,
    mut taken: HashSet<InterfaceName>,
) {
    let mut number = first;
    for (name, unnamed) in names.iter_mut().zip(unnamed) {
        while *unnamed && name.is_none() {
            let candidate = InterfaceName::net(number);
            if taken.insert(candidate.clone()) {
                *name = Some(candidate);
            }
            // The list has far fewer than 2^32 elements, so a free number is found before it wraps.
            number = number.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
