//! The observed state: the attachments of a sandbox, from the records and libcni's cache.
//! Network-status is no evidence.

use std::{collections::BTreeMap, time::Duration};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    plan::desired::Attributes,
    record::{AttachmentRecord, Phase},
};

/// The attachments of one sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Those that have a record, in the order of plugging.
    pub attachments: Vec<Attachment>,
    /// Interfaces that are not the annotation's, and why an element cannot have that name.
    pub foreign: BTreeMap<InterfaceName, String>,
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
    /// Earlier attachments under this name still hold something.
    pub owes: bool,
}

/// What is certain about an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Plugged.
    Attached,
    /// Half plugged or half unplugged: it needs a DEL in any case.
    NeedsDel,
    /// Its ADD never got an answer, but libcni's cache has its result.
    AddCompleted,
    /// Its last call never got an answer, and the plugin may still run: until then no other call
    /// may be sent for this sandbox.
    InFlight {
        /// The end of the doubt, on the monotonic clock.
        until: Duration,
    },
    /// Its ADD never got an answer, and no result has appeared in time.
    AddLost,
    /// Nothing is attached, as far as is known.
    Absent,
}

impl State {
    /// Judges a record. `in_cache`: whether libcni has a result for it, if its cache could be read.
    /// `doubt_ends`: when a call without an answer counts as lost.
    pub fn of(
        record: &AttachmentRecord,
        in_cache: Option<bool>,
        doubt_ends: Duration,
        now: Duration,
    ) -> Self {
        let doubt = (now < doubt_ends).then_some(Self::InFlight { until: doubt_ends });
        match &record.phase {
            Phase::Plugged { .. } => Self::Attached,
            // Success removes the entry. A second DEL finds none, so the cache says nothing about
            // that one.
            Phase::Unplugging {
                attempt: 1,
                result: Some(_),
            } if in_cache == Some(false) => Self::NeedsDel,
            Phase::Unplugging { .. } => doubt.unwrap_or(Self::NeedsDel),
            Phase::Plugging { .. } if in_cache == Some(true) => Self::AddCompleted,
            Phase::Plugging { .. } => doubt.unwrap_or(Self::AddLost),
            Phase::Tombstone if in_cache == Some(true) => doubt.unwrap_or(Self::NeedsDel),
            Phase::Tombstone | Phase::Owed => Self::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use shared::selection::Selection;

    use super::*;
    use crate::record::Origin;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(120);
    const IN_DOUBT: State = State::InFlight { until: LATER };

    fn unplugging(attempt: u32, plugged: bool) -> Phase {
        Phase::Unplugging {
            attempt,
            result: plugged.then(|| json!({})),
        }
    }

    #[rstest]
    #[case::an_add_in_time(Phase::Plugging { attempt: 1 }, false, LATER, IN_DOUBT)]
    #[case::an_add_too_late(Phase::Plugging { attempt: 1 }, false, NOW, State::AddLost)]
    #[case::an_add_that_shows(Phase::Plugging { attempt: 1 }, true, LATER, State::AddCompleted)]
    #[case::a_del_that_may_run(unplugging(1, true), true, LATER, IN_DOUBT)]
    #[case::a_del_that_shows(unplugging(1, true), false, LATER, State::NeedsDel)]
    #[case::a_del_that_nobody_can_see(unplugging(1, true), None, LATER, IN_DOUBT)]
    #[case::a_del_that_cannot_show_because_another_did(unplugging(2, true), false, LATER, IN_DOUBT)]
    #[case::a_del_that_cannot_show_because_nothing_did(unplugging(1, false), false, LATER, IN_DOUBT)]
    #[case::a_del_too_late(unplugging(2, true), true, NOW, State::NeedsDel)]
    #[case::buried(Phase::Tombstone, false, LATER, State::Absent)]
    #[case::risen(Phase::Tombstone, true, NOW, State::NeedsDel)]
    #[case::risen_and_perhaps_leaving(Phase::Tombstone, true, LATER, IN_DOUBT)]
    fn a_call_without_an_answer_has_its_time(
        #[case] phase: Phase,
        #[case] in_cache: impl Into<Option<bool>>,
        #[case] doubt_ends: Duration,
        #[case] state: State,
    ) {
        let network = NetworkName::new("default", "a").unwrap();
        let selection = Selection::new(network);
        let record = AttachmentRecord {
            origin: Origin::HotPlugged,
            phase,
            ..AttachmentRecord::intent(&selection, InterfaceName::net(1), String::new(), 0)
        };
        assert_eq!(State::of(&record, in_cache.into(), doubt_ends, NOW), state);
    }
}
