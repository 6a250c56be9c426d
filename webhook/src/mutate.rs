//! Filling in: which interface names the webhook writes into a networks annotation, as the smallest possible patch.

mod patch;

use shared::{
    config::{Config, InterfaceNames},
    naming,
    selection::SelectionList,
    status,
};

use crate::review::Change;

/// The JSON patch that fills in missing interface names; `None` when there is nothing to do.
pub fn fill(change: &Change<'_>, mode: InterfaceNames, config: &Config) -> Option<Vec<u8>> {
    filled(change, mode, config).map(|filled| patch::replace_networks(&filled))
}

/// The networks annotation with missing interface names filled in; `None` when there is nothing to do.
///
/// An annotation that cannot be read passes as it is: the validating webhook, which always runs after this one, refuses
/// it with every reason at once.
pub fn filled(change: &Change<'_>, mode: InterfaceNames, config: &Config) -> Option<String> {
    if mode != InterfaceNames::Fill || change.pod.is_virt_launcher() {
        return None;
    }
    let list = SelectionList::parse(Some(change.annotation), change.namespace).ok()?;
    let filled = list.with_interfaces(&names(change, &list, config));
    (filled != change.annotation).then_some(filled)
}

/// The names that the unnamed elements of `list` get: by position when the pod is new, else after what it has.
fn names(
    change: &Change<'_>,
    list: &SelectionList,
    config: &Config,
) -> Vec<Option<shared::names::InterfaceName>> {
    let Some(old) = change.old else {
        return naming::fill_on_create(list, config.offset_in(change.namespace));
    };
    let old_list = SelectionList::parse(old.networks(), change.namespace).ok();
    naming::fill_on_update(list, old_list.as_ref(), &status::read(old.network_status()))
}

#[cfg(test)]
mod tests;
