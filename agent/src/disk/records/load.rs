//! Reading all records at the agent's start.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use shared::names::InterfaceName;

use super::{
    LOCK_FILE, PROBE_FILE, Records, RecordsError, SANDBOX_FILE, SET_ASIDE_DIR,
    atomic_file::{self, ReadError},
    locked,
};
use agent_core::identity::SandboxId;
use agent_core::record::{AttachmentRecord, SandboxRecords};

/// Everything that is recorded.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// By sandbox.
    pub sandboxes: BTreeMap<SandboxId, SandboxRecords>,
    /// What could not be read and was moved away.
    pub set_aside: Vec<SetAside>,
    /// What a newer agent wrote. It stays in place: that agent may come back.
    pub newer: Vec<NewerFile>,
    /// Records that were read from their flushed copy: a power loss took the file itself.
    pub recovered: Vec<PathBuf>,
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

/// A file that a newer agent wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewerFile {
    /// Where it is.
    pub path: PathBuf,
    /// The version of its format.
    pub version: u64,
}

impl Records {
    /// Reads everything. What is no readable record is set aside, never deleted; what a newer agent
    /// wrote stays where it is.
    ///
    /// # Errors
    /// A directory or a file cannot be read; see [`RecordsError`].
    pub fn load_all(&self) -> Result<Loaded, RecordsError> {
        let mut loaded = Loaded::default();
        for (name, path) in atomic_file::list(&self.dir)? {
            if [LOCK_FILE, PROBE_FILE, SET_ASIDE_DIR].contains(&name.as_str()) {
                continue;
            }
            match SandboxId::parse(&name) {
                Ok(id) if path.is_dir() && !path.is_symlink() => {
                    let records = self.load_sandbox(&path, &mut loaded)?;
                    loaded.sandboxes.insert(id, records);
                }
                _ if atomic_file::is_temporary(&name) => atomic_file::remove(&path)?,
                _ => match atomic_file::read::<serde_json::Value>(&path) {
                    Err(ReadError::Newer(version)) => self.leave(path, version, &mut loaded),
                    _ => {
                        let reason = "it is not the directory of a sandbox".to_owned();
                        loaded.set_aside.push(self.set_aside(&path, reason)?);
                    }
                },
            }
        }
        Ok(loaded)
    }

    fn load_sandbox(&self, dir: &Path, loaded: &mut Loaded) -> Result<SandboxRecords, RecordsError> {
        let mut records = SandboxRecords::default();
        let mut temporary = Vec::new();
        let mut emptied = BTreeSet::new();
        for (name, path) in atomic_file::list(dir)? {
            let read = if atomic_file::is_temporary(&name) {
                temporary.push(path);
                continue;
            } else if name == SANDBOX_FILE {
                atomic_file::read(&path).map(|record| records.sandbox = Some(record))
            } else {
                read_attachment(&name, &path).map(|(interface, record)| {
                    records.attachments.insert(interface, record);
                })
            };
            match read {
                Ok(()) => {}
                Err(ReadError::Newer(version)) => {
                    records.newer.extend(InterfaceName::parse(&name).ok());
                    self.leave(path, version, loaded);
                }
                Err(ReadError::Unreadable(reason)) => {
                    let interface = InterfaceName::parse(&name).ok();
                    if atomic_file::is_emptied(&path) {
                        emptied.extend(interface.clone());
                    }
                    records.damaged.extend(interface);
                    loaded.set_aside.push(self.set_aside(&path, reason)?);
                }
                Err(ReadError::Io(error)) => return Err(error),
            }
        }
        // A flushed copy was on its way to a plugin; another temporary file may not have been.
        temporary.sort_by_key(|path| !atomic_file::is_flushed_copy(path));
        for path in temporary {
            self.recover(path, &emptied, &mut records, loaded)?;
        }
        Ok(records)
    }

    /// Gives a complete temporary file the name of its interface when a power loss took the rename,
    /// or the content of what replaced it. Other damage is no sign of one: its record stays away.
    fn recover(
        &self,
        path: PathBuf,
        emptied: &BTreeSet<InterfaceName>,
        records: &mut SandboxRecords,
        loaded: &mut Loaded,
    ) -> Result<(), RecordsError> {
        let record: AttachmentRecord = match atomic_file::read(&path) {
            Ok(record) => record,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Newer(version)) => {
                self.leave(path, version, loaded);
                return Ok(());
            }
            Err(ReadError::Unreadable(_)) => return atomic_file::remove(&path),
        };
        let interface = record.interface.clone();
        let is_copy = atomic_file::is_flushed_copy(&path);
        let is_emptied = emptied.contains(&interface) && records.damaged.contains(&interface);
        let is_unnamed = !records.attachments.contains_key(&interface)
            && !records.newer.contains(&interface)
            && !records.damaged.contains(&interface);
        if is_copy && !is_emptied {
            // Still needed when the record itself is readable: that may not be flushed yet.
            return Ok(());
        }
        if !is_emptied && !is_unnamed {
            return atomic_file::remove(&path);
        }
        let target = path.with_file_name(interface.as_str());
        fs::rename(&path, &target).map_err(|error| atomic_file::failure("recovering", &target, error))?;
        records.damaged.remove(&interface);
        records.attachments.insert(interface, record);
        loaded.recovered.push(target);
        Ok(())
    }

    fn leave(&self, path: PathBuf, version: u64, loaded: &mut Loaded) {
        locked(&self.newer).insert(path.clone(), version);
        loaded.newer.push(NewerFile { path, version });
    }

    /// Moves a file away under a name that tells where it was.
    fn set_aside(&self, path: &Path, reason: String) -> Result<SetAside, RecordsError> {
        let dir = self.dir.join(SET_ASIDE_DIR);
        atomic_file::create_dir(&dir)?;
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
        fs::rename(path, &target).map_err(|error| atomic_file::failure("setting aside", path, error))?;
        Ok(SetAside {
            path: path.to_owned(),
            moved_to: target,
            reason,
        })
    }
}

/// An attachment's file bears its interface's name.
fn read_attachment(name: &str, path: &Path) -> Result<(InterfaceName, AttachmentRecord), ReadError> {
    // A newer agent may record more than interfaces, under other names.
    let record: Result<AttachmentRecord, ReadError> = atomic_file::read(path);
    if matches!(record, Err(ReadError::Newer(_) | ReadError::Io(_))) {
        return record.map(|record| (record.interface.clone(), record));
    }
    let interface = InterfaceName::parse(name)
        .map_err(|error| ReadError::Unreadable(format!("its name is no interface's: it {error}")))?;
    let record = record?;
    if record.interface == interface {
        Ok((interface, record))
    } else {
        Err(ReadError::Unreadable(format!(
            "it is about interface {}",
            record.interface
        )))
    }
}
