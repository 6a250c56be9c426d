//! The rules of calling multus: a broken one is noted when it happens.

use agent_core::{delegate::Call, record::Phase};

use crate::{
    Node,
    node::Seen,
    running::Running,
    variant::{is_part_of, kinds, list_name},
};

impl Node {
    /// Multus saw a call.
    pub(crate) fn note(&mut self, call: &Call) {
        self.changes += 1;
        self.calls.push(Seen {
            command: call.command,
            sandbox: call.sandbox.clone(),
            interface: call.interface.clone(),
            plugins: kinds(&call.config),
        });
        let calls = self.running.iter().filter_map(Running::call);
        let overlaps = calls.filter(|running| running.sandbox == call.sandbox).count() > 0;
        // A sandbox that has ended has no links to fight over, and its addresses must not wait.
        if overlaps && self.exists(&call.sandbox) {
            let (command, interface) = (call.command, &call.interface);
            self.break_rule(format!(
                "I4: {command:?} of {interface} while another call of the sandbox runs"
            ));
        }
    }

    /// The rules of an ADD.
    pub(crate) fn check_add(&mut self, call: &Call) {
        let interface = &call.interface;
        let Some(record) = self.record(&call.sandbox, interface).cloned() else {
            self.break_rule(format!("ADD of {interface} without a durable intent"));
            return;
        };
        if !matches!(record.phase, Phase::Plugging { .. }) || record.config != call.config {
            self.break_rule(format!("ADD of {interface} without a durable intent"));
        }
        let is_owed = |name: &str| {
            let mut owed = record.owed.iter();
            owed.any(|owed| list_name(&owed.config) == name)
        };
        let others = self.foreign.contains(&call.key()) || self.predecessors.contains(&call.key());
        let leases = self.leases.iter();
        let leases = leases.filter(|(_, sandbox, of)| *sandbox == call.sandbox && of == interface);
        let left = leases.map(|(name, ..)| name).chain(self.links.get(&call.key()));
        if !others && left.into_iter().any(|name| !is_owed(name)) {
            self.break_rule(format!("ADD of {interface} twice without a DEL between"));
        }
        self.hot.insert(call.key());
    }

    /// The rules of a DEL.
    pub(crate) fn check_del(&mut self, call: &Call) {
        let interface = &call.interface;
        let damaged = self
            .records
            .get(&call.sandbox)
            .is_some_and(|records| records.damaged.contains(interface));
        let alive = self.exists(&call.sandbox);
        if call.netns.is_empty() && alive {
            self.break_rule(format!("{interface} was released before its sandbox ended"));
        }
        let Some(record) = self.record(&call.sandbox, interface).cloned() else {
            if !damaged {
                self.break_rule(format!("DEL of {interface} without a record"));
            }
            return;
        };
        if self.refused.contains(&call.key()) {
            return;
        }
        let owed = record.owed.iter().map(|owed| &owed.config);
        let known = std::iter::once(&record.config).chain(owed);
        if !known.into_iter().any(|known| is_part_of(&call.config, known)) {
            self.break_rule(format!("DEL of {interface} with another config than its ADD"));
        }
        if alive && matches!(record.phase, Phase::Plugged { .. }) {
            self.break_rule(format!(
                "DEL of {interface} while its record says that it is attached"
            ));
        }
    }
}
