//! Lists hot-plugged attachments in multus' delegate file of their sandbox, so that multus tears
//! them down at the sandbox's end: while the namespace still exists, agent or no agent.
//!
//! # Flow
//! [`append`] before an ADD, [`append`] again with the configuration of libcni's results file once
//! that is there (it has the version that ran), [`remove`] after the DEL. One call at a time for
//! one sandbox. [`sweep`] at the agent's start, before all others.
//!
//! # Guarantees
//! - Entries of others keep their place and every byte. Ours carry a field of their own, which
//!   multus ignores; the first entry, the default network, is never ours.
//! - A file that multus removed is never made again: the new content is written beside it and
//!   exchanged with it, and an exchange fails where one of the two names is missing.
//! - A file that another program replaced after it was read is put back: what the exchange
//!   displaced has to be what was read.
//! - multus can read every file that is written: one field of another type than its Go struct has
//!   would make it tear down nothing, `eth0` included, so nothing of the configuration goes into a
//!   typed field but texts.
//!
//! # Assumptions
//! multus writes the file while the sandbox starts and removes it at its end, and the agent calls
//! this only between the two. A program that keeps the old file open and writes to it after the
//! exchange writes to a file without a name.

mod entry;
mod exchange;
mod leftover;
mod list;
mod temporary_name;

use std::{
    io,
    path::{Path, PathBuf},
};

use shared::names::{InterfaceName, NetworkName};

use agent_core::identity::SandboxId;

use crate::cni::cache::MAX_FILE_BYTES;
pub use leftover::sweep;

/// A hot-plugged attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegateEntry {
    /// The NAD.
    pub network: NetworkName,
    /// The interface in the sandbox.
    pub interface: InterfaceName,
    /// The configuration: the conflist that is sent, or the one in libcni's results file.
    pub config: String,
    /// The device that it holds: (resource name, device id).
    pub device: Option<(String, String)>,
    /// What multus attached under this interface name was detached since. Its entry stays.
    pub replaces_cold_plugged: bool,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the file.
    Written,
    /// The file has been like that before.
    Unchanged,
    /// There is no file: multus tore the sandbox down, or did not attach it.
    Absent,
}

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DelegateFileError {
    /// multus would not read such an entry.
    #[error("the config of {network} on {interface} cannot be listed for multus: {reason}")]
    Config {
        /// The NAD.
        network: NetworkName,
        /// The interface.
        interface: InterfaceName,
        /// What is wrong.
        reason: String,
    },
    /// Another entry has the interface.
    #[error("{} lists {interface} for {holder:?}, which is not ours", path.display())]
    InterfaceTaken {
        /// The file.
        path: PathBuf,
        /// The interface.
        interface: InterfaceName,
        /// The `Name` of that entry.
        holder: String,
    },
    /// The file is not what multus writes.
    #[error("{} is not a delegate file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file would be longer than the agent itself reads.
    #[error("{} would be longer than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// The file system cannot exchange two files.
    #[error("the file system of {} cannot exchange two files (renameat2)", .0.display())]
    Unsupported(PathBuf),
    /// Another program replaced the file again and again.
    #[error("another program replaces {} again and again", .0.display())]
    Contended(PathBuf),
    /// The file system refused.
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

impl DelegateFileError {
    fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Lists `entry` in the file of `sandbox` in `dir`, at its end. Our own entry of that interface is
/// replaced in place. Waits for the disk: call it on a thread for blocking work.
///
/// # Errors
/// See [`DelegateFileError`]. The file is as before then.
pub fn append(dir: &Path, sandbox: &SandboxId, entry: &DelegateEntry) -> Result<Outcome, DelegateFileError> {
    let text = entry::text(entry)?;
    exchange::update(
        dir,
        sandbox,
        |path, list| {
            if !entry.replaces_cold_plugged
                && let Some(holder) = list.holder(&entry.interface)
            {
                return Err(DelegateFileError::InterfaceTaken {
                    path: path.to_owned(),
                    interface: entry.interface.clone(),
                    holder: holder.to_owned(),
                });
            }
            Ok(list.with(&entry.interface, &text))
        },
        &mut exchange::NoSteps,
    )
}

/// Takes our entry of `interface` on `network` out of the file of `sandbox` in `dir`. Waits for the
/// disk: call it on a thread for blocking work.
///
/// # Errors
/// See [`DelegateFileError`]. The file is as before then.
pub fn remove(
    dir: &Path,
    sandbox: &SandboxId,
    interface: &InterfaceName,
    network: &NetworkName,
) -> Result<Outcome, DelegateFileError> {
    exchange::update(
        dir,
        sandbox,
        |_, list| Ok(list.without(interface, network)),
        &mut exchange::NoSteps,
    )
}

#[cfg(test)]
mod go;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod tests;
