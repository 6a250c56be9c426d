//! Reads what multus and libcni keep on the node: which networks a sandbox got at its start, and each attachment's config and
//! result. Never writes.

mod delegates;
mod entries;

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use shared::names::InterfaceName;

use crate::{
    identity::SandboxId,
    regular_file::{self, FileError},
};
pub use delegates::Delegate;
pub use entries::Entry;

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// multus' data directory (`/var/lib/cni/multus`).
#[derive(Clone, Debug)]
pub struct CniCache {
    dir: PathBuf,
}

/// What could not be read. Unknown is not empty: nobody may conclude from an error that there is nothing.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory is missing or cannot be read.
    #[error("the CNI data directory {} cannot be read: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what multus or libcni writes.
    #[error("{} is damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl CniCache {
    /// The cache in `dir`; nothing is read yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Whether the directory can be read at all: a readiness question.
    ///
    /// # Errors
    /// [`CacheError::Directory`]
    pub fn check(&self) -> Result<(), CacheError> {
        list(&self.dir).map(drop)
    }

    /// What multus attached when the sandbox started, in `net<k>` order, the default network first. `None`: multus keeps no file
    /// for this sandbox (torn down, or not attached by multus).
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError> {
        let path = self.dir.join(sandbox.as_str());
        let Some(file) = read(&path)? else {
            // Only a directory that can be read has no file.
            return self.check().map(|()| None);
        };
        delegates::parse(&file)
            .map(Some)
            .map_err(|reason| CacheError::Corrupt { path, reason })
    }

    /// libcni's entry for one attachment; `config_name` is the `name` of the CNI configuration. `None`: no ADD answered yet, or
    /// a DEL did.
    ///
    /// # Errors
    /// See [`CacheError`]. libcni does not write atomically: a damaged file may be whole a moment later.
    pub fn entry(
        &self,
        config_name: &str,
        sandbox: &SandboxId,
        interface: &InterfaceName,
    ) -> Result<Option<Entry>, CacheError> {
        // libcni adds nothing under another kind of name, and the name becomes a path.
        if !is_config_name(config_name) {
            return Ok(None);
        }
        let path = self
            .dir
            .join("results")
            .join(format!("{config_name}-{sandbox}-{interface}"));
        let Some(file) = read(&path)? else {
            return self.check().map(|()| None);
        };
        let entry = entries::parse(&file);
        let entry = entry.map_err(|reason| CacheError::Corrupt {
            path: path.clone(),
            reason,
        })?;
        match entry {
            Some(entry) if entry.sandbox != *sandbox || entry.interface != *interface => {
                Err(CacheError::Corrupt {
                    path,
                    reason: "it is about another attachment than its name".to_owned(),
                })
            }
            entry => Ok(entry),
        }
    }

    /// All of libcni's entries of one sandbox, whatever their config's name.
    ///
    /// # Errors
    /// See [`CacheError`]; a damaged entry of this sandbox is one too (see [`Self::entry`]).
    pub fn entries(&self, sandbox: &SandboxId) -> Result<Vec<Entry>, CacheError> {
        self.check()?;
        let results = self.dir.join("results");
        if results
            .symlink_metadata()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            // Made by the first ADD.
            return Ok(Vec::new());
        }
        let part = format!("-{sandbox}-");
        let mut found = Vec::new();
        for path in list(&results)? {
            // Names that are not UTF-8 are not libcni's.
            if !path
                .file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| name.contains(&part))
            {
                continue;
            }
            // It may be gone since the listing.
            let Some(file) = read(&path)? else { continue };
            match entries::parse(&file) {
                Ok(entry) => found.extend(entry.filter(|entry| entry.sandbox == *sandbox)),
                Err(reason) => return Err(CacheError::Corrupt { path, reason }),
            }
        }
        Ok(found)
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let listed =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    listed.map_err(|source| CacheError::Directory {
        path: dir.to_owned(),
        source,
    })
}

/// A regular file of bounded size; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    let path = path.to_owned();
    match regular_file::read(&path, MAX_FILE_BYTES) {
        Ok(file) => Ok(file.map(|file| file.content)),
        Err(FileError::Io(source)) => Err(CacheError::Unreadable { path, source }),
        Err(error) => Err(CacheError::Corrupt {
            path,
            reason: error.to_string(),
        }),
    }
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_.-]*$` (CNI spec 1.1, section 1), short enough for a file name.
fn is_config_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
