//! Why a step of a test did not succeed, with enough in it to understand the failure from the log
//! alone.

use std::time::Duration;

/// What every verb returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster, or it is not in the state that tests need.
    #[error("{0}; run `make test`, or `make cluster-up` and install the manifests")]
    Setup(String),
    /// The API server refused, or could not be reached.
    #[error("cannot {doing}: {source}")]
    Api {
        /// The step.
        doing: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// A command failed: on the node, or a tool on this machine.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Its error output.
        stderr: String,
    },
    /// A condition did not come true.
    #[error("{description}: not within {waited:?}; last seen: {last_seen}")]
    Deadline {
        /// The condition.
        description: String,
        /// How long it was awaited.
        waited: Duration,
        /// What was there instead.
        last_seen: String,
    },
    /// Something has a shape that a test cannot go on with.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Whether the API server answered with `code`.
    pub fn is_status(&self, code: u16) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(s) if s.code == code))
    }

    /// The API server's own words, when it refused.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(&status.message),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Names the step that an API call belongs to.
pub(crate) trait Doing<T> {
    /// `doing` completes the sentence "cannot …".
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Api {
            doing: doing.into(),
            source: Box::new(source),
        })
    }
}
