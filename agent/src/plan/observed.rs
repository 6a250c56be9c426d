//! What there is: the attachments of a sandbox, as the records and libcni's cache tell it. Network-status has no say.

use std::{collections::BTreeSet, time::Duration};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    plan::desired::Attributes,
    records::{AttachmentRecord, Phase},
};

/// A call without an answer is given so long to show in libcni's cache: its plugin may still run.
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
    /// Its last call never got an answer, and its plugin may still run: until then nothing else may run in this sandbox.
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
    /// Judges a record. `in_cache`: whether libcni has a result for it, if its cache could be read. `doubt_ends`: when a call without an
    /// answer counts as lost.
    pub fn judge(
        record: &AttachmentRecord,
        in_cache: Option<bool>,
        doubt_ends: Duration,
        now: Duration,
    ) -> Self {
        let doubt = (now < doubt_ends).then_some(State::InDoubt { until: doubt_ends });
        let state = match &record.phase {
            Phase::Plugged { .. } => State::Present,
            // Success has taken the entry away. A second DEL found none, so of that one it tells nothing.
            Phase::Unplugging {
                attempt: 1,
                result: Some(_),
            } if in_cache == Some(false) => State::Leaving,
            Phase::Unplugging { .. } => doubt.unwrap_or(State::Leaving),
            Phase::Plugging { .. } if in_cache == Some(true) => State::Appeared,
            Phase::Plugging { .. } => doubt.unwrap_or(State::Lost),
            Phase::Tombstone if in_cache == Some(true) => doubt.unwrap_or(State::Leaving),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Map, json};

    use super::*;
    use crate::records::Origin;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(120);
    const IN_DOUBT: State = State::InDoubt { until: LATER };

    fn unplugging(attempt: u32, plugged: bool) -> Phase {
        Phase::Unplugging {
            attempt,
            result: plugged.then(|| json!({})),
        }
    }

    #[rstest]
    #[case::an_add_in_time(Phase::Plugging { attempt: 1 }, false, LATER, IN_DOUBT)]
    #[case::an_add_too_late(Phase::Plugging { attempt: 1 }, false, NOW, State::Lost)]
    #[case::an_add_that_shows(Phase::Plugging { attempt: 1 }, true, LATER, State::Appeared)]
    #[case::a_del_that_may_run(unplugging(1, true), true, LATER, IN_DOUBT)]
    #[case::a_del_that_shows(unplugging(1, true), false, LATER, State::Leaving)]
    #[case::a_del_that_nobody_can_see(unplugging(1, true), None, LATER, IN_DOUBT)]
    #[case::a_del_that_cannot_show_because_another_did(unplugging(2, true), false, LATER, IN_DOUBT)]
    #[case::a_del_that_cannot_show_because_nothing_did(unplugging(1, false), false, LATER, IN_DOUBT)]
    #[case::a_del_too_late(unplugging(2, true), true, NOW, State::Leaving)]
    #[case::buried(Phase::Tombstone, false, LATER, State::Buried)]
    #[case::risen(Phase::Tombstone, true, NOW, State::Leaving)]
    #[case::risen_and_perhaps_leaving(Phase::Tombstone, true, LATER, IN_DOUBT)]
    fn a_call_without_an_answer_has_its_time(
        #[case] phase: Phase,
        #[case] in_cache: impl Into<Option<bool>>,
        #[case] doubt_ends: Duration,
        #[case] state: State,
    ) {
        let record = AttachmentRecord {
            network: NetworkName::new("default", "a").unwrap(),
            interface: InterfaceName::net(1),
            origin: Origin::HotPlugged,
            phase,
            since: 0,
            order: 0,
            config: String::new(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
            unpublish: Vec::new(),
            unknown: Map::new(),
        };
        assert_eq!(
            Attachment::judge(&record, in_cache.into(), doubt_ends, NOW).state,
            state
        );
    }
}
