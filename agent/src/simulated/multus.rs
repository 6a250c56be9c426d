//! The manners of multus, libcni and the plugins, and the rules of calling them: what breaks a rule is noted when it happens.
//!
//! A DEL sent while an ADD still runs answers at once, and the ADD completes afterwards. libcni's cache has an entry from the success of
//! an ADD to the success of a DEL whose config has the same name. Multus refuses calls for pods that do not exist before it does
//! anything. What it attached itself it tears down itself, and nothing else. A plugin whose namespace goes away under it fails and
//! leaves its address allocated.

use std::time::Duration;

use serde_json::{Map, Value, json};
use shared::names::InterfaceName;

use super::{Fault, Node, TICK, Unfinished};
use crate::{
    cni_cache::Entry,
    execute::config_name,
    identity::SandboxId,
    memory::Key,
    multus::{Answer, Call, Command, Refusal},
    records::{Phase, SandboxRecords},
};

/// How long a plugin that outlives its caller takes.
const RUNS_ON: Duration = Duration::from_secs(2 * TICK.as_secs());
/// The name in the config of a link that is only half made.
const HALF: &str = "half";

fn key(call: &Call) -> Key {
    (call.sandbox.clone(), call.interface.clone())
}

fn lease(call: &Call) -> (String, SandboxId, InterfaceName) {
    (
        config_name(&call.config),
        call.sandbox.clone(),
        call.interface.clone(),
    )
}

fn refused(cause: Refusal, text: &str) -> Answer {
    Answer::Refused {
        cause,
        plugin: None,
        text: text.to_owned(),
    }
}

fn lost() -> Answer {
    Answer::Lost("the connection broke".to_owned())
}

impl Node {
    /// Answers an ADD.
    pub(super) fn add(&mut self, call: &Call, fault: Option<Fault>) -> Answer {
        let fault = fault.or_else(|| self.add_faults.pop_front());
        if self.multus_away || fault == Some(Fault::NotSent) {
            return Answer::NotSent("there is no socket".to_owned());
        }
        self.note(call);
        self.check_add(call);
        if let Some(answer) = self.refuse_pod(call) {
            return answer;
        }
        if !self.exists(&call.sandbox) || fault == Some(Fault::NamespaceAway) {
            return refused(Refusal::NamespaceGone, "no net namespace found");
        }
        if self.links.contains_key(&key(call)) {
            return refused(Refusal::AlreadyExists, "already exists");
        }
        if fault == Some(Fault::Crashed) {
            return Answer::Crashed;
        }
        self.standing.insert(key(call), call.config.clone());
        match fault {
            None => Answer::Done(self.plug(call, true)),
            Some(Fault::HalfDone) => {
                self.links.insert(key(call), HALF.to_owned());
                self.leases.insert(lease(call));
                refused(Refusal::Other, "a plugin failed half-way")
            }
            Some(Fault::LostDone) => {
                self.plug(call, true);
                lost()
            }
            Some(Fault::LostRunning) => {
                self.runs_on(call, false);
                lost()
            }
            Some(Fault::Killed) => {
                self.runs_on(call, true);
                lost()
            }
            Some(_) => refused(Refusal::Other, "a plugin failed"),
        }
    }

    /// Answers a DEL.
    pub(super) fn del(&mut self, call: &Call, fault: Option<Fault>) -> Answer {
        let fault = fault.or_else(|| self.del_faults.pop_front());
        if self.multus_away || fault == Some(Fault::NotSent) {
            return Answer::NotSent("there is no socket".to_owned());
        }
        self.note(call);
        self.check_del(call);
        if let Some(answer) = self.refuse_pod(call) {
            return answer;
        }
        match fault {
            None => {
                self.unplug(call, false);
                Answer::Done(Value::Null)
            }
            Some(Fault::Crashed) => Answer::Crashed,
            Some(Fault::HalfDone) => {
                self.unlink(call);
                refused(Refusal::Other, "a plugin failed half-way")
            }
            Some(Fault::LostDone) => {
                self.unplug(call, false);
                lost()
            }
            Some(Fault::LostRunning) => {
                self.runs_on(call, false);
                lost()
            }
            Some(Fault::Killed) => {
                self.runs_on(call, true);
                lost()
            }
            Some(_) => refused(Refusal::Other, "a plugin failed"),
        }
    }

    /// Multus looks the pod up before anything else.
    fn refuse_pod(&self, call: &Call) -> Option<Answer> {
        if call.pod.name() == "agent" && !self.api_away {
            return None;
        }
        if self.api_away {
            return Some(refused(Refusal::Other, "the API server does not answer"));
        }
        match &self.pod {
            None => Some(refused(Refusal::PodNotFound, "pod not found")),
            Some(pod) if ["", pod.identity.uid()].contains(&call.pod.uid()) => None,
            Some(_) => Some(refused(Refusal::PodUidMismatch, "expected another pod UID")),
        }
    }

    fn runs_on(&mut self, call: &Call, orphaned: bool) {
        let running = Unfinished {
            ends: self.now + RUNS_ON,
            call: call.clone(),
            orphaned,
        };
        self.unfinished.push(running.into());
    }

    /// The plugins succeed; libcni notes the result, unless multus has died meanwhile.
    pub(super) fn plug(&mut self, call: &Call, noted: bool) -> Value {
        let name = config_name(&call.config);
        let result = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": call.interface.as_str(), "mac": "02:00:00:00:00:01", "sandbox": call.netns}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0}],
        });
        self.changes += 1;
        self.results += 1;
        self.links.insert(key(call), name.clone());
        self.leases.insert(lease(call));
        if noted {
            let entry = Entry {
                sandbox: call.sandbox.clone(),
                interface: call.interface.clone(),
                config_name: name,
                netns: call.netns.clone(),
                cni_args: Vec::new(),
                config: call.config.clone().into_bytes(),
                capability_args: Map::new(),
                result: result.clone(),
            };
            self.cache.insert(lease(call), entry.into());
        }
        result
    }

    fn unplug(&mut self, call: &Call, orphaned: bool) {
        self.unlink(call);
        self.results += u32::from(self.leases.remove(&lease(call)));
        if !orphaned {
            self.cache.remove(&lease(call));
        }
        self.standing.remove(&key(call));
    }

    /// Plugins find a link by its name, whoever made it.
    fn unlink(&mut self, call: &Call) {
        self.changes += 1;
        if self.links.remove(&key(call)).is_none() {
            return;
        }
        self.results += 1;
        // After a crash nobody can tell a stranger's interface from one that the ADD, whose answer is lost, has left half made.
        let in_doubt = self
            .record_of(call)
            .is_some_and(|record| matches!(record.phase, Phase::Plugging { .. }));
        if self.foreign.remove(&key(call)) && !in_doubt {
            self.break_rule(format!("DEL took {}, which is not the agent's", call.interface));
        }
    }

    fn note(&mut self, call: &Call) {
        self.changes += 1;
        self.calls
            .push((call.command, call.sandbox.clone(), call.interface.clone()));
        let overlaps = self
            .unfinished
            .iter()
            .any(|running| running.call.sandbox == call.sandbox);
        // A sandbox that has ended has no links to fight over, and its addresses must not wait.
        if overlaps && self.exists(&call.sandbox) {
            let (command, interface) = (call.command, &call.interface);
            self.break_rule(format!(
                "{command:?} of {interface} while another call of the sandbox runs"
            ));
        }
    }

    fn check_add(&mut self, call: &Call) {
        let recorded = self.record_of(call).is_some_and(|record| {
            matches!(record.phase, Phase::Plugging { .. }) && record.config == call.config
        });
        if !recorded {
            self.break_rule(format!("ADD of {} without a durable intent", call.interface));
        }
        if self.standing.contains_key(&key(call)) {
            self.break_rule(format!("ADD of {} twice without a DEL between", call.interface));
        }
    }

    fn check_del(&mut self, call: &Call) {
        let damaged = |records: &SandboxRecords| records.damaged.contains(&call.interface);
        if self.record_of(call).is_none() && !self.records.get(&call.sandbox).is_some_and(damaged) {
            self.break_rule(format!("DEL of {} without a record", call.interface));
        }
        if self
            .standing
            .get(&key(call))
            .is_some_and(|config| *config != call.config)
        {
            self.break_rule(format!(
                "DEL of {} with another config than its ADD",
                call.interface
            ));
        }
        if call.netns.is_empty() && self.exists(&call.sandbox) {
            self.break_rule(format!(
                "{} was released before its sandbox ended",
                call.interface
            ));
        }
    }

    fn record_of(&self, call: &Call) -> Option<&crate::records::AttachmentRecord> {
        self.records.get(&call.sandbox)?.attachments.get(&call.interface)
    }

    /// Time passes; plugins that ran on come to their end.
    pub fn pass(&mut self, duration: Duration) {
        self.now += duration;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unfinished)
            .into_iter()
            .partition(|running| running.ends <= self.now);
        self.unfinished = rest;
        for running in due {
            let (call, orphaned) = (&running.call, running.orphaned);
            match call.command {
                Command::Del => self.unplug(call, orphaned),
                Command::Add if !self.exists(&call.sandbox) => {
                    self.leases.insert(lease(call));
                }
                Command::Add if self.links.contains_key(&key(call)) => {}
                Command::Add => {
                    self.plug(call, !orphaned);
                }
            }
        }
    }

    /// Multus' own teardown at the end of a sandbox: what its file lists, and nothing else.
    pub(super) fn tear_down(&mut self, sandbox: &SandboxId) {
        for delegate in self.delegates.remove(sandbox).iter().flat_map(|list| list.iter()) {
            let Some(interface) = delegate.interface.clone() else {
                continue;
            };
            let name = config_name(&String::from_utf8_lossy(&delegate.config));
            let lease = (name, sandbox.clone(), interface);
            self.leases.remove(&lease);
            self.cache.remove(&lease);
        }
    }

    /// A later teardown finds no file and takes what the annotation lists by then, by the names that multus would give.
    pub(super) fn tear_down_again(&mut self, sandbox: &SandboxId) {
        let elements = self.wanted().map(|list| list.elements).unwrap_or_default();
        let before = 1 + u32::from(self.default_network);
        for (position, element) in (before..).zip(elements) {
            let Some(definition) = self.networks.get(&element.network) else {
                continue;
            };
            let interface = element.interface.unwrap_or_else(|| InterfaceName::net(position));
            let lease = (config_name(&definition.config), sandbox.clone(), interface);
            self.leases.remove(&lease);
            self.cache.remove(&lease);
        }
    }
}
