//! The node's sandboxes and running containers, listed once for all who ask at the same time: the
//! number of calls does not depend on the number of pods.

use std::{collections::BTreeSet, rc::Rc};

use futures::FutureExt as _;

use super::{
    Cri, CriError,
    single_flight::{Pace, SingleFlight},
};
use agent_core::identity::SandboxId;
use agent_core::sandbox::Sandbox;

/// Lists the whole node. Every answer is from a call that began after the question.
pub struct Listing {
    sandboxes: SingleFlight<Vec<Sandbox>>,
    running: SingleFlight<BTreeSet<SandboxId>>,
}

impl Listing {
    /// Of the runtime behind `cri`.
    pub fn new(cri: &Cri) -> Self {
        let pace = Rc::new(Pace::default());
        let (lists, runs) = (cri.clone(), cri.clone());
        Self {
            sandboxes: SingleFlight::new(Rc::clone(&pace), move || {
                let cri = lists.clone();
                async move { cri.sandboxes().await }.boxed_local()
            }),
            running: SingleFlight::new(pace, move || {
                let cri = runs.clone();
                async move { cri.running_sandboxes().await }.boxed_local()
            }),
        }
    }

    /// All sandboxes, ready or not.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn sandboxes(&self) -> Result<Rc<Vec<Sandbox>>, CriError> {
        self.sandboxes.ask().await
    }

    /// The sandboxes in which a container runs.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn running_sandboxes(&self) -> Result<Rc<BTreeSet<SandboxId>>, CriError> {
        self.running.ask().await
    }
}
