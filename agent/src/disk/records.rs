//! The agent's own memory, on the node's disk: what it plugs, and with which configuration. An
//! attachment without a record is never unplugged, and no ADD is sent before its record is on the
//! disk.
//!
//! Layout: `<state dir>/<sandbox id>/<interface>`, one JSON file for each attachment, beside one
//! [`SandboxRecord`]. Interface names have at most 15 bytes, so every longer file name is free for
//! other purposes. A file is replaced as a whole (temporary file, rename). Readers ignore unknown
//! fields and keep them, so versions of the agent can follow each other both ways; a file whose
//! `version` is newer than ours is left alone.
//!
//! # What a power loss leaves
//! It ends every sandbox of the node, so afterwards nothing has to be known but what to release:
//! (sandbox, interface, config). All three are in the intent that is written before an ADD, and
//! only that is flushed ([`Durability::Power`]).
//! - The intent costs one flush, of the temporary file's content. Creating a file and flushing it
//!   makes its name durable, too, on the file systems that nodes use (ext4, XFS and btrfs log the
//!   creation before they report the flush). The rename may be lost: then the temporary name holds
//!   a complete record, and [`Records::load_all`] gives it its interface's name back. Two cases
//!   need the directory flushed as well: its own name is new, or the rename replaces an older
//!   record, which would otherwise win over the temporary file.
//! - A later record of the same attachment is not flushed, and a file system that delays allocation
//!   may leave it empty. So the flushed intent stays under a second name until the attachment's
//!   record is removed, and is used when the record itself turns out to be empty.
//! - A removal may be undone. The attachment is then released once more: DEL is idempotent.
//! - A [`SandboxRecord`] may be lost. The runtime knows the pod, or the agent's own identity is
//!   used.

mod atomic_file;
mod load;
mod space;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use shared::names::InterfaceName;

use agent_core::identity::SandboxId;
use agent_core::record::{AttachmentRecord, SandboxRecord};
pub use atomic_file::Durability;
pub use load::{Loaded, NewerFile, SetAside};

/// The sandbox's own record, beside those of its attachments; too long for an interface name.
const SANDBOX_FILE: &str = "sandbox-identity";
/// Beside the sandboxes' directories; a sandbox id does not begin with a dot.
const LOCK_FILE: &str = ".lock";
const PROBE_FILE: &str = ".probe";
const SET_ASIDE_DIR: &str = ".set-aside";

/// The records of one agent; while this lives, no other agent can open them.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    /// Sandboxes whose directory this process made, and whose name may not be durable yet.
    unflushed: Mutex<BTreeSet<SandboxId>>,
    /// Files of newer agents, with their versions. Only one agent writes here, so none is added
    /// after the records were loaded.
    newer: Mutex<BTreeMap<PathBuf, u64>>,
    /// A write failed since a probe succeeded.
    suspect: AtomicBool,
    /// Its lock ends with the open file.
    _lock: File,
}

/// What went wrong with a record, and where.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Another agent holds the records.
    #[error("another agent on this node holds {}", .0.display())]
    Locked(PathBuf),
    /// The disk, or the quota, is full.
    #[error("no space left to write {}", .0.display())]
    Full(PathBuf),
    /// The file system is read-only, or the agent may not write there.
    #[error("{} cannot be written: {source}", path.display())]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A newer agent wrote this file: it is neither replaced nor removed.
    #[error("{} was written by a newer agent (version {version}) and is left alone", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// Anything else.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was tried ("reading").
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Records {
    /// Opens the records in `dir`, creating it when missing, and locks them against another agent
    /// until this value is dropped.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn open(dir: &Path) -> Result<Self, RecordsError> {
        if atomic_file::create_dir(dir)? {
            dir.parent().map_or(Ok(()), atomic_file::flush_dir)?;
        }
        let path = dir.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| atomic_file::failure("opening", &path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                unflushed: Mutex::default(),
                newer: Mutex::default(),
                suspect: AtomicBool::new(false),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(RecordsError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(atomic_file::failure("locking", &path, error)),
        }
    }

    /// Whether a record could be written now: a readiness question, since no ADD is sent without
    /// one. Asks the file system, and writes only while the last write failed: a flush every few
    /// seconds delays the other programs on the disk, etcd first, and wears flash.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn check_writable(&self) -> Result<(), RecordsError> {
        space::check(&self.dir)?;
        if self.suspect.load(Ordering::Relaxed) {
            let path = self.dir.join(PROBE_FILE);
            atomic_file::write(&path, &serde_json::json!({}), Durability::Power)?;
            atomic_file::remove(&path)?;
            self.suspect.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes one attachment's record; on return it survives what `durability` says.
    ///
    /// # Errors
    /// See [`RecordsError`]. The record is the old one, if any, or the new one then.
    pub fn put(
        &self,
        sandbox: &SandboxId,
        record: &AttachmentRecord,
        durability: Durability,
    ) -> Result<(), RecordsError> {
        let path = self.path(sandbox, &record.interface);
        self.write(sandbox, &path, || match durability {
            Durability::Process => {
                atomic_file::keep_flushed(&path);
                atomic_file::write(&path, record, durability)
            }
            Durability::Power => self.write_intent(sandbox, &path, record),
        })
    }

    fn write_intent(
        &self,
        sandbox: &SandboxId,
        path: &Path,
        record: &AttachmentRecord,
    ) -> Result<(), RecordsError> {
        let replaces = path.symlink_metadata().is_ok();
        atomic_file::write(path, record, Durability::Power)?;
        let new_dir = locked(&self.unflushed).contains(sandbox);
        if new_dir || replaces {
            atomic_file::flush_dir(&self.dir.join(sandbox.as_str()))?;
        }
        if new_dir {
            atomic_file::flush_dir(&self.dir)?;
            locked(&self.unflushed).remove(sandbox);
        }
        // What it kept is older than this record.
        atomic_file::remove(&atomic_file::flushed_copy(path))
    }

    /// Writes the record of the sandbox itself; on return it survives the end of this process.
    ///
    /// # Errors
    /// See [`RecordsError`]. The old record, if any, is intact then.
    pub fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError> {
        let path = self.dir.join(sandbox.as_str()).join(SANDBOX_FILE);
        self.write(sandbox, &path, || {
            atomic_file::write(&path, record, Durability::Process)
        })
    }

    /// Removes one attachment's record; one that is gone already is fine.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn remove(&self, sandbox: &SandboxId, interface: &InterfaceName) -> Result<(), RecordsError> {
        let path = self.path(sandbox, interface);
        self.refuse_newer(&path)?;
        // First, because alone it would be taken for the record.
        atomic_file::remove(&atomic_file::flushed_copy(&path))?;
        atomic_file::remove(&path)
    }

    /// Forgets a sandbox: its own record and its directory; one that is gone already is fine.
    ///
    /// # Errors
    /// See [`RecordsError`]; one of them is that the sandbox still has attachments.
    pub fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RecordsError> {
        let dir = self.dir.join(sandbox.as_str());
        if dir
            .symlink_metadata()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Ok(());
        }
        for (name, path) in atomic_file::list(&dir)? {
            self.refuse_newer(&path)?;
            if name != SANDBOX_FILE && !atomic_file::is_temporary(&name) {
                let occupied = ErrorKind::DirectoryNotEmpty.into();
                return Err(atomic_file::failure("removing", &dir, occupied));
            }
        }
        fs::remove_dir_all(&dir).map_err(|error| atomic_file::failure("removing", &dir, error))?;
        locked(&self.unflushed).remove(sandbox);
        Ok(())
    }

    fn path(&self, sandbox: &SandboxId, interface: &InterfaceName) -> PathBuf {
        self.dir.join(sandbox.as_str()).join(interface.as_str())
    }

    /// Writes `path` in the sandbox's directory, and notes when that fails.
    fn write(
        &self,
        sandbox: &SandboxId,
        path: &Path,
        write: impl FnOnce() -> Result<(), RecordsError>,
    ) -> Result<(), RecordsError> {
        self.refuse_newer(path)?;
        let made = atomic_file::create_dir(&self.dir.join(sandbox.as_str()));
        if matches!(made, Ok(true)) {
            locked(&self.unflushed).insert(sandbox.clone());
        }
        let outcome = made.and_then(|_| write());
        if outcome.is_err() {
            self.suspect.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn refuse_newer(&self, path: &Path) -> Result<(), RecordsError> {
        match locked(&self.newer).get(path) {
            Some(&version) => Err(RecordsError::Newer {
                path: path.to_owned(),
                version,
            }),
            None => Ok(()),
        }
    }
}

/// The lock of a set of paths. The set stays valid if a thread that held the lock panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
