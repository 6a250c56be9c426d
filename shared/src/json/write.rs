//! Writing a JSON string.

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
// Inlined into a crate that is built small, it would be built small.
#[inline(never)]
pub fn push_string(out: &mut Vec<u8>, text: &str) {
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
