//! Reads small files whose directory other programs write, too: only regular files, never through a
//! symbolic link, and never more than a bound.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// A file that was read.
#[derive(Debug)]
pub struct RegularFile {
    /// What it holds.
    pub content: Vec<u8>,
    /// Its owner, mode and inode when it was opened.
    pub metadata: Metadata,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A symbolic link, a directory, a pipe, a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// Longer than the caller allows.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads `path`, at most `limit` bytes of it. `None`: no file has that name.
///
/// What is checked is what was opened: a file that is replaced by a link between a check of its
/// name and the open would be followed. Opening does not wait for the other end of a pipe.
///
/// # Errors
/// See [`FileError`].
pub fn read(path: &Path, limit: u64) -> Result<Option<RegularFile>, FileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        // A link, or a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(FileError::NotRegular),
        Err(error) => return Err(FileError::Io(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).map_or(true, |read| read > limit) {
        return Err(FileError::TooLong(limit));
    }
    Ok(Some(RegularFile { content, metadata }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
        process::Command,
    };

    use super::*;

    #[test]
    fn reads_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap().content, b"12345");
        assert!(matches!(read(&path, 4), Err(FileError::TooLong(4))));
    }

    #[test]
    fn a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("file"), 5).unwrap().is_none());
        assert!(read(&dir.path().join("dir/file"), 5).unwrap().is_none());
    }

    #[test]
    fn opens_neither_links_nor_pipes_nor_directories() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "1").unwrap();
        symlink(&target, dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
        let made = Command::new("mkfifo").arg(dir.path().join("pipe")).status();
        assert!(made.unwrap().success());
        for name in ["link", "dangling", "directory", "socket", "pipe"] {
            let found = read(&dir.path().join(name), 5);
            assert!(matches!(found, Err(FileError::NotRegular)), "{name}: {found:?}");
        }
    }
}
