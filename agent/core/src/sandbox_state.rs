//! Everything about one sandbox: what was seen of it, its attachments, and how far its end has been
//! followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shared::names::{InterfaceName, NetworkName};

use crate::{
    adopt::Unclaimed,
    attachment::Attachment,
    cni_state::CniState,
    device::{Device, DeviceHolder, RecordedDevices},
    identity::{PodIdentity, SandboxId},
    kept_file::Presence,
    operation::{Operation, Removing, Why},
    plan::Step,
    record::{AttachmentRecord, Phase, SandboxRecord, SandboxRecords},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct SandboxState {
    pub(crate) id: SandboxId,
    pub(crate) record: Option<SandboxRecord>,
    pub(crate) sight: Sight,
    /// Another controller may have plugged something since the last sight.
    pub(crate) takes_over: bool,
    pub(crate) attachments: BTreeMap<InterfaceName, Attachment>,
    pub(crate) delegate_file: Presence,
    /// The step of the plan that is being carried out. While the sandbox lives there is one at a
    /// time.
    pub(crate) step: Option<Step>,
    pub(crate) unclaimed: Vec<Unclaimed>,
    pub(crate) damaged: BTreeSet<InterfaceName>,
    pub(crate) newer: BTreeSet<InterfaceName>,
    pub(crate) end: End,
    /// Under whose name multus is called after the end.
    pub(crate) identity: Identity,
}

/// How far the first sight of a sandbox is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sight {
    /// Not begun since the agent started.
    #[default]
    Unseen,
    /// The runtime is asked for its network.
    AskingNetwork,
    /// It uses the node's network.
    Host,
    /// The delegate file and libcni's cache are read.
    Reading,
    /// The networks are read that a take-over compares with.
    TakingOver {
        /// What was read.
        state: CniState,
        /// The configurations so far.
        configs: BTreeMap<NetworkName, String>,
        /// Those that are still being read.
        pending: BTreeSet<NetworkName>,
    },
    /// What was adopted is written.
    Writing {
        /// Writes without an outcome.
        pending: usize,
        /// A write failed.
        failed: Option<String>,
        /// The sandbox's own record is the last to be written.
        last: bool,
    },
    /// Done.
    Seen,
}

/// How far the end of a sandbox has been followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum End {
    /// The runtime lists it as ready.
    #[default]
    Ready,
    /// Not ready: does it still have running containers, or a namespace?
    Ending {
        /// The question is open.
        asking: bool,
        /// Questions so far.
        rounds: u32,
        /// When it is asked again.
        next: Duration,
    },
    /// It has ended: nothing asks about it again.
    Ended {
        /// Attachments of damaged records were looked up.
        recovered: bool,
        /// When that is tried again.
        retry: Duration,
    },
    /// Its own record is being removed; `None`: in progress.
    Removing(Option<Duration>),
}

/// The pod under whose name an ended sandbox is released.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Identity {
    /// Not known.
    #[default]
    Unknown,
    /// Multus refused the pod that the watch shows: the API server has to be asked.
    Doubted,
    /// The API server is asked.
    Asking,
    /// Known.
    Known {
        /// The pod.
        pod: PodIdentity,
        /// The API server said so, rather than the watch.
        confirmed: bool,
    },
    /// It could not be found out.
    Failed {
        /// Consecutive failures.
        failures: u32,
        /// When it is tried again.
        due: Duration,
    },
}

impl SandboxState {
    /// A sandbox that the disk remembers, or a new one.
    pub fn new(id: SandboxId, records: SandboxRecords) -> Self {
        let SandboxRecords {
            sandbox,
            attachments,
            damaged,
            newer,
        } = records;
        let recorded = |(interface, record)| (interface, Attachment::recorded(record));
        Self {
            id,
            record: sandbox,
            sight: Sight::Unseen,
            takes_over: false,
            attachments: attachments.into_iter().map(recorded).collect(),
            delegate_file: Presence::Unknown,
            step: None,
            unclaimed: Vec::new(),
            damaged,
            newer,
            end: End::Ready,
            identity: Identity::Unknown,
        }
    }

    /// Its id.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// Its record.
    pub fn record(&self) -> Option<&SandboxRecord> {
        self.record.as_ref()
    }

    /// Its attachments.
    pub fn attachments(&self) -> &BTreeMap<InterfaceName, Attachment> {
        &self.attachments
    }

    /// Whether what multus attached at its start is known.
    pub fn is_adopted(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.adopted)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.end, End::Ended { .. } | End::Removing(_))
    }

    /// Whether multus' delegate file was there and has gone.
    pub fn has_lost_delegates(&self) -> bool {
        self.delegate_file == Presence::Gone
    }

    /// The path of its network namespace.
    pub fn netns(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.netns)
    }

    /// The next free place in its order of plugging.
    pub fn next_order(&self) -> u64 {
        let records = self.attachments.values().filter_map(Attachment::record);
        records.map(|record| record.order + 1).max().unwrap_or(0)
    }

    /// Bytes of CNI configuration in its records, without the own one of `interface`.
    pub fn config_bytes(&self, interface: &InterfaceName) -> usize {
        let mut bytes = 0;
        for (of, attachment) in &self.attachments {
            let Some(record) = attachment.record() else {
                continue;
            };
            let own = if of == interface { 0 } else { record.config.len() };
            let owed: usize = record.owed.iter().map(|owed| owed.config.len()).sum();
            bytes += own + owed;
        }
        bytes
    }

    /// The devices that its records name, as an ADD of `interface` finds them.
    pub fn recorded_devices(&self, interface: &InterfaceName) -> RecordedDevices {
        let mut recorded = RecordedDevices::default();
        for (of, attachment) in &self.attachments {
            let Some(record) = attachment.record() else {
                continue;
            };
            let holder = |device: &Device, certain| DeviceHolder {
                interface: of.clone(),
                resource: device.resource.clone(),
                id: device.id.clone(),
                certain,
            };
            if record.device.is_some() {
                recorded.known.insert(of.clone());
            }
            let attached = record.phase != Phase::Owed && !attachment.is_gone();
            let own = record.device.iter().filter(|_| attached);
            recorded
                .holders
                .extend(own.map(|device| holder(device, record.phase != Phase::Tombstone)));
            // What the interface itself owes is released before its ADD.
            let owed = record.owed.iter().filter_map(|owed| owed.device.as_ref());
            let owed = owed.map(|device| holder(device, of != interface));
            recorded.holders.extend(owed);
        }
        recorded
    }

    /// The interfaces that have a record, in the order of plugging.
    pub fn in_order(&self) -> Vec<InterfaceName> {
        let records = self.attachments.values().filter_map(Attachment::record);
        let mut ordered: Vec<(u64, InterfaceName)> = records
            .map(|record| (record.order, record.interface.clone()))
            .collect();
        ordered.sort();
        ordered.into_iter().map(|(_, interface)| interface).collect()
    }

    /// Another controller was here: what multus and libcni keep is read once more. A sight that has
    /// begun goes on.
    pub(crate) fn see_again(&mut self) {
        self.takes_over = true;
        if self.sight == Sight::Seen {
            self.sight = Sight::Unseen;
        }
    }

    /// The attachment under a name, made when there is none.
    pub(crate) fn attachment(&mut self, interface: &InterfaceName) -> &mut Attachment {
        self.attachments.entry(interface.clone()).or_default()
    }

    /// Adopts an attachment, unless the name is taken.
    pub(crate) fn adopt(&mut self, record: &AttachmentRecord) -> bool {
        let interface = &record.interface;
        let known = self
            .attachments
            .get(interface)
            .is_some_and(|attachment| attachment.record().is_some() || attachment.operation.is_some());
        if known || self.newer.contains(interface) {
            return false;
        }
        self.attachment(interface).set_record(record.clone());
        self.damaged.remove(interface);
        true
    }

    /// Why an element cannot have a name, by name.
    pub(crate) fn foreign(&self) -> BTreeMap<InterfaceName, String> {
        let multus = "multus attached this interface for another reason than the networks annotation; choose another name";
        let unclaimed = self.unclaimed.iter().map(|unclaimed| &unclaimed.interface);
        let newer = "a newer version of the agent recorded this interface; this version leaves it unchanged";
        let newer = self
            .newer
            .iter()
            .map(|interface| (interface.clone(), newer.to_owned()));
        let foreign = unclaimed
            .filter(|interface| {
                self.attachments
                    .get(*interface)
                    .is_none_or(|attachment| attachment.record().is_none())
            })
            .map(|interface| (interface.clone(), multus.to_owned()));
        foreign.chain(newer).collect()
    }

    /// Whether any operation is in progress.
    pub(crate) fn is_busy(&self) -> bool {
        self.attachments
            .values()
            .any(|attachment| attachment.operation.is_some())
    }

    /// Whether an operation is in progress that the annotation waits for: not the release of what
    /// an earlier attachment still holds.
    pub(crate) fn has_open_operation(&self) -> bool {
        let open =
            |operation: &Operation| !matches!(operation, Operation::Del(Removing { why: Why::Owed, .. }));
        self.attachments
            .values()
            .any(|attachment| attachment.operation.as_deref().is_some_and(open))
    }

    /// Drops what is not known any more. Of a sandbox that has ended only records matter.
    pub(crate) fn prune(&mut self, now: Duration) {
        let ended = self.has_ended();
        self.attachments.retain(|_, attachment| {
            !if ended {
                attachment.is_free()
            } else {
                attachment.is_empty(now)
            }
        });
    }
}
