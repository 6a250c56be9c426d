//! Where a test can kill the agent, between two effects, and how it shortens the deadlines that it
//! would have to wait for. Only in builds with the feature `failpoints`, which the crate `tests`
//! turns on: the image is built without it.

use std::time::Duration;

/// Names the directory of the armed fail points: a file `<fail point>` in it stops the agent there,
/// and is renamed to `<fail point>.reached`.
pub const DIRECTORY: &str = "FAILPOINTS";
/// Seconds that replace each deadline of [`call_timeout`].
pub const CALL_TIMEOUT: &str = "FAILPOINT_CALL_TIMEOUT";
/// Seconds that replace the deadline of [`read_timeout`].
pub const READ_TIMEOUT: &str = "FAILPOINT_READ_TIMEOUT";

/// A point between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
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

impl FailPoint {
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

/// The agent is at `point`. If that is armed, the whole program stops there until it is killed.
#[cfg(feature = "failpoints")]
pub fn hit(point: FailPoint) {
    let Some(directory) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else {
        return;
    };
    let armed = directory.join(point.as_str());
    if std::fs::rename(&armed, armed.with_extension("reached")).is_ok() {
        loop {
            std::thread::park();
        }
    }
}

/// The agent is at `point`.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_point: FailPoint) {}

/// A deadline for a call to multus: `usual`, unless [`CALL_TIMEOUT`] is set.
pub fn call_timeout(usual: Duration) -> Duration {
    seconds(CALL_TIMEOUT, usual)
}

/// How long a connection to the API server may bring nothing: `usual`, unless [`READ_TIMEOUT`] is
/// set.
pub fn read_timeout(usual: Duration) -> Duration {
    seconds(READ_TIMEOUT, usual)
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
