//! What the files say about a cluster: its networks.

use shared::{
    names::NetworkName,
    validate::{self, Network},
};

use crate::networks::{NetworkAttachmentDefinition, Networks};

/// The networks in the files; all others are unknown.
pub(super) struct Known(Networks);

impl Known {
    pub(super) fn of<'a>(definitions: impl IntoIterator<Item = &'a NetworkAttachmentDefinition>) -> Self {
        let networks = Networks::default();
        networks.replace(definitions);
        Self(networks)
    }
}

impl validate::Networks for Known {
    fn network(&self, name: &NetworkName) -> Network {
        match self.0.network(name) {
            Network::Missing { .. } => Network::Unknown,
            known => known,
        }
    }
}
