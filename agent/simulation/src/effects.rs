//! The effects, carried out on the simulated node.

use std::rc::Rc;

use agent_core::{
    cni_state::CniState,
    condition::ConditionChange,
    delegate::Answer,
    effect::{Effect, EffectId, Outcome, PatchOutcome, StatusView},
    identity::SandboxId,
    network::NetworkError,
    record::AttachmentRecord,
    sandbox::Network,
};

use crate::{
    EffectKind, Fault, Harness, Mutant, Node,
    node::netns,
    running::{LATE, RUNS_ON, Running, SLOW},
};

impl Harness {
    /// Carries out an effect, or lets it take its time. `None`: the outcome comes later.
    pub(crate) fn carry_out(
        &mut self,
        id: EffectId,
        effect: Effect,
        fault: Option<Fault>,
    ) -> Option<Outcome> {
        let effect = Node::with_smallest_device(self.mutant, effect);
        if let Effect::Delegate(call) = &effect {
            if self.node.skips(self.mutant, call) {
                return Some(Outcome::Answer(Answer::Done(serde_json::Value::Null)));
            }
            self.check_call(call);
            let scripted = match EffectKind::of(&effect) {
                EffectKind::Add => &mut self.node.add_faults,
                _ => &mut self.node.del_faults,
            };
            let fault = fault.or_else(|| scripted.pop_front());
            if let Err(answer) = self.node.take_call(call, fault) {
                return Some(Outcome::Answer(self.node.mistakes(self.mutant, call, answer)));
            }
            return self.carry_out_taken(id, effect, fault);
        }
        self.carry_out_taken(id, effect, fault)
    }

    fn carry_out_taken(&mut self, id: EffectId, effect: Effect, fault: Option<Fault>) -> Option<Outcome> {
        let takes = match fault {
            Some(Fault::Slow) => SLOW,
            Some(Fault::Late | Fault::LateLost) => LATE,
            _ => return self.carry_out_now(id, &effect, fault),
        };
        self.node.changes += 1;
        self.node.run_later(Running {
            ends: self.node.now + takes,
            effect: Rc::new(effect),
            id: Some(id),
            orphaned: false,
            lost: fault == Some(Fault::LateLost),
        });
        None
    }

    /// What was running comes to its end.
    pub(crate) fn finish(&mut self, running: &Running) {
        if running.lost {
            let (effect, ends) = (Rc::clone(&running.effect), running.ends + RUNS_ON);
            self.node.run_later(Running {
                ends,
                effect,
                id: None,
                orphaned: false,
                lost: false,
            });
            if let Some(id) = running.id {
                self.complete(
                    id,
                    Outcome::Answer(Answer::Lost("the connection broke".to_owned())),
                );
            }
            return;
        }
        let outcome = match (running.call(), running.id) {
            (Some(call), None) => {
                self.node.run(call, !running.orphaned);
                return;
            }
            (_, Some(id)) => self.carry_out_now(id, &running.effect, None),
            (None, None) => None,
        };
        if let Some((id, outcome)) = running.id.zip(outcome) {
            self.complete(id, outcome);
        }
    }

    /// Multus has died: its callers lose their answers, and its plugins run on.
    pub(crate) fn lose_answers(&mut self) {
        let mut lost = Vec::new();
        let until = self.node.now + RUNS_ON;
        for running in &mut self.node.running {
            if running.call().is_some() {
                running.orphaned = true;
                running.lost = false;
                running.ends = running.ends.min(until);
                lost.extend(running.id.take());
            }
        }
        for id in lost {
            self.complete(id, Outcome::Answer(Answer::Lost("multus has gone".to_owned())));
        }
    }

    fn carry_out_now(&mut self, id: EffectId, effect: &Effect, fault: Option<Fault>) -> Option<Outcome> {
        let refused = fault.is_some();
        Some(match effect {
            Effect::ListSandboxes => Outcome::Sandboxes(self.node.ask_runtime(refused).map(|node| {
                let of_pod = node
                    .sandboxes
                    .iter()
                    .filter(|sandbox| sandbox.pod.uid() == crate::UID);
                of_pod.cloned().collect()
            })),
            Effect::SandboxNetwork(sandbox) => Outcome::Network(
                self.node
                    .ask_runtime(refused)
                    .map(|node| node.network_of(sandbox)),
            ),
            Effect::HasEnded { sandbox, netns } => {
                let early = self.mutant == Some(Mutant::ReleasesEarly);
                Outcome::Ended(self.node.ask_runtime(refused).map(|node| {
                    let runs = node.containers.contains(sandbox);
                    let exists = !netns.is_empty() && node.exists(sandbox);
                    early || !(runs || exists)
                }))
            }
            Effect::ReadCniState(sandbox) => {
                Outcome::CniState(cache(refused).map(|()| self.node.cni_state(sandbox)))
            }
            Effect::ReadCniEntry {
                config_name,
                sandbox,
                interface,
            } => {
                let key = (config_name.clone(), sandbox.clone(), interface.clone());
                let entry = |()| self.node.cache.get(&key).map(|entry| Box::new((**entry).clone()));
                Outcome::CniEntry(cache(refused).map(entry))
            }
            Effect::ReadNetwork(network) => {
                let read = self.node.ask_api(refused).map_err(|cause| NetworkError::Api {
                    network: network.clone(),
                    cause,
                });
                Outcome::Definition(read.and_then(|node| {
                    let found = node.networks.get(network).cloned().map(Box::new);
                    found.ok_or_else(|| NetworkError::Missing(network.clone()))
                }))
            }
            Effect::ReadDevices {
                sandbox, resource, ..
            } => {
                let away = "the kubelet does not answer".to_owned();
                Outcome::Devices(if refused || self.node.kubelet_away {
                    Err(away)
                } else {
                    let devices = self.node.pod_devices(sandbox, resource, self.mutant);
                    Ok(Box::new(devices))
                })
            }
            Effect::AcquirePermit { .. } => {
                if self.mutant == Some(Mutant::WaitsForOthers) && self.others_call() {
                    return self.carry_out_taken(id, effect.clone(), Some(Fault::Slow));
                }
                self.acquire_permit(id);
                return None;
            }
            Effect::Delegate(call) => {
                let answer = self.node.answer_call(call, fault);
                Outcome::Answer(self.node.mistakes(self.mutant, call, answer))
            }
            Effect::ReadPodUid(_) => Outcome::PodUid(self.node.ask_api(refused).map(|node| {
                let pod = node.pod.as_ref();
                pod.map(|pod| pod.identity.uid().to_owned())
            })),
            Effect::ReadStatus(_) => {
                let read = self.node.ask_api(refused);
                Outcome::Status(read.map(|node| node.pod.as_ref().map(|pod| Node::view(pod))))
            }
            Effect::ReadCondition(_) => Outcome::Condition(self.node.ask_api(refused).map(|node| {
                let own = node.own_pod();
                own.and_then(|_| node.condition.clone())
            })),
            Effect::PatchStatus {
                old, new, condition, ..
            } => Outcome::Patched(self.patch(old, new.as_deref(), condition.as_deref(), fault)),
            write => Outcome::Written(self.write(write, refused)),
        })
    }

    fn patch(
        &mut self,
        old: &StatusView,
        new: Option<&str>,
        condition: Option<&ConditionChange>,
        fault: Option<Fault>,
    ) -> PatchOutcome {
        let failed = PatchOutcome::Failed("the API server does not answer".to_owned());
        let node = &mut self.node;
        if node.status_faults > 0 {
            node.status_faults -= 1;
            return failed;
        }
        if node.api_away || fault == Some(Fault::Refused) {
            return failed;
        }
        if let Some(new) = new.filter(|_| self.mutant == Some(Mutant::ForgetsTheStatus)) {
            return PatchOutcome::Written(StatusView {
                version: node.next_version().to_string(),
                status: Some(new.into()),
                ..old.clone()
            });
        }
        if fault == Some(Fault::Conflict) {
            node.other_writes();
        }
        let version = node.next_version().to_string();
        let Some(pod) = &mut node.pod else {
            return PatchOutcome::Gone;
        };
        let outdated = new.is_some() && pod.resource_version != old.version;
        if pod.identity.uid() != old.uid || outdated {
            return PatchOutcome::Conflict;
        }
        let pod = Rc::make_mut(pod);
        if let Some(new) = new {
            pod.status = Some(new.into());
            node.results += 1;
        }
        pod.resource_version = version;
        let written = PatchOutcome::Written(Node::view(pod));
        node.changes += 1;
        if let Some(change) = condition.filter(|_| self.mutant != Some(Mutant::ForgetsTheCondition)) {
            node.write_condition(change);
        }
        if fault == Some(Fault::LostDone) {
            failed
        } else {
            written
        }
    }

    fn write(&mut self, effect: &Effect, refused: bool) -> Result<(), String> {
        let mutant = self.mutant;
        let node = &mut self.node;
        let full = refused || node.disk_full;
        match effect {
            Effect::PutRecord { sandbox, record, .. } => {
                let key = (sandbox.clone(), record.interface.clone());
                if full || node.refuses_owed(mutant, sandbox, record) {
                    node.refused.insert(key);
                    return Err("no space left on device".to_owned());
                }
                node.refused.remove(&key);
                if !Node::forgets(mutant, record) {
                    node.put_record(sandbox, record);
                }
            }
            Effect::PutSandbox(sandbox, record) => {
                if full {
                    return Err("no space left on device".to_owned());
                }
                node.records_of(sandbox).sandbox = Some((**record).clone());
            }
            Effect::RemoveRecord(sandbox, interface) => {
                let key = (sandbox.clone(), interface.clone());
                if refused {
                    node.refused.insert(key);
                    return Err("input/output error".to_owned());
                }
                node.refused.remove(&key);
                if mutant != Some(Mutant::KeepsTheRecord) {
                    node.records_of(sandbox).attachments.remove(interface);
                }
            }
            Effect::RemoveSandbox(sandbox) => {
                let records = node.records.get(sandbox);
                if refused || records.is_some_and(|records| !records.attachments.is_empty()) {
                    return Err("input/output error".to_owned());
                }
                Rc::make_mut(&mut node.records).remove(sandbox);
            }
            Effect::ListDelegate {
                sandbox,
                network,
                interface,
                config,
                device,
            } if !refused => node.list_delegate(sandbox, network, interface, config, device.as_ref()),
            Effect::UnlistDelegate {
                sandbox,
                network,
                interface,
            } if !refused => node.unlist_delegate(sandbox, network, interface),
            _ => return Err("the delegate file cannot be written".to_owned()),
        }
        node.changes += 1;
        Ok(())
    }
}

fn cache(refused: bool) -> Result<(), String> {
    if refused {
        return Err("input/output error".to_owned());
    }
    Ok(())
}

impl Node {
    fn ask_runtime(&self, refused: bool) -> Result<&Self, String> {
        if refused || self.runtime_away {
            return Err("the runtime does not answer".to_owned());
        }
        Ok(self)
    }

    fn ask_api(&self, refused: bool) -> Result<&Self, String> {
        if refused || self.api_away {
            return Err("the API server does not answer".to_owned());
        }
        Ok(self)
    }

    fn network_of(&self, sandbox: &SandboxId) -> Option<Network> {
        let known = self.sandboxes.iter().any(|listed| listed.id == *sandbox);
        let network = if self.host_network {
            Network::Host
        } else {
            Network::Namespace(netns(sandbox))
        };
        known.then_some(network)
    }

    pub(crate) fn cni_state(&self, sandbox: &SandboxId) -> CniState {
        let of_sandbox = self.cache.values().filter(|entry| entry.sandbox == *sandbox);
        CniState {
            delegates: self.delegates.get(sandbox).map(|file| (**file).clone()),
            entries: of_sandbox.map(|entry| (**entry).clone()).collect(),
        }
    }

    fn put_record(&mut self, sandbox: &SandboxId, record: &AttachmentRecord) {
        let records = self.records_of(sandbox);
        records.damaged.remove(&record.interface);
        records
            .attachments
            .insert(record.interface.clone(), record.clone());
    }
}
