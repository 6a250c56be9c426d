//! Why a command did not do what it was asked to.

use std::{process::ExitCode, time::Duration};

/// See the module. Each says what to do next where it knows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no kubeconfig.
    #[error("{0}")]
    Setup(String),
    /// The API server refused, or did not answer.
    #[error("{doing}: {cause}")]
    Api { doing: String, cause: Box<kube::Error> },
    /// The edit would not make sense.
    #[error("{0}")]
    Edit(String),
    /// The agent says that it could not be done.
    #[error(
        "pod {pod}: {message}\nThe annotation stays as it is now, and the agent goes on trying: kubectl describe pod {pod} shows its events"
    )]
    NotAttached { pod: String, message: String },
    /// No answer in time.
    #[error("pod {pod}: not done within {waited:?}; {last_seen}")]
    Timeout {
        pod: String,
        waited: Duration,
        last_seen: String,
    },
    /// Some checks failed; they were printed.
    #[error("{0}")]
    Found(String),
    /// Ctrl-C.
    #[error(
        "interrupted. An edit that was accepted is carried out all the same: kubectl networks list shows it"
    )]
    Interrupted,
}

impl Error {
    /// As `kubectl networks --help` says.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Timeout { .. } => 3,
            Self::Interrupted => 130,
            _ => 1,
        })
    }
}

/// Says what was being done when a request failed.
pub trait Doing<T> {
    /// `doing` is a verb with its object: "read pod web-0".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for kube::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| Error::Api {
            doing: doing(),
            cause: Box::new(cause),
        })
    }
}
