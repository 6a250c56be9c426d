//! The files that multus and libcni keep about a plugged attachment, and whether they are there.

use shared::names::InterfaceName;

use crate::identity::SandboxId;

/// A file that multus or libcni keeps while an attachment lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptFile {
    /// libcni's result of an attachment.
    Result {
        /// The list's name.
        config_name: String,
        /// The sandbox.
        sandbox: SandboxId,
        /// The interface.
        interface: InterfaceName,
    },
    /// Multus' delegate file of a sandbox.
    Delegates(SandboxId),
}

/// Whether a file is there, as far as it was looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Not looked for.
    #[default]
    Unknown,
    /// It was there.
    Present,
    /// It was not there once.
    Missed,
    /// It was not there twice in a row.
    Gone,
}

impl Presence {
    /// After `file` was looked for.
    pub(crate) fn after(self, file: &KeptFile, there: bool) -> Self {
        match (there, self, file) {
            (true, ..) => Self::Present,
            // Not every sandbox has one: one that was never there is not lost.
            (false, Self::Unknown, KeptFile::Delegates(_)) => Self::Unknown,
            (false, Self::Unknown | Self::Present, _) => Self::Missed,
            (false, Self::Missed | Self::Gone, _) => Self::Gone,
        }
    }
}
