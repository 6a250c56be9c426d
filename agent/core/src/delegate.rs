//! One call to the multus daemon (`POST /delegate`), and what its answer says about the pod.

use serde_json::{Map, Value};
use shared::names::InterfaceName;

use crate::identity::{AttachmentKey, PodIdentity, SandboxId};

/// A CNI verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Plug.
    Add,
    /// Unplug.
    Del,
}

/// One attachment to plug or unplug.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The verb.
    pub command: Command,
    /// The sandbox: CNI's container id.
    pub sandbox: SandboxId,
    /// The path of the sandbox's network namespace on the node. Empty at a DEL after the namespace
    /// has gone.
    pub netns: String,
    /// The interface's name in the sandbox.
    pub interface: InterfaceName,
    /// An existing pod. Multus looks it up and refuses the call without it.
    pub pod: PodIdentity,
    /// The CNI configuration (JSON), byte for byte the same at ADD and DEL.
    pub config: String,
    /// Requested addresses; not sent at DEL, where multus ignores them.
    pub ips: Vec<String>,
    /// Requested hardware address; not sent at DEL.
    pub mac: Option<String>,
    /// The element's `cni-args`; not sent at DEL.
    pub cni_args: Option<Map<String, Value>>,
}

impl Call {
    /// The attachment that it is about.
    pub fn key(&self) -> AttachmentKey {
        (self.sandbox.clone(), self.interface.clone())
    }
}

/// The answer to one call. The variants differ in what may have happened in the pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done. After ADD the CNI result (an object of version 1.x); `null` after DEL.
    Done(Value),
    /// Multus or a plugin refused. Unless the cause says otherwise, an ADD may be half done.
    Refused {
        /// The kind of failure.
        cause: Refusal,
        /// The plugin of the chain that failed, when the text names one.
        plugin: Option<FailedPlugin>,
        /// For people: without multus' preamble, printable, at most 1,024 characters.
        text: String,
    },
    /// The connection ended before an answer began and the same daemon is healthy: its handler
    /// panicked on this request. Nothing runs any more.
    Crashed,
    /// Not sent: nothing can have run.
    NotSent(String),
    /// Sent, but no usable answer came: what ran, and whether it still runs, is unknown.
    Lost(String),
}

/// The plugin that an error text names: `plugin type="tuning" name="plugin-1" failed (add): CAUSE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedPlugin {
    /// Its `type`.
    pub kind: String,
    /// Its position in the list that was sent, from the name that every plugin of our lists has.
    pub index: Option<usize>,
    /// The plugin's own words.
    pub cause: String,
}

/// The kind of failure that multus reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ADD: the sandbox already has an interface of that name; nothing has run.
    AlreadyExists,
    /// The sandbox's network namespace is gone.
    NamespaceGone,
    /// The pod of the call is not in the API; nothing has run.
    PodNotFound,
    /// A pod of that name exists, with another uid; nothing has run.
    PodUidMismatch,
    /// A binary is not on the node: that of the plugin that failed, or of its IPAM.
    PluginMissing {
        /// The `type` of the missing plugin.
        plugin: String,
    },
    /// The plugin does not speak the configuration's `cniVersion`.
    IncompatibleVersion,
    /// The CNI configuration cannot run.
    InvalidConfig,
    /// ADD: IPAM still holds a lease of this sandbox and interface.
    LeaseHeld,
    /// DEL: the interface or device is not in the namespace any more.
    InterfaceGone,
    /// This multus has no `/delegate`: too old, or not in thick mode; nothing has run.
    NoDelegateApi,
    /// Anything else, mostly a plugin's own error.
    Other,
}

impl Refusal {
    /// Whether a refused ADD cannot have changed anything: multus refused it before any plugin ran,
    /// or the first plugin of the list could not run at all (its binary is missing, or it rejects
    /// the configuration's version).
    pub fn nothing_ran(&self, plugin: Option<&FailedPlugin>) -> bool {
        let first = plugin.is_some_and(|failed| failed.index == Some(0));
        match self {
            Self::PodNotFound | Self::PodUidMismatch | Self::NoDelegateApi => true,
            Self::NamespaceGone | Self::InvalidConfig => plugin.is_none(),
            Self::IncompatibleVersion => first,
            Self::PluginMissing { plugin: missing } => {
                first && plugin.is_some_and(|failed| failed.kind == *missing)
            }
            Self::AlreadyExists | Self::LeaseHeld | Self::InterfaceGone | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn missing() -> Refusal {
        Refusal::PluginMissing {
            plugin: "tuning".to_owned(),
        }
    }

    /// What ran before a later plugin of a chain has to be undone.
    #[rstest]
    #[case::first_is_missing(missing(), Some(0), true)]
    #[case::later_is_missing(missing(), Some(1), false)]
    #[case::first_knows_no_such_version(Refusal::IncompatibleVersion, Some(0), true)]
    #[case::later_knows_no_such_version(Refusal::IncompatibleVersion, Some(1), false)]
    #[case::multus_cannot_read_the_config(Refusal::InvalidConfig, None, true)]
    #[case::a_plugin_cannot_read_its_config(Refusal::InvalidConfig, Some(1), false)]
    #[case::multus_finds_no_namespace(Refusal::NamespaceGone, None, true)]
    #[case::a_plugin_finds_no_namespace(Refusal::NamespaceGone, Some(1), false)]
    fn a_later_plugin_never_proves_that_nothing_ran(
        #[case] refusal: Refusal,
        #[case] index: Option<usize>,
        #[case] nothing_ran: bool,
    ) {
        let failed = index.map(|index| FailedPlugin {
            kind: "tuning".to_owned(),
            index: Some(index),
            cause: String::new(),
        });
        assert_eq!(refusal.nothing_ran(failed.as_ref()), nothing_ran);
    }
}
