//! The state machine of one pod. The shell reports what it observes and what came of effects; each
//! report returns what to do next. Nothing here waits: several effects of one pod can be in flight.
//!
//! # Guarantees
//! Every effect that is started gets at most one outcome, and an outcome of an effect that is not
//! awaited any more is ignored. Dropped at any point, a new machine goes on from the records on the
//! disk.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use shared::names::InterfaceName;

use crate::{
    attachment::{Disk, Lookup},
    device::{DeviceHolder, RecordedDevices},
    edit_times::{EditPhase, EditTimes},
    effect::{Action, Count, Effect, EffectId, Now, Outcome, PatchOutcome, Trigger},
    event::Event,
    identity::{AttachmentKey, PodIdentity, SandboxId},
    operation::{Flow, Operation},
    other_controller::Hold,
    plan::Problem,
    pod::{Pod, PodObservation, SeenElements},
    publication::Publication,
    readiness::ConditionState,
    record::SandboxRecords,
    retry::{Failure, Retry},
    sandbox::{Sandbox, newest_ready},
    sandbox_state::{End, SandboxState},
    site::Site,
    turn::{Context, InFlight, Purpose, Turn},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct PodState {
    pub(crate) uid: String,
    pub(crate) context: Rc<Context>,
    pub(crate) pod: PodObservation,
    pub(crate) seen: SeenElements,
    pub(crate) listing: Listing,
    pub(crate) sandboxes: BTreeMap<SandboxId, SandboxState>,
    pub(crate) publication: Publication,
    pub(crate) condition: ConditionState,
    pub(crate) reported: std::collections::BTreeSet<Problem>,
    pub(crate) reported_host_network: bool,
    /// Why nothing can be decided.
    pub(crate) blocked: Option<Retry>,
    /// The times of the last edit.
    pub(crate) edit: Option<EditTimes>,
    held: Option<Hold>,
    in_flight: InFlight,
    stopping: bool,
    wake: Option<Duration>,
}

/// What is known of the pod's sandboxes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// `None`: never listed.
    pub sandboxes: Option<Vec<Sandbox>>,
    /// It has to be read again before it is relied on.
    pub stale: bool,
    /// It is being read.
    pub reading: bool,
    /// It became stale again while it was read.
    pub again: bool,
    /// Why it cannot be read.
    pub blocked: Option<Retry>,
}

impl PodState {
    /// The machine of the pod with this uid, of which the disk has these records.
    pub fn new(uid: &str, context: Rc<Context>, records: BTreeMap<SandboxId, SandboxRecords>) -> Self {
        let sandbox =
            |(id, records): (SandboxId, SandboxRecords)| (id.clone(), SandboxState::new(id, records));
        Self {
            uid: uid.to_owned(),
            context,
            pod: PodObservation::Unknown,
            seen: SeenElements::default(),
            listing: Listing::default(),
            sandboxes: records.into_iter().map(sandbox).collect(),
            publication: Publication::default(),
            condition: ConditionState::default(),
            reported: std::collections::BTreeSet::new(),
            reported_host_network: false,
            blocked: None,
            edit: None,
            held: None,
            in_flight: InFlight::default(),
            stopping: false,
            wake: None,
        }
    }

    /// The pod's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// What the watch last said.
    pub fn pod(&self) -> &PodObservation {
        &self.pod
    }

    /// The sandboxes that are remembered.
    pub fn sandboxes(&self) -> &BTreeMap<SandboxId, SandboxState> {
        &self.sandboxes
    }

    /// What the present plan cannot do.
    pub fn problems(&self) -> &std::collections::BTreeSet<Problem> {
        &self.reported
    }

    /// Why nothing can be decided.
    pub fn blocked(&self) -> Option<&Retry> {
        self.listing.blocked.as_ref().or(self.blocked.as_ref())
    }

    /// Why the agent leaves the pod's running sandboxes unchanged, also when the annotation
    /// changes.
    pub fn held(&self) -> Option<&Hold> {
        self.held.as_ref()
    }

    /// When the next turn is due without a report.
    pub fn wake(&self) -> Option<Duration> {
        self.wake
    }

    /// The effects without an outcome.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Whether nothing is left to do for a pod that does not exist any more.
    pub fn is_finished(&self) -> bool {
        self.pod == PodObservation::Gone && self.sandboxes.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the pod's sandboxes matter: their changes have to be reported by
    /// [`Self::observe_sandboxes`].
    pub fn follows_sandboxes(&self) -> bool {
        !self.sandboxes.is_empty() || self.pod.pod().is_some_and(|pod| self.asks_or_asked(pod))
    }

    /// Whether the pod asks for networks, or did when multus may have attached them.
    fn asks_or_asked(&self, pod: &Pod) -> bool {
        !pod.networks.is_empty()
            || !self.seen.is_empty()
            || (self.sandboxes.is_empty() && pod.shows_more_networks())
    }

    /// Whether the pod asks for networks, or did, and none of its sandboxes is ready.
    pub fn awaits_sandbox(&self) -> bool {
        let asks = self
            .pod
            .pod()
            .is_some_and(|pod| !pod.terminating && self.asks_or_asked(pod));
        asks && newest_ready(self.listing.sandboxes.as_deref().unwrap_or_default()).is_none()
    }

    /// The version of the pod that our last status patch made.
    pub fn written_version(&self) -> Option<&str> {
        self.publication.written_version()
    }

    /// The version of the pod that was read after a conflict or a failure.
    pub fn read_version(&self) -> Option<&str> {
        self.publication.read_version()
    }

    /// Whether these sandboxes are others than those that are known.
    pub fn differs(&self, sandboxes: &[Sandbox]) -> bool {
        self.listing.sandboxes.as_deref() != Some(sandboxes)
    }

    /// The watch reports the pod.
    pub fn observe_pod(&mut self, pod: PodObservation, now: Now) -> Vec<Action> {
        let before = std::mem::replace(&mut self.pod, pod);
        let networks = |pod: &PodObservation| pod.pod().map(|pod| pod.networks.clone());
        if let Some(pod) = self.pod.pod() {
            self.seen.note(&pod.networks);
            if networks(&before) != Some(pod.networks.clone()) {
                self.edit = Some(EditTimes::seen(now.monotonic));
                self.condition.edited(&pod.networks, now.monotonic);
            }
            let status = |pod: &Rc<Pod>| pod.status.clone();
            if before.pod().map(status) != Some(pod.status.clone()) && !self.publication.wrote(pod) {
                // Multus writes the whole annotation for a new sandbox: find out whether there is
                // one.
                self.listing.stale = true;
            }
            self.publication.pod_changed();
        }
        if before.pod().map(|pod| pod.terminating) != self.pod.pod().map(|pod| pod.terminating) {
            self.listing.stale = true;
        }
        self.turn(now)
    }

    /// The node-wide list of sandboxes reports those of this pod.
    pub fn observe_sandboxes(&mut self, sandboxes: Vec<Sandbox>, now: Now) -> Vec<Action> {
        if !self.listing.reading {
            self.set_sandboxes(sandboxes);
        }
        self.turn(now)
    }

    /// Something that may have cleared the cause of failures.
    pub fn trigger(&mut self, trigger: &Trigger, now: Now) -> Vec<Action> {
        for sandbox in self.sandboxes.values_mut() {
            for attachment in sandbox.attachments.values_mut() {
                attachment.trigger(trigger, now.monotonic);
            }
        }
        if *trigger == Trigger::Anything {
            self.publication.make_due(now.monotonic);
            self.condition.make_due(now.monotonic);
            self.listing.stale = true;
            for blocked in [&mut self.blocked, &mut self.listing.blocked]
                .into_iter()
                .flatten()
            {
                blocked.due = blocked.due.min(now.monotonic);
            }
        }
        self.turn(now)
    }

    /// The agent is to stop: what runs is finished, nothing new is begun.
    pub fn stop(&mut self, now: Now) -> Vec<Action> {
        self.stopping = true;
        let waiting = self.waiting_operations(|_| true);
        self.drop_operations(&waiting, now)
    }

    /// While `hold` stands, what runs is finished, and nothing is begun in a sandbox that lives: no
    /// first sight, no ADD, no DEL, no network-status. Sandboxes that have ended are released all
    /// the same.
    ///
    /// When another controller is gone, every sandbox is seen once more: what that one plugged is
    /// adopted.
    pub fn hold(&mut self, hold: Option<Hold>, now: Now) -> Vec<Action> {
        let others = |hold: &Option<Hold>| matches!(hold, Some(Hold::Other(_)));
        let before = std::mem::replace(&mut self.held, hold);
        if others(&before) && !others(&self.held) {
            self.sandboxes.values_mut().for_each(SandboxState::see_again);
        }
        let lives = |id: &SandboxId| self.sandboxes.get(id).is_some_and(|one| !one.has_ended());
        let waiting = if self.held.is_some() {
            self.waiting_operations(lives)
        } else {
            Vec::new()
        };
        self.drop_operations(&waiting, now)
    }

    /// Has the pod told what has gone.
    pub(crate) fn report_drift(&mut self, events: Vec<Event>, now: Now) -> Vec<Action> {
        let pod = self.pod.pod().map(|pod| pod.identity.clone());
        let mut actions = Vec::new();
        if let Some(pod) = pod {
            for event in &events {
                tracing::warn!(%pod, "{}", event.text);
            }
            actions.extend(events.into_iter().map(|event| Action::Event(pod.clone(), event)));
        }
        self.take_turns(now, &mut actions);
        actions
    }

    fn drop_operations(&mut self, keys: &[AttachmentKey], now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        self.with_turn(now, &mut actions, |state, turn| {
            keys.iter().for_each(|key| state.drop_operation(key, turn));
        });
        self.take_turns(now, &mut actions);
        actions
    }

    /// The operations that have neither written nor sent anything.
    pub(crate) fn waiting_operations(&self, of: impl Fn(&SandboxId) -> bool) -> Vec<AttachmentKey> {
        let sandboxes = self.sandboxes.iter().filter(|(id, _)| of(id));
        sandboxes
            .flat_map(|(id, sandbox)| {
                let waiting = sandbox.attachments.iter().filter(|(_, attachment)| {
                    attachment
                        .operation
                        .as_ref()
                        .is_some_and(|operation| operation.is_waiting())
                });
                waiting.map(|(interface, _)| (id.clone(), interface.clone()))
            })
            .collect()
    }

    /// Whether nothing runs that has to be waited for before the program ends.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The time of [`Self::wake`] has come.
    pub fn wake_up(&mut self, now: Now) -> Vec<Action> {
        self.turn(now)
    }

    /// The outcome of an effect.
    pub fn complete(&mut self, id: EffectId, outcome: Outcome, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(purpose) = self.in_flight.take(id) {
            match (&purpose, &outcome) {
                (Purpose::Operation(_), Outcome::Done) => self.phase_ended(EditPhase::Queued, now.monotonic),
                (Purpose::Operation(_), Outcome::Answer(_) | Outcome::Written(_)) => {
                    self.phase_ended(EditPhase::Called, now.monotonic);
                }
                (_, Outcome::Patched(PatchOutcome::Written(_))) => {
                    self.phase_ended(EditPhase::Published, now.monotonic);
                }
                _ => {}
            }
            self.with_turn(now, &mut actions, |state, turn| {
                state.settle(purpose, outcome, turn)
            });
        }
        self.take_turns(now, &mut actions);
        let phases = self.edit.as_mut().filter(|_| !self.publication.in_flight);
        if let Some(phases) = phases.and_then(EditTimes::take) {
            actions.push(Action::Count(Count::Edit(phases)));
        }
        actions
    }

    pub(crate) fn phase_ended(&mut self, phase: EditPhase, now: Duration) {
        if let Some(edit) = &mut self.edit {
            edit.ended(phase, now);
        }
    }

    fn turn(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take_turns(now, &mut actions);
        actions
    }

    fn with_turn(
        &mut self,
        now: Now,
        actions: &mut Vec<Action>,
        with: impl FnOnce(&mut Self, &mut Turn<'_>),
    ) {
        let context = Rc::clone(&self.context);
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let mut wake = self.wake.take();
        let mut turn = Turn {
            now,
            context: &context,
            stopping: self.stopping,
            in_flight: &mut in_flight,
            actions,
            wake: &mut wake,
        };
        with(self, &mut turn);
        self.in_flight = in_flight;
        self.wake = wake;
    }

    /// Decides what to do next. Some decisions change the state without an effect and allow more
    /// decisions.
    fn take_turns(&mut self, now: Now, actions: &mut Vec<Action>) {
        const MOST: usize = 16;
        for _ in 0..MOST {
            self.wake = None;
            let mut again = false;
            self.with_turn(now, actions, |state, turn| again = state.decide(turn));
            if !again {
                return;
            }
        }
        tracing::error!(uid = %self.uid, "decisions do not come to an end; retrying in a second");
        self.wake = Some(now.monotonic + Duration::from_secs(1));
    }

    fn decide(&mut self, turn: &mut Turn<'_>) -> bool {
        self.mark_late(turn);
        self.condition.begin_turn();
        let present = self.pod.pod().cloned();
        if self.sandboxes.is_empty() && !present.as_ref().is_some_and(|pod| self.asks_or_asked(pod)) {
            if let Some(pod) = present.filter(|pod| !pod.terminating) {
                self.judge_without_networks(&pod, turn);
            }
            return false;
        }
        self.list_sandboxes(turn);
        if self.listing.sandboxes.is_none() {
            return false;
        }
        self.follow_ends(turn);
        let mut again = false;
        if let Some(pod) = present.filter(|pod| !pod.terminating && self.held.is_none())
            && let Some(ready) = self.ready_sandbox()
        {
            let paused = self
                .blocked
                .as_ref()
                .is_some_and(|blocked| !turn.is_due(blocked.due));
            again |= !paused && self.see(&pod, &ready, turn);
            self.judge_unplanned(&pod, &ready.id, turn);
            again |= self.converge(&pod, &ready.id, turn);
            again |= self.publish(&pod, &ready.id, turn);
        }
        self.save_refused(turn);
        again
    }

    fn settle(&mut self, purpose: Purpose, outcome: Outcome, turn: &mut Turn<'_>) {
        match (purpose, outcome) {
            (Purpose::Listing, Outcome::Sandboxes(listed)) => self.listed(listed, turn),
            (Purpose::SandboxNetwork(id), Outcome::Network(network)) => {
                self.network_known(&id, network, turn)
            }
            (Purpose::Ended(id), Outcome::Ended(ended)) => self.end_known(&id, ended, turn),
            (Purpose::Sight(id), Outcome::CniState(state)) => self.cni_state_read(&id, state, turn),
            (Purpose::TakeOver(id, network), Outcome::Definition(read)) => {
                self.take_over_read(&id, network, read, turn);
            }
            (Purpose::Sight(id), Outcome::Written(written)) => self.adoption_written(&id, written, turn),
            (Purpose::Damaged(id), Outcome::CniState(state)) => self.damaged_read(&id, state, turn),
            (Purpose::SandboxRecord(id), Outcome::Written(removed)) => {
                self.sandbox_removed(&id, removed, turn)
            }
            (Purpose::Identity(id), Outcome::PodUid(uid)) => self.identity_read(&id, uid, turn),
            (Purpose::Operation(key), outcome) => self.operation_outcome(&key, outcome, turn),
            (Purpose::Lookup(key), Outcome::CniEntry(entry)) => {
                if let Some(attachment) = self.attachment_mut(&key) {
                    let lookup = entry.map_or_else(
                        |error| {
                            tracing::warn!(sandbox = %key.0, interface = %key.1, %error, "reading libcni's cache failed");
                            Lookup::Failed
                        },
                        Lookup::Known,
                    );
                    attachment.set_lookup(lookup);
                }
            }
            (Purpose::Record(key), Outcome::Written(written)) => self.record_written(&key, &written, turn),
            (Purpose::Status, outcome) => self.status_outcome(outcome, turn),
            (Purpose::Condition, Outcome::Condition(read)) => self.condition_read(read, turn),
            (Purpose::ConditionPatch, outcome) => self.condition_patched(outcome, turn),
            (purpose, outcome) => {
                tracing::error!(?purpose, ?outcome, "an outcome of another kind than its effect")
            }
        }
    }

    pub(crate) fn attachment_mut(
        &mut self,
        (sandbox, interface): &AttachmentKey,
    ) -> Option<&mut crate::attachment::Attachment> {
        self.sandboxes.get_mut(sandbox)?.attachments.get_mut(interface)
    }

    /// First sight cannot go on.
    pub(crate) fn block(&mut self, cause: String, turn: &mut Turn<'_>) {
        let before = self.blocked.take();
        self.blocked = Some(self.blocked_by(cause, before.as_ref(), turn));
    }

    /// Something cannot be decided: the pod is told why, once, and it is tried again later.
    fn blocked_by(&self, cause: String, before: Option<&Retry>, turn: &mut Turn<'_>) -> Retry {
        tracing::warn!(uid = %self.uid, pod = self.pod.pod().map(|pod| tracing::field::display(&pod.identity)),
            %cause, "reconcile failed; will retry");
        if let Some(pod) = self
            .pod
            .pod()
            .filter(|_| before.is_none_or(|blocked| blocked.error != cause))
        {
            turn.event(&pod.identity, Event::blocked(&cause));
        }
        Retry::after(before, Failure::new(cause), turn.now)
    }

    // The list of sandboxes.

    pub(crate) fn list_sandboxes(&mut self, turn: &mut Turn<'_>) {
        let needed = self.listing.stale || self.listing.sandboxes.is_none();
        if !needed {
            return;
        }
        if self.listing.reading {
            self.listing.again |= std::mem::take(&mut self.listing.stale);
            return;
        }
        if self
            .listing
            .blocked
            .as_ref()
            .is_some_and(|blocked| !turn.is_due(blocked.due))
        {
            return;
        }
        self.listing.stale = false;
        self.listing.reading = true;
        self.publication.listing_begun();
        turn.start(Purpose::Listing, Effect::ListSandboxes);
    }

    fn listed(&mut self, listed: Result<Vec<Sandbox>, String>, turn: &mut Turn<'_>) {
        self.listing.reading = false;
        self.listing.stale |= std::mem::take(&mut self.listing.again);
        match listed {
            Ok(sandboxes) => {
                self.listing.blocked = None;
                self.set_sandboxes(sandboxes);
                self.publication.listed();
            }
            Err(cause) => {
                self.listing.stale = true;
                let before = self.listing.blocked.take();
                self.listing.blocked = Some(self.blocked_by(cause, before.as_ref(), turn));
            }
        }
    }

    fn set_sandboxes(&mut self, listed: Vec<Sandbox>) {
        for sandbox in self.sandboxes.values_mut() {
            let ready = listed
                .iter()
                .any(|listed| listed.id == sandbox.id && listed.ready);
            match (&sandbox.end, ready) {
                (End::Ready, false) => {
                    sandbox.end = End::Ending {
                        asking: false,
                        rounds: 0,
                        next: Duration::ZERO,
                    }
                }
                (End::Ending { .. }, true) => sandbox.end = End::Ready,
                _ => {}
            }
        }
        self.listing.sandboxes = Some(listed);
    }

    /// The sandbox that the pod's containers run in.
    fn ready_sandbox(&self) -> Option<Sandbox> {
        newest_ready(self.listing.sandboxes.as_deref().unwrap_or_default()).cloned()
    }

    // Operations.

    fn operation_outcome(&mut self, key: &AttachmentKey, outcome: Outcome, turn: &mut Turn<'_>) {
        if outcome == Outcome::Done && !self.is_still_planned(key, turn) {
            self.drop_operation(key, turn);
            return;
        }
        let Some(operation) = self
            .attachment_mut(key)
            .and_then(|attachment| attachment.operation.take())
        else {
            return;
        };
        let (sandbox_id, _) = key;
        let owner = self
            .sandboxes
            .get(sandbox_id)
            .and_then(|sandbox| sandbox.record.as_ref());
        let Some(owner) = owner.map(|record| record.pod.clone()) else {
            return;
        };
        let removes = matches!(*operation, Operation::Del(_));
        let Some(flow) = self.at_site(key, turn, |site| match *operation {
            Operation::Add(adding) => site.add_outcome(adding, outcome, &owner),
            Operation::Del(removing) => site.del_outcome(removing, outcome),
        }) else {
            return;
        };
        match flow {
            Flow::Continue(operation) => {
                if let Some(attachment) = self.attachment_mut(key) {
                    attachment.operation = Some(operation);
                }
            }
            Flow::Finished => {
                self.operation_ended(key, turn.now.monotonic);
                if removes {
                    self.device_released(sandbox_id, turn.now.monotonic);
                }
            }
            Flow::UnknownPod => {
                self.operation_ended(key, turn.now.monotonic);
                self.doubt_identity(sandbox_id, turn);
            }
        }
    }

    fn operation_ended(&mut self, (sandbox, _): &AttachmentKey, now: Duration) {
        if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
            sandbox.step = None;
            sandbox.prune(now);
        }
        self.publication.records_changed();
    }

    /// What waits for a device of the pod need not wait for its backoff.
    fn device_released(&mut self, sandbox: &SandboxId, now: Duration) {
        let sandbox = self.sandboxes.get_mut(sandbox);
        let attachments = sandbox.map(|sandbox| sandbox.attachments.values_mut());
        attachments
            .into_iter()
            .flatten()
            .for_each(|attachment| attachment.device_released(now));
    }

    /// Drops an operation that has neither written nor sent anything.
    pub(crate) fn drop_operation(&mut self, key: &AttachmentKey, turn: &mut Turn<'_>) {
        let operation = self
            .attachment_mut(key)
            .and_then(|attachment| attachment.operation.take());
        if let Some(permit) = operation.and_then(|operation| operation.permit()) {
            turn.release(permit);
        }
        self.operation_ended(key, turn.now.monotonic);
    }

    /// Does `with` at the site of an attachment.
    pub(crate) fn at_site<T>(
        &mut self,
        (sandbox, interface): &AttachmentKey,
        turn: &mut Turn<'_>,
        with: impl FnOnce(&mut Site<'_, '_>) -> T,
    ) -> Option<T> {
        let pod: Option<PodIdentity> = self.pod.pod().map(|pod| pod.identity.clone());
        let lives = self.pod.pod().is_some_and(|pod| !pod.terminating) && self.held.is_none();
        let devices = self.recorded_devices(sandbox, interface);
        let state = self.sandboxes.get_mut(sandbox)?;
        let (order, ended) = (state.next_order(), state.has_ended());
        let config_bytes = state.config_bytes(interface);
        let netns = if ended {
            String::new()
        } else {
            state.netns().to_owned()
        };
        let mut site = Site {
            sandbox,
            interface,
            attachment: state.attachments.entry(interface.clone()).or_default(),
            pod: pod.as_ref(),
            may_add: lives && !ended && !turn.stopping,
            netns: &netns,
            order,
            config_bytes,
            devices,
            turn: &mut Turn {
                now: turn.now,
                context: turn.context,
                stopping: turn.stopping,
                in_flight: &mut *turn.in_flight,
                actions: &mut *turn.actions,
                wake: &mut *turn.wake,
            },
        };
        Some(with(&mut site))
    }

    /// The devices that the pod's records name, as an ADD finds them. Those of a sandbox whose end
    /// is not known yet have mostly come home: they are given when no other is left.
    fn recorded_devices(&self, sandbox: &SandboxId, interface: &InterfaceName) -> RecordedDevices {
        let mut recorded = RecordedDevices::default();
        for (id, state) in &self.sandboxes {
            if id == sandbox {
                let own = state.recorded_devices(interface);
                recorded.known = own.known;
                recorded.holders.extend(own.holders);
            } else if !state.has_ended() {
                let others = state.recorded_devices(interface).holders.into_iter();
                recorded.holders.extend(others.map(|holder| DeviceHolder {
                    certain: false,
                    ..holder
                }));
            }
        }
        recorded
    }

    /// A call that takes too long gives its place to another one.
    fn mark_late(&mut self, turn: &mut Turn<'_>) {
        let limit = turn.context.timing.late;
        let mut late = Vec::new();
        for (id, sandbox) in &mut self.sandboxes {
            for (interface, attachment) in &mut sandbox.attachments {
                let network = attachment.record().map(|record| record.network.clone());
                let Some(operation) = attachment.operation.as_deref_mut() else {
                    continue;
                };
                let command = match operation {
                    Operation::Add(_) => crate::delegate::Command::Add,
                    Operation::Del(_) => crate::delegate::Command::Del,
                };
                let Some(running) = operation.running().filter(|running| !running.late) else {
                    continue;
                };
                if turn.is_due(running.since + limit) {
                    running.late = true;
                    let permit = operation.permit();
                    late.push(((id.clone(), interface.clone()), command, network, permit));
                }
            }
        }
        for (key, command, network, permit) in late {
            let Some(network) = network else { continue };
            self.at_site(&key, turn, |site| site.exceeded(command, &network, permit));
        }
    }

    // Records beside operations.

    fn record_written(&mut self, key: &AttachmentKey, written: &Result<(), String>, turn: &mut Turn<'_>) {
        self.at_site(key, turn, |site| site.written(written));
        if let Some(sandbox) = self.sandboxes.get_mut(&key.0) {
            sandbox.prune(turn.now.monotonic);
        }
        self.publication.records_changed();
    }

    /// Repeats the writes that the disk refused.
    fn save_refused(&mut self, turn: &mut Turn<'_>) {
        let mut due = Vec::new();
        for (id, sandbox) in &self.sandboxes {
            for (interface, attachment) in &sandbox.attachments {
                if let Disk::Refused { retry } = attachment.disk()
                    && attachment.operation.is_none()
                    && turn.is_due(retry)
                {
                    due.push((id.clone(), interface.clone()));
                }
            }
        }
        for key in due {
            self.at_site(&key, turn, |site| site.save());
        }
    }
}
