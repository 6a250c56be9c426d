//! The manners of multus and libcni.
//!
//! A DEL sent while an ADD still runs answers at once, and the ADD completes afterwards. libcni's
//! cache has an entry from the success of an ADD to the success of a DEL of a list of that name.
//! Multus refuses calls for pods that do not exist before it does anything. At the end of a sandbox
//! it tears down what its delegate file lists. A plugin whose namespace goes away under it fails
//! and leaves its address allocated.

use std::rc::Rc;

use agent_core::{
    cni_state::Entry,
    delegate::{Answer, Call, Command, FailedPlugin, Refusal},
    effect::Effect,
    identity::SandboxId,
    record::Phase,
};
use serde_json::{Map, Value, json};
use shared::names::InterfaceName;

use crate::{
    Fault, Node,
    devices::device_of,
    plugins::{Refused, lease, refuses_add},
    running::{RUNS_ON, Running},
    variant::{list_name, parsed},
};

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

impl From<Refused> for Answer {
    fn from(Refused { cause, plugin }: Refused) -> Self {
        let FailedPlugin {
            kind, cause: words, ..
        } = &plugin;
        let text = format!("plugin type={kind:?} failed: {words}");
        Self::Refused {
            cause,
            plugin: Some(plugin),
            text,
        }
    }
}

impl Node {
    /// Multus takes a call, or refuses it before a plugin runs.
    pub(crate) fn take_call(&mut self, call: &Call, fault: Option<Fault>) -> Result<(), Answer> {
        if self.multus_away || fault == Some(Fault::NotSent) {
            return Err(Answer::NotSent("there is no socket".to_owned()));
        }
        self.note(call);
        match call.command {
            Command::Add => {
                self.check_add(call);
                self.check_device(call);
            }
            Command::Del => self.check_del(call),
        }
        if let Some(answer) = self.refuse_pod(call) {
            return Err(answer);
        }
        if call.command == Command::Del {
            return Ok(());
        }
        if !self.exists(&call.sandbox) || fault == Some(Fault::NamespaceAway) {
            return Err(refused(Refusal::NamespaceGone, "no net namespace found"));
        }
        if self.links.contains_key(&call.key()) {
            return Err(refused(Refusal::AlreadyExists, "already exists"));
        }
        Ok(())
    }

    /// Carries out a call that was taken.
    pub(crate) fn answer_call(&mut self, call: &Call, fault: Option<Fault>) -> Answer {
        match fault {
            None | Some(Fault::Slow | Fault::Late | Fault::LateLost) => self.run(call, true),
            Some(Fault::Crashed) => Answer::Crashed,
            // Where a plugin refuses its configuration, nothing gets half-way.
            Some(Fault::HalfDone) if call.command == Command::Add && refuses_add(self, &call.config) => {
                self.run(call, true)
            }
            Some(Fault::HalfDone) => {
                self.half_done(call);
                refused(Refusal::Other, "a plugin failed half-way")
            }
            Some(Fault::LostDone) => {
                self.run(call, true);
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

    /// The plugins run now. `noted`: multus lives and writes libcni's cache.
    pub(crate) fn run(&mut self, call: &Call, noted: bool) -> Answer {
        match call.command {
            Command::Add => self.run_to_result(call, noted),
            Command::Del => match self.run_del(call) {
                Ok(()) => {
                    if noted && !self.cache_read_only {
                        self.cache.remove(&lease(&list_name(&call.config), call));
                    }
                    Answer::Done(Value::Null)
                }
                Err(refused) => refused.into(),
            },
        }
    }

    /// A plugin that was running comes to its end.
    fn run_to_result(&mut self, call: &Call, noted: bool) -> Answer {
        let name = list_name(&call.config);
        if !self.exists(&call.sandbox) {
            self.changes += 1;
            self.leases.insert(lease(&name, call));
            return Refused {
                cause: Refusal::NamespaceGone,
                plugin: FailedPlugin {
                    kind: "macvlan".to_owned(),
                    index: Some(0),
                    cause: "failed to open netns".to_owned(),
                },
            }
            .into();
        }
        if self.links.contains_key(&call.key()) {
            return refused(Refusal::AlreadyExists, "already exists");
        }
        match self.run_add(call) {
            Ok(()) => {
                if noted {
                    self.note_result(call, &name);
                }
                Answer::Done(result(call))
            }
            Err(refused) => refused.into(),
        }
    }

    fn note_result(&mut self, call: &Call, name: &str) {
        let entry = Entry {
            sandbox: call.sandbox.clone(),
            interface: call.interface.clone(),
            config_name: name.to_owned(),
            netns: call.netns.clone(),
            cni_args: Vec::new(),
            config: call.config.clone().into_bytes(),
            capability_args: Map::new(),
            result: result(call),
        };
        self.changes += 1;
        self.cache.insert(lease(name, call), Rc::new(entry));
    }

    fn half_done(&mut self, call: &Call) {
        let name = list_name(&call.config);
        match call.command {
            Command::Add => {
                let takes = device_of(&call.config).is_some();
                if takes && self.move_device(call, &call.config).is_err() {
                    return;
                }
                self.make_link(call, &name);
                self.leases.insert(lease(&name, call));
            }
            Command::Del => self.remove_link(call),
        }
    }

    /// Multus looks the pod up before anything else.
    fn refuse_pod(&self, call: &Call) -> Option<Answer> {
        if self.api_away {
            return Some(refused(Refusal::Other, "the API server does not answer"));
        }
        if call.pod.name() == "agent" {
            return None;
        }
        match &self.pod {
            None => Some(refused(Refusal::PodNotFound, "pod not found")),
            Some(pod) if ["", pod.identity.uid()].contains(&call.pod.uid()) => None,
            Some(_) => Some(refused(Refusal::PodUidMismatch, "expected another pod UID")),
        }
    }

    fn runs_on(&mut self, call: &Call, orphaned: bool) {
        self.changes += 1;
        self.run_later(Running {
            ends: self.now + RUNS_ON,
            effect: Rc::new(Effect::Delegate(Box::new(call.clone()))),
            id: None,
            orphaned,
            lost: false,
        });
    }

    /// Plugins find a link by its name. Its maker does not matter.
    pub(crate) fn remove_link(&mut self, call: &Call) {
        let key = call.key();
        let Some(made_by) = self.links.remove(&key) else {
            return;
        };
        self.moved.retain(|_, holder| *holder != key);
        self.changes += 1;
        self.results += 1;
        // After a crash it cannot be known whether another's interface is what the lost ADD has
        // left half made.
        let record = self.record(&call.sandbox, &call.interface);
        let in_doubt = record.is_some_and(|record| matches!(record.phase, Phase::Plugging { .. }));
        let foreign = self.foreign.remove(&key);
        let predecessors = self.predecessors.remove(&key);
        let other = made_by != list_name(&call.config);
        if (foreign && !in_doubt) || (other && !(in_doubt && (foreign || predecessors))) {
            self.break_rule(format!("I6: DEL took {} of {made_by}", call.interface));
        }
        if other && predecessors {
            // Only the predecessor could release its address.
            self.leases.remove(&lease(&made_by, call));
            self.cache.remove(&lease(&made_by, call));
        }
    }

    /// Multus' teardown at the end of a sandbox: what its file lists, backwards, whatever is
    /// refused.
    pub(crate) fn tear_down(&mut self, sandbox: &SandboxId) {
        let delegates = self.delegates.remove(sandbox);
        for delegate in delegates.iter().flat_map(|list| list.iter()).rev() {
            if let Some(interface) = delegate.interface.clone() {
                let config = String::from_utf8_lossy(&delegate.config).into_owned();
                self.tear_down_one(sandbox, interface, config);
            }
        }
    }

    /// A later teardown finds no file and takes what the annotation lists by then, by the names
    /// that multus would give.
    pub(crate) fn tear_down_again(&mut self, sandbox: &SandboxId) {
        let list = self.wanted();
        let elements = list.iter().flat_map(|list| &list.elements);
        let before = 1 + u32::from(self.default_network.is_some());
        let named: Vec<_> = (before..)
            .zip(elements)
            .filter_map(|(position, element)| {
                let definition = self.networks.get(&element.network)?;
                let interface = element.interface.clone();
                let interface = interface.unwrap_or_else(|| InterfaceName::net(position));
                Some((interface, definition.config.clone()))
            })
            .collect();
        for (interface, config) in named {
            self.tear_down_one(sandbox, interface, config);
        }
    }

    fn tear_down_one(&mut self, sandbox: &SandboxId, interface: InterfaceName, config: String) {
        if parsed(&config).is_none() {
            return;
        }
        let call = crate::node::del(sandbox, String::new(), interface, config);
        // The links go with the namespace in any case, so it does not matter whose they are.
        self.foreign.remove(&call.key());
        if let Some(made_by) = self.links.get_mut(&call.key()) {
            *made_by = list_name(&call.config);
        }
        if self.run_del(&call).is_ok() {
            self.cache.remove(&lease(&list_name(&call.config), &call));
        }
    }
}

fn result(call: &Call) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": call.interface.as_str(), "mac": "02:00:00:00:00:01", "sandbox": call.netns}],
        "ips": [{"address": "10.0.0.2/24", "interface": 0}],
    })
}
