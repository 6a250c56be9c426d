//! The JSON patch (RFC 6902): one operation, on the one annotation.

use shared::annotations;

/// A patch that replaces the networks annotation, which the object is known to have. It carries no `test` of the old
/// value: the API server applies it to the very object that it sent.
pub(super) fn replace_networks(value: &str) -> Vec<u8> {
    let key = annotations::NETWORKS.replace('~', "~0").replace('/', "~1");
    let begin = format!(r#"[{{"op":"replace","path":"/metadata/annotations/{key}","value":"#);
    // A list has about as many quotes as would make it half as long again.
    let mut patch = Vec::with_capacity(begin.len() + value.len() * 3 / 2);
    patch.extend_from_slice(begin.as_bytes());
    push_string(&mut patch, value);
    patch.extend_from_slice(b"}]");
    patch
}

/// Bytes that are escaped at once.
const CHUNK: usize = 256;

/// Writes `text` as a JSON string. A list is full of quotes, so that copying what is between two of them, as serde_json does, takes
/// several times as long; and where they are is hard to foresee, so that a branch per byte does, too.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for chunk in text.as_bytes().chunks(CHUNK) {
        // Looked at as a whole, without an early end, many bytes at once.
        if chunk.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            chunk.iter().for_each(|byte| push_byte(out, *byte));
            continue;
        }
        // A place that is passed over keeps its backslash.
        let (mut escaped, mut length) = ([b'\\'; 2 * CHUNK], 0);
        for &byte in chunk {
            length += usize::from(matches!(byte, b'"' | b'\\'));
            if let Some(place) = escaped.get_mut(length) {
                *place = byte;
            }
            length += 1;
        }
        out.extend_from_slice(escaped.get(..length).unwrap_or_default());
    }
    out.push(b'"');
}

/// Writes a byte of a chunk with a control character.
fn push_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        _ => out.push(byte),
    }
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
