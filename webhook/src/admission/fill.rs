//! Fills in interface names: which names the webhook writes into a networks annotation, as a JSON
//! patch of this annotation only.

use json_patch::{Patch, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use shared::{
    annotations,
    config::{Config, InterfaceNames},
    history::History,
    names::InterfaceName,
    naming,
    selection::SelectionList,
    status,
};

use crate::admission::review::Change;

/// The longest patch: 256 KiB in base64. Only a list that consists of control characters needs
/// more.
const MAX_PATCH: usize = 192 * 1024;

/// For each element the name that is filled in, if any.
type Names = Vec<Option<InterfaceName>>;

/// The result of filling in.
pub struct Filled {
    /// The JSON patch (RFC 6902), serialised.
    pub patch: Vec<u8>,
    /// The names, in the order of the list, comma-separated.
    pub names: String,
}

/// The JSON patch that fills in missing interface names; `None` when there is nothing to do, or the
/// patch would be too long.
pub fn fill(change: &Change<'_>, mode: InterfaceNames, config: &Config) -> Option<Filled> {
    let (list, names) = missing(change, mode, config)?;
    let patch = serde_json::to_vec(&replace_networks(list.with_interfaces(&names))).ok()?;
    if patch.len() > MAX_PATCH {
        return None;
    }
    let names: Vec<&str> = names.iter().flatten().map(InterfaceName::as_str).collect();
    Some(Filled {
        patch,
        names: names.join(","),
    })
}

/// One operation on this annotation, which the object is known to have. There is no `test` of
/// the old value: the API server applies the patch to the very object that it sent.
fn replace_networks(annotation: String) -> Patch {
    let replace = ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "annotations", annotations::NETWORKS]),
        value: annotation.into(),
    };
    Patch(vec![PatchOperation::Replace(replace)])
}

/// The networks annotation with missing interface names filled in; `None` when there is nothing to
/// do.
pub fn filled(change: &Change<'_>, mode: InterfaceNames, config: &Config) -> Option<String> {
    let (list, names) = missing(change, mode, config)?;
    Some(list.with_interfaces(&names))
}

/// The list, and the names that are to be written into it.
///
/// An unreadable annotation passes unchanged: the validating webhook, which always runs later,
/// refuses it with every reason at once.
fn missing(change: &Change<'_>, mode: InterfaceNames, config: &Config) -> Option<(SelectionList, Names)> {
    if mode != InterfaceNames::Fill || change.pod.is_virt_launcher() {
        return None;
    }
    let list = SelectionList::parse(Some(change.annotation), change.namespace).ok()?;
    let names = names(change, &list, config);
    list.takes_any(&names).then_some((list, names))
}

/// The names for the unnamed elements of `list`: by position before the pod has started, else by
/// its interfaces.
fn names(change: &Change<'_>, list: &SelectionList, config: &Config) -> Names {
    let Some(old) = change.old else {
        return naming::fill_on_create(list, config.offset_in(change.namespace));
    };
    let old_list = SelectionList::parse(old.networks(), change.namespace).ok();
    let history = History {
        old: old_list.as_ref(),
        status: &status::read(old.network_status()),
    };
    history.names(list, config.offset_in(change.namespace))
}

#[cfg(test)]
mod tests;
