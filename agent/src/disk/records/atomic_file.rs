//! Files that are written whole or not at all.

use std::{
    fs::{self, DirEntry, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::RecordsError;
use crate::disk::regular_file::{self, FileError};

/// The format's version. Fields may be added without a new one; whatever a reader must understand
/// needs a new one.
const VERSION: u64 = 1;
/// A CNI config and a result of ordinary size have some kilobytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How temporary files begin.
const TEMPORARY_PREFIX: &str = ".temporary-record-";
/// No random part of a temporary name has a hyphen.
const FLUSHED_PREFIX: &str = ".temporary-record-flushed-";

/// What a written record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power loss. Only the intent before an ADD needs it: see the module's text.
    Power,
    /// The end of the agent's process, also by SIGKILL.
    Process,
}

/// Why a file is no record.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It cannot be read now.
    Io(RecordsError),
    /// A newer agent wrote it, in the format of this version.
    Newer(u64),
    /// It never can be read.
    Unreadable(String),
}

/// Replaces `path` with `record` as a whole.
pub(super) fn write<T: Serialize>(
    path: &Path,
    record: &T,
    durability: Durability,
) -> Result<(), RecordsError> {
    let failed = |source| failure("writing", path, source);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let content = encode(record).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(&content).map_err(failed)?;
    if durability == Durability::Power {
        counted(file.as_file().sync_data()).map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Keeps what `path` holds under a second name, before it is replaced without a flush. The first
/// content that was kept stays.
pub(super) fn keep_flushed(path: &Path) {
    // Without hard links, and without a record to keep, there is no second name: the record is then
    // as safe as the file system makes it.
    let _ = fs::hard_link(path, flushed_copy(path));
}

/// The second name of the record `path`. It begins like a temporary file's, because readers of
/// before remove those.
pub(super) fn flushed_copy(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{FLUSHED_PREFIX}{name}"))
}

/// Whether `path` is such a second name.
pub(super) fn is_flushed_copy(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(FLUSHED_PREFIX))
}

/// Removes `path`. One that is missing is fine.
pub(super) fn remove(path: &Path) -> Result<(), RecordsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failure("removing", path, error)),
        _ => Ok(()),
    }
}

/// Creates a directory that only root can read, and its parents; whether it was missing.
pub(super) fn create_dir(dir: &Path) -> Result<bool, RecordsError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(false);
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failure("creating", dir, error))?;
    Ok(true)
}

/// Makes the names in a directory durable.
pub(super) fn flush_dir(dir: &Path) -> Result<(), RecordsError> {
    File::open(dir)
        .and_then(|dir| counted(dir.sync_all()))
        .map_err(|error| failure("flushing", dir, error))
}

/// Names and paths in a directory, sorted.
pub(super) fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, RecordsError> {
    let named = |entry: io::Result<DirEntry>| {
        entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let listed: io::Result<Vec<_>> = fs::read_dir(dir).and_then(|entries| entries.map(named).collect());
    let mut listed = listed.map_err(|error| failure("reading", dir, error))?;
    listed.sort();
    Ok(listed)
}

/// Reads one record.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    match regular_file::read(path, MAX_FILE_BYTES) {
        Ok(Some(file)) => decode(&file.content),
        Ok(None) => Err(ReadError::Io(failure(
            "reading",
            path,
            ErrorKind::NotFound.into(),
        ))),
        Err(FileError::Io(error)) => Err(ReadError::Io(failure("reading", path, error))),
        Err(error) => Err(ReadError::Unreadable(error.to_string())),
    }
}

/// Whether a file is empty or all zeros: what a power loss leaves of content that was not flushed.
pub(super) fn is_emptied(path: &Path) -> bool {
    let file = regular_file::read(path, MAX_FILE_BYTES);
    matches!(file, Ok(Some(file)) if file.content.iter().all(|&byte| byte == 0))
}

/// Whether a file is what a crash in [`write`] leaves.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

/// Sorts out the errors that an administrator can mend.
pub(super) fn failure(doing: &'static str, path: &Path, source: io::Error) -> RecordsError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RecordsError::Full(path),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            RecordsError::Forbidden { path, source }
        }
        _ => RecordsError::Io { doing, path, source },
    }
}

fn encode<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    let mut fields = Map::new();
    fields.insert("version".to_owned(), VERSION.into());
    if let Value::Object(record) = serde_json::to_value(record)? {
        fields.extend(record);
    }
    let mut content = serde_json::to_vec_pretty(&fields)?;
    content.push(b'\n');
    Ok(content)
}

fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, ReadError> {
    let unreadable = |error: serde_json::Error| ReadError::Unreadable(error.to_string());
    let mut record: Map<String, Value> = serde_json::from_slice(content).map_err(unreadable)?;
    let Some(version) = record.remove("version") else {
        return Err(ReadError::Unreadable("it has no version".to_owned()));
    };
    match version.as_u64() {
        Some(VERSION) => serde_json::from_value(Value::Object(record)).map_err(unreadable),
        Some(newer) if newer > VERSION => Err(ReadError::Newer(newer)),
        _ => Err(ReadError::Unreadable(format!(
            "its version is {version}, and this agent reads version {VERSION}"
        ))),
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread waited for the disk.
    pub(super) static FLUSHES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn counted(flushed: io::Result<()>) -> io::Result<()> {
    #[cfg(test)]
    FLUSHES.set(FLUSHES.get() + 1);
    flushed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_can_mend_is_told_apart() {
        let failed = |kind: ErrorKind| failure("writing", Path::new("/state/x"), kind.into());
        assert!(matches!(failed(ErrorKind::StorageFull), RecordsError::Full(_)));
        assert!(matches!(failed(ErrorKind::QuotaExceeded), RecordsError::Full(_)));
        assert!(matches!(
            failed(ErrorKind::ReadOnlyFilesystem),
            RecordsError::Forbidden { .. }
        ));
        assert!(matches!(
            failed(ErrorKind::PermissionDenied),
            RecordsError::Forbidden { .. }
        ));
        assert!(matches!(failed(ErrorKind::Interrupted), RecordsError::Io { .. }));
        // The kernel's own full device.
        let full = fs::write("/dev/full", "x").unwrap_err();
        assert!(matches!(
            failure("writing", Path::new("/dev/full"), full),
            RecordsError::Full(_)
        ));
    }
}
