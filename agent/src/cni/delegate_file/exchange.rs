//! Replaces a delegate file by a changed one.
//!
//! # Flow
//! Read the file; write the changed text to a temporary file beside it; exchange the two names;
//! read what was displaced. If that is what was read, it is removed, and the change is done. If
//! not, another program replaced the file in between: the displaced content goes back by another
//! exchange, which is checked in the same way, and the change begins again with a new read.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

use super::{DelegateFileError, Outcome, list::List, temporary_name};
use crate::{
    cni::cache::MAX_FILE_BYTES,
    disk::regular_file::{self, FileError, RegularFile},
};
use agent_core::identity::SandboxId;

/// How often a change begins again, and how often contents are put back: nothing but multus writes
/// these files, and it writes each one once.
const TRIES: u32 = 8;

/// Places between two system calls, at which a test does what another program could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Written,
    Exchanged,
    Compared,
    Removed,
}

/// What happens at a [`Step`].
pub(super) trait Steps {
    /// An error is a crash: nothing else is done.
    fn at(&mut self, step: Step) -> Result<(), DelegateFileError>;
}

/// Nothing happens.
pub(super) struct NoSteps;

impl Steps for NoSteps {
    fn at(&mut self, _: Step) -> Result<(), DelegateFileError> {
        Ok(())
    }
}

/// Changes the file of `sandbox`; `edit` gives the new text, or `None` when nothing is to change.
pub(super) fn update(
    dir: &Path,
    sandbox: &SandboxId,
    edit: impl Fn(&Path, &List<'_>) -> Result<Option<String>, DelegateFileError>,
    steps: &mut dyn Steps,
) -> Result<Outcome, DelegateFileError> {
    let path = dir.join(sandbox.as_str());
    for _ in 0..TRIES {
        let Some(old) = read(&path)? else {
            // Only a directory that can be read has no file.
            let listed = fs::read_dir(dir).map(drop);
            return listed
                .map(|()| Outcome::Absent)
                .map_err(|error| DelegateFileError::io("reading", dir, error));
        };
        steps.at(Step::Read)?;
        let list = List::parse(&old.content).map_err(|reason| malformed(&path, reason))?;
        let Some(new) = edit(&path, &list)? else {
            return Ok(Outcome::Unchanged);
        };
        if u64::try_from(new.len()).map_or(true, |length| length > MAX_FILE_BYTES) {
            return Err(DelegateFileError::TooLong(path));
        }
        let temporary = write_beside(dir, sandbox, &old, new.as_bytes())?;
        steps.at(Step::Written)?;
        match settle(&temporary, &path, old.content, new.into_bytes(), steps)? {
            Settled::InPlace if path.symlink_metadata().is_ok() => return Ok(Outcome::Written),
            Settled::InPlace | Settled::Gone => return Ok(Outcome::Absent),
            Settled::PutBack => {}
        }
    }
    Err(DelegateFileError::Contended(path))
}

/// How exchanges ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The first one displaced what was expected.
    InPlace,
    /// What others wrote is in the file again.
    PutBack,
    /// One of the two files is gone, so there is nothing to change.
    Gone,
}

/// Exchanges `temporary`, which holds `given`, with `path`, until the displaced content is what was
/// expected there: `there` at first, then what the exchange before put there. Removes it.
///
/// After each exchange the displaced content is the newest that another program wrote, so it is
/// never removed unless it is what this function knows already.
pub(super) fn settle(
    temporary: &Path,
    path: &Path,
    there: Vec<u8>,
    given: Vec<u8>,
    steps: &mut dyn Steps,
) -> Result<Settled, DelegateFileError> {
    let (mut expected, mut given) = (there, given);
    for round in 0..TRIES {
        match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => {
                discard(temporary)?;
                return Ok(Settled::Gone);
            }
            Err(error) => {
                // Before the first exchange the temporary file holds nothing of others.
                if round == 0 {
                    discard(temporary)?;
                }
                return Err(not_exchanged(path, error));
            }
        }
        steps.at(Step::Exchanged)?;
        // What is no longer a readable file is not what was expected either.
        let displaced = read(temporary).ok().flatten().map(|file| file.content);
        steps.at(Step::Compared)?;
        if displaced.as_ref() == Some(&expected) {
            discard(temporary)?;
            steps.at(Step::Removed)?;
            return Ok(if round == 0 {
                Settled::InPlace
            } else {
                Settled::PutBack
            });
        }
        expected = std::mem::replace(&mut given, displaced.unwrap_or_default());
    }
    Err(DelegateFileError::Contended(path.to_owned()))
}

fn not_exchanged(path: &Path, error: Errno) -> DelegateFileError {
    match error {
        // The file system; the kernel; a file system in user space.
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => DelegateFileError::Unsupported(path.to_owned()),
        error => DelegateFileError::io("exchanging", path, error),
    }
}

/// Reads a delegate file, or one that was.
pub(super) fn read(path: &Path) -> Result<Option<RegularFile>, DelegateFileError> {
    regular_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        FileError::Io(error) => DelegateFileError::io("reading", path, error),
        error => malformed(path, error.to_string()),
    })
}

/// A new file with `new` in it, readable by the owner of `old` only.
fn write_beside(
    dir: &Path,
    sandbox: &SandboxId,
    old: &RegularFile,
    new: &[u8],
) -> Result<PathBuf, DelegateFileError> {
    let failed = |error| DelegateFileError::io("writing a temporary file in", dir, error);
    let mut file = tempfile::Builder::new()
        .prefix(&temporary_name::prefix(sandbox, &old.content, new))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(new).map_err(failed)?;
    let made = file.as_file().metadata().map_err(failed)?;
    if (made.uid(), made.gid()) != (old.metadata.uid(), old.metadata.gid()) {
        let owner = (Some(old.metadata.uid()), Some(old.metadata.gid()));
        fchown(file.as_file(), owner.0, owner.1).map_err(failed)?;
    }
    let (_, path) = file.keep().map_err(|error| failed(error.error))?;
    Ok(path)
}

/// Removes a temporary file; one that is gone is fine.
pub(super) fn discard(temporary: &Path) -> Result<(), DelegateFileError> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DelegateFileError::io("removing", temporary, error))
        }
        _ => Ok(()),
    }
}

fn malformed(path: &Path, reason: String) -> DelegateFileError {
    DelegateFileError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_exchange_is_told_apart() {
        let refused = |error| not_exchanged(Path::new("/multus/5a9d"), error);
        for error in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
            assert!(matches!(refused(error), DelegateFileError::Unsupported(_)));
        }
        assert!(matches!(refused(Errno::ROFS), DelegateFileError::Io { .. }));
    }
}
