//! Temporary files that a crash left.
//!
//! A name tells what the file was made for: the sandbox, and digests of the old and of the new text.
//! Where the file holds one of the two, nothing of others is in it alone. Otherwise the crash came
//! between an exchange and its check: the file holds what another program wrote, and goes back.

use std::{fs, path::Path};

use super::{
    DelegateFileError,
    exchange::{self, NoSteps},
};
use agent_core::identity::SandboxId;

/// multus takes no file for a sandbox's whose name begins with a dot, nor does a person's `ls`.
const PREFIX: &str = ".dynamic-networks-delegates.";

/// How the name of a temporary file begins.
pub(super) fn prefix(sandbox: &SandboxId, old: &[u8], new: &[u8]) -> String {
    format!("{PREFIX}{sandbox}.{:016x}.{:016x}.", digest(old), digest(new))
}

/// What a name tells: sandbox, digest of the old text, digest of the new one.
fn parse(name: &str) -> Option<(SandboxId, u64, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('.');
    let sandbox = SandboxId::parse(parts.next()?).ok()?;
    let mut digest = || u64::from_str_radix(parts.next()?, 16).ok();
    Some((sandbox, digest()?, digest()?))
}

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

/// FNV-1a: enough to tell two texts apart that no program makes alike on purpose, and the same in every
/// build.
fn digest(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
