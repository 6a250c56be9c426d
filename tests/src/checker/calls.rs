//! The calls that the recording plugin saw: for each attachment (ADD DEL*)*, and within a sandbox
//! one at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, Scene};

/// One call of the recording plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenCall {
    /// When it began, in nanoseconds since the epoch.
    pub began: u128,
    /// When it was over; `None`: it was killed, or still runs.
    pub ended: Option<u128>,
    /// `ADD` or `DEL`.
    pub command: String,
    /// The sandbox id.
    pub sandbox: String,
    /// The interface's name.
    pub interface: String,
}

pub(super) fn breaches(scene: &Scene) -> BTreeSet<Breach> {
    let mut found = BTreeSet::new();
    let mut attachments: BTreeMap<_, Vec<&SeenCall>> = BTreeMap::new();
    let mut sandboxes: BTreeMap<_, Vec<&SeenCall>> = BTreeMap::new();
    let mut calls: Vec<_> = scene.calls.iter().collect();
    calls.sort();
    for call in calls {
        let key = (&call.sandbox, &call.interface);
        attachments.entry(key).or_default().push(call);
        sandboxes.entry(&call.sandbox).or_default().push(call);
    }
    for ((sandbox, interface), calls) in attachments {
        let adds = calls
            .windows(2)
            .any(|pair| pair.iter().all(|call| call.command == "ADD"));
        if adds {
            found.insert(Breach::AddedTwice(sandbox.clone(), interface.clone()));
        }
        let plugged = calls.last().is_some_and(|call| call.command == "ADD");
        if plugged && !scene.has(sandbox, interface) {
            found.insert(Breach::MissingDel(sandbox.clone(), interface.clone()));
        }
    }
    for (sandbox, calls) in sandboxes {
        // The end of all calls so far: a long one can reach over several others, and one without an
        // end over all.
        let mut busy_until = 0;
        for call in calls {
            if busy_until > call.began {
                found.insert(Breach::Overlap(sandbox.clone(), call.interface.clone()));
            }
            busy_until = busy_until.max(call.ended.unwrap_or(u128::MAX));
        }
    }
    found
}
