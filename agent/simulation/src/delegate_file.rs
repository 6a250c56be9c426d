//! Multus' delegate file of a sandbox: what multus tears down at its end.

use std::rc::Rc;

use agent_core::{cni_state::Delegate, device::Device, identity::SandboxId};
use shared::names::{InterfaceName, NetworkName};

use crate::Node;

/// An entry of multus, or of the agent.
pub(crate) fn entry(
    position: usize,
    network: Option<NetworkName>,
    interface: InterfaceName,
    config: &str,
    requested: bool,
) -> Delegate {
    Delegate {
        network,
        interface: Some(interface),
        config: config.as_bytes().to_vec(),
        default: position == 0,
        position: u32::try_from(position).unwrap(),
        requested,
        ..Delegate::default()
    }
}

impl Node {
    /// Appends an entry. Only while there is a file: multus may have removed it.
    pub(crate) fn list_delegate(
        &mut self,
        sandbox: &SandboxId,
        network: &NetworkName,
        interface: &InterfaceName,
        config: &str,
        device: Option<&Device>,
    ) {
        let Some(file) = self.delegates.get_mut(sandbox) else {
            return;
        };
        let file = Rc::make_mut(file);
        let (network, interface) = (Some(network.clone()), interface.clone());
        file.push(Delegate {
            hot_plugged: true,
            device_id: device.map(|device| device.id.clone()),
            resource_name: device.map(|device| device.resource.clone()),
            ..entry(file.len(), network, interface, config, true)
        });
    }

    /// Takes out the entries of an attachment. Multus names an interface without `ifnameRequest` by
    /// its place in the file, so an entry in front of such a one has to stay.
    pub(crate) fn unlist_delegate(
        &mut self,
        sandbox: &SandboxId,
        network: &NetworkName,
        interface: &InterfaceName,
    ) {
        let Some(file) = self.delegates.get_mut(sandbox) else {
            return;
        };
        let file = Rc::make_mut(file);
        let is_it = |delegate: &Delegate| {
            delegate.network.as_ref() == Some(network) && delegate.interface.as_ref() == Some(interface)
        };
        let named_by_place = file.iter().rposition(|delegate| !delegate.requested).unwrap_or(0);
        let mut place = 0;
        file.retain(|delegate| {
            place += 1;
            place <= named_by_place + 1 || !is_it(delegate)
        });
        for (position, delegate) in file.iter_mut().enumerate() {
            delegate.position = u32::try_from(position).unwrap();
        }
    }

    /// What a file lists behind the default network, as `network@interface`.
    pub fn listed(&self, sandbox: &SandboxId) -> Vec<String> {
        let file = self.delegates.get(sandbox);
        let entries = file.into_iter().flat_map(|file| file.iter());
        let others = entries.filter(|delegate| !delegate.default);
        others
            .filter_map(|delegate| {
                let network = delegate.network.as_ref()?.name();
                Some(format!("{network}@{}", delegate.interface.as_ref()?))
            })
            .collect()
    }
}
