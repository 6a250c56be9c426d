//! The pod condition `NetworksReady`, as a value.

use shared::readiness::NetworksDigest;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// All networks are attached.
    True,
    /// They are not.
    False,
    /// Neither: the agent does not write this.
    Unknown,
}

/// The condition as the API has it, without its type and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The status.
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: String,
    /// For people; ends with the digest of the annotation.
    pub message: String,
}

/// A condition to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionChange {
    /// The condition.
    pub condition: Condition,
    /// When its status changed, seconds since 1970; `None`: it did not.
    pub changed_at: Option<u64>,
}

impl ConditionStatus {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads the API's word.
    pub fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl Condition {
    /// Whether it speaks of the annotation with this digest.
    pub fn speaks_of(&self, digest: NetworksDigest) -> bool {
        self.message.ends_with(&digest.to_string())
    }
}
