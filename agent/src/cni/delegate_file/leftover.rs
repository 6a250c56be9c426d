//! Temporary files that a crash left.
//!
//! Where such a file holds one of the two texts that its name tells, nothing of others is in it
//! alone. Otherwise the crash came between an exchange and its check: the file holds what another
//! program wrote, and goes back.

use std::{fs, path::Path};

use super::{
    DelegateFileError,
    exchange::{self, NoSteps},
    temporary_name::{digest, parse},
};

/// Finishes what a crash interrupted: removes our temporary files from `dir`, and puts back what
/// they hold of others. Returns how many there were. Waits for the disk.
///
/// # Errors
/// The first one; the other files are finished all the same. See [`DelegateFileError`].
pub fn sweep(dir: &Path) -> Result<usize, DelegateFileError> {
    let failed = |error| DelegateFileError::io("reading", dir, error);
    let mut finished = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some((sandbox, old, new)) = name.to_str().and_then(parse) {
            let path = dir.join(sandbox.as_str());
            finished.push(finish(&dir.join(&name), &path, old, new));
        }
    }
    let count = finished.len();
    finished.into_iter().collect::<Result<(), _>>().map(|()| count)
}

fn finish(temporary: &Path, path: &Path, old: u64, new: u64) -> Result<(), DelegateFileError> {
    let Some(held) = exchange::read(temporary)? else {
        return Ok(());
    };
    if [old, new].contains(&digest(&held.content)) {
        return exchange::discard(temporary);
    }
    match exchange::read(path)? {
        // Ours displaced it, and no program has written since.
        Some(there) if digest(&there.content) == new => {
            exchange::settle(temporary, path, there.content, held.content, &mut NoSteps).map(drop)
        }
        _ => exchange::discard(temporary),
    }
}
