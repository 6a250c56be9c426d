//! Files that the kubelet mounts from a ConfigMap.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// The API server takes no larger ConfigMap.
const MAX_BYTES: u64 = 1024 * 1024;

/// The text of a file that is no larger than a ConfigMap can be.
///
/// # Errors
/// It cannot be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_BYTES + 1);
    if file.read_to_string(&mut text)? as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB, the limit of a ConfigMap"));
    }
    Ok(text)
}
