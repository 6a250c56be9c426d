//! The JSON patch (RFC 6902): one operation, on the one annotation.

use json_patch::{Patch, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use shared::annotations;

/// A patch that replaces the networks annotation, which the object is known to have. It carries no `test` of the old
/// value: the API server applies it to the very object that it sent. `None` never happens: the patch is made of strings.
pub(super) fn replace_networks(value: &str) -> Option<Vec<u8>> {
    let patch = Patch(vec![PatchOperation::Replace(ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "annotations", annotations::NETWORKS]),
        value: value.into(),
    })]);
    serde_json::to_vec(&patch).ok()
}
