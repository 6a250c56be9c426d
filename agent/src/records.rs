//! The agent's own memory, on the node's disk: what it plugs, and with which configuration. An attachment without a record is
//! never unplugged, and no ADD is sent before its record is on the disk.
//!
//! Layout: `<state dir>/<sandbox id>/<interface>`, one JSON file for each attachment, beside one [`SandboxRecord`]. Interface
//! names have at most 15 bytes, so every longer file name is free for other purposes. A file is replaced as a whole (temporary
//! file, fsync, rename, fsync of the directory). Readers ignore unknown fields and keep them, so versions of the agent can follow
//! each other both ways.

mod attachment;
mod disk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirEntry, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use shared::names::InterfaceName;

use crate::identity::SandboxId;
pub use attachment::{AttachmentRecord, Origin, Phase, SandboxRecord};
use disk::ReadError;

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
    /// Its lock ends with the open file.
    _lock: File,
}

/// Everything that is recorded.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// By sandbox.
    pub sandboxes: BTreeMap<SandboxId, SandboxRecords>,
    /// What could not be read and was moved away.
    pub set_aside: Vec<SetAside>,
}

/// The records of one sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxRecords {
    /// The sandbox itself; `None` when it was never written or was set aside.
    pub sandbox: Option<SandboxRecord>,
    /// By interface name in the sandbox.
    pub attachments: BTreeMap<InterfaceName, AttachmentRecord>,
    /// Whose record was set aside: libcni's cache may still tell of them.
    pub damaged: BTreeSet<InterfaceName>,
}

/// A file that is no readable record: moved to `<state dir>/.set-aside/`, for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it was.
    pub path: PathBuf,
    /// Where it is now.
    pub moved_to: PathBuf,
    /// Why it cannot be read.
    pub reason: String,
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
    /// Opens the records in `dir`, creating it when missing, and locks them against another agent until this value is dropped.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn open(dir: &Path) -> Result<Self, RecordsError> {
        disk::create_dir(dir)?;
        let path = dir.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| disk::failure("opening", &path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(RecordsError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(disk::failure("locking", &path, error)),
        }
    }

    /// Whether a record could be written now: a readiness question, since no ADD is sent without one.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn check_writable(&self) -> Result<(), RecordsError> {
        let path = self.dir.join(PROBE_FILE);
        disk::write(&path, &serde_json::json!({}))?;
        disk::remove(&path)
    }

    /// Reads everything. What is no readable record is set aside, never deleted.
    ///
    /// # Errors
    /// A directory or a file cannot be read; see [`RecordsError`].
    pub fn load_all(&self) -> Result<Loaded, RecordsError> {
        let mut loaded = Loaded::default();
        for (name, path) in list(&self.dir)? {
            if [LOCK_FILE, PROBE_FILE, SET_ASIDE_DIR].contains(&name.as_str()) {
                continue;
            }
            match SandboxId::parse(&name) {
                Ok(id) if path.is_dir() && !path.is_symlink() => {
                    let records = self.load_sandbox(&path, &mut loaded.set_aside)?;
                    loaded.sandboxes.insert(id, records);
                }
                _ if disk::is_temporary(&name) => disk::remove(&path)?,
                _ => loaded
                    .set_aside
                    .push(self.set_aside(&path, "it is not the directory of a sandbox".to_owned())?),
            }
        }
        Ok(loaded)
    }

    fn load_sandbox(
        &self,
        dir: &Path,
        set_aside: &mut Vec<SetAside>,
    ) -> Result<SandboxRecords, RecordsError> {
        let mut records = SandboxRecords::default();
        for (name, path) in list(dir)? {
            let read = if disk::is_temporary(&name) {
                disk::remove(&path)?;
                continue;
            } else if name == SANDBOX_FILE {
                disk::read(&path).map(|record| records.sandbox = Some(record))
            } else {
                read_attachment(&name, &path).map(|(interface, record)| {
                    records.attachments.insert(interface, record);
                })
            };
            match read {
                Ok(()) => {}
                Err(ReadError::Unreadable(reason)) => {
                    records.damaged.extend(InterfaceName::parse(&name).ok());
                    set_aside.push(self.set_aside(&path, reason)?);
                }
                Err(ReadError::Io(error)) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Moves a file away under a name that tells where it was.
    fn set_aside(&self, path: &Path, reason: String) -> Result<SetAside, RecordsError> {
        let failed = |error| disk::failure("setting aside", path, error);
        let dir = self.dir.join(SET_ASIDE_DIR);
        disk::create_dir(&dir)?;
        let origin = path
            .strip_prefix(&self.dir)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('/', "_");
        let mut target = dir.join(&origin);
        let mut copies = 1_u32;
        while target.symlink_metadata().is_ok() {
            copies += 1;
            target = dir.join(format!("{origin}.{copies}"));
        }
        fs::rename(path, &target).map_err(failed)?;
        disk::sync_dir(&dir)?;
        Ok(SetAside {
            path: path.to_owned(),
            moved_to: target,
            reason,
        })
    }

    /// Writes one attachment's record; on return it is on the disk.
    ///
    /// # Errors
    /// See [`RecordsError`]. The old record, if any, is intact then.
    pub fn put(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Result<(), RecordsError> {
        let dir = self.dir.join(sandbox.as_str());
        disk::create_dir(&dir)?;
        disk::write(&dir.join(record.interface.as_str()), record)
    }

    /// Removes one attachment's record; one that is gone already is fine.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub fn remove(&self, sandbox: &SandboxId, interface: &InterfaceName) -> Result<(), RecordsError> {
        disk::remove(&self.dir.join(sandbox.as_str()).join(interface.as_str()))
    }

    /// Writes the record of the sandbox itself; on return it is on the disk.
    ///
    /// # Errors
    /// See [`RecordsError`]. The old record, if any, is intact then.
    pub fn put_sandbox(&self, sandbox: &SandboxId, record: &SandboxRecord) -> Result<(), RecordsError> {
        let dir = self.dir.join(sandbox.as_str());
        disk::create_dir(&dir)?;
        disk::write(&dir.join(SANDBOX_FILE), record)
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
        let occupied = list(&dir)?
            .iter()
            .any(|(name, _)| name != SANDBOX_FILE && !disk::is_temporary(name));
        if occupied {
            return Err(disk::failure(
                "removing",
                &dir,
                ErrorKind::DirectoryNotEmpty.into(),
            ));
        }
        fs::remove_dir_all(&dir).map_err(|error| disk::failure("removing", &dir, error))?;
        disk::sync_dir(&self.dir)
    }
}

/// An attachment's file bears its interface's name.
fn read_attachment(name: &str, path: &Path) -> Result<(InterfaceName, AttachmentRecord), ReadError> {
    let interface = InterfaceName::parse(name)
        .map_err(|error| ReadError::Unreadable(format!("its name is no interface's: it {error}")))?;
    let record: AttachmentRecord = disk::read(path)?;
    if record.interface == interface {
        Ok((interface, record))
    } else {
        Err(ReadError::Unreadable(format!(
            "it is about interface {}",
            record.interface
        )))
    }
}

/// Names and paths in a directory, sorted.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, RecordsError> {
    let named = |entry: io::Result<DirEntry>| {
        entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let listed: io::Result<Vec<_>> = fs::read_dir(dir).and_then(|entries| entries.map(named).collect());
    let mut listed = listed.map_err(|error| disk::failure("reading", dir, error))?;
    listed.sort();
    Ok(listed)
}
