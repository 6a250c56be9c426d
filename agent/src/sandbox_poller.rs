//! Lists the node's sandboxes once a second, since no watch reports the end of a sandbox.

use std::{collections::BTreeSet, convert::Infallible, rc::Rc, time::Duration};

use tokio::time::sleep;

use crate::{
    cri::{CriError, Listing, Sandbox},
    health::Health,
    identity::SandboxId,
    metrics::Dependency,
};

/// The pause between two listings.
const INTERVAL: Duration = Duration::from_secs(1);

/// The sandboxes of the node at one moment.
#[derive(Debug)]
pub struct NodeView {
    /// All sandboxes, ready or not.
    pub sandboxes: Rc<Vec<Sandbox>>,
    /// Those in which a container runs; `None`: not asked, since every tracked sandbox is ready, or not answered.
    pub running: Option<Rc<BTreeSet<SandboxId>>>,
}

/// What lists the node.
pub trait ListNode {
    /// All sandboxes, ready or not.
    fn sandboxes(&self) -> impl Future<Output = Result<Rc<Vec<Sandbox>>, CriError>>;
    /// Those in which a container runs.
    fn running_sandboxes(&self) -> impl Future<Output = Result<Rc<BTreeSet<SandboxId>>, CriError>>;
}

/// Polls the runtime.
pub struct SandboxPoller<L> {
    /// The runtime.
    pub runtime: L,
    /// Where an unavailable runtime is noted.
    pub health: Health,
}

impl NodeView {
    /// Whether the sandbox is listed as ready.
    pub fn is_ready(&self, id: &SandboxId) -> bool {
        self.sandboxes
            .iter()
            .any(|sandbox| sandbox.ready && sandbox.id == *id)
    }
}

impl<L: ListNode> SandboxPoller<L> {
    /// Polls without end. `tracked` returns the sandboxes that matter: while there are none, the runtime is not asked. Once a
    /// sandbox is known to have ended, it should not be tracked any longer.
    pub async fn run(
        &self,
        tracked: impl Fn() -> BTreeSet<SandboxId>,
        seen: impl Fn(&Rc<NodeView>),
    ) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            let tracked = tracked();
            if tracked.is_empty() {
                continue;
            }
            match self.look(&tracked).await {
                Ok(view) => seen(&Rc::new(view)),
                Err(error) => self.note(&error),
            }
        }
    }

    async fn look(&self, tracked: &BTreeSet<SandboxId>) -> Result<NodeView, CriError> {
        let mut view = NodeView {
            sandboxes: self.runtime.sandboxes().await?,
            running: None,
        };
        if tracked.iter().any(|id| !view.is_ready(id)) {
            match self.runtime.running_sandboxes().await {
                Ok(running) => view.running = Some(running),
                Err(error) => self.note(&error),
            }
        }
        Ok(view)
    }

    /// That the runtime is back is found by its probe, which then reports it.
    fn note(&self, error: &CriError) {
        if error.is_unavailable() {
            self.health.set(Dependency::Cri, Err(error.to_string()));
        } else {
            tracing::debug!(%error, "sandboxes cannot be listed; will retry");
        }
    }
}

impl ListNode for Rc<Listing> {
    async fn sandboxes(&self) -> Result<Rc<Vec<Sandbox>>, CriError> {
        Listing::sandboxes(self).await
    }

    async fn running_sandboxes(&self) -> Result<Rc<BTreeSet<SandboxId>>, CriError> {
        Listing::running_sandboxes(self).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::{identity::PodIdentity, metrics::Metrics};

    #[derive(Default)]
    struct Runtime {
        sandboxes: Rc<Vec<Sandbox>>,
        is_down: bool,
        listed: Cell<u32>,
        listed_containers: Cell<u32>,
    }

    impl ListNode for &Runtime {
        async fn sandboxes(&self) -> Result<Rc<Vec<Sandbox>>, CriError> {
            self.listed.set(self.listed.get() + 1);
            if self.is_down {
                return Err(CriError::Unreachable("down".to_owned()));
            }
            Ok(Rc::clone(&self.sandboxes))
        }

        async fn running_sandboxes(&self) -> Result<Rc<BTreeSet<SandboxId>>, CriError> {
            self.listed_containers.set(self.listed_containers.get() + 1);
            Ok(Rc::default())
        }
    }

    fn id(text: &str) -> SandboxId {
        SandboxId::parse(text).unwrap()
    }

    fn runtime(sandboxes: &[(&str, bool)]) -> Runtime {
        let sandboxes = sandboxes.iter().map(|(name, ready)| Sandbox {
            id: id(name),
            pod: PodIdentity::new("default", "p", "u").unwrap(),
            ready: *ready,
            created_at: 1,
        });
        Runtime {
            sandboxes: Rc::new(sandboxes.collect()),
            ..Runtime::default()
        }
    }

    /// What is seen in ten seconds while these sandboxes are tracked.
    async fn poll(runtime: &Runtime, tracked: &[&str]) -> (Vec<Rc<NodeView>>, Health) {
        let health = Health::new(Metrics::new());
        health.set(Dependency::Cri, Ok(()));
        let poller = SandboxPoller {
            runtime,
            health: health.clone(),
        };
        let views = RefCell::new(Vec::new());
        let tracked = || tracked.iter().map(|name| id(name)).collect();
        let run = poller.run(tracked, |view| views.borrow_mut().push(Rc::clone(view)));
        let ended = tokio::time::timeout(INTERVAL * 10 + INTERVAL / 2, run).await;
        assert!(ended.is_err());
        (views.into_inner(), health)
    }

    #[tokio::test(start_paused = true)]
    async fn asks_nothing_while_nothing_is_tracked() {
        let runtime = runtime(&[("a", true)]);
        let (views, _) = poll(&runtime, &[]).await;
        assert!(views.is_empty());
        assert_eq!(runtime.listed.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn makes_one_call_a_second_at_rest() {
        let runtime = runtime(&[("a", true), ("b", false)]);
        let (views, _) = poll(&runtime, &["a"]).await;
        assert_eq!(views.len(), 10);
        assert_eq!((runtime.listed.get(), runtime.listed_containers.get()), (10, 0));
        assert!(views[0].running.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn lists_containers_while_a_tracked_sandbox_ends() {
        let runtime = runtime(&[("a", true), ("b", false)]);
        for tracked in [["a", "b"], ["a", "unlisted"]] {
            let (views, _) = poll(&runtime, &tracked).await;
            assert!(views.iter().all(|view| view.running.is_some()));
        }
        assert_eq!(runtime.listed_containers.get(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn notes_that_the_runtime_is_unavailable() {
        let runtime = Runtime {
            is_down: true,
            ..runtime(&[])
        };
        let (views, health) = poll(&runtime, &["a"]).await;
        assert!(views.is_empty());
        assert!(health.is_unavailable(Dependency::Cri));
    }
}
