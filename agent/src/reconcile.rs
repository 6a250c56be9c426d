//! One look at one pod: releases what ended, takes first sight of a new sandbox, then plans and carries out step by step until nothing is
//! due. Thin: the order of the effects is here, the decisions are in [`crate::plan`], [`crate::adopt`] and [`crate::release`].
//!
//! Guarantee: dropped between any two effects, the next look goes on from the records.

use std::collections::{BTreeMap, BTreeSet};

use shared::config::Config;

use crate::{
    adopt::{self, Adoption, FirstSight, taken_over},
    cri::{self, CriError, Network, Sandbox},
    events::Event,
    execute::{self, Executor, config_name},
    identity::{PodIdentity, SandboxId},
    mailbox::{Cured, Known, Mailbox},
    memory::{Cure, Memory},
    plan::{
        self, Complaint, Plan,
        desired::Desired,
        observed::{Attachment, Observed, State},
    },
    pod::Pod,
    records::{AttachmentRecord, Phase, SandboxRecord},
    release::Releaser,
    status_writer,
    world::{NetworkError, World},
};

/// What every look needs and none changes.
pub struct Reconciler<'a, W> {
    /// The neighbours.
    pub world: &'a W,
    /// The configuration.
    pub config: &'a Config,
    /// The agent's own pod.
    pub own: Option<&'a PodIdentity>,
}

impl<W: World> Reconciler<'_, W> {
    /// Looks at the pod of `mailbox` once. `memory.wake` tells afterwards when to look again without news; when news has come
    /// meanwhile, that is at once. `shown` is called with the memory as it stands before and after each step.
    pub async fn look(&self, memory: &mut Memory, mailbox: &Mailbox, shown: &dyn Fn(&Memory, Option<&Plan>)) {
        memory.wake = None;
        if mailbox.has_news() {
            memory.looks = 0;
        }
        let (known, cured) = mailbox.take();
        self.apply(memory, &cured);
        let pod = match &known {
            Known::Present(pod) => Some(pod),
            Known::Unknown | Known::Gone => None,
        };
        if memory.sandboxes.is_empty() && pod.is_none_or(|pod| pod.never_had_networks()) {
            return;
        }
        let outcome = self
            .look_at_sandboxes(memory, mailbox, pod.map(AsRef::as_ref), shown)
            .await;
        if let Err(error) = outcome {
            self.trouble(memory, pod.map(AsRef::as_ref), error);
        }
        shown(memory, None);
    }

    fn apply(&self, memory: &mut Memory, cured: &[Cured]) {
        let now = self.world.now();
        for cured in cured {
            if let (Cured::Anything, Some(retry)) = (cured, &mut memory.status_retry) {
                retry.due = now;
            }
            memory.cured(
                |cure| match (cure, cured) {
                    (_, Cured::Anything) | (Cure::Multus, Cured::Multus) => true,
                    (Cure::Network { network, version }, Cured::Network(name, now)) => {
                        network == name && version != now
                    }
                    _ => false,
                },
                now,
            );
        }
    }

    async fn look_at_sandboxes(
        &self,
        memory: &mut Memory,
        mailbox: &Mailbox,
        pod: Option<&Pod>,
        shown: &dyn Fn(&Memory, Option<&Plan>),
    ) -> Result<(), Trouble> {
        let listed = self.world.sandboxes_of(&memory.uid).await?;
        let mut releaser = Releaser {
            world: self.world,
            memory,
            own: self.own,
            pod_exists: pod.is_some(),
        };
        releaser.release_ended(&listed).await?;
        let Some(pod) = pod.filter(|pod| !pod.terminating) else {
            memory.trouble = None;
            if !memory.sandboxes.is_empty() {
                memory.look_again(self.world.now());
            }
            return Ok(());
        };
        let Some(sandbox) = cri::ready_sandbox(&listed) else {
            memory.trouble = None;
            memory.look_later(self.world.now(), self.world.jitter());
            return Ok(());
        };
        let record = self.first_sight(memory, pod, sandbox).await?;
        memory.trouble = None;
        if let Some(record) = record {
            self.work(memory, mailbox, pod, &sandbox.id, &record, shown).await;
        }
        Ok(())
    }

    /// The sandbox as recorded at first sight. `None`: it uses the node's network, or is gone already.
    async fn first_sight(
        &self,
        memory: &mut Memory,
        pod: &Pod,
        sandbox: &Sandbox,
    ) -> Result<Option<SandboxRecord>, Trouble> {
        let recorded = memory
            .sandboxes
            .get(&sandbox.id)
            .and_then(|records| records.sandbox.clone());
        if let Some(record) = recorded.filter(|record| record.adopted) {
            self.recover(memory, pod, sandbox).await?;
            return Ok(Some(record));
        }
        if memory.host_network.contains(&sandbox.id) {
            self.host_network(memory, pod);
            return Ok(None);
        }
        let netns = match self.world.sandbox_network(&sandbox.id).await? {
            Some(Network::Namespace(path)) => path.to_string_lossy().into_owned(),
            Some(Network::Host) => {
                memory.host_network.insert(sandbox.id.clone());
                self.host_network(memory, pod);
                return Ok(None);
            }
            Some(Network::Unknown(why)) => return Err(Trouble(why)),
            None => {
                memory.look_again(self.world.now());
                return Ok(None);
            }
        };
        let record = SandboxRecord {
            pod: pod.identity.clone(),
            netns,
            adopted: false,
            foreign: Vec::new(),
            unknown: serde_json::Map::new(),
        };
        self.adopt(memory, pod, sandbox, record).await.map(Some)
    }

    /// The sandbox counts as seen only when everything adopted is on the disk; a crash before that is another first sight.
    async fn adopt(
        &self,
        memory: &mut Memory,
        pod: &Pod,
        sandbox: &Sandbox,
        mut record: SandboxRecord,
    ) -> Result<SandboxRecord, Trouble> {
        let world = self.world;
        let adoption = self.witnessed(pod, sandbox).await?;
        if !adoption.records.is_empty() {
            world.put_sandbox(&sandbox.id, &record).await?;
        }
        for attachment in adoption.records {
            let key = (sandbox.id.clone(), attachment.interface.clone());
            if memory.record(&key).is_none() {
                world.put_record(&sandbox.id, &attachment).await?;
                memory.put(&sandbox.id, attachment);
            }
        }
        let ours = |interface| memory.record(&(sandbox.id.clone(), interface)).is_some();
        record.foreign = adoption
            .foreign
            .into_iter()
            .filter(|interface| !ours(interface.clone()))
            .collect();
        record.adopted = true;
        world.put_sandbox(&sandbox.id, &record).await?;
        memory.sandboxes.entry(sandbox.id.clone()).or_default().sandbox = Some(record.clone());
        for interface in &record.foreign {
            world.event(&pod.identity, Event::left_alone(interface));
        }
        Ok(record)
    }

    /// What multus and libcni tell of a sandbox.
    async fn witnessed(&self, pod: &Pod, sandbox: &Sandbox) -> Result<Adoption, Trouble> {
        let delegates = self.world.delegates(&sandbox.id).await?.unwrap_or_default();
        let entries = self.world.cache_entries(&sandbox.id).await?;
        let sight = FirstSight {
            namespace: pod.identity.namespace(),
            uid: pod.identity.uid(),
            seen: &pod.seen,
            created: u64::try_from(sandbox.created_at / 1_000_000_000).unwrap_or(0),
            delegates: &delegates,
            entries: &entries,
            now: self.world.epoch(),
        };
        let mut adoption = adopt::judge(&sight);
        adoption.records.extend(self.take_over(&sight).await?);
        Ok(adoption)
    }

    /// Writes damaged records anew, as far as the annotation still names what they were about. What it does not name stays as it is until
    /// the sandbox ends.
    async fn recover(&self, memory: &mut Memory, pod: &Pod, sandbox: &Sandbox) -> Result<(), Trouble> {
        let damaged = memory.damaged(&sandbox.id);
        if damaged.is_empty() {
            return Ok(());
        }
        for record in self.witnessed(pod, sandbox).await?.records {
            if damaged.contains(&record.interface) {
                self.world.put_record(&sandbox.id, &record).await?;
                tracing::info!(
                    pod = %pod.identity, network = %record.network, interface = %record.interface,
                    "a damaged record is written anew"
                );
                memory.put(&sandbox.id, record);
            }
        }
        Ok(())
    }

    /// What was hot-plugged before this agent came.
    async fn take_over(&self, sight: &FirstSight<'_>) -> Result<Vec<AttachmentRecord>, Trouble> {
        let mut configs = BTreeMap::new();
        for network in taken_over::networks(sight) {
            match self.world.network(&network).await {
                Ok(definition) => {
                    configs.insert(network, definition.config);
                }
                Err(NetworkError::Api { .. }) => {
                    return Err(Trouble(format!("the network {network} cannot be read")));
                }
                Err(_) => {}
            }
        }
        Ok(taken_over::judge(sight, &configs))
    }

    fn host_network(&self, memory: &mut Memory, pod: &Pod) {
        let wants = !matches!(self.desired(pod, &BTreeSet::new()), Desired::Elements(elements) if elements.is_empty());
        if wants && !memory.told_host_network {
            self.world.event(&pod.identity, Event::host_network());
        }
        memory.told_host_network = wants;
    }

    /// One step at a time; what came meanwhile ends the look, so that the next step follows the latest edit.
    async fn work(
        &self,
        memory: &mut Memory,
        mailbox: &Mailbox,
        pod: &Pod,
        sandbox: &SandboxId,
        record: &SandboxRecord,
        shown: &dyn Fn(&Memory, Option<&Plan>),
    ) {
        loop {
            execute::catch_up(self.world, memory, sandbox).await;
            let observed = self.observe(memory, sandbox, record).await;
            let taken = observed
                .foreign
                .iter()
                .chain(observed.attachments.iter().map(|there| &there.interface));
            let plan = plan::plan(&self.desired(pod, &taken.cloned().collect()), &observed);
            self.complain(memory, pod, &plan.complaints);
            shown(memory, Some(&plan));
            status_writer::publish(self.world, memory, sandbox, pod).await;
            if mailbox.has_news() {
                return;
            }
            let Some(step) = due(&plan, memory, sandbox, self.world.now()) else {
                sleep_until_due(&plan, memory, sandbox);
                return;
            };
            let step = step.clone();
            memory.running = Some((step.clone(), self.world.now()));
            shown(memory, Some(&plan));
            let mut executor = Executor {
                world: self.world,
                memory,
                pod: &pod.identity,
                sandbox,
                netns: &record.netns,
            };
            executor.run(&step).await;
            memory.running = None;
        }
    }

    fn desired(&self, pod: &Pod, taken: &BTreeSet<shared::names::InterfaceName>) -> Desired {
        Desired::read(pod, self.config, taken)
    }

    async fn observe(&self, memory: &mut Memory, sandbox: &SandboxId, record: &SandboxRecord) -> Observed {
        let now = self.world.now();
        let mut observed = Observed {
            foreign: record.foreign.iter().cloned().collect(),
            ..Observed::default()
        };
        for interface in memory.interfaces(sandbox) {
            let key = (sandbox.clone(), interface);
            let Some(record) = memory.record(&key).cloned() else {
                continue;
            };
            let doubtful = !matches!(record.phase, Phase::Plugged { .. }) && !memory.unplugged.contains(&key);
            let in_cache = if doubtful {
                self.in_cache(sandbox, &record).await
            } else {
                None
            };
            let ends = if doubtful {
                memory.doubt_ends(&key, now)
            } else {
                now
            };
            let mut attachment = Attachment::judge(&record, in_cache, ends, now);
            if memory.unplugged.contains(&key) {
                attachment.state = State::Buried;
            }
            if matches!(attachment.state, State::InDoubt { .. }) || (doubtful && now < ends) {
                memory.look_again(now);
            }
            observed.attachments.push(attachment);
        }
        observed
    }

    /// Whether libcni has a result for it. `None`: its cache cannot be read.
    async fn in_cache(&self, sandbox: &SandboxId, record: &AttachmentRecord) -> Option<bool> {
        let name = config_name(&record.config);
        match self.world.cache_entry(&name, sandbox, &record.interface).await {
            Ok(entry) => Some(entry.is_some()),
            Err(error) => {
                tracing::warn!(%error, "libcni's cache cannot be read");
                None
            }
        }
    }

    /// Says what is new, and forgets what is no longer true, so that it is said again should it come back.
    fn complain(&self, memory: &mut Memory, pod: &Pod, complaints: &[Complaint]) {
        for complaint in complaints {
            if !memory.complained.contains(complaint) {
                self.world.event(&pod.identity, Event::complaint(complaint));
            }
        }
        memory.complained = complaints.iter().cloned().collect();
    }

    /// A neighbour is missing: nothing is decided, and it is said why.
    fn trouble(&self, memory: &mut Memory, pod: Option<&Pod>, Trouble(cause): Trouble) {
        memory.look_later(self.world.now(), self.world.jitter());
        tracing::warn!(uid = %memory.uid, %cause, "cannot look after a pod");
        if let Some(pod) = pod.filter(|_| memory.trouble.as_ref() != Some(&cause)) {
            self.world.event(&pod.identity, Event::cannot_act(&cause));
        }
        memory.trouble = Some(cause);
    }
}

/// The first step that may be tried now. An interface whose removal has to wait is not plugged meanwhile.
fn due<'p>(
    plan: &'p Plan,
    memory: &Memory,
    sandbox: &SandboxId,
    now: std::time::Duration,
) -> Option<&'p plan::Step> {
    let mut held = BTreeSet::new();
    plan.steps.iter().find(|step| {
        if matches!(step, plan::Step::Await { .. }) || held.contains(step.interface()) {
            return false;
        }
        let due = memory.is_due(sandbox, step, now);
        if !due {
            held.insert(step.interface());
        }
        due
    })
}

fn sleep_until_due(plan: &Plan, memory: &mut Memory, sandbox: &SandboxId) {
    for step in &plan.steps {
        if let plan::Step::Await { until, .. } = step {
            memory.wake_at(*until);
        }
        if let Some(due) = memory.due(sandbox, step) {
            memory.wake_at(due);
        }
    }
    let planned = |key: &crate::memory::Key| plan.steps.iter().any(|step| *step.interface() == key.1);
    memory.retries.retain(|key, _| key.0 != *sandbox || planned(key));
}

/// Why nothing can be decided.
struct Trouble(String);

impl From<CriError> for Trouble {
    fn from(error: CriError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::cni_cache::CacheError> for Trouble {
    fn from(error: crate::cni_cache::CacheError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::records::RecordsError> for Trouble {
    fn from(error: crate::records::RecordsError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests;
