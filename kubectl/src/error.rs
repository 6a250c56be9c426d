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
    Api { doing: String, cause: String },
    /// The edit would not make sense.
    #[error("{0}")]
    Edit(String),
    /// The agent says that it could not be done.
    #[error(
        "pod {namespace}/{pod}: {message}\nThe annotation is kept and the agent tries again. Events: kubectl describe pod {pod} --namespace {namespace}"
    )]
    NotAttached {
        namespace: String,
        pod: String,
        message: String,
    },
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
            cause: words(&cause),
        })
    }
}

/// The API server's own words, among them the webhook's; kube adds the whole answer to them.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// One pod that fails hides no other: all errors but the last are printed here.
pub fn all(outcomes: Vec<Result<(), Error>>) -> Result<(), Error> {
    let mut errors: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
    let Some(last) = errors.pop() else {
        return Ok(());
    };
    for error in errors {
        eprintln!("error: {error}");
    }
    Err(last)
}
