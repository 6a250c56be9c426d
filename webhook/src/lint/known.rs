//! What the files say about a cluster: its networks.

use shared::{
    names::NetworkName,
    validate::{self, Network},
};

use super::documents::Subject;
use crate::networks::Networks;

/// The networks in the files; all others are unknown.
pub(super) struct Known(Networks);

impl Known {
    pub(super) fn of<'a>(subjects: impl Iterator<Item = &'a Subject>) -> Self {
        let networks = Networks::default();
        networks.replace(subjects.filter_map(|subject| match subject {
            Subject::Network(definition) => Some(&**definition),
            Subject::Pod(_) => None,
        }));
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
