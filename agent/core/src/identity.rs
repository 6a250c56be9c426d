//! Who a call or a record is about: a sandbox, and a pod. Both are valid by construction, because
//! they become path parts and `CNI_ARGS`, where nothing is escaped.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::names::InterfaceName;

/// CNI's identity of an attachment on a node: sandbox and interface name (CNI spec 1.1, section 2).
pub type AttachmentKey = (SandboxId, InterfaceName);

/// The CRI id of a pod sandbox: 1 to 128 letters, digits, `_` and `-`, the first a letter or a
/// digit. Safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

/// A pod as CNI calls name it. Every part is free of `;`, `=` and whitespace, so it can stand in
/// `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawIdentity", into = "RawIdentity")]
pub struct PodIdentity {
    namespace: String,
    name: String,
    uid: String,
}

/// What cannot name a sandbox or a pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// See [`SandboxId`].
    #[error("{0:?} is not a sandbox id: 1 to 128 letters, digits, '_' and '-'")]
    SandboxId(String),
    /// Not a DNS-1123 label.
    #[error("{0:?} is not a namespace name")]
    Namespace(String),
    /// Not a DNS-1123 subdomain.
    #[error("{0:?} is not a pod name")]
    Name(String),
    /// Not 1 to 128 letters, digits and `-`.
    #[error("{0:?} is not a pod uid")]
    Uid(String),
}

impl SandboxId {
    /// Checks an id that a runtime, a file name or a record gave.
    ///
    /// # Errors
    /// [`IdentityError::SandboxId`]
    pub fn parse(id: &str) -> Result<Self, IdentityError> {
        if is_token(id, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(id.to_owned()))
        } else {
            Err(IdentityError::SandboxId(shortened(id)))
        }
    }

    /// The id as the runtime wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PodIdentity {
    /// A pod with its uid. An empty `uid` means "whichever pod has that name": multus does not
    /// check it then.
    ///
    /// # Errors
    /// The part that is not a legal Kubernetes name.
    pub fn new(namespace: &str, name: &str, uid: &str) -> Result<Self, IdentityError> {
        if namespace.contains('.') || namespace.len() > 63 || !is_dns_name(namespace) {
            return Err(IdentityError::Namespace(shortened(namespace)));
        }
        if !is_dns_name(name) {
            return Err(IdentityError::Name(shortened(name)));
        }
        if !uid.is_empty() && !is_token(uid, |b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(IdentityError::Uid(shortened(uid)));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        })
    }

    /// The same pod name, whatever its uid: for releasing what a dead namesake left.
    #[must_use]
    pub fn without_uid(&self) -> Self {
        Self {
            uid: String::new(),
            ..self.clone()
        }
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pod's uid; empty when it shall not be checked.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `namespace/name`
impl fmt::Display for PodIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl TryFrom<String> for SandboxId {
    type Error = IdentityError;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::parse(&id)
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

/// How an identity is stored: unchecked.
#[derive(Serialize, Deserialize)]
struct RawIdentity {
    namespace: String,
    name: String,
    #[serde(default)]
    uid: String,
}

impl TryFrom<RawIdentity> for PodIdentity {
    type Error = IdentityError;

    fn try_from(raw: RawIdentity) -> Result<Self, Self::Error> {
        Self::new(&raw.namespace, &raw.name, &raw.uid)
    }
}

impl From<PodIdentity> for RawIdentity {
    fn from(pod: PodIdentity) -> Self {
        Self {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
        }
    }
}

fn is_token(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.len() <= 128
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
}

/// A DNS-1123 subdomain (RFC 1123 as Kubernetes reads it): labels of lower-case letters, digits and
/// inner `-`, joined by dots.
fn is_dns_name(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        label.bytes().all(|b| alphanumeric(b) || b == b'-')
            && label.bytes().next().is_some_and(alphanumeric)
            && label.bytes().last().is_some_and(alphanumeric)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("")]
    #[case("..")]
    #[case("-x")]
    #[case("a/b")]
    #[case("a.b")]
    #[case("a\0")]
    #[case("é")]
    fn refuses_a_sandbox_id_that_is_no_file_name(#[case] id: &str) {
        assert_eq!(SandboxId::parse(id), Err(IdentityError::SandboxId(id.to_owned())));
    }

    #[test]
    fn refuses_a_sandbox_id_that_is_too_long() {
        assert!(SandboxId::parse(&"a".repeat(128)).is_ok());
        assert!(SandboxId::parse(&"a".repeat(129)).is_err());
    }

    #[rstest]
    #[case("default;K8S_POD_NAME=x", "p", "u")]
    #[case("a.b", "p", "u")]
    #[case("", "p", "u")]
    #[case("default", "p;IgnoreUnknown=1", "u")]
    #[case("default", "p=q", "u")]
    #[case("default", "", "u")]
    #[case("default", "a..b", "u")]
    #[case("default", "p", "u;MAC=x")]
    #[case("default", "p", "a b")]
    fn refuses_what_would_break_out_of_cni_args(
        #[case] namespace: &str,
        #[case] name: &str,
        #[case] uid: &str,
    ) {
        assert!(PodIdentity::new(namespace, name, uid).is_err());
    }

    #[test]
    fn accepts_a_static_pods_uid_and_no_uid() {
        assert!(PodIdentity::new("kube-system", "etcd-node.local", "0f6b5d4bb37e5b1f").is_ok());
        assert!(PodIdentity::new("default", "p", "").is_ok());
    }
}
