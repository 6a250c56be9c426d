//! What a crash would leave, at each point of a reconcile at which the node differs from the last
//! one.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use agent_core::{delegate::Command, identity::AttachmentKey, record::Phase};

use crate::{Node, Snapshot, fingerprint, running::Running};

/// States that are known by their fingerprint, and a number that goes with each.
pub type Fingerprints = Rc<RefCell<HashMap<u64, u64>>>;

/// A point at which the agent can die.
pub struct Crash {
    /// Before this effect of the reconcile.
    pub before: u32,
    /// The fingerprint of what it leaves.
    pub fingerprint: u64,
    /// What it leaves, if that was not known.
    pub left: Option<Snapshot>,
}

/// The crash points of one reconcile.
pub(crate) struct Crashes {
    /// States of which no copy is needed.
    known: Fingerprints,
    pub found: Vec<Crash>,
}

impl Crashes {
    pub(crate) fn new(known: &Fingerprints) -> Self {
        Self {
            known: Rc::clone(known),
            found: Vec::new(),
        }
    }

    /// The agent could die before this effect.
    pub(crate) fn before(&mut self, effect: u32, node: &mut Node) {
        if node.kept == node.changes {
            return;
        }
        node.kept = node.changes;
        if node.hides_an_unplug() {
            return;
        }
        let is_known = |fingerprint| self.known.borrow().contains_key(&fingerprint);
        let (fingerprint, left) = if node.is_busy() {
            let left = Snapshot::of_crash(node);
            let fingerprint = fingerprint::of_start(left.node());
            (fingerprint, (!is_known(fingerprint)).then_some(left))
        } else {
            let fingerprint = fingerprint::of_start(node);
            let left = (!is_known(fingerprint)).then(|| Snapshot::of_crash(node));
            (fingerprint, left)
        };
        self.found.push(Crash {
            before: effect,
            fingerprint,
            left,
        });
    }
}

impl Node {
    /// Whether something runs that was begun.
    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// A DEL was done, or runs, whose beginning the disk refused to note. The agent may do that: a
    /// full disk must not keep interfaces in pods. Should it die before the disk has room, nothing
    /// tells the next one. So no crash is tried here.
    pub(crate) fn hides_an_unplug(&self) -> bool {
        self.refused.iter().any(|key| {
            let record = self.record(&key.0, &key.1);
            record.is_some_and(|record| match record.phase {
                Phase::Plugged { .. } => !self.links.contains_key(key) || self.runs(Command::Del, key),
                Phase::Plugging { .. }
                | Phase::Unplugging {
                    attempt: 1,
                    result: Some(_),
                } => self.runs(Command::Del, key),
                Phase::Unplugging { .. } | Phase::Tombstone | Phase::Owed => false,
            })
        })
    }

    fn runs(&self, command: Command, (sandbox, interface): &AttachmentKey) -> bool {
        let mut calls = self.running.iter().filter_map(Running::call);
        calls.any(|call| call.command == command && call.sandbox == *sandbox && call.interface == *interface)
    }
}
