//! How many calls to multus run at once. Few, since pod starts go through the same daemon and
//! plugins need CPU; the rules are in [`queue`].

pub mod queue;

use std::{cell::RefCell, rc::Rc, thread, time::Duration};

use serde_json::Value;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use queue::{Begun, Queue};

/// The fewest calls at once, however few CPUs there are.
const FEWEST: usize = 8;
/// Calls at once for each CPU.
const PER_CPU: usize = 2;

/// Grants permits for calls. Clones share them.
#[derive(Clone)]
pub struct DelegateLimiter(Rc<Shared>);

struct Shared {
    started: Instant,
    queue: RefCell<Queue<oneshot::Sender<Permit>>>,
}

/// The right to run one call; ends when it is dropped.
pub struct Permit {
    call: Begun,
    shared: Rc<Shared>,
}

impl Default for DelegateLimiter {
    /// As many calls as suit this machine.
    fn default() -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Self::new(FEWEST.max(PER_CPU * cpus))
    }
}

impl DelegateLimiter {
    /// At most `places` calls at once.
    pub fn new(places: usize) -> Self {
        Self(Rc::new(Shared {
            started: Instant::now(),
            queue: RefCell::new(Queue::new(places)),
        }))
    }

    /// Waits for the right to run a call of this kind (see [`kind_of`]) for a pod of this
    /// namespace. May be cancelled at any time.
    pub async fn acquire(&self, kind: &str, namespace: &str) -> Permit {
        loop {
            let (give, mut given) = oneshot::channel();
            self.0.queue.borrow_mut().push(kind, namespace, give);
            self.0.grant();
            loop {
                let change = self.0.next_change();
                tokio::select! {
                    biased;
                    // The sender is kept until the permit goes out. Were it ever lost, the call
                    // would queue again.
                    permit = &mut given => match permit {
                        Ok(permit) => return permit,
                        Err(_) => break,
                    },
                    () = sleep(change.unwrap_or_default()), if change.is_some() => self.0.grant(),
                }
            }
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn next_change(&self) -> Option<Duration> {
        let now = self.now();
        let change = self.queue.borrow().next_change(now)?;
        Some(change.saturating_sub(now))
    }

    /// Hands out what is free.
    fn grant(self: &Rc<Self>) {
        self.queue.borrow_mut().retain(|give| !give.is_closed());
        loop {
            // In a statement of its own, so that the queue is not borrowed when an unwanted permit
            // is dropped.
            let next = self.queue.borrow_mut().next(self.now());
            let Some((call, give)) = next else { return };
            let shared = Rc::clone(self);
            drop(give.send(Permit { call, shared }));
        }
    }
}

impl Permit {
    /// The call has run for too long to hold a place. Its kind stays confined until the permit is
    /// dropped.
    pub fn late(&self) {
        self.shared.queue.borrow_mut().late(&self.call);
        self.shared.grant();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.queue.borrow_mut().end(&self.call);
        self.shared.grant();
    }
}

/// The programs that a configuration runs, IPAM's included: what hangs is one of them, whichever
/// network it is called for.
pub fn kind_of(config: &str) -> String {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let plugins = match config.get("plugins") {
        Some(Value::Array(plugins)) => plugins.as_slice(),
        _ => std::slice::from_ref(&config),
    };
    let program = |value: Option<&Value>| {
        let name = value.and_then(|value| value.get("type")).and_then(Value::as_str);
        name.unwrap_or_default().to_owned()
    };
    let programs = plugins
        .iter()
        .flat_map(|plugin| [program(Some(plugin)), program(plugin.get("ipam"))]);
    programs.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use futures::FutureExt as _;
    use rstest::rstest;

    use super::{queue::SLOW, *};

    const PLACES: usize = 8;

    fn poll(future: Pin<&mut impl Future<Output = Permit>>) -> Option<Permit> {
        future.now_or_never()
    }

    /// As many as there are for `kind`.
    fn all(limiter: &DelegateLimiter, kind: &str) -> Vec<Permit> {
        std::iter::from_fn(|| poll(pin!(limiter.acquire(kind, "default")))).collect()
    }

    #[rstest]
    #[case(r#"{"type":"macvlan","ipam":{"type":"static"}}"#, "macvlan/static")]
    #[case(
        r#"{"name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"tuning"}]}"#,
        "bridge/host-local/tuning/"
    )]
    #[case("no JSON", "/")]
    fn tells_configurations_by_the_programs_that_they_run(#[case] config: &str, #[case] kind: &str) {
        assert_eq!(kind_of(config), kind);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_makes_room_for_the_next() {
        let limiter = DelegateLimiter::new(PLACES);
        let mut held = all(&limiter, "a");
        let mut waits = pin!(limiter.acquire("a", "default"));
        assert!(poll(waits.as_mut()).is_none());
        held.pop();
        assert!(poll(waits).is_some());
    }

    /// Nothing ends here: time alone tells that the first kind hangs.
    #[tokio::test(start_paused = true)]
    async fn a_kind_that_turns_slow_makes_room_for_others() {
        let limiter = DelegateLimiter::new(PLACES);
        let _held = ["first", "second", "third"].map(|kind| all(&limiter, kind));
        let begun = Instant::now();
        let _permit = limiter.acquire("fourth", "default").await;
        assert_eq!(begun.elapsed(), SLOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_is_passed_over() {
        let limiter = DelegateLimiter::new(PLACES);
        let held = all(&limiter, "a");
        let mut second = pin!(limiter.acquire("a", "default"));
        {
            let mut first = pin!(limiter.acquire("a", "default"));
            assert!(poll(first.as_mut()).is_none());
            assert!(poll(second.as_mut()).is_none());
        }
        drop(held);
        assert!(poll(second).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_never_picked_up_comes_back() {
        let limiter = DelegateLimiter::new(PLACES);
        let held = all(&limiter, "a");
        {
            let mut given = pin!(limiter.acquire("a", "default"));
            assert!(poll(given.as_mut()).is_none());
            drop(held);
        }
        assert_eq!(all(&limiter, "a").len(), PLACES - 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_call_makes_room_at_once() {
        let limiter = DelegateLimiter::new(PLACES);
        let held = ["a", "b", "c"].map(|kind| all(&limiter, kind));
        let mut waits = pin!(limiter.acquire("d", "default"));
        assert!(poll(waits.as_mut()).is_none());
        held[0].iter().for_each(Permit::late);
        assert!(poll(waits).is_some());
    }
}
