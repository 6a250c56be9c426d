//! What was there before: which element of the old list a new one continues.

use super::{Operation, Subject};
use crate::{
    names::InterfaceName,
    naming::fill_on_update,
    selection::{Selection, SelectionList},
    status::StatusEntry,
};

/// For each element of the new list, the old element that it continues: the same network under the same interface name, or without
/// any in both. `None`: it is new.
pub(super) fn counterparts<'a>(subject: &Subject<'a>) -> Vec<Option<&'a Selection>> {
    let nothing = vec![None; subject.list.elements.len()];
    let Operation::Update {
        old: Some(old),
        status,
        ..
    } = &subject.operation
    else {
        return nothing;
    };
    let old_names = names(old, None, status);
    let new_names = names(subject.list, Some(old), status);
    let mut free: Vec<bool> = vec![true; old.elements.len()];
    let mut counterpart = |element: &Selection, name: &Option<InterfaceName>| {
        let mut candidates = old.elements.iter().zip(&old_names).zip(&mut free);
        let ((found, _), free) = candidates.find(|((old, old_name), free)| {
            let both_unnamed = element.interface.is_none() && old.interface.is_none();
            **free && old.network == element.network && (both_unnamed || *old_name == name)
        })?;
        *free = false;
        Some(found)
    };
    subject
        .list
        .elements
        .iter()
        .zip(&new_names)
        .map(|(element, name)| counterpart(element, name))
        .collect()
}

/// The interface of each element: its own, or the one that the webhook would fill in.
pub(super) fn names(
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
