//! The one way to a unix socket. Neighbours delete and recreate their sockets, so every request dials anew, and the first
//! candidate path that exists is taken.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hyperlocal::{UnixConnector, UnixStream};
use tower::ServiceExt as _;

/// How long a connect may take. A unix socket connects at once, unless its listener's backlog is full.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Nobody could be reached: nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// None of the candidate paths exists.
    #[error("there is no socket at {}", joined(.0))]
    Missing(Vec<PathBuf>),
    /// The connect failed, mostly because nobody listens any more.
    #[error("connecting to {}: {source}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// See [`CONNECT_DEADLINE`].
    #[error("connecting to {} took longer than {} s", .0.display(), CONNECT_DEADLINE.as_secs())]
    TimedOut(PathBuf),
}

/// Connects to the first of `candidates` that exists.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(candidates: &[PathBuf]) -> Result<UnixStream, DialError> {
    let path = candidates
        .iter()
        .find(|path| exists(path))
        .ok_or_else(|| DialError::Missing(candidates.to_vec()))?;
    let connect = UnixConnector.oneshot(hyperlocal::Uri::new(path, "/").into());
    match tokio::time::timeout(CONNECT_DEADLINE, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(DialError::Refused {
            path: path.clone(),
            source,
        }),
        Err(_) => Err(DialError::TimedOut(path.clone())),
    }
}

/// A socket among all that there have ever been: device, inode and when that was made, for inodes are given out again.
pub type Identity = (u64, u64, i64, i64);

/// Which socket a connect would reach now. A listener that starts anew makes another one: two equal answers, with a connect that succeeded
/// after them, mean one and the same listener all the time.
pub fn identity(candidates: &[PathBuf]) -> Option<Identity> {
    let path = candidates.iter().find(|path| exists(path))?;
    let socket = std::fs::metadata(path).ok()?;
    Some((socket.dev(), socket.ino(), socket.ctime(), socket.ctime_nsec()))
}

/// A path that cannot be looked at counts as existing: the connect then says why.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn joined(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(" or ")
}
