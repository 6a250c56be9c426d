//! Warnings: what is legal and would run, but surprises. The closed list of them, and how many an
//! answer has.

use crate::violation::shortened;

/// The characters of a warning: to these the API server cuts all of them when they have more than
/// 4,096 together.
const MAX_WARNING: usize = 256;
/// An answer has this many warnings.
const MAX_WARNINGS: usize = 10;

macro_rules! warnings {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $text:literal, $meaning:literal, $fix:literal;)+) => {
        /// A warning about a list. Closed: each has a row in `docs/rules.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Warning { $($(#[doc = $doc])+ $variant,)+ }

        impl Warning {
            /// Every warning, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Kebab-case, stable.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The words that users see; each `{}` stands for a part that differs.
            pub const fn template(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Why it is said, in one or two sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What to do about it.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix,)+ }
            }
        }
    };
}

warnings! {
    /// A key that multus ignores.
    UnknownKey, "unknown-key", "multus does not know the key \"{}\" and ignores it{}{}",
        "The element has a key that neither multus nor this project knows, and that has no period.",
        "Correct the key. Give a key of your own a period, as in \"example.com/vlan\".";
    /// No such network.
    UnknownNetwork, "unknown-network", "no such NetworkAttachmentDefinition{}",
        "The pod would not start, or the interface is not plugged, until the NetworkAttachmentDefinition exists. Where missingNetworks is reject, this is the rule unknown-network.",
        "Correct the name or the namespace, or create the NetworkAttachmentDefinition.";
    /// ips or mac without the capability.
    CapabilityUndeclared, "capability-undeclared", "no plugin declares the capability {}, {} may be ignored",
        "ips and mac reach a plugin by its capability, or by CNI_ARGS, which few plugins read.",
        "Declare the capability in the NetworkAttachmentDefinition, or leave the field out.";
    /// Two elements with one IP address.
    SameIp, "same-ip", "the ip {} is asked for twice on this network, first by element {}",
        "host-local gives an address once, so that the second interface is not attached; static gives it to both, and only one of them is reached.",
        "Give each interface an address of its own.";
    /// Two elements with one MAC address.
    SameMac, "same-mac", "the mac {} is asked for twice on this network, first by element {}",
        "macvlan takes a hardware address once on its parent; on a bridge, frames reach only one of the two interfaces. The ports of a bond may want this.",
        "Give each interface a mac of its own, or leave mac out.";
    /// ips with an IPAM claim.
    IpamClaim, "ipam-claim", "ips and ipam-claim-reference together: some IPAM plugins refuse that",
        "An IPAM claim brings its own addresses.",
        "Keep one of the two.";
    /// deviceID on create.
    DeviceUnchecked, "device-unchecked", "multus hands deviceID to the plugin unchecked; the device may be another pod's",
        "No component checks that the device belongs to this pod.",
        "Leave deviceID out and request the network's resource in a container instead.";
    /// deviceID on a running pod.
    DeviceOfThePod, "device-of-the-pod", "the agent attaches it only if this device is the pod's own and no interface uses it",
        "The agent knows which devices the kubelet gave the pod; the webhook does not.",
        "Leave deviceID out: the agent takes a device that is free.";
    /// A device network on a running pod.
    MayNeedDevice, "may-need-device", "it may need a device that the pod was given at its start and no interface uses",
        "A pod is given devices when it is created, and none later. The agent finds out whether one is left.",
        "If the interface does not come up, see the pod's events, or re-create the pod with a higher limit of the resource.";
    /// A changed field that nothing applies.
    ChangeNotApplied, "change-not-applied", "the interface is plugged, a changed {} is not applied",
        "Plugins get portMappings, bandwidth and infiniband-guid when they attach an interface, and not again.",
        "Remove the element, wait until the interface is unplugged, and add the element again.";
    /// A second default route.
    SecondDefaultRoute, "second-default-route", "it brings a default route, beside the one that the running pod has",
        "The network's config sets a default route. The pod keeps the one that it has, and which of the two its traffic takes is not defined.",
        "Take the default route out of the NetworkAttachmentDefinition, or re-create the pod with default-route in the element.";
    /// An unnamed element.
    NoInterfaceName, "no-interface-name", "no interface name; write {}",
        "The namespace's mode is warn: an element without an interface name gets the one that multus chooses.",
        "Write what the warning shows.";
    /// An unnamed element of a running pod.
    NotPlugged, "not-plugged", "no interface name, so it is not plugged; write {}",
        "The namespace's mode is warn, and the pod runs: the agent plugs only what has a name.",
        "Write what the warning shows.";
    /// A pod on the host's network.
    HostNetwork, "host-network", "the pod uses the host's network: its networks annotation has no effect",
        "Multus attaches networks only to pods that have a network namespace of their own.",
        "Remove the annotation, or hostNetwork.";
}

impl Warning {
    /// The words, with `parts` in the places that differ; a place without a part stays empty.
    pub(super) fn text(self, parts: &[&str]) -> String {
        let mut parts = parts.iter();
        let mut pieces = self.template().split("{}");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            text.push_str(parts.next().copied().unwrap_or_default());
            text.push_str(piece);
        }
        text
    }
}

/// Up to ten warnings of up to 256 characters, all printable ASCII; where there are more, the last
/// one says how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warnings {
    texts: Vec<String>,
    count: usize,
}

impl Warnings {
    /// Adds a warning; what a line cannot hold is escaped or cut off.
    pub fn push(&mut self, text: &str) {
        self.count += 1;
        if self.count <= MAX_WARNINGS {
            let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            self.texts.push(shortened(&ascii, MAX_WARNING));
        } else {
            self.texts.truncate(MAX_WARNINGS - 1);
            self.texts
                .push(format!("and {} more warnings", self.count - self.texts.len()));
        }
    }

    /// As they are shown.
    pub fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

impl FromIterator<String> for Warnings {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        let mut warnings = Self::default();
        texts.into_iter().for_each(|text| warnings.push(&text));
        warnings
    }
}

impl std::ops::Deref for Warnings {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.texts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_warning_has_its_own_name_and_sentences() {
        let names: HashSet<_> = Warning::ALL.iter().map(|warning| warning.name()).collect();
        assert_eq!(names.len(), Warning::ALL.len());
        for warning in Warning::ALL {
            assert!(warning.meaning().ends_with('.'), "{}", warning.name());
            assert!(warning.fix().ends_with('.'), "{}", warning.name());
        }
    }

    #[test]
    fn parts_stand_in_the_places_of_the_template() {
        let text = Warning::CapabilityUndeclared.text(&["ips", "ips"]);
        assert_eq!(text, "no plugin declares the capability ips, ips may be ignored");
        assert_eq!(
            Warning::UnknownKey.text(&["vlan"]),
            "multus does not know the key \"vlan\" and ignores it"
        );
    }
}
