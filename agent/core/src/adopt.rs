//! First sight of a sandbox: which of the attachments in multus' delegate file are the
//! annotation's, or this agent's own, and which are foreign. The evidence is on the node's disk;
//! network-status is none.

use serde_json::Value;
use shared::{
    cni::NetworkConfig,
    names::{InterfaceName, NetworkName},
    selection::{Attributes, Selection},
};

use crate::{
    cni_state::{CniState, Delegate, Entry, config_name},
    device::Device,
    pod::{Annotation, SeenElements},
    record::{AttachmentRecord, Origin, Phase},
};

pub mod predecessor;

/// What is known at first sight.
#[derive(Clone, Copy, Debug)]
pub struct FirstSight<'a> {
    /// The pod's uid.
    pub uid: &'a str,
    /// The present annotation.
    pub annotation: &'a Annotation,
    /// The elements that were seen so far.
    pub seen: &'a SeenElements,
    /// How many networks multus attaches before the annotation's.
    pub offset: u32,
    /// The node's evidence.
    pub state: &'a CniState,
    /// Seconds since the epoch.
    pub now: u64,
}

/// An attachment of multus that nothing has claimed yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unclaimed {
    /// Its NAD; `None`: it is not from one.
    pub network: Option<NetworkName>,
    /// Its interface.
    pub interface: InterfaceName,
    /// An annotation that names its network, and its interface or none, claims it.
    record: Option<Box<AttachmentRecord>>,
}

impl Unclaimed {
    /// An interface that a record of the sandbox lists as foreign.
    pub fn recorded(interface: &InterfaceName) -> Self {
        Self {
            network: None,
            interface: interface.clone(),
            record: None,
        }
    }
}

/// What the first sight found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adoption {
    /// Attachments of the annotation, or of this agent.
    pub records: Vec<AttachmentRecord>,
    /// The rest: foreign, until an annotation claims it.
    pub unclaimed: Vec<Unclaimed>,
    /// An element of the annotation has a place that the configured offset leaves to multus' own
    /// networks.
    pub contradicts_offset: bool,
}

/// Judges what is attached: what the delegate file lists and libcni has a result for.
pub fn judge(sight: &FirstSight<'_>) -> Adoption {
    let mut adoption = Adoption::default();
    let delegates = sight.state.delegates.iter().flatten();
    for delegate in delegates.filter(|delegate| !delegate.default) {
        let Some(interface) = &delegate.interface else {
            continue;
        };
        // An interface name can have had several networks since the sandbox started.
        let name = config_name(&String::from_utf8_lossy(&delegate.config));
        let of_it = |entry: &&Entry| entry.interface == *interface && entry.config_name == name;
        let Some(entry) = sight.state.entries.iter().find(of_it) else {
            continue;
        };
        adoption.contradicts_offset |= delegate.requested && delegate.position <= sight.offset;
        let record = delegate
            .network
            .as_ref()
            .map(|network| record(sight, (delegate, entry), network, interface));
        match record {
            Some(record) if delegate.requested => adoption.records.push(record),
            record => {
                let behind_offset = delegate.position > sight.offset;
                adoption.unclaimed.push(Unclaimed {
                    network: delegate.network.clone(),
                    interface: interface.clone(),
                    record: record.filter(|_| behind_offset).map(Box::new),
                });
            }
        }
    }
    let (claimed, unclaimed) = claim(std::mem::take(&mut adoption.unclaimed), sight.seen);
    adoption.records.extend(claimed);
    adoption.unclaimed = unclaimed;
    adoption
}

/// Splits what the elements in `seen` claim from the rest.
pub fn claim(unclaimed: Vec<Unclaimed>, seen: &SeenElements) -> (Vec<AttachmentRecord>, Vec<Unclaimed>) {
    let mut claimed = Vec::new();
    let mut rest = Vec::new();
    for mut one in unclaimed {
        let named = one
            .network
            .as_ref()
            .is_some_and(|network| seen.names(network, &one.interface));
        match one.record.take_if(|_| named) {
            Some(record) => claimed.push(*record),
            None => rest.push(one),
        }
    }
    (claimed, rest)
}

/// The record of an attachment that multus made.
fn record(
    sight: &FirstSight<'_>,
    (delegate, entry): (&Delegate, &Entry),
    network: &NetworkName,
    interface: &InterfaceName,
) -> AttachmentRecord {
    let device = delegate.device_id.clone().map(|id| Device {
        resource: delegate.resource_name.clone().unwrap_or_default(),
        id,
        info: None,
    });
    let record = of_entry(sight, entry, network, device);
    AttachmentRecord {
        interface: interface.clone(),
        origin: if delegate.hot_plugged {
            Origin::HotPlugged
        } else {
            Origin::ColdPlugged
        },
        order: u64::from(delegate.position),
        ..record
    }
}

/// The record of an attachment that libcni knows.
fn of_entry(
    sight: &FirstSight<'_>,
    entry: &Entry,
    network: &NetworkName,
    device: Option<Device>,
) -> AttachmentRecord {
    let asked = asked(sight.annotation, network, &entry.interface);
    let mut ran = asked.clone();
    let ips = entry.capability_args.get("ips").and_then(Value::as_array);
    let ips = ips.map(|ips| ips.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    ran.ips = ips.unwrap_or(ran.ips);
    let mac = entry.capability_args.get("mac").and_then(Value::as_str);
    ran.mac = mac.map(str::to_owned).or(ran.mac);
    let mut selection = Selection::new(network.clone());
    selection.interface = Some(entry.interface.clone());
    let id = device.as_ref().map(|device| device.id.as_str());
    let config = del_config(&String::from_utf8_lossy(&entry.config), network, &ran, id);
    AttachmentRecord {
        phase: Phase::Plugged {
            result: entry.result.clone(),
        },
        ips: ran.ips,
        mac: ran.mac,
        cni_args: asked.cni_args,
        device,
        capability_requests: None,
        ..AttachmentRecord::intent(&selection, entry.interface.clone(), config, sight.now)
    }
}

/// What the present annotation asks for in the element that names this attachment.
fn asked(annotation: &Annotation, network: &NetworkName, interface: &InterfaceName) -> Attributes {
    let elements = annotation.list().into_iter().flat_map(|list| &list.elements);
    let named = elements
        .clone()
        .find(|element| element.network == *network && element.interface.as_ref() == Some(interface));
    named.map_or_else(
        || Attributes::NONE.clone(),
        |element| element.attributes().clone(),
    )
}

/// The configuration for the DEL. One that our rules refuse ran all the same, so it goes out
/// unchanged.
fn del_config(config: &str, network: &NetworkName, ran: &Attributes, device: Option<&str>) -> String {
    NetworkConfig::parse(config, network.name())
        .map_or_else(|_| config.to_owned(), |config| config.conflist_with(ran, device))
}
