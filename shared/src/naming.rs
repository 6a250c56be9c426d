//! Who gets which `netN`: what multus does at pod start, and what the webhook fills in.

use std::collections::HashSet;

use crate::{
    names::InterfaceName,
    selection::{DEFAULT_INTERFACE, Selection, SelectionList},
    status::StatusEntry,
};

/// What multus would name each *unnamed* element at pod start: element i is `net{1+i+offset}`. `None` for named ones.
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

/// Names for the unnamed elements of a pod being created: what multus would name it when that is free, else the lowest free `netN`
/// behind those of multus' default networks (`net1` to `net<offset>`). `None` for elements that are named already.
pub fn fill_on_create(list: &SelectionList, offset: u32) -> Vec<Option<InterfaceName>> {
    let mut taken = named(list);
    let mut names = multus_names(list, offset);
    let unnamed: Vec<bool> = names.iter().map(Option::is_some).collect();
    for name in &mut names {
        if name
            .as_ref()
            .is_some_and(|name| !taken.insert(name.as_str().to_owned()))
        {
            *name = None;
        }
    }
    give_lowest(&mut names, &unnamed, offset.saturating_add(1), taken);
    names
}

/// Names for the unnamed elements of a pod that exists: first adopt what network-status shows (the k-th unnamed element of a network takes
/// the k-th unclaimed status entry of that network), else the lowest `netN` free in `list`, `old` and `status`.
/// `None` for elements that are named already.
pub fn fill_on_update(
    list: &SelectionList,
    old: Option<&SelectionList>,
    status: &[StatusEntry],
) -> Vec<Option<InterfaceName>> {
    let mut taken = named(list);
    let mut names = Vec::new();
    for element in &list.elements {
        let network = element.network.to_string();
        let adopted = (element.interface.is_none())
            .then(|| {
                status
                    .iter()
                    .find_map(|entry| adoptable(entry, &network, &taken, list))
            })
            .flatten();
        taken.extend(adopted.iter().map(InterfaceName::to_string));
        names.push(adopted);
    }
    taken.extend(old.into_iter().flat_map(named));
    taken.extend(status.iter().map(|entry| entry.interface.clone()));
    let unnamed: Vec<bool> = list
        .elements
        .iter()
        .map(|element| element.interface.is_none())
        .collect();
    give_lowest(&mut names, &unnamed, 1, taken);
    names
}

fn named(list: &SelectionList) -> HashSet<String> {
    list.elements
        .iter()
        .filter_map(|element| element.interface.as_ref())
        .map(InterfaceName::to_string)
        .collect()
}

/// The interface of a status entry, if it is of that network, claimed by no element, and can be an element's interface.
/// The annotation is written by anyone, so nothing about it is taken on trust.
fn adoptable(
    entry: &StatusEntry,
    network: &str,
    taken: &HashSet<String>,
    list: &SelectionList,
) -> Option<InterfaceName> {
    if entry.default || entry.name != network || taken.contains(&entry.interface) {
        return None;
    }
    let is_reserved = entry.interface == "lo" || entry.interface == DEFAULT_INTERFACE;
    InterfaceName::parse(&entry.interface)
        .ok()
        .filter(|name| !is_reserved && list.can_hold(name))
}

/// Gives the lowest free `netN` from `first` on to each unnamed element that has none yet.
fn give_lowest(
    names: &mut [Option<InterfaceName>],
    unnamed: &[bool],
    first: u32,
    mut taken: HashSet<String>,
) {
    let mut number = first;
    for (name, unnamed) in names.iter_mut().zip(unnamed) {
        while *unnamed && name.is_none() {
            let candidate = InterfaceName::net(number);
            if taken.insert(candidate.to_string()) {
                *name = Some(candidate);
            }
            // At the end of the numbers nothing is free below either: the list is far shorter than 2^32.
            number = number.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn list(annotation: &str) -> SelectionList {
        SelectionList::parse(Some(annotation), "default").unwrap()
    }

    fn filled(names: &[Option<InterfaceName>]) -> Vec<&str> {
        names
            .iter()
            .map(|name| name.as_ref().map_or("-", InterfaceName::as_str))
            .collect()
    }

    fn status(entries: &[(&str, &str)]) -> Vec<StatusEntry> {
        let entry = |(name, interface): &(&str, &str)| StatusEntry {
            name: (*name).to_owned(),
            interface: (*interface).to_owned(),
            ..StatusEntry::default()
        };
        entries.iter().map(entry).collect()
    }

    #[rstest]
    #[case("a,b@x,c", 0, &["net1", "-", "net3"])]
    #[case("a,b@x,c", 1, &["net2", "-", "net4"])]
    #[case("a", u32::MAX, &["net4294967295"])]
    fn multus_counts_named_elements_too(#[case] text: &str, #[case] offset: u32, #[case] names: &[&str]) {
        assert_eq!(filled(&multus_names(&list(text), offset)), names);
    }

    #[rstest]
    #[case("a,b,c", 0, &["net1", "net2", "net3"])]
    #[case("a,b@x,c", 0, &["net1", "-", "net3"])]
    #[case("a,b@net1", 0, &["net2", "-"])]
    #[case("a@net2,b", 0, &["-", "net1"])]
    #[case("a,b@net1,c", 0, &["net2", "-", "net3"])]
    #[case("a@net3,b,c", 0, &["-", "net2", "net1"])]
    #[case("a,b@net2", 1, &["net3", "-"])]
    fn on_create_gives_what_multus_would_or_the_lowest_free(
        #[case] text: &str,
        #[case] offset: u32,
        #[case] names: &[&str],
    ) {
        assert_eq!(filled(&fill_on_create(&list(text), offset)), names);
    }

    #[test]
    fn on_create_never_takes_the_names_of_multus_default_networks() {
        assert_eq!(filled(&fill_on_create(&list("a@net3,b"), 1)), ["-", "net2"]);
    }

    #[test]
    fn on_update_adopts_the_kth_status_entry_of_the_network() {
        let status = status(&[
            ("default/b", "net1"),
            ("default/a", "net7"),
            ("default/a", "net2"),
        ]);
        assert_eq!(
            filled(&fill_on_update(&list("a,b,a"), None, &status)),
            ["net7", "net1", "net2"]
        );
    }

    #[test]
    fn on_update_does_not_adopt_what_a_named_element_claims() {
        let status = status(&[("default/a", "net1"), ("default/a", "net2")]);
        assert_eq!(
            filled(&fill_on_update(&list("a,a@net1"), None, &status)),
            ["net2", "-"]
        );
    }

    #[test]
    fn on_update_avoids_the_names_of_the_list_the_old_list_and_the_status() {
        let old = list("a@net1,b@net2");
        let status = status(&[("default/z", "net3")]);
        assert_eq!(
            filled(&fill_on_update(&list("c,b@net4"), Some(&old), &status)),
            ["net5", "-"]
        );
    }

    #[rstest]
    #[case("eth0")]
    #[case("lo")]
    #[case("")]
    #[case("a/b")]
    #[case("a,b")]
    #[case("x@y")]
    fn a_forged_status_entry_is_not_adopted(#[case] interface: &str) {
        assert_eq!(
            filled(&fill_on_update(
                &list("a"),
                None,
                &status(&[("default/a", interface)])
            )),
            ["net1"]
        );
    }

    #[test]
    fn the_default_network_is_never_adopted() {
        let mut entries = status(&[("default/a", "net9")]);
        entries.iter_mut().for_each(|entry| entry.default = true);
        assert_eq!(filled(&fill_on_update(&list("a"), None, &entries)), ["net1"]);
    }

    proptest! {
        #[test]
        fn filling_names_every_element_once_and_only_once(
            items in prop::collection::vec(("[a-c]", prop::option::of(1u32..6)), 1..8),
            offset in 0u32..3,
        ) {
            let mut named = HashSet::new();
            let text: Vec<String> = items
                .iter()
                .map(|(name, number)| match number {
                    Some(number) if named.insert(*number) => format!("{name}@net{number}"),
                    _ => name.clone(),
                })
                .collect();
            let before = list(&text.join(","));
            for names in [fill_on_create(&before, offset), fill_on_update(&before, None, &[])] {
                let after = list(&before.with_interfaces(&names));
                prop_assert!(after.elements.iter().all(|element| element.interface.is_some()));
                prop_assert_eq!(after.with_interfaces(&fill_on_create(&after, offset)), after.source());
                for (before, after) in before.elements.iter().zip(&after.elements) {
                    prop_assert!(before.interface.is_none() || before.interface == after.interface);
                    prop_assert_eq!(&before.network, &after.network);
                }
            }
        }
    }
}
