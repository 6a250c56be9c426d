//! The JSON patch (RFC 6902): one operation, on the one annotation.

use std::sync::LazyLock;

use shared::{annotations, json};

/// A patch that replaces the networks annotation, which the object is known to have. It carries no `test` of the old
/// value: the API server applies it to the very object that it sent.
pub(super) fn replace_networks(value: &str) -> Vec<u8> {
    static BEGIN: LazyLock<String> = LazyLock::new(|| {
        let key = annotations::NETWORKS.replace('~', "~0").replace('/', "~1");
        format!(r#"[{{"op":"replace","path":"/metadata/annotations/{key}","value":"#)
    });
    let begin = &*BEGIN;
    // A list has about as many quotes as would make it half as long again.
    let mut patch = Vec::with_capacity(begin.len() + value.len() * 3 / 2 + 256);
    patch.extend_from_slice(begin.as_bytes());
    json::push_string(&mut patch, value);
    patch.extend_from_slice(b"}]");
    patch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn a_patch_is_json_that_carries_the_annotation_as_it_is(annotation in "(\\PC|[\"\\\\\\x00-\\x20\\x7f]){0,300}") {
            let patch: Value = serde_json::from_slice(&replace_networks(&annotation)).unwrap();
            let path = "/metadata/annotations/k8s.v1.cni.cncf.io~1networks";
            prop_assert_eq!(patch, json!([{"op": "replace", "path": path, "value": annotation}]));
        }
    }
}
