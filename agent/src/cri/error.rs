//! Why the runtime gave no answer.

use tonic::{Code, Status};

use super::CALL_DEADLINE;

/// What containerd before 2.0 says while it starts, with the code Unknown. Later ones answer
/// Unavailable.
const STARTING: &str = "server is not initialized yet";

/// A CRI call without a usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CriError {
    /// The socket cannot be reached.
    #[error("the container runtime cannot be reached: {0}")]
    Unreachable(String),
    /// It says that it cannot serve now: it starts or stops.
    #[error("the container runtime is not ready: {0}")]
    NotReady(String),
    /// No answer within [`CALL_DEADLINE`].
    #[error("the container runtime did not answer {call} within {} s", CALL_DEADLINE.as_secs())]
    TimedOut {
        /// The CRI call.
        call: &'static str,
    },
    /// It does not serve CRI v1 (containerd before 1.6), or its CRI plugin is off.
    #[error("the container runtime does not serve CRI v1: {0}")]
    Unsupported(String),
    /// The call failed.
    #[error("{call} failed: {message}")]
    Failed {
        /// The CRI call.
        call: &'static str,
        /// The gRPC code by its name.
        code: String,
        /// The runtime's own words.
        message: String,
    },
    /// The answer cannot be used.
    #[error("the answer to {call} cannot be used: {reason}")]
    Unusable {
        /// The CRI call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl CriError {
    /// Whether the runtime itself is unavailable, rather than this one call refused.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotReady(_) | Self::TimedOut { .. } | Self::Unsupported(_) => true,
            Self::Failed { .. } | Self::Unusable { .. } => false,
        }
    }
}

pub(super) fn of_status(call: &'static str, status: &Status) -> CriError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unimplemented => CriError::Unsupported(message),
        Code::Unavailable => CriError::NotReady(message),
        Code::Unknown if message.contains(STARTING) => CriError::NotReady(message),
        code => CriError::Failed {
            call,
            code: format!("{code:?}"),
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::containerd_2_starts(Code::Unavailable, "server is not initialized yet", true)]
    #[case::containerd_1_starts(Code::Unknown, "server is not initialized yet", true)]
    #[case::no_cri_v1(Code::Unimplemented, "unknown service runtime.v1.RuntimeService", true)]
    #[case::refused(Code::Unknown, "the disk is on fire", false)]
    #[case::internal(Code::Internal, "panic", false)]
    fn tells_an_absent_runtime_from_a_failed_call(
        #[case] code: Code,
        #[case] message: &str,
        #[case] unavailable: bool,
    ) {
        let error = of_status("Version", &Status::new(code, message));
        assert_eq!(error.is_unavailable(), unavailable, "{error:?}");
        assert!(error.to_string().contains(message));
    }
}
