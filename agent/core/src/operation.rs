//! The operation in progress on one attachment: its steps, one effect at a time. ADD is one chain
//! of steps, every DEL another: an unplug, the undo of a failed ADD, a release at the end of a
//! sandbox and an owed release take the same path.
//!
//! # Flow
//! ADD: read the network → (the pod's devices, where a plugin takes one) → permit → (owed releases
//! of this name) → durable intent → delegate file → call.
//! - done: the result is recorded.
//! - refused before a plugin ran: the intent is dropped.
//! - refused otherwise, or the handler crashed: the record says *unplugging*, and a DEL follows at
//!   once.
//! - not sent: the intent is dropped.
//! - lost: the intent stays; libcni's cache or the end of the grace period decides.
//!
//! DEL: permit → record → call, once for each configuration that [`Teardown`] names → delegate
//! file.
//! - refused: retried with backoff; taken apart where the ADD failed, the sandbox has ended, or it
//!   has failed for long.
//! - lost: the record stays; the end of the grace period decides.
//!
//! # Guarantees
//! No intent is written before a permit is held. No ADD is sent before its intent is on the disk. A
//! list is taken apart only after what is then owed is on the disk.

use std::{collections::VecDeque, time::Duration};

use shared::{cni::NetworkConfig, names::NetworkName, selection::Selection};

use crate::{
    device::{Device, DeviceWish},
    effect::EffectId,
    identity::PodIdentity,
    record::AttachmentRecord,
    record::OwedRelease,
    teardown::Teardown,
};

/// For how long a DEL of a plugged attachment has to fail before its list is taken apart, and the
/// release of an ADD without an answer before a plugin that is not on the node counts as one that
/// never ran.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Owed releases of one interface name. The oldest is given up for a further one: the name stays
/// usable, whatever a NAD was changed to.
pub const MAX_OWED: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub enum Operation {
    /// An ADD.
    Add(Adding),
    /// A DEL.
    Del(Removing),
}

/// Whether an operation goes on after an outcome.
#[derive(Debug)]
pub enum Flow {
    /// It waits for the next outcome.
    Continue(Box<Operation>),
    /// It has ended.
    Finished,
    /// Multus does not accept the pod under whose name it was called: find out who it is now, then
    /// begin again.
    UnknownPod,
}

/// An ADD in progress.
#[derive(Clone, Debug)]
pub struct Adding {
    /// What the annotation asks for.
    pub selection: Box<Selection>,
    /// The configuration to send, once the network was read.
    pub config: String,
    /// The version of the network that it comes from.
    pub version: String,
    /// What waits for the pod's devices.
    pub pending: Option<Box<PendingDevice>>,
    /// The device that it is given.
    pub device: Option<Device>,
    /// The permit.
    pub permit: Option<EffectId>,
    /// The record before the intent.
    pub previous: Option<Box<AttachmentRecord>>,
    /// The intent that is being written.
    pub intent: Option<Box<AttachmentRecord>>,
    /// The step.
    pub stage: AddStage,
}

/// A network whose plugins take a device.
#[derive(Clone, Debug)]
pub struct PendingDevice {
    /// Its configuration.
    pub config: NetworkConfig,
    /// What it needs.
    pub wish: DeviceWish,
}

/// The step of an ADD that waits for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddStage {
    /// The network is read.
    Network,
    /// The pod's devices are read.
    Devices,
    /// A permit is awaited.
    Permit,
    /// The intent is written.
    Intent,
    /// The attachment is listed in multus' delegate file.
    Listing,
    /// Multus is called.
    Calling(Running),
    /// The attachment is taken out of multus' delegate file: nothing was plugged.
    Unlisting,
}

/// A call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// When it was sent.
    pub since: Duration,
    /// It has taken longer than allowed, and gave its place to another call.
    pub late: bool,
}

/// A DEL in progress.
#[derive(Clone, Debug)]
pub struct Removing {
    /// What it is for.
    pub why: Why,
    /// The lists to release: that of the attachment first, then owed ones.
    pub jobs: VecDeque<Job>,
    /// What is owed already, and not tried here.
    pub earlier: Vec<OwedRelease>,
    /// What is owed after this operation.
    pub owed: Vec<OwedRelease>,
    /// The first cause why something is owed.
    pub refused: Option<String>,
    /// The pod under whose name multus is called.
    pub pod: PodIdentity,
    /// The permit.
    pub permit: Option<EffectId>,
    /// The step.
    pub stage: DelStage,
}

/// One list to release.
#[derive(Clone, Debug)]
pub struct Job {
    /// The NAD.
    pub network: NetworkName,
    /// The parts.
    pub teardown: Teardown,
    /// Its ADD failed.
    pub failed_add: bool,
    /// It is not known how far its ADD came.
    pub lost_add: bool,
    /// The device that its attachment was given.
    pub device: Option<Device>,
}

/// What a DEL is for.
#[derive(Clone, Debug)]
pub enum Why {
    /// An attachment that is not wanted, or is half done.
    Unplug,
    /// What a lost ADD may have left: a tombstone remains.
    LostAdd,
    /// What earlier attachments under this name hold.
    Owed,
    /// The same, before this ADD.
    BeforeAdd(Box<Adding>),
    /// The sandbox has ended.
    Release,
}

/// The step of a DEL that waits for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelStage {
    /// A permit is awaited.
    Permit,
    /// The record is written: a DEL begins.
    Recording,
    /// What will be owed is written: the list is taken apart.
    RecordingOwed,
    /// Multus is called.
    Calling(Running),
    /// The attachment is taken out of multus' delegate file.
    Unlisting,
}

impl Operation {
    /// The call in progress.
    pub fn running(&mut self) -> Option<&mut Running> {
        match self {
            Self::Add(Adding {
                stage: AddStage::Calling(running),
                ..
            })
            | Self::Del(Removing {
                stage: DelStage::Calling(running),
                ..
            }) => Some(running),
            Self::Add(_) | Self::Del(_) => None,
        }
    }

    /// The permit that it holds or waits for.
    pub fn permit(&self) -> Option<EffectId> {
        match self {
            Self::Add(adding) => adding.permit,
            Self::Del(removing) => removing.permit,
        }
    }

    /// Whether nothing was written or sent yet, so that it can be dropped.
    pub fn is_waiting(&self) -> bool {
        match self {
            Self::Add(adding) => matches!(
                adding.stage,
                AddStage::Network | AddStage::Devices | AddStage::Permit
            ),
            Self::Del(removing) => removing.stage == DelStage::Permit,
        }
    }
}

impl Removing {
    /// An operation that waits for its permit.
    pub fn new(why: Why, jobs: impl IntoIterator<Item = Job>, pod: &PodIdentity) -> Self {
        Self {
            why,
            jobs: jobs.into_iter().collect(),
            earlier: Vec::new(),
            owed: Vec::new(),
            refused: None,
            pod: pod.clone(),
            permit: None,
            stage: DelStage::Permit,
        }
    }

    /// The next configuration to send; what is done with a list moves into [`Self::owed`].
    pub fn next_config(&mut self) -> Option<String> {
        while let Some(job) = self.jobs.front() {
            if let Some(config) = job.teardown.next_config() {
                return Some(config);
            }
            if let Some(job) = self.jobs.pop_front() {
                self.owed.extend(job.owed());
            }
        }
        None
    }

    /// The same, with releases that are owed from before and are not tried here.
    #[must_use]
    pub fn keeping(self, earlier: &[OwedRelease]) -> Self {
        Self {
            earlier: earlier.to_vec(),
            ..self
        }
    }

    /// What would be owed if the operation ended here. The attachment's own list counts only once
    /// it is taken apart: until then its record stands for it.
    pub fn owed_now(&self) -> Vec<OwedRelease> {
        let mut owed = self.all_owed();
        let surplus = owed.len().saturating_sub(MAX_OWED);
        owed.split_off(surplus)
    }

    /// What is owed beyond [`MAX_OWED`].
    pub fn given_up(&self) -> Vec<OwedRelease> {
        let mut owed = self.all_owed();
        owed.truncate(owed.len().saturating_sub(MAX_OWED));
        owed
    }

    fn all_owed(&self) -> Vec<OwedRelease> {
        let open = self.jobs.iter().filter(|job| job.teardown.is_apart());
        let known = self.earlier.iter().chain(&self.owed).cloned();
        let mut owed: Vec<OwedRelease> = Vec::new();
        for release in known.chain(open.flat_map(Job::owed)) {
            // An agent that died half-way has written down what is found again now.
            if !owed.contains(&release) {
                owed.push(release);
            }
        }
        owed
    }
}

impl Job {
    /// What a record's own list needs.
    pub fn of(record: &AttachmentRecord, teardown: Teardown, failed_add: bool) -> Self {
        Self {
            network: record.network.clone(),
            lost_add: teardown.is_of_lost_add(),
            teardown,
            failed_add,
            device: record.device.clone(),
        }
    }

    /// An owed release: always taken apart when it is refused.
    pub fn of_owed(owed: &OwedRelease) -> Self {
        let mut teardown = Teardown::whole(&owed.config, None).of_failed_add(owed.failed_add);
        teardown.take_apart(None);
        Self {
            network: owed.network.clone(),
            teardown,
            failed_add: owed.failed_add,
            lost_add: owed.lost_add,
            device: owed.device.clone(),
        }
    }

    /// The release has failed for long: of an ADD without an answer, a plugin whose binary is still
    /// missing never ran.
    #[must_use]
    pub fn failing_for_long(mut self, long: bool) -> Self {
        if long && self.lost_add {
            self.teardown.give_up_missing();
        }
        self
    }

    /// The namespace is gone.
    #[must_use]
    pub fn after_the_namespace(mut self) -> Self {
        self.teardown = self.teardown.after_the_namespace();
        self
    }

    fn owed(&self) -> Vec<OwedRelease> {
        let owed = |config: String| OwedRelease {
            network: self.network.clone(),
            device: self.device.clone().filter(|device| holds(&config, device)),
            config,
            failed_add: self.failed_add,
            lost_add: self.lost_add,
        };
        self.teardown.owed().into_iter().map(owed).collect()
    }
}

/// Whether a plugin of this list has the device: the other plugins of the list, and its IPAM, are
/// only told which one it is.
fn holds(config: &str, device: &Device) -> bool {
    let list = NetworkConfig::parse(config, "").ok();
    list.is_some_and(|list| list.given_devices().contains(device.id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_owed_release_is_given_up() {
        let pod = PodIdentity::new("ns", "pod", "uid").unwrap();
        let owed = |number: usize| OwedRelease {
            network: NetworkName::new("ns", "a").unwrap(),
            config: number.to_string(),
            failed_add: true,
            lost_add: false,
            device: None,
        };
        let earlier: Vec<OwedRelease> = (0..MAX_OWED).map(owed).collect();
        let mut removing = Removing::new(Why::Unplug, [], &pod).keeping(&earlier);
        assert_eq!(removing.owed_now(), earlier);
        removing.owed.push(owed(MAX_OWED));
        let now = removing.owed_now();
        assert_eq!((now.len(), &*now[0].config), (MAX_OWED, "1"));
        assert_eq!(removing.given_up(), earlier[..1]);
    }
}
