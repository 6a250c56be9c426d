//! What a broken rule looks like, and the closed list of rules.

use std::fmt;

/// Values are shown up to this many characters.
const SHOWN_CHARACTERS: usize = 80;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $deliberate:literal, $description:literal;)+) => {
        /// A rule of the rule book. Closed: it labels metrics and heads the rows of `docs/rules.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $doc])+ $variant,)+ }

        impl Rule {
            /// Every rule, in the order of the documentation: first those that a list breaks by itself, then those about its surroundings.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The rule's name: kebab-case, stable, a metrics label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the rule asks for, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)+ }
            }

            /// Whether multus' own parser takes (some of) what this rule refuses: then the rule is a decision of this
            /// project, not a consequence of multus.
            pub const fn is_deliberate(self) -> bool {
                match self { $(Self::$variant => $deliberate,)+ }
            }
        }
    };
}

rules! {
    /// Larger than 64 KiB.
    AnnotationSize, "annotation-size", true, "The annotation is at most 64 KiB long.";
    /// More elements, ips or portMappings than are allowed.
    ElementCount, "element-count", true, "The annotation lists at most 64 networks, and an element at most 64 ips and 256 portMappings.";
    /// Nested deeper than 16 levels.
    JsonDepth, "json-depth", true, "JSON is nested at most 16 levels deep.";
    /// Not JSON, although one of `[`, `{`, `"` says that it should be.
    JsonSyntax, "json-syntax", false, "An annotation that contains '[', '{' or '\"' is JSON.";
    /// JSON, but no list.
    JsonList, "json-list", false, "JSON is a list, also for a single network.";
    /// An element of the list that is no object.
    ElementType, "element-type", false, "Every element of a JSON list is an object; a null would crash multus.";
    /// A key that occurs twice in one object.
    DuplicateKey, "duplicate-key", true, "No key occurs twice in one object: multus would take the last one, other readers the first.";
    /// A known key in another spelling.
    KeySpelling, "key-spelling", true, "Known keys are written in their one spelling: multus ignores case, other readers do not.";
    /// A number that does not survive multus.
    NumberRange, "number-range", true, "Numbers are at most 2^53 in magnitude: multus passes them through a floating-point number.";
    /// A known key with a value of the wrong JSON type.
    FieldType, "field-type", true, "Known keys have values of their JSON type; multus overlooks only ipam-claim-reference.";
    /// A text element that is empty, or has more than one `/` or `@`.
    TextSyntax, "text-syntax", true, "A text element is written [namespace/]name[@interface]; multus finds no network for an empty one, and the pod does not start.";
    /// Not the name of a NetworkAttachmentDefinition.
    NetworkName, "network-name", true, "The name is an object's name and the namespace a namespace's; in text, the name has no dots.";
    /// Not the name of an interface.
    InterfaceName, "interface-name", true, "An interface name has 1 to 15 bytes, is not '.' or '..', and has no '/', ':', '%', whitespace or control characters.";
    /// `lo` or the pod's default interface.
    InterfaceReserved, "interface-reserved", true, "The interface is neither lo nor the pod's default interface eth0, nor one that multus gives to its default networks.";
    /// An interface name that occurs twice in the pod.
    InterfaceDuplicate, "interface-duplicate", true, "Interface names are unique in the pod: multus fails at the second one.";
    /// Not an IP address, or no list of them.
    IpAddress, "ip-address", false, "Every entry of ips is an IPv4 or IPv6 address, with or without a prefix length.";
    /// Not a hardware address.
    MacAddress, "mac-address", true, "mac is a hardware address of 6, 8 or 20 bytes with separators: only the newest builds of multus do without them.";
    /// Not an InfiniBand GUID.
    InfinibandGuid, "infiniband-guid", true, "infiniband-guid is a GUID of 8 bytes; multus would take the length of any hardware address.";
    /// Not a gateway, or too many.
    DefaultRoute, "default-route", true, "default-route lists gateway addresses, at most one of each family in the pod: multus does no multi-path.";
    /// A port mapping that no plugin would take.
    PortMapping, "port-mapping", true, "A port mapping has a hostPort and a containerPort from 1 to 65535, and a protocol tcp, udp or sctp if any.";
    /// A bandwidth that no plugin would take.
    Bandwidth, "bandwidth", true, "Rates and bursts are not negative; a rate needs a burst and a burst a rate.";
    /// No interface name where the namespace asks for one.
    InterfaceNameMissing, "interface-name-missing", true, "Every element names its interface, where the mode is reject.";
    /// A NetworkAttachmentDefinition that does not exist.
    UnknownNetwork, "unknown-network", true, "The NetworkAttachmentDefinition exists, where missingNetworks is reject.";
    /// A network whose config cannot run.
    NetworkConfig, "network-config", true, "The NetworkAttachmentDefinition has a config that multus and its plugins can run.";
    /// A capability that no plugin of the network declares.
    Capability, "capability", true, "portMappings, bandwidth and infiniband-guid are asked only of a network with a plugin that declares the capability.";
    /// A default route for a running pod.
    DefaultRouteUpdate, "default-route-update", true, "default-route is not added to a running pod: only multus at pod start can set it.";
    /// A network of another namespace under namespace isolation.
    NamespaceIsolation, "namespace-isolation", true, "Under namespace isolation, networks are of the pod's own namespace or of a global one.";
    /// Another address for what is plugged.
    AttributeChange, "attribute-change", true, "ips, mac and cni-args of a plugged interface do not change: nothing would apply them.";
    /// A network whose plugin requires a device, on a running pod.
    DevicePlugin, "device-plugin", true, "A network whose plugin requires a device of the resource that it names is not added to a running pod; a resource that only marks nodes does not count.";
    /// A device id on a running pod.
    DeviceId, "device-id", true, "deviceID is not added to a running pod: it could name another pod's device.";
    /// A pod without a network namespace of its own.
    HostNetwork, "host-network", true, "Networks are not added to a pod that uses the host's network.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One broken rule: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken.
    pub rule: Rule,
    /// 0-based position of the element in the annotation; `None`: the list as a whole.
    pub element: Option<usize>,
    /// The network that the element names (`namespace/name`, shortened and printable), as far as it could be read.
    pub network: Option<String>,
    /// The field of the element (`interface`, `ips`…), if one is to blame.
    pub field: Option<&'static str>,
    /// The offending value, shortened to at most 80 characters and printable.
    pub value: Option<String>,
    /// What is wrong and what to do, for a person; one sentence without a full stop.
    pub message: String,
}

impl Violation {
    /// A violation by the list as a whole.
    pub fn of_list(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            element: None,
            network: None,
            field: None,
            value: None,
            message: message.into(),
        }
    }

    /// A violation by element `index`.
    pub fn of_element(rule: Rule, index: usize, message: impl Into<String>) -> Self {
        Self {
            element: Some(index),
            ..Self::of_list(rule, message)
        }
    }

    /// Names the element's network.
    #[must_use]
    pub fn network(mut self, network: impl fmt::Display) -> Self {
        self.network = Some(shown(&network.to_string()));
        self
    }

    /// Names the field that is to blame.
    #[must_use]
    pub fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Shows the value that is to blame, shortened and printable.
    #[must_use]
    pub fn value(mut self, value: &str) -> Self {
        self.value = Some(shown(value));
        self
    }
}

impl fmt::Display for Violation {
    /// `element 1 ("default/foo"), field interface, value "a/b": MESSAGE [rule NAME]`; parts that are absent are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(index) = self.element {
            let network = self
                .network
                .as_ref()
                .map(|network| format!(" (\"{network}\")"))
                .unwrap_or_default();
            parts.push(format!("element {index}{network}"));
        }
        parts.extend(self.field.map(|field| format!("field {field}")));
        parts.extend(self.value.as_ref().map(|value| format!("value \"{value}\"")));
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(", "))?;
        }
        write!(f, "{} [rule {}]", self.message, self.rule)
    }
}

/// Violations are listed up to this many.
pub const MAX_LISTED: usize = 20;

/// The first [`MAX_LISTED`] violations that were found, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    listed: Vec<Violation>,
    unlisted: usize,
}

impl Violations {
    /// Whether further violations are only counted.
    pub fn is_full(&self) -> bool {
        self.listed.len() >= MAX_LISTED
    }

    /// Lists a violation while there is room, else counts it.
    pub fn push(&mut self, violation: Violation) {
        if self.is_full() {
            self.unlisted += 1;
        } else {
            self.listed.push(violation);
        }
    }

    /// How many violations there are beyond those that are listed.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }
}

impl std::ops::Deref for Violations {
    type Target = [Violation];

    fn deref(&self) -> &[Violation] {
        &self.listed
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut all = Self::default();
        violations.into_iter().for_each(|violation| all.push(violation));
        all
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        std::iter::once(violation).collect()
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.listed.into_iter()
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<const N: usize> PartialEq<[Violation; N]> for Violations {
    fn eq(&self, other: &[Violation; N]) -> bool {
        self.unlisted == 0 && self.listed == other
    }
}

/// `text` made fit for a message: control characters escaped, and cut to 80 characters (the cut shows as `...`).
pub fn shown(text: &str) -> String {
    shortened(text, SHOWN_CHARACTERS)
}

/// As [`shown`], for at most `limit` characters.
pub fn shortened(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut count = 0;
    // Escapes make a character longer, so more than `limit` characters of the source are never needed.
    for c in text.chars().take(limit + 1) {
        if printable(c) {
            escaped.push(c);
            count += 1;
        } else {
            let escape = c.escape_default();
            count += escape.len();
            escaped.extend(escape);
        }
        if count > limit {
            break;
        }
    }
    if count <= limit {
        return escaped;
    }
    let kept: String = escaped.chars().take(limit.saturating_sub(3)).collect();
    kept + "..."
}

/// Neither control characters nor the invisible ones that reorder or break a line in a terminal.
fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rule_has_its_own_kebab_case_name() {
        let names: HashSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        );
    }

    #[test]
    fn descriptions_are_sentences() {
        for rule in Rule::ALL {
            assert!(rule.description().ends_with('.'), "{rule}");
        }
    }

    #[test]
    fn shows_where_what_and_which_rule() {
        let violation = Violation::of_element(Rule::InterfaceName, 1, "must not contain '/'")
            .network("default/foo")
            .field("interface")
            .value("a/b");
        assert_eq!(
            violation.to_string(),
            r#"element 1 ("default/foo"), field interface, value "a/b": must not contain '/' [rule interface-name]"#
        );
        assert_eq!(
            Violation::of_list(Rule::JsonList, "no list").to_string(),
            "no list [rule json-list]"
        );
    }

    #[test]
    fn shortens_values_and_escapes_what_a_terminal_would_obey() {
        assert_eq!(shown(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(shown(&"x".repeat(81)), "x".repeat(77) + "...");
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"\0".repeat(10_000)).chars().count(), 80);
    }
}
