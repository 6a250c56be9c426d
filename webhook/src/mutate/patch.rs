//! The JSON patch (RFC 6902): one operation, on the one annotation.

use std::sync::LazyLock;

use shared::annotations;

/// A patch that replaces the networks annotation, which the object is known to have. It carries no `test` of the old
/// value: the API server applies it to the very object that it sent.
pub(super) fn replace_networks(value: &str) -> Vec<u8> {
    static BEGIN: LazyLock<String> = LazyLock::new(|| {
        let key = annotations::NETWORKS.replace('~', "~0").replace('/', "~1");
        format!(r#"[{{"op":"replace","path":"/metadata/annotations/{key}","value":"#)
    });
    let begin = &*BEGIN;
    let mut patch = Vec::with_capacity(begin.len() + value.len() * 3 / 2 + 2 * CHUNK);
    patch.extend_from_slice(begin.as_bytes());
    push_string(&mut patch, value);
    patch.extend_from_slice(b"}]");
    patch
}

/// Bytes that are escaped at once.
const CHUNK: usize = 64;

/// How many backslashes go ahead of each byte.
const BACKSLASHES: [u8; 256] = {
    let mut backslashes = [0; 256];
    backslashes[b'"' as usize] = 1;
    backslashes[b'\\' as usize] = 1;
    backslashes
};

/// Writes `text` as a JSON string. A list is full of quotes, so that copying what is between two of them, as serde_json does, takes
/// several times as long; and where they are is hard to foresee, so that a branch per byte does, too.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Looked at as a whole, without an early end, many bytes at once.
    if text.bytes().fold(false, |found, byte| found | (byte < 0x20)) {
        text.bytes().for_each(|byte| push_byte(out, byte));
    } else {
        text.as_bytes()
            .chunks(CHUNK)
            .for_each(|chunk| push_chunk(out, chunk));
    }
    out.push(b'"');
}

/// Writes bytes without control characters.
fn push_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    let begin = out.len();
    // A place that is passed over keeps its backslash.
    out.extend_from_slice(&[b'\\'; 2 * CHUNK]);
    let mut length = 0;
    if let Some(places) = out.last_chunk_mut::<{ 2 * CHUNK }>() {
        for &byte in chunk {
            length += usize::from(BACKSLASHES.get(usize::from(byte)).copied().unwrap_or_default());
            if let Some(place) = places.get_mut(length % (2 * CHUNK)) {
                *place = byte;
            }
            length += 1;
        }
    }
    out.truncate(begin + length);
}

/// Writes any byte.
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
