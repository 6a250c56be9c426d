//! Why the kubelet did not say which devices a pod has.

use std::time::Duration;

use tonic::{Code, Status};

use agent_core::identity::PodIdentity;

/// How long one call may take, connecting included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// What the kubelet answers to `Get` while its feature gate is off.
const DISABLED: &str = "method disabled";
/// So much of the kubelet's own words is passed on.
const MAX_CHARS: usize = 300;

/// A call of the PodResources API without a usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeletError {
    /// The socket cannot be reached.
    #[error(
        "the kubelet's PodResources API cannot be reached: {0} (is the node's /var/lib/kubelet/pod-resources mounted into \
         the agent's pod?)"
    )]
    Unreachable(String),
    /// No answer in time.
    #[error("the kubelet did not answer {call} of its PodResources API within {} s", CALL_DEADLINE.as_secs())]
    TimedOut {
        /// The method.
        call: &'static str,
    },
    /// It serves no such API.
    #[error("the kubelet does not serve the PodResources API v1: {0}")]
    Unsupported(String),
    /// The call failed.
    #[error("{call} of the kubelet's PodResources API failed: {message} ({code})")]
    Failed {
        /// The method.
        call: &'static str,
        /// The gRPC code by its name.
        code: String,
        /// The kubelet's own words.
        message: String,
    },
    /// It has no such pod, or none any more.
    #[error("the kubelet does not list the pod {0}")]
    UnknownPod(PodIdentity),
}

impl KubeletError {
    /// Whether other pods would meet it, too.
    pub(super) fn is_of_the_kubelet(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Unsupported(_)
        )
    }
}

/// Whether a kubelet refuses `Get` that would answer `List`.
pub(super) fn has_no_get(status: &Status) -> bool {
    status.code() == Code::Unimplemented || status.message().contains(DISABLED)
}

pub(super) fn of_status(call: &'static str, status: &Status) -> KubeletError {
    let message: String = status.message().chars().take(MAX_CHARS).collect();
    match status.code() {
        Code::Unimplemented => KubeletError::Unsupported(message),
        code => KubeletError::Failed {
            call,
            code: format!("{code:?}"),
            message,
        },
    }
}
