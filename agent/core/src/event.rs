//! The events that the agent writes on a pod. The reasons are the predecessor's five, and two for
//! events on the agent's own pod; the texts are ours and name the cause.

use std::time::Duration;

use shared::names::{InterfaceName, NetworkName};

use crate::plan::Problem;

/// Why an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// An interface was plugged.
    AddedInterface,
    /// An interface was unplugged.
    RemovedInterface,
    /// An ADD failed, or an element of the annotation is incomplete or cannot be read.
    FailedAddingInterface,
    /// A try to unplug one failed.
    FailedRemovingInterface,
    /// It will not be done, however often it is tried.
    InterfaceAddRejected,
    /// On the agent's own pod: new settings are not used.
    SettingsRefused,
    /// On the agent's own pod: multus' configuration differs from ours.
    MultusConfigDiffers,
}

/// One event on a pod. Two with the same reason and text are one event that happened twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The reason.
    pub reason: Reason,
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// What happened, and the cause.
    pub text: String,
    /// When it is tried again; told, but no part of the event's identity.
    pub next_try: Option<Duration>,
}

impl Reason {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddedInterface => "AddedInterface",
            Self::RemovedInterface => "RemovedInterface",
            Self::FailedAddingInterface => "FailedAddingInterface",
            Self::FailedRemovingInterface => "FailedRemovingInterface",
            Self::InterfaceAddRejected => "InterfaceAddRejected",
            Self::SettingsRefused => "SettingsRefused",
            Self::MultusConfigDiffers => "MultusConfigDiffers",
        }
    }
}

impl Event {
    /// An interface was plugged.
    pub fn added(interface: &InterfaceName, network: &NetworkName, addresses: &[String]) -> Self {
        let addresses = if addresses.is_empty() {
            String::new()
        } else {
            format!(" ({})", addresses.join(", "))
        };
        Self::normal(
            Reason::AddedInterface,
            format!("added interface {interface} to network {network}{addresses}"),
        )
    }

    /// An interface was unplugged.
    pub fn removed(interface: &InterfaceName, network: &NetworkName) -> Self {
        Self::normal(
            Reason::RemovedInterface,
            format!("removed interface {interface} from network {network}"),
        )
    }

    /// A try to plug failed.
    pub fn failed_adding(
        interface: &InterfaceName,
        network: &NetworkName,
        cause: &str,
        next_try: Option<Duration>,
    ) -> Self {
        let text = format!("adding interface {interface} to network {network} failed: {cause}");
        Self {
            next_try,
            ..Self::warning(Reason::FailedAddingInterface, text)
        }
    }

    /// A try to unplug failed.
    pub fn failed_removing(
        interface: &InterfaceName,
        network: &NetworkName,
        cause: &str,
        next_try: Option<Duration>,
    ) -> Self {
        let text = format!("removing interface {interface} from network {network} failed: {cause}");
        Self {
            next_try,
            ..Self::warning(Reason::FailedRemovingInterface, text)
        }
    }

    /// A release that is still owed: the DEL of what an earlier attachment left has failed.
    pub fn release_owed(
        interface: &InterfaceName,
        network: &NetworkName,
        cause: &str,
        next_try: Option<Duration>,
    ) -> Self {
        let text = format!(
            "interface {interface} is gone from network {network}, but what it held is not released yet: {cause}"
        );
        Self {
            next_try,
            ..Self::warning(Reason::FailedRemovingInterface, text)
        }
    }

    /// Multus attached an interface at pod start that the annotation does not name.
    pub fn left_alone(interface: &InterfaceName) -> Self {
        let text = format!(
            "multus attached interface {interface} when the pod started, but the networks annotation does not name it; \
             leaving it unchanged"
        );
        Self::normal(Reason::InterfaceAddRejected, text)
    }

    /// The delegate file could not be written: multus will not tear this attachment down at the
    /// pod's end.
    pub fn not_listed(interface: &InterfaceName, cause: &str) -> Self {
        let text = format!(
            "multus' delegate file cannot list interface {interface}, so only the agent will release it when the pod \
             ends: {cause}"
        );
        Self::warning(Reason::FailedAddingInterface, text)
    }

    /// Host-network pods have no interfaces of their own.
    pub fn host_network() -> Self {
        let text = "the pod uses the node's network: interfaces cannot be added to it".to_owned();
        Self::warning(Reason::InterfaceAddRejected, text)
    }

    /// A dependency is missing, so that nothing can be decided.
    pub fn blocked(cause: &str) -> Self {
        Self::warning(
            Reason::FailedAddingInterface,
            format!("cannot update interfaces: {cause}; will retry"),
        )
    }

    /// The delegates of a sandbox contradict the configured `interfaceOffset`.
    pub fn offset_contradicted(pod: &str, configured: u32) -> Self {
        let text = format!(
            "multus gave the first element of the networks annotation of {pod} a place that contradicts \
             interfaceOffset {configured}: set interfaceOffset to the number of networks that multus attaches before \
             the annotation's (its defaultNetworks)"
        );
        Self::warning(Reason::InterfaceAddRejected, text)
    }

    /// New settings are bad; the agent goes on with the ones that it has.
    pub fn settings_refused(cause: &str) -> Self {
        let text = format!("new settings are refused, the previous ones stay in use: {cause}");
        Self::warning(Reason::SettingsRefused, text)
    }

    /// Multus' configuration has another value than ours.
    pub fn multus_config_differs(difference: &str) -> Self {
        Self::warning(Reason::MultusConfigDiffers, difference.to_owned())
    }

    /// What multus or libcni keeps about an attachment has gone: what the annotation asks for may
    /// not be attached.
    pub fn drifted(text: String) -> Self {
        Self::warning(Reason::FailedAddingInterface, text)
    }

    /// Another controller works on the node; for the agent's own pod.
    pub fn other_controller(text: &str) -> Self {
        Self::warning(Reason::InterfaceAddRejected, text.to_owned())
    }

    /// A problem that the plan found.
    pub fn problem(problem: &Problem) -> Self {
        match problem {
            Problem::Unreadable(cause) => Self::warning(
                Reason::FailedAddingInterface,
                format!("the networks annotation cannot be read, so nothing is added or removed: {cause}"),
            ),
            Problem::Unnamed { network, hint } => Self::warning(
                Reason::FailedAddingInterface,
                format!("the element of network {network} needs an interface name on a running pod: {hint}"),
            ),
            Problem::Rejected {
                interface,
                network,
                cause,
            } => Self::warning(
                Reason::InterfaceAddRejected,
                format!("interface {interface} of network {network}: {cause}"),
            ),
        }
    }

    fn normal(reason: Reason, text: String) -> Self {
        Self {
            reason,
            warning: false,
            text,
            next_try: None,
        }
    }

    /// A warning without a next try.
    pub fn warning(reason: Reason, text: String) -> Self {
        Self {
            reason,
            warning: true,
            text,
            next_try: None,
        }
    }
}
