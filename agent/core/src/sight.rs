//! First sight of a sandbox: its network from the runtime, what multus and libcni keep about it,
//! what is adopted of it, all on the disk before anything else happens to the sandbox. A crash
//! before that is another first sight.

use std::{collections::BTreeMap, rc::Rc};

use shared::names::NetworkName;

use crate::{
    adopt::{self, Adoption, FirstSight, Unclaimed, predecessor},
    attachment::Disk,
    cni_state::CniState,
    effect::{Count, Effect},
    event::Event,
    identity::SandboxId,
    network::{NetworkDefinition, NetworkError},
    pod::Pod,
    pod_state::PodState,
    record::{AttachmentRecord, SandboxRecord, SandboxRecords},
    sandbox::{Network, Sandbox},
    sandbox_state::{SandboxState, Sight},
    turn::{Purpose, Turn},
};

impl PodState {
    /// Takes first sight of the sandbox, step by step. Whether another decision may follow at once.
    pub(crate) fn see(&mut self, pod: &Rc<Pod>, ready: &Sandbox, turn: &mut Turn<'_>) -> bool {
        let new = || SandboxState::new(ready.id.clone(), SandboxRecords::default());
        let sandbox = self.sandboxes.entry(ready.id.clone()).or_insert_with(new);
        match &sandbox.sight {
            Sight::Unseen
                if sandbox
                    .record
                    .as_ref()
                    .is_some_and(|record| !record.netns.is_empty()) =>
            {
                sandbox.sight = Sight::Reading;
                let id = ready.id.clone();
                turn.start(Purpose::Sight(id.clone()), Effect::ReadCniState(id));
            }
            Sight::Unseen => {
                sandbox.sight = Sight::AskingNetwork;
                let id = ready.id.clone();
                turn.start(Purpose::SandboxNetwork(id.clone()), Effect::SandboxNetwork(id));
            }
            Sight::Host => self.report_host_network(pod, turn),
            Sight::Seen => return self.claim(&ready.id, turn),
            Sight::AskingNetwork | Sight::Reading | Sight::TakingOver { .. } | Sight::Writing { .. } => {}
        }
        false
    }

    fn report_host_network(&mut self, pod: &Rc<Pod>, turn: &mut Turn<'_>) {
        let wants = !pod.networks.is_empty();
        if wants && !self.reported_host_network {
            turn.event(&pod.identity, Event::host_network());
        }
        self.reported_host_network = wants;
    }

    pub(crate) fn network_known(
        &mut self,
        id: &SandboxId,
        network: Result<Option<Network>, String>,
        turn: &mut Turn<'_>,
    ) {
        let pod = self.pod.pod().map(|pod| pod.identity.clone());
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        sandbox.sight = Sight::Unseen;
        match network {
            Ok(Some(Network::Namespace(path))) => {
                let netns = path.to_string_lossy().into_owned();
                match (&mut sandbox.record, pod) {
                    (Some(record), _) => record.netns = netns,
                    (None, Some(pod)) => sandbox.record = Some(SandboxRecord::new(pod, netns)),
                    (None, None) => {}
                }
                self.blocked = None;
            }
            Ok(Some(Network::Host)) => {
                sandbox.sight = Sight::Host;
                self.blocked = None;
            }
            Ok(Some(Network::Unknown(why))) => self.block(why, turn),
            // The list was outdated.
            Ok(None) => {
                self.listing.stale = true;
                self.block(
                    format!("the runtime does not know the sandbox {id} any more"),
                    turn,
                );
            }
            Err(cause) => self.block(cause, turn),
        }
    }

    pub(crate) fn cni_state_read(
        &mut self,
        id: &SandboxId,
        state: Result<CniState, String>,
        turn: &mut Turn<'_>,
    ) {
        let state = match state {
            Ok(state) => state,
            Err(cause) => {
                self.cni_state_unknown(id, cause, turn);
                return;
            }
        };
        let take_over = self.takes_over(id);
        let needed = match self.sight_of(&state, turn) {
            Some(sight) if take_over => predecessor::networks(&sight),
            _ => Default::default(),
        };
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        for network in &needed {
            turn.start(
                Purpose::TakeOver(id.clone(), network.clone()),
                Effect::ReadNetwork(network.clone()),
            );
        }
        sandbox.sight = Sight::TakingOver {
            state,
            configs: BTreeMap::new(),
            pending: needed,
        };
        self.conclude_sight(id, turn);
    }

    /// Unknown is not empty: nothing is done on a sandbox that is seen for the first time. One that
    /// has been adopted goes on from its records.
    fn cni_state_unknown(&mut self, id: &SandboxId, cause: String, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        match &sandbox.record {
            Some(record) if record.adopted => {
                tracing::warn!(sandbox = %id, %cause, "reading the node's CNI state failed; going on from the records");
                sandbox.unclaimed = record.foreign.iter().map(Unclaimed::recorded).collect();
                sandbox.sight = Sight::Seen;
                self.seen_sandbox();
            }
            _ => {
                sandbox.sight = Sight::Unseen;
                self.block(cause, turn);
            }
        }
    }

    /// What libcni knows beyond the delegate file is taken over at the very first sight, after
    /// another controller was here, and in place of damaged records.
    fn takes_over(&self, id: &SandboxId) -> bool {
        let sandbox = self.sandboxes.get(id);
        sandbox
            .is_some_and(|sandbox| sandbox.takes_over || !sandbox.is_adopted() || !sandbox.damaged.is_empty())
    }

    fn sight_of<'a>(&'a self, state: &'a CniState, turn: &Turn<'_>) -> Option<FirstSight<'a>> {
        let pod = self.pod.pod()?;
        Some(FirstSight {
            uid: &self.uid,
            annotation: &pod.networks,
            seen: &self.seen,
            offset: turn.context.config.offset_in(pod.identity.namespace()),
            state,
            now: turn.now.epoch,
        })
    }

    pub(crate) fn take_over_read(
        &mut self,
        id: &SandboxId,
        network: NetworkName,
        read: Result<Box<NetworkDefinition>, NetworkError>,
        turn: &mut Turn<'_>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let Sight::TakingOver { configs, pending, .. } = &mut sandbox.sight else {
            return;
        };
        pending.remove(&network);
        match read {
            Ok(definition) => {
                configs.insert(network, definition.config);
            }
            Err(error @ NetworkError::Api { .. }) => {
                sandbox.sight = Sight::Unseen;
                self.block(error.to_string(), turn);
                return;
            }
            Err(_) => {}
        }
        self.conclude_sight(id, turn);
    }

    /// Judges the evidence once it is complete, and writes down what is adopted.
    fn conclude_sight(&mut self, id: &SandboxId, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let Sight::TakingOver { pending, .. } = &sandbox.sight else {
            return;
        };
        if !pending.is_empty() {
            return;
        }
        let Sight::TakingOver { state, configs, .. } = std::mem::take(&mut sandbox.sight) else {
            return;
        };
        let take_over = self.takes_over(id);
        let Some(sight) = self.sight_of(&state, turn) else {
            // The pod is gone: nothing is adopted any more.
            return;
        };
        let mut adoption = adopt::judge(&sight);
        if take_over {
            adoption.records.extend(predecessor::judge(&sight, &configs));
        }
        let offset = sight.offset;
        if adoption.contradicts_offset {
            self.report_offset(offset, turn);
        }
        self.write_adoption(id, adoption, turn);
    }

    fn report_offset(&self, configured: u32, turn: &mut Turn<'_>) {
        turn.count(Count::OffsetContradicted);
        let pod = self
            .pod
            .pod()
            .map(|pod| pod.identity.to_string())
            .unwrap_or_default();
        tracing::warn!(pod, configured, "multus' delegates contradict interfaceOffset");
        if let Some(own) = turn.context.own.clone() {
            turn.event(&own, Event::offset_contradicted(&pod, configured));
        }
    }

    fn write_adoption(&mut self, id: &SandboxId, adoption: Adoption, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let mut pending = 0;
        for record in adoption.records {
            if sandbox.adopt(&record) {
                pending += 1;
                put(id, record, turn);
            }
        }
        // What has a record was claimed before: after its DEL the evidence that was read here is
        // wrong.
        let unknown = |unclaimed: &Unclaimed| {
            let attachment = sandbox.attachments.get(&unclaimed.interface);
            attachment.is_none_or(|attachment| attachment.record().is_none())
        };
        sandbox.unclaimed = adoption.unclaimed.into_iter().filter(unknown).collect();
        let first = !sandbox.is_adopted();
        sandbox.sight = Sight::Writing {
            pending,
            failed: None,
            last: false,
        };
        if first {
            self.report_foreign(id, turn);
        }
        self.adoption_step(id, turn);
    }

    fn report_foreign(&self, id: &SandboxId, turn: &mut Turn<'_>) {
        let Some((sandbox, pod)) = self.sandboxes.get(id).zip(self.pod.pod()) else {
            return;
        };
        // A pod that asks for nothing need not hear what multus attaches to every pod.
        if pod.networks.is_empty() {
            return;
        }
        for unclaimed in &sandbox.unclaimed {
            turn.event(&pod.identity, Event::left_alone(&unclaimed.interface));
        }
    }

    pub(crate) fn adoption_written(
        &mut self,
        id: &SandboxId,
        written: Result<(), String>,
        turn: &mut Turn<'_>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        if let Sight::Writing { pending, failed, .. } = &mut sandbox.sight {
            *pending = pending.saturating_sub(1);
            *failed = failed.take().or(written.err());
        }
        self.adoption_step(id, turn);
    }

    /// The sandbox's own record is the last: it says that everything adopted is on the disk.
    fn adoption_step(&mut self, id: &SandboxId, turn: &mut Turn<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return;
        };
        let Sight::Writing {
            pending: 0,
            failed,
            last,
        } = &sandbox.sight
        else {
            return;
        };
        if let Some(cause) = failed.clone() {
            // What could not be written is not adopted.
            sandbox.sight = Sight::Unseen;
            if !sandbox.is_adopted() {
                sandbox
                    .attachments
                    .retain(|_, attachment| attachment.operation.is_some());
            }
            self.block(cause, turn);
            return;
        }
        let foreign: Vec<_> = sandbox
            .unclaimed
            .iter()
            .map(|unclaimed| unclaimed.interface.clone())
            .collect();
        let Some(record) = &mut sandbox.record else { return };
        if *last {
            record.adopted = true;
            record.foreign.clone_from(&foreign);
        }
        if record.adopted && record.foreign == foreign {
            sandbox.sight = Sight::Seen;
            sandbox.takes_over = false;
            self.seen_sandbox();
            return;
        }
        let record = SandboxRecord {
            adopted: true,
            foreign,
            ..record.clone()
        };
        sandbox.sight = Sight::Writing {
            pending: 1,
            failed: None,
            last: true,
        };
        turn.start(
            Purpose::Sight(id.clone()),
            Effect::PutSandbox(id.clone(), Box::new(record)),
        );
    }

    fn seen_sandbox(&mut self) {
        self.blocked = None;
        if let Some(pod) = self.pod.pod() {
            self.seen.restart_from(&pod.networks);
        }
        self.publication.records_changed();
    }

    /// Adopts what the present annotation claims of the rest. Foreign is never for good.
    fn claim(&mut self, id: &SandboxId, turn: &mut Turn<'_>) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return false;
        };
        if sandbox.unclaimed.is_empty() {
            return false;
        }
        let (claimed, rest) = adopt::claim(std::mem::take(&mut sandbox.unclaimed), &self.seen);
        sandbox.unclaimed = rest;
        let mut adopted = false;
        for record in claimed {
            if sandbox.adopt(&record) {
                adopted = true;
                sandbox.attachment(&record.interface).set_disk(Disk::Writing);
                let purpose = Purpose::Record((id.clone(), record.interface.clone()));
                turn.start(purpose, put_effect(id, record));
            }
        }
        if adopted {
            self.publication.records_changed();
        }
        adopted
    }
}

fn put(id: &SandboxId, record: AttachmentRecord, turn: &mut Turn<'_>) {
    turn.start(Purpose::Sight(id.clone()), put_effect(id, record));
}

fn put_effect(id: &SandboxId, record: AttachmentRecord) -> Effect {
    Effect::PutRecord {
        sandbox: id.clone(),
        record: Box::new(record),
        durable: false,
    }
}
