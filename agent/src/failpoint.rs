//! Where a test can kill the agent: at the places between two effects, one after the other, and how it need not wait half a minute to
//! see what comes then. Only in builds with the feature `failpoints`, which the crate `tests` turns on: the image has none of it.

use std::time::Duration;

/// Names the directory of the armed places: a file `<place>` in it holds the agent when it gets there, and becomes `<place>.reached`.
pub const DIRECTORY: &str = "FAILPOINTS";
/// Seconds in place of every wait of [`patience`].
pub const PATIENCE: &str = "FAILPOINT_PATIENCE";
/// Seconds in place of that of [`silence`].
pub const SILENCE: &str = "FAILPOINT_SILENCE";

/// A place between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A record is about to be written.
    RecordDue,
    /// The intent of an ADD is on the disk, nothing is sent.
    IntentWritten,
    /// The result of an ADD is on the disk, nobody is told.
    ResultWritten,
    /// The intent of a DEL is on the disk, nothing is sent.
    RemovalWritten,
    /// The connection to multus stands, nothing is sent.
    Connected,
    /// Multus has answered, nothing is written.
    Answered,
    /// Network-status is about to be written.
    StatusDue,
    /// Network-status is written.
    StatusWritten,
    /// A record is about to be removed.
    EraseDue,
    /// A record is removed.
    Erased,
    /// The record of a sandbox is on the disk.
    SandboxWritten,
    /// An attachment is about to be listed in multus' delegate file.
    ListingDue,
    /// It is listed there.
    Listed,
}

impl Place {
    /// The name of its file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecordDue => "record-due",
            Self::IntentWritten => "intent-written",
            Self::ResultWritten => "result-written",
            Self::RemovalWritten => "removal-written",
            Self::Connected => "connected",
            Self::Answered => "answered",
            Self::StatusDue => "status-due",
            Self::StatusWritten => "status-written",
            Self::EraseDue => "erase-due",
            Self::Erased => "erased",
            Self::SandboxWritten => "sandbox-written",
            Self::ListingDue => "listing-due",
            Self::Listed => "listed",
        }
    }
}

/// The agent is at `place`. If that is armed it stays there, the whole program with it, until it is killed.
#[cfg(feature = "failpoints")]
pub fn reach(place: Place) {
    let Some(directory) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else {
        return;
    };
    let armed = directory.join(place.as_str());
    if std::fs::rename(&armed, armed.with_extension("reached")).is_ok() {
        loop {
            std::thread::park();
        }
    }
}

/// The agent is at `place`.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn reach(_place: Place) {}

/// How long to be patient with a plugin: `usual`.
pub fn patience(usual: Duration) -> Duration {
    seconds(PATIENCE, usual)
}

/// How long the API server may be silent: `usual`.
pub fn silence(usual: Duration) -> Duration {
    seconds(SILENCE, usual)
}

#[cfg(feature = "failpoints")]
fn seconds(variable: &str, usual: Duration) -> Duration {
    let seconds = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    seconds.map_or(usual, Duration::from_secs)
}

#[cfg(not(feature = "failpoints"))]
#[inline]
fn seconds(_variable: &str, usual: Duration) -> Duration {
    usual
}
