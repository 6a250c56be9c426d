//! The fields of an element that an edit adds or changes.

use super::Previous;
use crate::{
    cni::Capability,
    selection::{Attributes, Selection},
};

/// A field that is new in this element, or has another value than before. A field that is absent
/// asks for nothing.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ChangedField {
    Ips,
    Mac,
    CniArgs,
    PortMappings,
    Bandwidth,
    InfinibandGuid,
    DefaultRoute,
    IpamClaim,
    DeviceId,
}

impl ChangedField {
    /// The fields of `element` that are new or changed.
    pub fn by(element: &Selection, previous: Previous<'_>) -> Vec<Self> {
        match (previous.element, previous.is_plugged) {
            // Plugged by a list that was unreadable: what it asked for is unknown.
            (None, true) => Vec::new(),
            (before, _) => Self::of(element.attributes(), before.map(Selection::attributes)),
        }
    }

    fn of(new: &Attributes, before: Option<&Attributes>) -> Vec<Self> {
        [
            (
                Self::Ips,
                !new.ips.is_empty(),
                before.is_some_and(|b| b.same_ips(new)),
            ),
            (
                Self::Mac,
                new.mac.is_some(),
                before.is_some_and(|b| b.same_mac(new)),
            ),
            (
                Self::CniArgs,
                new.cni_args.is_some(),
                before.is_some_and(|b| b.same_cni_args(new)),
            ),
            (
                Self::PortMappings,
                !new.port_mappings.is_empty(),
                before.is_some_and(|b| b.same_port_mappings(new)),
            ),
            (
                Self::Bandwidth,
                new.bandwidth.is_some(),
                before.is_some_and(|b| b.bandwidth == new.bandwidth),
            ),
            (
                Self::InfinibandGuid,
                new.infiniband_guid.is_some(),
                before.is_some_and(|b| b.same_infiniband_guid(new)),
            ),
            (
                Self::DefaultRoute,
                new.default_route.is_some(),
                before.is_some_and(|b| b.default_route == new.default_route),
            ),
            (
                Self::IpamClaim,
                new.ipam_claim_reference.is_some(),
                before.is_some_and(|b| b.ipam_claim_reference == new.ipam_claim_reference),
            ),
            (
                Self::DeviceId,
                new.device_id.is_some(),
                before.is_some_and(|b| b.device_id == new.device_id),
            ),
        ]
        .into_iter()
        .filter_map(|(field, present, same)| (present && !same).then_some(field))
        .collect()
    }

    pub fn key(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Mac => "mac",
            Self::CniArgs => "cni-args",
            Self::PortMappings => "portMappings",
            Self::Bandwidth => "bandwidth",
            Self::InfinibandGuid => "infiniband-guid",
            Self::DefaultRoute => "default-route",
            Self::IpamClaim => "ipam-claim-reference",
            Self::DeviceId => "deviceID",
        }
    }

    /// The capability that hands the field to a plugin, and whether no other way leads there: ips
    /// and mac reach plugins through CNI_ARGS too.
    pub fn capability(self) -> Option<(Capability, bool)> {
        match self {
            Self::Ips => Some((Capability::Ips, false)),
            Self::Mac => Some((Capability::Mac, false)),
            Self::PortMappings => Some((Capability::PortMappings, true)),
            Self::Bandwidth => Some((Capability::Bandwidth, true)),
            Self::InfinibandGuid => Some((Capability::InfinibandGuid, true)),
            Self::CniArgs | Self::DefaultRoute | Self::IpamClaim | Self::DeviceId => None,
        }
    }
}
