//! What was there before: which element of the old list a new one continues, and whether it is plugged.

use std::collections::HashSet;

use super::{Operation, Subject};
use crate::{
    names::InterfaceName,
    naming::fill_on_update,
    selection::{Selection, SelectionList},
    status::StatusEntry,
};

/// What is known of an element from before.
#[derive(Clone, Copy, Default)]
pub(super) struct Previous<'a> {
    /// The old element that it continues: the same network under the same interface name, or without any in both. `None`: it is new.
    pub element: Option<&'a Selection>,
    /// network-status lists the attachment of that element.
    pub is_plugged: bool,
}

/// One entry for each element of the new list.
pub(super) fn of<'a>(subject: &Subject<'a>) -> Vec<Previous<'a>> {
    let Operation::Update {
        old: Some(old),
        status,
        ..
    } = &subject.operation
    else {
        return vec![Previous::default(); subject.list.elements.len()];
    };
    let old_names = names(old, None, status);
    let new_names = names(subject.list, Some(old), status);
    let plugged: HashSet<(&str, &str)> = status
        .iter()
        .filter(|entry| !entry.default)
        .map(|entry| (entry.name.as_str(), entry.interface.as_str()))
        .collect();
    let mut free: Vec<bool> = vec![true; old.elements.len()];
    let mut found: Vec<Option<&Selection>> = vec![None; subject.list.elements.len()];
    // Those that ask for the same first: of several unnamed elements of one network, what they ask for tells which one stayed.
    for only_same in [true, false] {
        let elements = subject.list.elements.iter().zip(&new_names).zip(&mut found);
        for ((element, name), found) in elements.filter(|(_, found)| found.is_none()) {
            let mut candidates = old.elements.iter().zip(&old_names).zip(&mut free);
            let continued = candidates.find(|((old, old_name), free)| {
                let both_unnamed = element.interface.is_none() && old.interface.is_none();
                let fits = old.network == element.network && (both_unnamed || *old_name == name);
                **free && fits && (!only_same || old.asks_as(element))
            });
            if let Some(((old, _), free)) = continued {
                *free = false;
                *found = Some(old);
            }
        }
    }
    let elements = subject.list.elements.iter().zip(&new_names).zip(found);
    elements
        .map(|((element, name), found)| {
            let interface = name.as_ref().map(InterfaceName::as_str).unwrap_or_default();
            Previous {
                element: found,
                is_plugged: found.is_some() && plugged.contains(&(element.network.as_str(), interface)),
            }
        })
        .collect()
}

/// The interface of each element: its own, or the one that the webhook would fill in.
fn names(
    list: &SelectionList,
    old: Option<&SelectionList>,
    status: &[StatusEntry],
) -> Vec<Option<InterfaceName>> {
    let filled = fill_on_update(list, old, status);
    list.elements
        .iter()
        .zip(filled)
        .map(|(element, filled)| element.interface.clone().or(filled))
        .collect()
}
