//! A number for everything that decides what a machine will do, for the model checker: two machines
//! with the same number have the same future. Times count in steps from now; sandboxes by the rank
//! that the caller gives them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::{
    attachment::{Attachment, Disk, Lookup, Verb},
    device::Device,
    identity::SandboxId,
    operation::{AddStage, Adding, DelStage, Operation, Removing, Why},
    pod::Annotation,
    pod_state::PodState,
    record::AttachmentRecord,
    retry::{Retry, RetryOn},
    sandbox_state::{End, Identity, SandboxState, Sight},
};

/// So many failures lead to the cap of the backoff.
const FAILURES: u32 = 8;

/// How states are made comparable.
pub struct Measure<'a> {
    /// The time.
    pub now: Duration,
    /// The step of the clock.
    pub step: Duration,
    /// The rank of a sandbox.
    pub rank: &'a dyn Fn(&SandboxId) -> usize,
    /// Whether this is the present version of a network.
    pub is_present: &'a dyn Fn(&shared::names::NetworkName, Option<&str>) -> bool,
}

struct Print<'a> {
    hasher: DefaultHasher,
    measure: &'a Measure<'a>,
}

impl PodState {
    /// See the module.
    pub fn fingerprint(&self, measure: &Measure<'_>) -> u64 {
        let mut print = Print {
            hasher: DefaultHasher::new(),
            measure,
        };
        print.pod(self);
        print.hasher.finish()
    }
}

impl Print<'_> {
    fn add(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    fn until(&mut self, time: Duration) {
        let left = time.saturating_sub(self.measure.now).as_millis();
        self.add(left.div_ceil(self.measure.step.as_millis().max(1)));
    }

    fn pod(&mut self, state: &PodState) {
        match state.pod.pod() {
            Some(pod) => {
                match &pod.networks {
                    Annotation::Absent => self.add(0),
                    Annotation::List(list) => self.add((1, list.source())),
                    Annotation::Unreadable { digest, .. } => self.add((2, digest)),
                }
                self.add((entries(pod.status.as_deref()), pod.terminating));
            }
            None => self.add(format!("{:?}", state.pod)),
        }
        // What was seen decides only while something can be claimed, or a sandbox is to be seen.
        let ready = listed_ready(state);
        let sight = ready.and_then(|id| state.sandboxes.get(id));
        let settled =
            sight.is_some_and(|sandbox| sandbox.sight == Sight::Seen && sandbox.unclaimed.is_empty());
        self.add((state.seen.is_empty(), (!settled).then_some(&state.seen)));
        let listing = &state.listing;
        self.add((
            listing.stale,
            listing.reading,
            listing.again,
            listing.sandboxes.is_some(),
        ));
        self.blocked(listing.blocked.as_ref());
        self.blocked(state.blocked.as_ref());
        for sandbox in listing.sandboxes.iter().flatten() {
            let rank = (self.measure.rank)(&sandbox.id);
            self.add((rank, sandbox.ready));
        }
        for sandbox in state.sandboxes.values() {
            self.sandbox(sandbox);
        }
        let version = state.pod.pod().map(|pod| pod.resource_version.as_str());
        state
            .publication
            .fingerprint(version, self.measure.now, &mut self.hasher);
        if let Some(retry) = state.publication.retry() {
            self.until(retry.due);
        }
        state.condition.fingerprint(&mut self.hasher);
        self.add(state.condition.judged().map(|id| (self.measure.rank)(id)));
        for time in state.condition.times() {
            self.add(time.is_some());
            self.until(time.unwrap_or_default());
        }
        self.add((&state.reported, state.reported_host_network));
        self.add(state.held().is_some());
        for purpose in state.in_flight().purposes() {
            self.add(std::mem::discriminant(purpose));
        }
        self.add(state.wake().is_some());
    }

    fn blocked(&mut self, blocked: Option<&Retry>) {
        self.add(blocked.map(|blocked| (&blocked.error, blocked.failures.min(FAILURES))));
        if let Some(blocked) = blocked {
            self.until(blocked.due);
        }
    }

    fn sandbox(&mut self, sandbox: &SandboxState) {
        self.add((self.measure.rank)(&sandbox.id));
        self.add(
            sandbox
                .record
                .as_ref()
                .map(|record| (record.adopted, record.netns.is_empty(), record.foreign.clone())),
        );
        if let Some(step) = &sandbox.step {
            self.add(format!("{step:?}"));
        }
        self.add(sandbox.takes_over);
        self.add(match &sandbox.sight {
            Sight::Unseen => 0,
            Sight::AskingNetwork => 1,
            Sight::Host => 2,
            Sight::Reading => 3,
            Sight::TakingOver { .. } => 4,
            Sight::Writing { .. } => 5,
            Sight::Seen => 6,
        });
        if matches!(sandbox.sight, Sight::TakingOver { .. } | Sight::Writing { .. }) {
            self.add(format!("{:?}", sandbox.sight));
        }
        match &sandbox.end {
            End::Ready => self.add(0),
            End::Ending { asking, rounds, next } => {
                self.add((1, asking, rounds.min(&FAILURES)));
                self.until(*next);
            }
            End::Ended { recovered, retry } => {
                self.add((2, recovered));
                self.until(*retry);
            }
            End::Removing(due) => {
                self.add((3, due.is_some()));
                self.until(due.unwrap_or_default());
            }
        }
        match &sandbox.identity {
            Identity::Known { pod, confirmed } => self.add((0, pod.uid(), pod.name(), confirmed)),
            Identity::Failed { failures, due } => {
                self.add((1, failures.min(&FAILURES)));
                self.until(*due);
            }
            other => self.add(std::mem::discriminant(other)),
        }
        self.add(format!("{:?}", sandbox.unclaimed));
        self.add((&sandbox.damaged, &sandbox.newer));
        let now = self.measure.now;
        let known = sandbox.attachments.iter();
        let mut ordered: Vec<_> = known.filter(|(_, known)| !known.is_empty(now)).collect();
        self.add(ordered.len());
        let order = |attachment: &Attachment| attachment.record().map(|record| record.order);
        ordered.sort_by_key(|(interface, attachment)| (order(attachment), (*interface).clone()));
        for (interface, attachment) in ordered {
            self.add(interface);
            self.attachment(attachment);
        }
    }

    fn attachment(&mut self, attachment: &Attachment) {
        if let Some(known) = attachment.record() {
            record(known, &mut self.hasher);
        }
        match attachment.disk() {
            Disk::Clean => self.add(0),
            Disk::Writing => self.add(1),
            Disk::Refused { retry } => {
                self.add(2);
                self.until(retry);
            }
        }
        let doubtful = attachment.is_doubtful();
        self.add((
            (attachment.is_gone(), attachment.has_news()),
            attachment.is_lost_add(),
            doubtful,
            attachment.removals().count_at(self.measure.now),
            format!("{:?}", attachment.refused_add()),
        ));
        if doubtful {
            self.until(attachment.doubt_end().unwrap_or(self.measure.now));
            self.add(match attachment.lookup() {
                Lookup::Unknown => 0,
                Lookup::Reading => 1,
                Lookup::Known(None) => 2,
                Lookup::Known(Some(_)) => 3,
                Lookup::Failed => 4,
            });
            let (rounds, last) = attachment.lookups();
            self.add(rounds.min(FAILURES));
            self.until(last + crate::converge::LONGEST_POLL);
        }
        for verb in [Verb::Plug, Verb::Unplug, Verb::ReleaseOwed] {
            self.retry(attachment.retry(verb));
        }
        if attachment.retry(Verb::Plug).is_some() {
            self.add(format!("{:?}", attachment.tried()));
        }
        match attachment.operation.as_deref() {
            None => self.add(0),
            Some(Operation::Add(adding)) => self.adding(adding),
            Some(Operation::Del(removing)) => self.removing(removing),
        }
    }

    fn retry(&mut self, retry: Option<&Retry>) {
        let Some(retry) = retry else {
            self.add(false);
            return;
        };
        self.add(retry.failures.min(FAILURES));
        self.until(retry.due);
        self.until(retry.since + crate::operation::PATIENCE);
        match &retry.on {
            RetryOn::Time => self.add(0),
            RetryOn::Multus => self.add(1),
            RetryOn::Device { network, version } => {
                let present = (self.measure.is_present)(network, Some(version));
                self.add((3, network, present));
            }
            RetryOn::Network { network, version } => {
                let present = (self.measure.is_present)(network, version.as_deref());
                self.add((2, network, version.is_some(), present));
            }
        }
    }

    fn adding(&mut self, adding: &Adding) {
        let network = &adding.selection.network;
        let present = (self.measure.is_present)(network, Some(&adding.version));
        self.add((1, format!("{:?}", adding.selection), &adding.config, present));
        self.add(format!("{:?}{:?}", adding.pending, adding.device));
        self.add((adding.permit.is_some(), adding.previous.is_some()));
        if let Some(previous) = &adding.previous {
            record(previous, &mut self.hasher);
        }
        let late = match adding.stage {
            AddStage::Calling(running) => Some(running),
            _ => None,
        };
        self.add((
            std::mem::discriminant(&adding.stage),
            late.map(|running| running.late),
        ));
        if let Some(running) = late {
            self.until(running.since + Duration::from_secs(60));
        }
    }

    fn removing(&mut self, removing: &Removing) {
        self.add((2, format!("{:?}", removing.jobs), format!("{:?}", removing.owed)));
        self.add((format!("{:?}", removing.earlier), removing.refused.is_some()));
        self.add((removing.pod.uid(), removing.permit.is_some()));
        self.add(std::mem::discriminant(&removing.why));
        if let Why::BeforeAdd(adding) = &removing.why {
            self.adding(adding);
        }
        let late = match removing.stage {
            DelStage::Calling(running) => Some(running),
            _ => None,
        };
        self.add((
            std::mem::discriminant(&removing.stage),
            late.map(|running| running.late),
        ));
        if let Some(running) = late {
            self.until(running.since + Duration::from_secs(60));
        }
    }
}

fn listed_ready(state: &PodState) -> Option<&SandboxId> {
    let listed = state.listing.sandboxes.as_deref()?;
    crate::sandbox::newest_ready(listed).map(|sandbox| &sandbox.id)
}

/// Adds what of a record decides: all but its place in the order of plugging and the content of its
/// result.
pub fn record(record: &AttachmentRecord, hasher: &mut impl Hasher) {
    use crate::record::Phase;
    let phase = match &record.phase {
        Phase::Plugging { attempt } => (0, (*attempt).min(2), false),
        Phase::Plugged { result } => (1, 0, result.get("interfaces").is_some()),
        Phase::Unplugging { attempt, result } => (2, (*attempt).min(2), result.is_some()),
        Phase::Tombstone => (3, 0, false),
        Phase::Owed => (4, 0, false),
    };
    (&record.network, &record.interface, record.origin, phase).hash(hasher);
    (&record.config, &record.stale_status, record.owed.len()).hash(hasher);
    let id = |device: &Option<Device>| device.as_ref().map(|device| device.id.clone());
    id(&record.device).hash(hasher);
    for owed in &record.owed {
        (&owed.network, &owed.config, owed.failed_add, owed.lost_add).hash(hasher);
        id(&owed.device).hash(hasher);
    }
}

/// Entries are found by their names, so their order decides nothing.
fn entries(status: Option<&str>) -> Vec<&str> {
    let mut entries: Vec<&str> = status.unwrap_or_default().split("},{").collect();
    entries.sort_unstable();
    entries
}
