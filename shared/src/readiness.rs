//! The pod condition `NetworksReady`: its name, and the digest of the annotation that its message
//! ends with. After an edit a reader compares the digest: until the agent has seen the edit, the
//! condition speaks of the earlier text.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The type of the pod condition.
pub const NETWORKS_READY: &str = "dynamic-networks.k8s.cni.cncf.io/NetworksReady";

/// The first 6 bytes of the SHA-256 of a networks annotation. Displays as
/// `networks=sha256:<12 hexadecimal digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworksDigest([u8; 6]);

impl NetworksDigest {
    /// The digest of an annotation; one that is missing is an empty text.
    pub fn of(annotation: &str) -> Self {
        let hash = Sha256::digest(annotation.as_bytes());
        let mut digest = [0; 6];
        digest.iter_mut().zip(hash).for_each(|(byte, of)| *byte = of);
        Self(digest)
    }
}

impl fmt::Display for NetworksDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("networks=sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // As `printf %s TEXT | sha256sum | cut -c-12` prints them.
    #[rstest]
    #[case("", "networks=sha256:e3b0c44298fc")]
    #[case("[]", "networks=sha256:4f53cda18c2b")]
    #[case("a@net1", "networks=sha256:38f3ccd70758")]
    fn digests_as_sha256sum_does(#[case] annotation: &str, #[case] shown: &str) {
        assert_eq!(NetworksDigest::of(annotation).to_string(), shown);
    }
}
