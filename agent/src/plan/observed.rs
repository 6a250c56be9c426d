//! What there is: the attachments of a sandbox, as the records and libcni's cache tell it. Network-status has no say.

use std::{collections::BTreeSet, time::Duration};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    plan::desired::Attributes,
    records::{AttachmentRecord, Phase},
};

/// An ADD without an answer is given so long to show in libcni's cache: its plugin may still run.
pub const GRACE: Duration = Duration::from_secs(30);

/// The attachments of one sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Those that have a record, in the order of plugging.
    pub attachments: Vec<Attachment>,
    /// Interfaces that were there at first sight for other reasons than this pod's annotation.
    pub foreign: BTreeSet<InterfaceName>,
}

/// One attachment that has a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// The network.
    pub network: NetworkName,
    /// The interface.
    pub interface: InterfaceName,
    /// What is certain about it.
    pub state: State,
    /// What was asked for when it was plugged.
    pub attributes: Attributes,
}

/// What is certain about an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Plugged.
    Present,
    /// Half plugged or half unplugged: it needs a DEL, whatever else happens.
    Leaving,
    /// Its ADD never got an answer, but libcni's cache has its result.
    Appeared,
    /// Its ADD never got an answer, and its plugin may still run: until then nothing else may run in this sandbox.
    InDoubt {
        /// The end of the doubt, on the clock that never goes back.
        until: Duration,
    },
    /// Its ADD never got an answer, and nothing has appeared in time.
    Lost,
    /// Nothing is left of it, as far as is known.
    Buried,
}

impl Attachment {
    /// Judges a record. `in_cache`: libcni has a result for it. `doubt_ends`: when an ADD without an answer counts as lost.
    pub fn judge(record: &AttachmentRecord, in_cache: bool, doubt_ends: Duration, now: Duration) -> Self {
        let state = match &record.phase {
            Phase::Plugged { .. } => State::Present,
            Phase::Unplugging { .. } => State::Leaving,
            Phase::Plugging { .. } if in_cache => State::Appeared,
            Phase::Plugging { .. } if now < doubt_ends => State::InDoubt { until: doubt_ends },
            Phase::Plugging { .. } => State::Lost,
            Phase::Tombstone if in_cache => State::Leaving,
            Phase::Tombstone => State::Buried,
        };
        Self {
            network: record.network.clone(),
            interface: record.interface.clone(),
            state,
            attributes: Attributes {
                ips: record.ips.clone(),
                mac: record.mac.clone(),
                cni_args: record.cni_args.clone(),
            },
        }
    }
}
