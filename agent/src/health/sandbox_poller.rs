//! Lists the node's sandboxes once a second, since no watch reports the end of a sandbox.

use std::{convert::Infallible, rc::Rc, time::Duration};

use agent_core::sandbox::Sandbox;
use tokio::time::sleep;

use crate::{
    cri::{CriError, Listing},
    health::Health,
    metrics::Dependency,
};

/// The pause between two listings.
const INTERVAL: Duration = Duration::from_secs(1);

/// What lists the node.
pub trait ListNode {
    /// All sandboxes, ready or not.
    fn sandboxes(&self) -> impl Future<Output = Result<Rc<Vec<Sandbox>>, CriError>>;
}

/// Polls the runtime.
pub struct SandboxPoller<L> {
    /// The runtime.
    pub runtime: L,
    /// Where an unavailable runtime is noted.
    pub health: Health,
}

impl<L: ListNode> SandboxPoller<L> {
    /// Polls without end. While nothing is `wanted`, the runtime is not asked. A sandbox that is
    /// known to have ended should not be wanted any longer.
    pub async fn run(&self, wanted: impl Fn() -> bool, seen: impl Fn(&[Sandbox])) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            if !wanted() {
                continue;
            }
            match self.runtime.sandboxes().await {
                Ok(listed) => seen(&listed),
                // That the runtime is back is found by its probe, which then reports it.
                Err(error) if error.is_unavailable() => {
                    self.health.set(Dependency::Cri, Err(error.to_string()));
                }
                Err(error) => tracing::debug!(%error, "listing sandboxes failed; will retry"),
            }
        }
    }
}

impl ListNode for Rc<Listing> {
    async fn sandboxes(&self) -> Result<Rc<Vec<Sandbox>>, CriError> {
        Listing::sandboxes(self).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use agent_core::identity::{PodIdentity, SandboxId};

    use super::*;
    use crate::metrics::Metrics;

    #[derive(Default)]
    struct Runtime {
        is_down: bool,
        listed: Cell<u32>,
    }

    impl ListNode for &Runtime {
        async fn sandboxes(&self) -> Result<Rc<Vec<Sandbox>>, CriError> {
            self.listed.set(self.listed.get() + 1);
            if self.is_down {
                return Err(CriError::Unreachable("down".to_owned()));
            }
            Ok(Rc::new(vec![Sandbox {
                id: SandboxId::parse("a").unwrap(),
                pod: PodIdentity::new("default", "p", "u").unwrap(),
                ready: true,
                created_at: 1,
            }]))
        }
    }

    /// How many listings are seen in ten seconds.
    async fn poll(runtime: &Runtime, wanted: bool) -> (usize, Health) {
        let health = Health::new(Metrics::new());
        health.set(Dependency::Cri, Ok(()));
        let poller = SandboxPoller {
            runtime,
            health: health.clone(),
        };
        let seen = RefCell::new(0);
        let run = poller.run(|| wanted, |_| *seen.borrow_mut() += 1);
        let ended = tokio::time::timeout(INTERVAL * 10 + INTERVAL / 2, run).await;
        assert!(ended.is_err());
        (seen.take(), health)
    }

    #[tokio::test(start_paused = true)]
    async fn asks_nothing_while_nothing_is_wanted() {
        let runtime = Runtime::default();
        assert_eq!(poll(&runtime, false).await.0, 0);
        assert_eq!(runtime.listed.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn makes_one_call_a_second() {
        let runtime = Runtime::default();
        assert_eq!(poll(&runtime, true).await.0, 10);
        assert_eq!(runtime.listed.get(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn notes_that_the_runtime_is_unavailable() {
        let runtime = Runtime {
            is_down: true,
            ..Runtime::default()
        };
        let (seen, health) = poll(&runtime, true).await;
        assert_eq!(seen, 0);
        assert!(health.is_unavailable(Dependency::Cri));
    }
}
