//! What the API server's errors mean, and how they read.

use kube::core::Status;

/// What a refused patch of a pod means for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchRefusal {
    /// The pod is not as the patch expects it: read it again.
    Conflict,
    /// There is no such pod.
    Gone,
    /// Anything else; [`text`] says what.
    Failed,
}

/// The HTTP status, when the API server answered.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What a refused patch means. 409 is another resourceVersion. 422 is the uid of another pod, but
/// also a value that is too long, or an admission policy without a `reason`: reading the pod again
/// does not help against those, and only the message tells them apart.
pub fn patch_refusal(status: &Status) -> PatchRefusal {
    match status.code {
        404 => PatchRefusal::Gone,
        409 => PatchRefusal::Conflict,
        422 if is_another_pod(&status.message) => PatchRefusal::Conflict,
        _ => PatchRefusal::Failed,
    }
}

/// Whether the message of a 422 says that the patch names the uid of another object.
fn is_another_pod(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("metadata.uid: invalid value") && message.contains("field is immutable")
}

/// The cause in one line.
pub fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn refused(code: u16, message: &str) -> PatchRefusal {
        patch_refusal(&Status::failure(message, "Invalid").with_code(code))
    }

    #[rstest]
    #[case(
        409,
        "Operation cannot be fulfilled on pods \"p\": the object has been modified; please apply your changes to the latest version and try again"
    )]
    #[case(
        422,
        "Pod \"p\" is invalid: metadata.uid: Invalid value: \"u1\": field is immutable"
    )]
    fn takes_an_outdated_pod_for_a_conflict(#[case] code: u16, #[case] message: &str) {
        assert_eq!(refused(code, message), PatchRefusal::Conflict);
    }

    #[rstest]
    #[case(
        422,
        "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'dynamic-networks-controller' with binding 'dynamic-networks-controller' denied request: the agent may change pods of its own node only"
    )]
    #[case(
        422,
        "Pod \"p\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
    )]
    #[case(
        422,
        "Pod \"p\" is invalid: metadata.annotations: Invalid value: \"testing failed\""
    )]
    #[case(
        403,
        "pods \"p\" is forbidden: User \"u\" cannot patch resource \"pods/status\""
    )]
    #[case(429, "Too many requests, please try again later.")]
    #[case(500, "the server rejected our request due to an error in our request")]
    fn takes_any_other_refusal_for_a_failure(#[case] code: u16, #[case] message: &str) {
        assert_eq!(refused(code, message), PatchRefusal::Failed);
    }

    #[test]
    fn takes_not_found_for_a_pod_that_is_gone() {
        assert_eq!(refused(404, "pods \"p\" not found"), PatchRefusal::Gone);
    }
}
