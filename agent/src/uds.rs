//! Connects to unix sockets. A daemon deletes and creates its socket when it restarts, so every
//! request dials again, and the first candidate that accepts a connection is used: a stale socket
//! file does not hide a live daemon at another path.

use std::{
    error::Error,
    io, iter,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;
use hyperlocal::{UnixConnector, UnixStream};
use tonic::transport::{Channel, Endpoint};
use tower::{ServiceExt as _, service_fn};

/// How long one connect may take. A unix socket connects at once, unless the backlog of its
/// listener is full.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// No candidate accepted a connection: nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// None of the candidate paths exists.
    #[error("there is no socket at {}", joined(.0, " or ", |path| path.display().to_string()))]
    Missing(Vec<PathBuf>),
    /// Those that exist did not accept.
    #[error("{}", joined(.0, "; ", ToString::to_string))]
    Refused(Vec<ConnectError>),
}

/// One candidate that exists and did not accept.
#[derive(Debug, thiserror::Error)]
#[error("connecting to {}: {source}", path.display())]
pub struct ConnectError {
    /// The socket.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// A connection and the socket that accepted it.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub stream: UnixStream,
    /// Where it leads to.
    pub socket: Socket,
}

/// One socket file among all that have ever been at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its path.
    pub path: PathBuf,
    /// Device, inode and creation time (inode numbers are reused); `None` where the path cannot be
    /// read.
    identity: Option<(u64, u64, i64, i64)>,
}

/// Connects to the first of `candidates` that accepts.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(candidates: &[PathBuf]) -> Result<Dialled, DialError> {
    let mut failed = Vec::new();
    for path in candidates.iter().filter(|path| exists(path)) {
        // Read before the connect: a socket that is replaced in between then counts as another one.
        let socket = Socket::at(path);
        match connect(path).await {
            Ok(stream) => return Ok(Dialled { stream, socket }),
            Err(source) => failed.push(ConnectError {
                path: path.clone(),
                source,
            }),
        }
    }
    if failed.is_empty() {
        return Err(DialError::Missing(candidates.to_vec()));
    }
    Err(DialError::Refused(failed))
}

/// Connects a gRPC client to the first of `candidates` that accepts.
///
/// # Errors
/// For people: see [`DialError`].
pub async fn channel(candidates: &[PathBuf]) -> Result<Channel, String> {
    let candidates = candidates.to_vec();
    let connector = service_fn(move |_: Uri| {
        let candidates = candidates.clone();
        async move { dial(&candidates).await.map(|dialled| dialled.stream) }
    });
    // Some runtimes refuse every other authority.
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await;
    channel.map_err(|error| {
        // tonic wraps the error of the dial in its own "transport error".
        let chain = iter::successors(Some(&error as &dyn Error), |&error| error.source());
        let found = chain.filter_map(|error| error.downcast_ref::<DialError>()).next();
        found.map_or_else(|| error.to_string(), DialError::to_string)
    })
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let connect = UnixConnector.oneshot(hyperlocal::Uri::new(path, "/").into());
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within the deadline");
    tokio::time::timeout(CONNECT_DEADLINE, connect)
        .await
        .unwrap_or_else(|elapsed| Err(late(elapsed)))
}

impl Socket {
    fn at(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self {
            path: path.to_owned(),
            identity: metadata.map(|file| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())),
        }
    }

    /// Whether the path still leads to this socket. A daemon that restarts creates another one:
    /// `true` after a connect means one and the same listener all the time.
    pub fn is_current(&self) -> bool {
        self.identity.is_some() && Self::at(&self.path) == *self
    }
}

/// A path that cannot be read counts as existing: the connect then returns the cause.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn joined<T>(items: &[T], separator: &str, show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    fn paths(dir: &TempDir) -> [PathBuf; 2] {
        ["first.sock", "second.sock"].map(|name| dir.path().join(name))
    }

    #[tokio::test]
    async fn uses_the_second_socket_when_the_first_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = paths(&dir);
        drop(UnixListener::bind(&first).unwrap());
        let _live = UnixListener::bind(&second).unwrap();
        let dialled = dial(&[first, second.clone()]).await.unwrap();
        assert_eq!(dialled.socket, Socket::at(&second));
        assert!(dialled.socket.is_current());
    }

    #[tokio::test]
    async fn prefers_the_first_socket_that_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = paths(&dir);
        let _live = sockets.each_ref().map(|path| UnixListener::bind(path).unwrap());
        assert_eq!(dial(&sockets).await.unwrap().socket.path, sockets[0]);
    }

    #[tokio::test]
    async fn names_every_socket_that_does_not_accept() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = paths(&dir);
        for path in &sockets {
            drop(UnixListener::bind(path).unwrap());
        }
        let error = dial(&sockets).await.unwrap_err().to_string();
        for path in &sockets {
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_replaced_is_not_current() {
        let dir = tempfile::tempdir().unwrap();
        let [path, successor] = paths(&dir);
        let _old = UnixListener::bind(&path).unwrap();
        let dialled = dial(std::slice::from_ref(&path)).await.unwrap();
        let _new = UnixListener::bind(&successor).unwrap();
        std::fs::rename(&successor, &path).unwrap();
        assert!(!dialled.socket.is_current());
    }
}
