//! The closed list of rules about the networks annotation.

use std::fmt;

/// What would become of a pod whose list breaks a rule, without the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Multus' parser refuses the list, so that the pod does not start.
    NotParsed,
    /// Multus or the kernel fails at pod start.
    NotStarted,
    /// The plugin refuses what it is asked for, so that the interface is not attached.
    PluginFails,
    /// The pod runs, and not everything is as the list says.
    Runs,
}

impl Outcome {
    /// In words, for a table.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotParsed => "multus cannot parse it",
            Self::NotStarted => "the pod would not start",
            Self::PluginFails => "the plugin would fail",
            Self::Runs => "it would run, perhaps not as meant",
        }
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $deliberate:literal, $outcome:ident, $description:literal, $fix:literal;)+) => {
        /// A rule of the rule book. Closed: it labels metrics and heads the rows of
        /// `docs/rules.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $doc])+ $variant,)+ }

        impl Rule {
            /// Every rule, in the order of the documentation: first those that a list breaks by
            /// itself, then those about its surroundings.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The rule's name: kebab-case, stable, a metrics label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the rule asks for, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)+ }
            }

            /// What to write instead, in one sentence.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix,)+ }
            }

            /// What would become of (most of) what the rule refuses.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)+ }
            }

            /// Whether multus' own parser takes (some of) what this rule refuses: then the rule is
            /// a decision of this project, not a consequence of multus.
            pub const fn is_deliberate(self) -> bool {
                match self { $(Self::$variant => $deliberate,)+ }
            }
        }
    };
}

rules! {
    /// Larger than 64 KiB.
    AnnotationSize, "annotation-size", true, Runs,
        "The annotation is at most 64 KiB long.",
        "List fewer networks, or shorten what an element asks for.";
    /// More elements, ips or portMappings than are allowed.
    ElementCount, "element-count", true, Runs,
        "The annotation lists at most 64 networks, and an element at most 64 ips and 256 portMappings.",
        "List fewer networks, ips or portMappings.";
    /// Nested deeper than 16 levels.
    JsonDepth, "json-depth", true, Runs,
        "JSON is nested at most 16 levels deep.",
        "Nest cni-args and unknown keys less deeply.";
    /// Not JSON, although one of `[`, `{`, `"` says that it should be.
    JsonSyntax, "json-syntax", false, NotParsed,
        "An annotation that contains '[', '{' or '\"' is JSON.",
        "Correct the text at the line and column that the message names.";
    /// JSON, but no list.
    JsonList, "json-list", false, NotParsed,
        "JSON is a list, also for a single network.",
        "Put the objects into a list: [{\"name\":\"macvlan1\"}].";
    /// An element of the list that is no object.
    ElementType, "element-type", false, NotParsed,
        "Every element of a JSON list is an object; a null would crash multus.",
        "Write each element as an object with a name, or remove it.";
    /// A key that occurs twice in one object.
    DuplicateKey, "duplicate-key", true, Runs,
        "No key occurs twice in one object: multus would take the last one, other readers the first.",
        "Remove one of the two keys.";
    /// A known key in another spelling.
    KeySpelling, "key-spelling", true, Runs,
        "Known keys are written in their one spelling: multus ignores case, other readers do not.",
        "Write the key as the message shows it.";
    /// A number that does not survive multus.
    NumberRange, "number-range", true, Runs,
        "Numbers are at most 2^53 in magnitude: multus passes them through a floating-point number.",
        "Write the number as a string, or use a smaller one.";
    /// A known key with a value of the wrong JSON type.
    FieldType, "field-type", true, NotParsed,
        "Known keys have values of their JSON type; multus overlooks only ipam-claim-reference.",
        "Give the field a value of the type that the message names.";
    /// A text element that is empty, or has more than one `/` or `@`.
    TextSyntax, "text-syntax", true, NotStarted,
        "A text element is written [namespace/]name[@interface]; multus finds no network for an empty one, and the pod does not start.",
        "Remove the comma too many, or write the element as [namespace/]name[@interface].";
    /// Not the name of a NetworkAttachmentDefinition.
    NetworkName, "network-name", true, NotStarted,
        "The name is an object's name and the namespace a namespace's; in text, the name has no dots.",
        "Write the name of a NetworkAttachmentDefinition; in JSON, the namespace has a key of its own.";
    /// Not the name of an interface.
    InterfaceName, "interface-name", true, NotStarted,
        "An interface name has 1 to 15 bytes, is not '.' or '..', and has no '/', ':', '%', whitespace or control characters.",
        "Choose a name of at most 15 bytes, such as net1.";
    /// `lo` or the pod's default interface.
    InterfaceReserved, "interface-reserved", true, NotStarted,
        "The interface is neither lo nor the pod's default interface eth0, nor one that multus gives to its default networks.",
        "Choose another interface name.";
    /// An interface name that occurs twice in the pod.
    InterfaceDuplicate, "interface-duplicate", true, NotStarted,
        "Interface names are unique in the pod: multus fails at the second one.",
        "Give each element an interface name of its own.";
    /// Not an IP address, or no list of them.
    IpAddress, "ip-address", false, NotParsed,
        "Every entry of ips is an IPv4 or IPv6 address, with or without a prefix length.",
        "Write each address as \"10.10.10.11/24\" or \"fd00::11/64\".";
    /// Not a hardware address.
    MacAddress, "mac-address", true, NotParsed,
        "mac is a hardware address of 6, 8 or 20 bytes with separators: only the newest builds of multus do without them.",
        "Write the address as \"02:11:22:33:44:55\".";
    /// Not an InfiniBand GUID.
    InfinibandGuid, "infiniband-guid", true, PluginFails,
        "infiniband-guid is a GUID of 8 bytes; multus would take the length of any hardware address.",
        "Write a GUID such as \"c2:11:22:33:44:55:66:77\".";
    /// Not a gateway, or too many.
    DefaultRoute, "default-route", true, NotStarted,
        "default-route lists gateway addresses, at most one of each family in the pod: multus does no multi-path.",
        "Write one gateway of each family, without a prefix length, in one element of the list.";
    /// A port mapping that no plugin would take.
    PortMapping, "port-mapping", true, PluginFails,
        "A port mapping has a hostPort and a containerPort from 1 to 65535, and a protocol tcp, udp or sctp if any.",
        "Give the mapping both ports, and a protocol that plugins know or none.";
    /// A bandwidth that no plugin would take.
    Bandwidth, "bandwidth", true, PluginFails,
        "Rates and bursts are not negative; a rate needs a burst and a burst a rate.",
        "Give the rate and the burst, both at least 0, or leave both out.";
    /// No interface name where the namespace asks for one.
    InterfaceNameMissing, "interface-name-missing", true, Runs,
        "Every element names its interface: always where the mode is reject, and on updates where it is fill. There the webhook fills in missing names first.",
        "Write the interface that the message shows. Or, where the mode is reject, have the namespace labelled with another mode.";
    /// A NetworkAttachmentDefinition that does not exist.
    UnknownNetwork, "unknown-network", true, NotStarted,
        "The NetworkAttachmentDefinition exists, where missingNetworks is reject.",
        "Correct the name or the namespace, or create the NetworkAttachmentDefinition first.";
    /// A network whose config cannot run.
    NetworkConfig, "network-config", true, NotStarted,
        "The NetworkAttachmentDefinition has a config that multus and its plugins can run.",
        "Correct spec.config of the NetworkAttachmentDefinition.";
    /// A capability that no plugin of the network declares.
    Capability, "capability", true, Runs,
        "portMappings, bandwidth and infiniband-guid are asked only of a network with a plugin that declares the capability.",
        "Add \"capabilities\": {\"portMappings\": true} (or the capability that the message names) to the plugin in the NetworkAttachmentDefinition, or leave the field out.";
    /// A hardware address that no interface can have.
    MacUnicast, "mac-unicast", true, PluginFails,
        "mac is a unicast address: the kernel gives no interface a group address, nor the one of zeros.",
        "Make the first byte even and the address not zero; 02 marks an address that you assign yourself.";
    /// An address without prefix length for static IPAM.
    IpPrefix, "ip-prefix", true, PluginFails,
        "ips have a prefix length on a network whose IPAM is static: that plugin takes none without.",
        "Write the prefix length behind each address.";
    /// A default route for a running pod.
    DefaultRouteUpdate, "default-route-update", true, Runs,
        "default-route is not added to a running pod: only multus at pod start can set it.",
        "Leave default-route out, or re-create the pod with it.";
    /// A network of another namespace under namespace isolation.
    NamespaceIsolation, "namespace-isolation", true, NotStarted,
        "Under namespace isolation, networks are of the pod's own namespace or of a global one.",
        "Use a NetworkAttachmentDefinition of a namespace that the message lists.";
    /// Another address for what is plugged.
    AttributeChange, "attribute-change", true, Runs,
        "ips, mac, cni-args and deviceID of a plugged interface do not change: nothing would apply them.",
        "Remove the element, wait until the interface is unplugged, and add the element with the new values.";
    /// A network whose plugin requires a device, on a running pod.
    DevicePlugin, "device-plugin", true, PluginFails,
        "A running pod has no more networks whose plugin requires a device of a resource than devices of it in its limits; a resource that only marks nodes does not count.",
        "Remove another network of that resource, or re-create the pod with a higher limit.";
    /// A pod without a network namespace of its own.
    HostNetwork, "host-network", true, Runs,
        "Networks are not added to a pod that uses the host's network.",
        "Remove the element, or re-create the pod without hostNetwork.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
            assert!(rule.fix().ends_with('.'), "{rule}");
        }
    }
}
