//! Reads what multus and libcni keep on the node: which networks a sandbox got at its start, and
//! each attachment's config and result. Never writes.
//!
//! Every read waits for the disk, so it runs on a thread for blocking work.

mod delegates;
mod entries;
mod listing;

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};
use shared::names::InterfaceName;

use crate::disk::regular_file::{self, FileError};
use agent_core::cni_state::{Delegate, Entry};
use agent_core::identity::SandboxId;
use agent_core::kept_file::KeptFile;
pub(crate) use delegates::{ATTACHED_BY, interface_name};
use listing::Listing;

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Files to look for, by pod.
pub type KeptFiles = Vec<(String, Vec<KeptFile>)>;

/// The same with whether each is there. A file of which that is not known is left out.
pub type LookedFor = Vec<(String, Vec<(KeptFile, bool)>)>;

/// multus' data directory (`/var/lib/cni/multus`).
#[derive(Clone, Debug)]
pub struct CniCache {
    dir: PathBuf,
    listing: Arc<Listing>,
}

/// What libcni keeps of one sandbox.
#[derive(Debug, Default)]
pub struct Entries {
    /// What could be read.
    pub entries: Vec<Entry>,
    /// What could not. Such an attachment is unknown, not gone.
    pub damaged: Vec<DamagedEntry>,
}

/// An entry that could not be read.
#[derive(Debug)]
pub struct DamagedEntry {
    /// The `name` of its CNI configuration, as the file's name says.
    pub config_name: String,
    /// Its interface, as the file's name says; `None` for an impossible one.
    pub interface: Option<InterfaceName>,
    /// Why.
    pub error: CacheError,
}

/// What could not be read. Unknown is not empty: an error never means that an attachment is gone.
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
        let listing = Arc::new(Listing::new(dir.join("results")));
        Self { dir, listing }
    }

    /// Whether the directory can be read at all: a readiness question. Does not list it, and so is
    /// as quick with a hundred thousand stale entries as with none.
    ///
    /// # Errors
    /// [`CacheError::Directory`]
    pub fn check(&self) -> Result<(), CacheError> {
        open_dir(&self.dir).map(drop)
    }

    /// What multus attached when the sandbox started and agents since, in `net<k>` order, the
    /// default network first. `None`: multus keeps no file for this sandbox (torn down, or not
    /// attached by multus).
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn delegates(&self, sandbox: &SandboxId) -> Result<Option<Vec<Delegate>>, CacheError> {
        let (dir, path) = (self.dir.clone(), self.dir.join(sandbox.as_str()));
        self.blocking(move || {
            let Some(file) = read(&path)? else {
                // Only a directory that can be read has no file.
                return open_dir(&dir).map(|_| None);
            };
            delegates::parse(&file)
                .map(Some)
                .map_err(|reason| CacheError::Corrupt { path, reason })
        })
        .await
    }

    /// libcni's entry for one attachment; `config_name` is the `name` of the CNI configuration.
    /// `None`: no ADD answered yet, or a DEL did.
    ///
    /// # Errors
    /// See [`CacheError`]. libcni does not write atomically: a damaged file may be whole a moment
    /// later.
    pub async fn entry(
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
            .join(entries::file_name(config_name, sandbox, interface));
        let dir = self.dir.clone();
        self.blocking(move || match read_entry(&path)? {
            Some(entry) => Ok(entry),
            None => open_dir(&dir).map(|_| None),
        })
        .await
    }

    /// All of libcni's entries of one sandbox, whatever their config's name. One that is damaged
    /// hides none of the others.
    ///
    /// # Errors
    /// [`CacheError::Directory`]
    pub async fn entries(&self, sandbox: &SandboxId) -> Result<Entries, CacheError> {
        // The directory of results is made by the first ADD, that of multus by its first start.
        self.check()?;
        let paths = self.listing.paths(sandbox).await?;
        let sandbox = sandbox.clone();
        self.blocking(move || {
            let mut found = Entries::default();
            for path in paths {
                match read_entry(&path) {
                    Ok(Some(Some(entry))) if entry.sandbox == sandbox => found.entries.push(entry),
                    // It is gone since the listing, of another kind, or another sandbox's.
                    Ok(_) => {}
                    Err(error) => found.damaged.extend(damaged(&path, &sandbox, error)),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Looks for files. It costs one question to the disk for each, however many others the
    /// directory has.
    ///
    /// # Errors
    /// [`CacheError::Directory`]
    pub async fn look_for(&self, kept: KeptFiles) -> Result<LookedFor, CacheError> {
        let dir = self.dir.clone();
        self.blocking(move || {
            // Only a directory that can be read has no file.
            open_dir(&dir)?;
            let of_pod = |files: Vec<KeptFile>| {
                let files = files.into_iter();
                files
                    .filter_map(|file| is_there(&dir, &file).map(|there| (file, there)))
                    .collect()
            };
            Ok(kept
                .into_iter()
                .map(|(uid, files)| (uid, of_pod(files)))
                .collect())
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(unreachable_dir(&self.dir, io::Error::other(error))))
    }
}

/// `None`: it is not known.
fn is_there(dir: &Path, file: &KeptFile) -> Option<bool> {
    let path = match file {
        KeptFile::Result {
            config_name,
            sandbox,
            interface,
        } => {
            // The name becomes a path.
            let is_name = is_config_name(config_name);
            let name = is_name.then(|| entries::file_name(config_name, sandbox, interface))?;
            dir.join("results").join(name)
        }
        KeptFile::Delegates(sandbox) => dir.join(sandbox.as_str()),
    };
    match fs::symlink_metadata(path) {
        Ok(_) => Some(true),
        Err(error) => (error.kind() == ErrorKind::NotFound).then_some(false),
    }
}

fn open_dir(dir: &Path) -> Result<File, CacheError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| unreachable_dir(dir, error.into()))
}

fn unreachable_dir(dir: &Path, source: io::Error) -> CacheError {
    CacheError::Directory {
        path: dir.to_owned(),
        source,
    }
}

/// `None`: there is no such file. `Some(None)`: libcni would not read it.
fn read_entry(path: &Path) -> Result<Option<Option<Entry>>, CacheError> {
    let Some(file) = read(path)? else {
        return Ok(None);
    };
    let corrupt = |reason: String| CacheError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let entry = entries::parse(&file).map_err(corrupt)?;
    let is_named = |entry: &Entry| {
        let name = entries::file_name(&entry.config_name, &entry.sandbox, &entry.interface);
        path.file_name().is_some_and(|file| file == name.as_str())
    };
    if entry.as_ref().is_some_and(|entry| !is_named(entry)) {
        return Err(corrupt("it is about another attachment than its name".to_owned()));
    }
    Ok(Some(entry))
}

/// `<config name>-<sandbox id>-<interface>`
fn damaged(path: &Path, sandbox: &SandboxId, error: CacheError) -> Option<DamagedEntry> {
    let name = path.file_name()?.to_str()?;
    let (config_name, interface) = name.rsplit_once(&format!("-{sandbox}-"))?;
    Some(DamagedEntry {
        config_name: config_name.to_owned(),
        interface: InterfaceName::parse(interface).ok(),
        error,
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

#[cfg(test)]
mod tests;
