//! The JSON patch (RFC 6902): one operation, on the one annotation.

use std::sync::LazyLock;

use shared::{annotations, names::InterfaceName, selection::SelectionList};

/// A patch that writes `names` into the networks annotation, which the object is known to have. It carries no `test` of the old
/// value: the API server applies it to the very object that it sent.
pub(super) fn fill_networks(list: &SelectionList, names: &[Option<InterfaceName>]) -> Vec<u8> {
    static BEGIN: LazyLock<String> = LazyLock::new(|| {
        let key = annotations::NETWORKS.replace('~', "~0").replace('/', "~1");
        format!(r#"[{{"op":"replace","path":"/metadata/annotations/{key}","value":""#)
    });
    let begin = &*BEGIN;
    let mut patch = begin.as_bytes().to_vec();
    list.push_quoted(names, &mut patch);
    patch.extend_from_slice(br#""}]"#);
    patch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn a_patch_is_json_that_carries_the_annotation_as_it_is(unknown in "(\\PC|[\"\\\\\\x00-\\x20\\x7f]){0,300}") {
            let annotation = json!([{"unknown": unknown, "name": "a"}]).to_string();
            let list = SelectionList::parse(Some(&annotation), "x").unwrap();
            let names = [Some(InterfaceName::net(7))];
            let patch: Value = serde_json::from_slice(&fill_networks(&list, &names)).unwrap();
            let path = "/metadata/annotations/k8s.v1.cni.cncf.io~1networks";
            prop_assert_eq!(patch, json!([{"op": "replace", "path": path, "value": list.with_interfaces(&names)}]));
        }
    }
}
