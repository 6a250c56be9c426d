//! How many calls to multus run at once: few altogether, since pod starts go through the same daemon, and for one kind of plugin at most
//! half of what the other kinds leave. So a kind whose calls hang leaves room for all others, and so do three of them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use serde_json::Value;
use tokio::sync::oneshot;

/// Calls at once.
const CALLS: usize = 8;

/// The room for calls.
#[derive(Clone, Default)]
pub struct Slots(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    /// Calls that run, by their kind.
    running: BTreeMap<String, usize>,
    /// Those that wait, in the order in which they came.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    kind: String,
    give: oneshot::Sender<Slot>,
}

/// Room for one call; dropped, it is another one's.
pub struct Slot {
    kind: String,
    slots: Slots,
}

impl Slots {
    /// Waits for room for a call with this CNI configuration: first come, first served, but for those whose kind has its share.
    pub async fn take(&self, config: &str) -> Option<Slot> {
        let (give, given) = oneshot::channel();
        let kind = kind_of(config);
        self.0.borrow_mut().waiting.push_back(Waiting { kind, give });
        self.give();
        // Nobody is sent away without a slot.
        given.await.ok()
    }

    fn give(&self) {
        loop {
            // In a statement of its own, after which the state is free: a slot that nobody takes comes back at once.
            let next = self.0.borrow_mut().next();
            let Some(Waiting { kind, give }) = next else {
                return;
            };
            let slots = self.clone();
            drop(give.send(Slot { kind, slots }));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.borrow_mut().end(&self.kind);
        self.slots.give();
    }
}

impl State {
    /// The first that may run, which counts as running from now on.
    fn next(&mut self) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.give.is_closed());
        let first = self
            .waiting
            .iter()
            .position(|waiting| self.has_room_for(&waiting.kind))?;
        let next = self.waiting.remove(first)?;
        *self.running.entry(next.kind.clone()).or_default() += 1;
        Some(next)
    }

    fn has_room_for(&self, kind: &str) -> bool {
        let of_kind = self.running.get(kind).copied().unwrap_or_default();
        let of_others = self.running.values().sum::<usize>() - of_kind;
        of_kind < (CALLS - of_others).div_ceil(2)
    }

    fn end(&mut self, kind: &str) {
        if let Some(running) = self.running.get_mut(kind) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(kind);
            }
        }
    }
}

/// The programs that a configuration runs, IPAM's included: what hangs is one of them, whichever network it is called for.
fn kind_of(config: &str) -> String {
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
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use rstest::rstest;

    use super::*;

    fn poll<T>(future: Pin<&mut impl Future<Output = Option<T>>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => slot,
            Poll::Pending => None,
        }
    }

    fn of(kind: &str) -> String {
        format!(r#"{{"name":"of-{kind}","type":"{kind}"}}"#)
    }

    /// As many as there are for `kind`.
    fn all(slots: &Slots, kind: &str) -> Vec<Slot> {
        std::iter::from_fn(|| poll(pin!(slots.take(&of(kind))))).collect()
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

    #[test]
    fn each_kind_leaves_room_for_the_others() {
        let slots = Slots::default();
        let held = ["first", "second", "third", "fourth", "fifth"].map(|kind| all(&slots, kind));
        assert_eq!(held.each_ref().map(Vec::len), [4, 2, 1, 1, 0]);
    }

    #[test]
    fn a_call_that_ends_makes_room_for_the_first_that_may_run() {
        let slots = Slots::default();
        let mut hanging = all(&slots, "hangs");
        let (hanging_config, others_config) = (of("hangs"), of("other"));
        let mut same = pin!(slots.take(&hanging_config));
        assert!(poll(same.as_mut()).is_none());
        let other = poll(pin!(slots.take(&others_config)));
        assert!(other.is_some(), "it has come later, but its kind has room");
        hanging.truncate(2);
        assert!(poll(same).is_some());
    }

    #[test]
    fn whoever_does_not_wait_any_more_is_passed_over() {
        let slots = Slots::default();
        let held = all(&slots, "a");
        let config = of("a");
        let mut second = pin!(slots.take(&config));
        {
            let mut first = pin!(slots.take(&config));
            assert!(poll(first.as_mut()).is_none());
            assert!(poll(second.as_mut()).is_none());
        }
        drop(held);
        assert!(poll(second).is_some());
    }

    #[test]
    fn a_slot_that_is_never_picked_up_comes_back() {
        let slots = Slots::default();
        let held = all(&slots, "a");
        let config = of("a");
        {
            let mut given = pin!(slots.take(&config));
            assert!(poll(given.as_mut()).is_none());
            drop(held);
        }
        assert_eq!(all(&slots, "a").len(), CALLS / 2);
        assert!(slots.0.borrow().running.is_empty());
    }
}
