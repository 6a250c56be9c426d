//! Which event is written next. Decides only: no clock, no API.
//!
//! The namespaces take turns, and each has one event at a time on the way, so one whose writes hang
//! or are refused delays no other. A namespace with failures pauses, longer with each in a row. All
//! failures together are bounded, too, for an API server that is away fails for every namespace.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use agent_core::backoff;

use super::token_bucket::TokenBucket;

/// So many events of one namespace wait.
const PER_NAMESPACE: usize = 512;
/// So many events wait altogether.
const TOTAL: usize = 1024;
/// The pause of a namespace after a failure; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Failures that pause no other namespace: this number at once, then two per second.
const FAILURES: u32 = 8;
const FAILURES_REFILL: Duration = Duration::from_millis(500);
/// Writes at once, then 50 per second: what the kubelet allows itself. A flood of events leaves
/// the API server to the plugs.
const BURST: u32 = 100;
const BURST_REFILL: Duration = Duration::from_millis(20);

/// Events that wait, by namespace.
pub(super) struct Queue<T> {
    lanes: BTreeMap<String, Lane<T>>,
    /// The namespaces that have events waiting, in the order of their turns.
    turns: VecDeque<String>,
    waiting: usize,
    /// A write takes a token and gives it back unless it fails.
    failures: TokenBucket,
    rate: TokenBucket,
}

struct Lane<T> {
    waiting: VecDeque<T>,
    /// One is on the way.
    is_busy: bool,
    not_before: Duration,
    failures: u32,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            lanes: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            failures: TokenBucket::new(FAILURES, FAILURES_REFILL, Duration::ZERO),
            rate: TokenBucket::new(BURST, BURST_REFILL, Duration::ZERO),
        }
    }

    /// Appends an event. Returns `false` when one was dropped for lack of room: the newest of the
    /// namespace with the most.
    pub(super) fn push(&mut self, namespace: &str, event: T) -> bool {
        let own = self.lanes.get(namespace).map_or(0, |lane| lane.waiting.len());
        if own >= PER_NAMESPACE {
            return false;
        }
        let has_room = self.waiting < TOTAL;
        if !has_room && !self.displace(own) {
            return false;
        }
        let lane = self.lanes.entry(namespace.to_owned()).or_insert_with(Lane::new);
        if lane.waiting.is_empty() {
            self.turns.push_back(namespace.to_owned());
        }
        lane.waiting.push_back(event);
        self.waiting += 1;
        has_room
    }

    /// Makes room, if another namespace has more than `own` events.
    fn displace(&mut self, own: usize) -> bool {
        let most = self
            .lanes
            .values_mut()
            .max_by_key(|lane| lane.waiting.len())
            .filter(|lane| lane.waiting.len() > own + 1);
        let dropped = most.and_then(|lane| lane.waiting.pop_back());
        self.waiting -= usize::from(dropped.is_some());
        dropped.is_some()
    }

    /// The next event to write; [`Queue::done`] or [`Queue::failed`] is due afterwards.
    pub(super) fn next(&mut self, now: Duration) -> Option<(String, T)> {
        let ready = |name: &String| self.lanes.get(name).is_some_and(|lane| lane.is_ready(now));
        let turn = self.turns.iter().position(ready)?;
        if !self.rate.take(now) {
            return None;
        }
        if !self.failures.take(now) {
            self.rate.give_back();
            return None;
        }
        let namespace = self.turns.remove(turn)?;
        let lane = self.lanes.get_mut(&namespace)?;
        let event = lane.waiting.pop_front()?;
        lane.is_busy = true;
        if !lane.waiting.is_empty() {
            self.turns.push_back(namespace.clone());
        }
        self.waiting -= 1;
        Some((namespace, event))
    }

    /// The API server has answered; the namespace's next event may be written.
    pub(super) fn done(&mut self, namespace: &str, now: Duration) {
        self.failures.give_back();
        if let Some(lane) = self.lanes.get_mut(namespace) {
            lane.is_busy = false;
            lane.failures = 0;
        }
        self.forget(now);
    }

    /// It was not written; `again` is tried once more after the pause.
    pub(super) fn failed(&mut self, namespace: &str, again: Option<T>, now: Duration) {
        let Some(lane) = self.lanes.get_mut(namespace) else {
            return;
        };
        lane.failures = lane.failures.saturating_add(1);
        lane.not_before = now + backoff::doubled(FIRST_PAUSE, lane.failures, LONGEST_PAUSE);
        lane.is_busy = false;
        if let Some(event) = again {
            if lane.waiting.is_empty() {
                self.turns.push_back(namespace.to_owned());
            }
            lane.waiting.push_front(event);
            self.waiting += 1;
        }
        self.forget(now);
    }

    /// When [`Queue::next`] may have another event, if nothing else happens before.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let lanes = self
            .lanes
            .values()
            .filter(|lane| !lane.is_busy && !lane.waiting.is_empty());
        let first = lanes.map(|lane| lane.not_before).min()?;
        Some(first.max(self.failures.due(now)).max(self.rate.due(now)))
    }

    /// Whether nothing waits and nothing is on the way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.lanes.values().all(|lane| !lane.is_busy)
    }

    /// Drops namespaces without events and without a pause.
    fn forget(&mut self, now: Duration) {
        self.lanes
            .retain(|_, lane| lane.is_busy || !lane.waiting.is_empty() || lane.not_before > now);
    }
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            is_busy: false,
            not_before: Duration::ZERO,
            failures: 0,
        }
    }

    fn is_ready(&self, now: Duration) -> bool {
        !self.is_busy && self.not_before <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn queue(events: &[(&str, &'static str)]) -> Queue<&'static str> {
        let mut queue = Queue::new();
        for (namespace, event) in events {
            assert!(queue.push(namespace, *event));
        }
        queue
    }

    /// Writes one after the other, each at once.
    fn drain(queue: &mut Queue<&'static str>, now: Duration) -> Vec<&'static str> {
        let mut written = Vec::new();
        while let Some((namespace, event)) = queue.next(now) {
            queue.done(&namespace, now);
            written.push(event);
        }
        written
    }

    #[test]
    fn namespaces_take_turns() {
        let events = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")];
        let mut queue = queue(&events);
        assert_eq!(drain(&mut queue, NOW), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(queue.is_idle() && queue.lanes.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_namespace_has_one_event_on_the_way() {
        let mut queue = queue(&[("hangs", "h1"), ("hangs", "h2"), ("b", "b1")]);
        assert_eq!(queue.next(NOW), Some(("hangs".to_owned(), "h1")));
        assert_eq!(drain(&mut queue, NOW), ["b1"]);
        assert!(!queue.is_idle());
        queue.done("hangs", NOW);
        assert_eq!(drain(&mut queue, NOW), ["h2"]);
    }

    #[test]
    fn a_namespace_that_fails_pauses_longer_and_longer() {
        let mut queue = queue(&[("a", "a1")]);
        let mut now = NOW;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let (namespace, event) = queue.next(now).unwrap();
            queue.failed(&namespace, Some(event), now);
            assert_eq!(queue.next(now), None);
            let due = queue.due(now).unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(drain(&mut queue, now), ["a1"]);
    }

    #[test]
    fn a_namespace_that_pauses_holds_up_no_later_one() {
        let mut queue = queue(&[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        queue.next(NOW);
        queue.failed("a", None, NOW);
        queue.push("c", "c1");
        assert_eq!(drain(&mut queue, NOW), ["b1", "c1"]);
    }

    #[test]
    fn a_pause_delays_no_other_namespace() {
        let mut queue = queue(&[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        queue.next(NOW);
        queue.failed("a", None, NOW);
        assert_eq!(drain(&mut queue, NOW), ["b1"]);
        assert_eq!(drain(&mut queue, FIRST_PAUSE), ["a2"]);
    }

    #[test]
    fn a_flood_is_written_fifty_a_second() {
        let mut queue = Queue::new();
        for _ in 0..300 {
            assert!(queue.push("a", "e"));
        }
        assert_eq!(drain(&mut queue, NOW).len(), 100);
        let mut now = NOW;
        for _ in 0..50 {
            now = queue.due(now).unwrap();
            assert_eq!(drain(&mut queue, now).len(), 1);
        }
        assert_eq!(now, Duration::from_secs(1));
    }

    /// An API server that is away fails for all of them.
    #[test]
    fn failures_of_all_namespaces_are_two_a_second() {
        let mut queue = Queue::new();
        for n in 0..110 {
            assert!(queue.push(&format!("ns-{n}"), n));
        }
        let mut tries = 0;
        for second in 0..60 {
            let now = Duration::from_secs(second);
            while let Some((namespace, event)) = queue.next(now) {
                tries += 1;
                queue.failed(&namespace, Some(event), now);
            }
        }
        assert!(tries <= FAILURES + 2 * 60, "{tries}");
        assert!(tries >= 2 * 59, "{tries}");
    }

    #[test]
    fn a_namespace_has_half_of_the_room() {
        let mut queue = Queue::new();
        let fits = (0..2 * TOTAL).filter(|n| queue.push("flood", *n)).count();
        assert_eq!(fits, PER_NAMESPACE);
        assert!(queue.push("other", 0));
    }

    #[test]
    fn a_full_queue_takes_an_event_of_a_namespace_with_fewer() {
        let mut queue = Queue::new();
        for n in 0..TOTAL {
            assert!(queue.push(if n % 2 == 0 { "flood" } else { "deluge" }, n));
        }
        assert!(!queue.push("other", 1), "one of a flood was dropped");
        assert_eq!(queue.waiting, TOTAL);
        assert_eq!(queue.lanes["other"].waiting.len(), 1);
        assert!(!queue.push("flood", 2));
        assert_eq!(queue.waiting, TOTAL);
    }
}
