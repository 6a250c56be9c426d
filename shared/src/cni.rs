//! CNI's data: what a NetworkAttachmentDefinition configures, what is sent to multus for it, what comes back.

mod capability;
mod check;
mod config;
mod conflist;
mod device;
mod result;

pub use capability::{Capabilities, Capability};
pub use check::{ConfigProblem, ConfigReport, Severity, check};
pub use config::{ConfigError, NetworkConfig};
pub use conflist::plugin_index;
pub use device::DeviceNeed;
pub(crate) use result::without_nulls;
pub use result::{CniResult, Dns, ResultError, ResultInterface, ResultIp, ResultRoute};

#[cfg(test)]
mod tests;
