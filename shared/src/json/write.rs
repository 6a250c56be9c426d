//! Writing the inside of a JSON string.

/// Bytes that are escaped at once.
const CHUNK: usize = 64;

/// Marks a byte that takes more than a backslash.
const CONTROL: u8 = 0x80;

/// How many backslashes go ahead of each byte, or [`CONTROL`].
const BACKSLASHES: [u8; 256] = {
    let mut backslashes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        backslashes[control] = CONTROL;
        control += 1;
    }
    backslashes[b'"' as usize] = 1;
    backslashes[b'\\' as usize] = 1;
    backslashes
};

/// Where a text goes, piece by piece.
pub(crate) trait Sink {
    /// The next piece.
    fn text(&mut self, piece: &str);

    /// `,"interface":"net1"`: the piece that is written most. The name needs no escape.
    fn interface(&mut self, name: &str) {
        [",\"interface\":\"", name, "\""]
            .iter()
            .for_each(|piece| self.text(piece));
    }
}

impl Sink for String {
    fn text(&mut self, piece: &str) {
        self.push_str(piece);
    }
}

/// The inside of a JSON string. A list is full of quotes, so that copying what is between two of them, as serde_json does, takes
/// several times as long; and where they are is hard to foresee, so that a branch per byte does, too.
#[derive(Debug)]
pub(crate) struct Quoted<'a>(pub &'a mut Vec<u8>);

impl Sink for Quoted<'_> {
    fn text(&mut self, piece: &str) {
        for chunk in piece.as_bytes().chunks(CHUNK) {
            let begin = self.0.len();
            if push_chunk(self.0, chunk) == CONTROL {
                self.0.truncate(begin);
                chunk.iter().for_each(|byte| push_byte(self.0, *byte));
            }
        }
    }

    fn interface(&mut self, name: &str) {
        self.0.extend_from_slice(br#",\"interface\":\""#);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(br#"\""#);
    }
}

/// Writes bytes if there is no control character among them; else the answer is [`CONTROL`].
fn push_chunk(out: &mut Vec<u8>, chunk: &[u8]) -> u8 {
    let begin = out.len();
    // A place that is passed over keeps its backslash.
    out.extend_from_slice(&[b'\\'; 2 * CHUNK]);
    let (mut length, mut seen) = (0, 0);
    if let Some(places) = out.last_chunk_mut::<{ 2 * CHUNK }>() {
        for &byte in chunk {
            let backslashes = BACKSLASHES.get(usize::from(byte)).copied().unwrap_or_default();
            seen |= backslashes;
            length += usize::from(backslashes);
            if let Some(place) = places.get_mut(length % (2 * CHUNK)) {
                *place = byte;
            }
            length += 1;
        }
    }
    out.truncate(begin + length);
    seen & CONTROL
}

/// Writes any byte.
fn push_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        _ => out.push(byte),
    }
}
