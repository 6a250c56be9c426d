//! CNI data: the config of a NetworkAttachmentDefinition, the request to multus, and the result.

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
pub use device::{DeviceNeed, DeviceUse};
pub(crate) use result::without_nulls;
pub use result::{CniResult, Dns, ResultError, ResultInterface, ResultIp, ResultRoute};

#[cfg(test)]
mod tests;
