//! Names that are valid by construction: parsed once, never checked again.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// What the kernel's `IFNAMSIZ` leaves for a name, in bytes.
const MAX_INTERFACE_BYTES: usize = 15;
/// DNS-1123 label (RFC 1123), in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// DNS-1123 subdomain, in bytes.
const MAX_SUBDOMAIN_BYTES: usize = 253;

/// The name of a network interface in a pod: 1..15 bytes, not `.` or `..`, no `/`, `:`, `%`,
/// whitespace or control character (the rules of libcni and the kernel; the kernel would read `%d`
/// as a template). Whether `lo` or the default interface may be meant is a rule about lists (see
/// [`crate::selection`]), not about names.
// One aligned block, because it is copied a lot: in two words, whatever it is a part of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[repr(align(8))]
pub struct InterfaceName(
    /// The name, then zeros; the last byte is its length.
    [u8; MAX_INTERFACE_BYTES + 1],
);

/// Why a text is not an interface name; the message says what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceNameError {
    /// Empty.
    #[error("must not be empty")]
    Empty,
    /// More than 15 bytes.
    #[error("must be at most 15 bytes long, the kernel's limit")]
    TooLong,
    /// `.` or `..`.
    #[error("must not be '.' or '..'")]
    Dots,
    /// A character that libcni or the kernel refuses.
    #[error("must not contain '/', ':', '%', whitespace or control characters")]
    BadCharacter,
}

impl InterfaceName {
    /// Checks `name`.
    ///
    /// # Errors
    /// See [`InterfaceNameError`].
    pub fn parse(name: &str) -> Result<Self, InterfaceNameError> {
        if name.is_empty() {
            return Err(InterfaceNameError::Empty);
        }
        if name.len() > MAX_INTERFACE_BYTES {
            return Err(InterfaceNameError::TooLong);
        }
        if name == "." || name == ".." {
            return Err(InterfaceNameError::Dots);
        }
        if name.contains(|c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control()) {
            return Err(InterfaceNameError::BadCharacter);
        }
        Ok(Self::of([name]))
    }

    /// `net<k>`, the form in which multus names an unnamed attachment.
    pub fn net(k: u32) -> Self {
        Self::of(["net", &k.to_string()])
    }

    /// A name that is known to be one, in parts.
    fn of<const N: usize>(parts: [&str; N]) -> Self {
        let mut own = Self([0; MAX_INTERFACE_BYTES + 1]);
        let [places @ .., length] = &mut own.0;
        let mut places = places.iter_mut();
        for part in parts {
            for (byte, place) in part.bytes().zip(places.by_ref()) {
                *place = byte;
                *length += 1;
            }
        }
        own
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let [bytes @ .., length] = &self.0;
        let text = bytes.get(..usize::from(*length)).unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InterfaceName").field(&self.as_str()).finish()
    }
}

impl AsRef<str> for InterfaceName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.as_str().to_owned()
    }
}

/// A NetworkAttachmentDefinition's namespace (DNS-1123 label) and name (DNS-1123 subdomain).
/// Displays as `namespace/name`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName {
    /// `namespace/name`
    text: SmolStr,
    /// Where the `/` is.
    slash: u8,
}

/// Why a text is not the name of a NetworkAttachmentDefinition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkNameError {
    /// The namespace is not a DNS-1123 label.
    #[error(
        "must be a namespace: at most 63 lower case letters, digits and '-', beginning and ending with a letter or digit"
    )]
    Namespace,
    /// The name is not a DNS-1123 subdomain.
    #[error(
        "must be the name of a NetworkAttachmentDefinition: at most 253 lower case letters, digits, '-' and '.', beginning and ending with a letter or digit"
    )]
    Name,
    /// Not of the form `namespace/name`.
    #[error("must be written namespace/name")]
    Form,
}

impl NetworkName {
    /// Checks both parts.
    ///
    /// # Errors
    /// See [`NetworkNameError`]; the namespace is checked first.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NetworkNameError> {
        if !is_label(namespace) {
            return Err(NetworkNameError::Namespace);
        }
        if !is_subdomain(name) {
            return Err(NetworkNameError::Name);
        }
        let text = SmolStr::from_iter([namespace, "/", name]);
        Ok(Self {
            text,
            slash: u8::try_from(namespace.len()).map_err(|_| NetworkNameError::Namespace)?,
        })
    }

    /// Parses `namespace/name`, as network-status and multus' delegate files write it.
    ///
    /// # Errors
    /// See [`NetworkNameError`].
    pub fn parse(text: &str) -> Result<Self, NetworkNameError> {
        let (namespace, name) = text.split_once('/').ok_or(NetworkNameError::Form)?;
        Self::new(namespace, name)
    }

    /// The NAD's namespace.
    pub fn namespace(&self) -> &str {
        self.text.get(..self.slash.into()).unwrap_or_default()
    }

    /// The NAD's name.
    pub fn name(&self) -> &str {
        self.text.get(usize::from(self.slash) + 1..).unwrap_or_default()
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// By namespace, then by name.
impl Ord for NetworkName {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.namespace(), self.name()).cmp(&(other.namespace(), other.name()))
    }
}

impl PartialOrd for NetworkName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NetworkName").field(&self.text).finish()
    }
}

impl TryFrom<String> for NetworkName {
    type Error = NetworkNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.text.into()
    }
}

/// A DNS-1123 label: what a namespace must be, and what the text format allows for names.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && is_label_of_any_length(text)
}

/// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, multus' expression for both parts in the text format.
pub(crate) fn is_label_of_any_length(text: &str) -> bool {
    is_label_text(text.as_bytes())
}

/// The bytes of a label: one table lookup per byte, not five comparisons.
const LABEL: [bool; 256] = {
    let mut label = [false; 256];
    let mut index = 0;
    while index < 36 {
        label[b"abcdefghijklmnopqrstuvwxyz0123456789"[index] as usize] = true;
        index += 1;
    }
    label[b'-' as usize] = true;
    label
};

fn is_label_text(bytes: &[u8]) -> bool {
    let inside = |byte: &u8| LABEL.get(usize::from(*byte)) == Some(&true);
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|byte| inside(byte) && *byte != b'-'))
        // Without an early end: most are one.
        && bytes.iter().fold(true, |all, byte| all & inside(byte))
}

/// A DNS-1123 subdomain: what the API server accepts as the name of most objects.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Most have no dot.
    bytes.len() <= MAX_SUBDOMAIN_BYTES
        && (is_label_text(bytes) || bytes.split(|byte| *byte == b'.').all(is_label_text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("net1")]
    #[case("uplink_p0")]
    #[case("a.b-c@d")]
    #[case("...")]
    #[case("fifteen_bytes_x")]
    #[case("é")]
    fn takes_what_the_kernel_takes(#[case] name: &str) {
        assert_eq!(InterfaceName::parse(name).unwrap().as_str(), name);
    }

    #[rstest]
    #[case("", InterfaceNameError::Empty)]
    #[case(".", InterfaceNameError::Dots)]
    #[case("..", InterfaceNameError::Dots)]
    #[case("sixteen_bytes_xx", InterfaceNameError::TooLong)]
    #[case("eight_bytés_twó", InterfaceNameError::TooLong)]
    #[case("a/b", InterfaceNameError::BadCharacter)]
    #[case("a:b", InterfaceNameError::BadCharacter)]
    #[case("net%d", InterfaceNameError::BadCharacter)]
    #[case("a b", InterfaceNameError::BadCharacter)]
    #[case("a\u{a0}b", InterfaceNameError::BadCharacter)]
    #[case("a\0", InterfaceNameError::BadCharacter)]
    fn refuses_what_cannot_be_an_interface(#[case] name: &str, #[case] why: InterfaceNameError) {
        assert_eq!(InterfaceName::parse(name), Err(why));
    }

    #[test]
    fn names_every_net_number_within_fifteen_bytes() {
        assert_eq!(
            InterfaceName::parse(InterfaceName::net(u32::MAX).as_str()),
            Ok(InterfaceName::net(u32::MAX))
        );
    }

    #[rstest]
    #[case("default", "macvlan1-config", true)]
    #[case("1", "a.b-c.0", true)]
    #[case("", "a", false)]
    #[case("a.b", "a", false)]
    #[case("a", "", false)]
    #[case("a", "A", false)]
    #[case("a", "-a", false)]
    #[case("a", "a..b", false)]
    #[case("a", "a/b", false)]
    #[case("a", "a;b=c", false)]
    fn network_names_are_object_names(#[case] namespace: &str, #[case] name: &str, #[case] legal: bool) {
        assert_eq!(NetworkName::new(namespace, name).is_ok(), legal);
    }

    #[test]
    fn network_name_lengths_match_the_api_server() {
        assert!(NetworkName::new(&"n".repeat(63), &"a".repeat(253)).is_ok());
        assert_eq!(
            NetworkName::new(&"n".repeat(64), "a"),
            Err(NetworkNameError::Namespace)
        );
        assert_eq!(
            NetworkName::new("n", &"a".repeat(254)),
            Err(NetworkNameError::Name)
        );
    }

    #[test]
    fn serialises_as_the_text_that_people_read() {
        let name = NetworkName::parse("default/foo").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"default/foo\"");
        assert_eq!(
            serde_json::from_str::<NetworkName>("\"default/foo\"").unwrap(),
            name
        );
        assert!(serde_json::from_str::<NetworkName>("\"foo\"").is_err());
        assert!(serde_json::from_str::<InterfaceName>("\"a/b\"").is_err());
    }
}
