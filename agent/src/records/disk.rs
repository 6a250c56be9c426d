//! Files that survive a crash: written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::RecordsError;
use crate::regular_file::{self, FileError};

/// The format's version. Fields may be added without a new one; whatever a reader must understand needs a new one.
const VERSION: u64 = 1;
/// A CNI config and a result of ordinary size have some kilobytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How temporary files begin. What a crash leaves of them has never been a record.
const TEMPORARY_PREFIX: &str = ".temporary-record-";

/// Why a file is no record.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It cannot be read now.
    Io(RecordsError),
    /// It never will be.
    Unreadable(String),
}

/// Replaces `path` with `record`, durably: the old content is there until the new one is complete.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), RecordsError> {
    let failed = |source| failure("writing", path, source);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let content = encode(record).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(&content)
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_dir(dir)
}

/// Removes `path`, durably. One that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), RecordsError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure("removing", path, error)),
    }
}

/// Creates a directory that only root can read, and its parents, durably.
pub(super) fn create_dir(dir: &Path) -> Result<(), RecordsError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failure("creating", dir, error))?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), RecordsError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| failure("syncing", dir, error))
}

/// Reads one record.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    match regular_file::read(path, MAX_FILE_BYTES) {
        Ok(Some(file)) => decode(&file.content).map_err(ReadError::Unreadable),
        Ok(None) => Err(ReadError::Io(failure(
            "reading",
            path,
            ErrorKind::NotFound.into(),
        ))),
        Err(FileError::Io(error)) => Err(ReadError::Io(failure("reading", path, error))),
        Err(error) => Err(ReadError::Unreadable(error.to_string())),
    }
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

fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    let mut record: Map<String, Value> =
        serde_json::from_slice(content).map_err(|error| error.to_string())?;
    match record.remove("version") {
        Some(version) if version.as_u64() == Some(VERSION) => {
            serde_json::from_value(Value::Object(record)).map_err(|error| error.to_string())
        }
        Some(version) => Err(format!(
            "its version is {version}, and this agent reads version {VERSION}"
        )),
        None => Err("it has no version".to_owned()),
    }
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
