//! What the core asks the shell to do, and what the shell reports back. The only way in and out of
//! the core.

use std::time::Duration;

use shared::names::{InterfaceName, NetworkName};

use crate::{
    cni_state::{CniState, Entry},
    condition::{Condition, ConditionChange},
    delegate::{Answer, Call},
    device::{Device, PodDevices},
    event::Event,
    identity::{PodIdentity, SandboxId},
    network::{NetworkDefinition, NetworkError},
    record::{AttachmentRecord, SandboxRecord},
    sandbox::{Network, Sandbox},
};

/// The time of one step of the core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Since the program started; never goes back.
    pub monotonic: Duration,
    /// Seconds since 1970, for stamps that people read.
    pub epoch: u64,
    /// From 0 to 1: spreads what failed together.
    pub jitter: f64,
}

/// Names an effect that was started and has no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub u64);

/// What the shell has to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this, and report its outcome under the id. Effects run concurrently.
    Start(EffectId, Effect),
    /// The permit that this effect obtained, or is still waiting for, is not needed any more.
    Release(EffectId),
    /// The call under this permit takes too long to hold a place; the permit is released when the
    /// call ends.
    Late(EffectId),
    /// Write an event on the pod.
    Event(PodIdentity, Event),
    /// Count something.
    Count(Count),
}

/// What is counted where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A step failed and will be retried.
    StepFailed,
    /// A call to multus takes longer than [`Timing::late`].
    Late,
    /// The delegate file could not be written.
    DelegateFileFailed,
    /// The delegates of a sandbox contradict `interfaceOffset`.
    OffsetContradicted,
    /// An edit took this long from its arrival until everything that it asks for was attached.
    Attached(Duration),
    /// How long the phases of an edit took, in the order of
    /// [`EditPhase::ALL`](crate::edit_times::EditPhase::ALL).
    Edit([Duration; 4]),
}

/// The waits that a test shortens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A call that takes longer is late: its permit is given back, and the pod is told.
    pub late: Duration,
    /// A lost call may still run for so long after its loss.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            late: Duration::from_secs(30),
            grace: Duration::from_secs(30),
        }
    }
}

/// One effect. A crash can fall before or after each of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// List the sandboxes of the pod. → [`Outcome::Sandboxes`]
    ListSandboxes,
    /// Ask the runtime for the network of a sandbox. → [`Outcome::Network`]
    SandboxNetwork(SandboxId),
    /// Find out whether a sandbox that is not ready has ended: no container runs, and the path of
    /// its network namespace is gone. → [`Outcome::Ended`]
    HasEnded {
        /// The sandbox.
        sandbox: SandboxId,
        /// The path of its namespace; empty: not known, and so no obstacle.
        netns: String,
    },
    /// Read the delegate file and libcni's results of a sandbox. → [`Outcome::CniState`]
    ReadCniState(SandboxId),
    /// Read libcni's result of one attachment. → [`Outcome::CniEntry`]
    ReadCniEntry {
        /// The list's name.
        config_name: String,
        /// The sandbox.
        sandbox: SandboxId,
        /// The interface.
        interface: InterfaceName,
    },
    /// Read a network. → [`Outcome::Network definition`](Outcome::Definition)
    ReadNetwork(NetworkName),
    /// Read which devices of a resource the kubelet gave the pod, and what multus and libcni keep
    /// of its sandbox. → [`Outcome::Devices`]
    ReadDevices {
        /// The pod.
        pod: PodIdentity,
        /// The sandbox.
        sandbox: SandboxId,
        /// The resource.
        resource: String,
    },
    /// Wait for a permit to call multus with this configuration. It stays held until
    /// [`Action::Release`] or the end of the worker. → [`Outcome::Done`]
    AcquirePermit {
        /// The CNI configuration: the plugins that it runs decide the share.
        config: String,
        /// The pod's namespace: namespaces take turns.
        namespace: String,
    },
    /// Write the record of an attachment. → [`Outcome::Written`]
    PutRecord {
        /// The sandbox.
        sandbox: SandboxId,
        /// The record.
        record: Box<AttachmentRecord>,
        /// It has to survive a power loss.
        durable: bool,
    },
    /// Remove the record of an attachment. → [`Outcome::Written`]
    RemoveRecord(SandboxId, InterfaceName),
    /// Write the record of a sandbox. → [`Outcome::Written`]
    PutSandbox(SandboxId, Box<SandboxRecord>),
    /// Remove the record of a sandbox. → [`Outcome::Written`]
    RemoveSandbox(SandboxId),
    /// List an attachment in multus' delegate file. → [`Outcome::Written`]
    ListDelegate {
        /// The sandbox.
        sandbox: SandboxId,
        /// The NAD.
        network: NetworkName,
        /// The interface.
        interface: InterfaceName,
        /// The configuration that is sent.
        config: String,
        /// The device that it is given.
        device: Option<Device>,
    },
    /// Take an attachment out of multus' delegate file. → [`Outcome::Written`]
    UnlistDelegate {
        /// The sandbox.
        sandbox: SandboxId,
        /// The NAD.
        network: NetworkName,
        /// The interface.
        interface: InterfaceName,
    },
    /// Call multus, under the permit that this effect obtained. → [`Outcome::Answer`]
    Delegate(Box<Call>),
    /// The uid of the pod of that name, whatever its uid. → [`Outcome::PodUid`]
    ReadPodUid(PodIdentity),
    /// Read what a status patch needs. → [`Outcome::Status`]
    ReadStatus(PodIdentity),
    /// Read the condition `NetworksReady`. → [`Outcome::Condition`]
    ReadCondition(PodIdentity),
    /// Write network-status if the pod still has the uid and the version of `old`; without
    /// network-status, the condition if it has the uid. → [`Outcome::Patched`]
    PatchStatus {
        /// The pod.
        pod: PodIdentity,
        /// The view that the new value was made from.
        old: Box<StatusView>,
        /// The new value of network-status.
        new: Option<String>,
        /// The new condition.
        condition: Option<Box<ConditionChange>>,
    },
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of [`Effect::ListSandboxes`]. The error is for people.
    Sandboxes(Result<Vec<Sandbox>, String>),
    /// Of [`Effect::SandboxNetwork`]; `None`: the runtime does not know the sandbox.
    Network(Result<Option<Network>, String>),
    /// Of [`Effect::HasEnded`].
    Ended(Result<bool, String>),
    /// Of [`Effect::ReadCniState`].
    CniState(Result<CniState, String>),
    /// Of [`Effect::ReadCniEntry`]; `Ok(None)`: there is none.
    CniEntry(Result<Option<Box<Entry>>, String>),
    /// Of [`Effect::ReadNetwork`].
    Definition(Result<Box<NetworkDefinition>, NetworkError>),
    /// Of [`Effect::ReadDevices`]. The error is for people.
    Devices(Result<Box<PodDevices>, String>),
    /// Of an effect that cannot fail.
    Done,
    /// Of a write.
    Written(Result<(), String>),
    /// Of [`Effect::Delegate`].
    Answer(Answer),
    /// Of [`Effect::ReadPodUid`]; `None`: there is no pod of that name.
    PodUid(Result<Option<String>, String>),
    /// Of [`Effect::ReadStatus`]; `None`: there is no pod of that name.
    Status(Result<Option<StatusView>, String>),
    /// Of [`Effect::ReadCondition`]; `None`: the pod has none.
    Condition(Result<Option<Condition>, String>),
    /// Of [`Effect::PatchStatus`].
    Patched(PatchOutcome),
}

/// The part of a pod object that a status patch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// The pod's uid.
    pub uid: String,
    /// The pod's resourceVersion.
    pub version: String,
    /// The network-status annotation.
    pub status: Option<std::rc::Rc<str>>,
    /// Bytes of all annotations, keys and values: the API server limits the sum.
    pub annotation_bytes: usize,
}

/// What came of a status patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchOutcome {
    /// It is written; the pod is now as in the view.
    Written(StatusView),
    /// Another writer was faster, or it is another pod by now: read again.
    Conflict,
    /// The pod is gone.
    Gone,
    /// Anything else; the text says what.
    Failed(String),
}

/// Something that may have cleared the cause of failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Multus can be reached again.
    Multus,
    /// The network is at this version now.
    Network(NetworkName, Option<String>),
    /// The API server, the runtime or the disk is back: any failure may have had that cause.
    Anything,
}
