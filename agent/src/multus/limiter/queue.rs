//! Which call to multus may begin. Decides only: no clock, no task.
//!
//! Calls are told apart by their *kind*, the programs that a configuration runs. A call that hangs
//! takes a place and no CPU, and the next call of its kind will most likely hang, too. So a kind
//! whose calls are quick may use nearly all places, and one with a call that has run for [`SLOW`]
//! is confined. Between namespaces the places go round.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// A kind with a call that has run for so long is confined until that call has ended.
pub const SLOW: Duration = Duration::from_secs(2);
/// What a kind whose calls are quick leaves free for other kinds.
const RESERVE: usize = 2;

/// The calls that wait and run. `T` is what a waiting call is handed over with.
pub struct Queue<T> {
    places: usize,
    running: BTreeMap<String, Vec<Running>>,
    /// In the order in which the namespaces have their turn; none of them is empty.
    waiting: VecDeque<(String, VecDeque<Waiting<T>>)>,
    last: u64,
}

struct Waiting<T> {
    kind: String,
    token: T,
}

struct Running {
    id: u64,
    since: Duration,
    /// It takes no place any more, but still tells that its kind is slow.
    is_late: bool,
}

/// A call that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    kind: String,
    id: u64,
}

impl<T> Queue<T> {
    /// Room for so many calls at once.
    pub fn new(places: usize) -> Self {
        Self {
            places,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            last: 0,
        }
    }

    /// Appends a call to those of its namespace.
    pub fn push(&mut self, kind: &str, namespace: &str, token: T) {
        let waiting = Waiting {
            kind: kind.to_owned(),
            token,
        };
        match self.waiting.iter_mut().find(|(of, _)| of == namespace) {
            Some((_, calls)) => calls.push_back(waiting),
            None => self
                .waiting
                .push_back((namespace.to_owned(), VecDeque::from([waiting]))),
        }
    }

    /// Drops waiting calls that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for (_, calls) in &mut self.waiting {
            calls.retain(|call| keep(&call.token));
        }
        self.waiting.retain(|(_, calls)| !calls.is_empty());
    }

    /// Begins the next call: the oldest one whose kind has room, of the first namespace that has
    /// one; that namespace is then the last in turn.
    pub fn next(&mut self, now: Duration) -> Option<(Begun, T)> {
        let may_begin = |call: &Waiting<T>| self.has_room_for(&call.kind, now);
        let (turn, call) = self.waiting.iter().enumerate().find_map(|(turn, (_, calls))| {
            let call = calls.iter().position(may_begin)?;
            Some((turn, call))
        })?;
        let (namespace, mut calls) = self.waiting.remove(turn)?;
        let next = calls.remove(call);
        if !calls.is_empty() {
            self.waiting.push_back((namespace, calls));
        }
        let Waiting { kind, token } = next?;
        self.last += 1;
        let running = Running {
            id: self.last,
            since: now,
            is_late: false,
        };
        self.running.entry(kind.clone()).or_default().push(running);
        Some((Begun { kind, id: self.last }, token))
    }

    /// A call is waited for no longer: its place is free, its kind stays confined.
    pub fn late(&mut self, call: &Begun) {
        let mut calls = self.running.get_mut(&call.kind).into_iter().flatten();
        if let Some(running) = calls.find(|running| running.id == call.id) {
            running.is_late = true;
        }
    }

    /// A call has ended.
    pub fn end(&mut self, call: &Begun) {
        if let Some(calls) = self.running.get_mut(&call.kind) {
            calls.retain(|running| running.id != call.id);
            if calls.is_empty() {
                self.running.remove(&call.kind);
            }
        }
    }

    /// When a kind next counts as slow, which leaves more room for the others. `None` while nothing
    /// waits.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        let oldest = self
            .running
            .values()
            .filter_map(|calls| calls.iter().map(|call| call.since + SLOW).min());
        oldest.filter(|slow| *slow > now).min()
    }

    fn has_room_for(&self, kind: &str, now: Duration) -> bool {
        let others = self.running.iter().filter(|(of, _)| *of != kind);
        let of_others: usize = others.map(|(_, calls)| self.weight(calls, now)).sum();
        let left = self.places.saturating_sub(of_others);
        let of_kind = self.running.get(kind).map_or(&[][..], Vec::as_slice);
        let half = left.div_ceil(2);
        let share = if is_slow(of_kind, now) {
            half
        } else {
            half.max(left.saturating_sub(RESERVE))
        };
        in_place(of_kind) < share
    }

    /// A slow kind that has taken more than half of the places, while it was not known to be slow,
    /// counts as half: otherwise the other kinds would pay for it.
    fn weight(&self, calls: &[Running], now: Duration) -> usize {
        let all = in_place(calls);
        if is_slow(calls, now) {
            all.min(self.places.div_ceil(2))
        } else {
            all
        }
    }
}

fn is_slow(calls: &[Running], now: Duration) -> bool {
    calls.iter().any(|call| now.saturating_sub(call.since) >= SLOW)
}

fn in_place(calls: &[Running]) -> usize {
    calls.iter().filter(|call| !call.is_late).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 8;

    /// Begins as many calls of `kind` as have room, for a namespace of their own.
    fn fill(queue: &mut Queue<&'static str>, kind: &'static str, now: Duration) -> Vec<Begun> {
        for _ in 0..2 * PLACES {
            queue.push(kind, kind, kind);
        }
        let begun = std::iter::from_fn(|| queue.next(now))
            .map(|(begun, _)| begun)
            .collect();
        queue.retain(|token| *token != kind);
        begun
    }

    /// The tokens of the calls that begin now.
    fn begin(queue: &mut Queue<&'static str>, now: Duration) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.next(now))
            .map(|(_, token)| token)
            .collect()
    }

    #[test]
    fn a_quick_kind_may_use_all_places_but_two() {
        let mut queue = Queue::new(PLACES);
        assert_eq!(fill(&mut queue, "quick", Duration::ZERO).len(), PLACES - 2);
        assert_eq!(fill(&mut queue, "other", Duration::ZERO).len(), 1);
        assert_eq!(fill(&mut queue, "third", Duration::ZERO).len(), 1);
    }

    #[test]
    fn a_slow_kind_is_confined_to_half() {
        let mut queue = Queue::new(PLACES);
        let mut slow = fill(&mut queue, "slow", Duration::ZERO);
        for call in slow.drain(3..) {
            queue.end(&call);
        }
        assert_eq!(fill(&mut queue, "slow", SLOW).len(), 1);
        queue.end(&slow[0]);
        assert_eq!(fill(&mut queue, "slow", SLOW).len(), 1);
    }

    /// The first one has taken six places before it was known to be slow.
    #[test]
    fn three_kinds_that_hang_leave_room() {
        let mut queue = Queue::new(PLACES);
        let mut now = Duration::ZERO;
        let held = ["first", "second", "third", "fourth", "fifth"].map(|kind| {
            let begun = fill(&mut queue, kind, now);
            now += SLOW;
            begun.len()
        });
        assert_eq!(held, [6, 2, 1, 1, 0]);
    }

    #[test]
    fn kinds_that_hang_never_exceed_one_and_a_half_times_the_places() {
        for places in [8, 16, 64] {
            let mut queue = Queue::new(places);
            let mut begun = 0;
            for (n, kind) in ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
                .into_iter()
                .enumerate()
            {
                begun += fill(&mut queue, kind, SLOW * u32::try_from(n).unwrap()).len();
            }
            assert!(begun <= places + places / 2, "{begun} of {places}");
        }
    }

    #[test]
    fn a_late_call_frees_its_place_and_confines_its_kind() {
        let mut queue = Queue::new(PLACES);
        let calls = fill(&mut queue, "hangs", Duration::ZERO);
        calls.iter().for_each(|call| queue.late(call));
        assert_eq!(fill(&mut queue, "other", SLOW).len(), PLACES - 2);
        assert_eq!(fill(&mut queue, "hangs", SLOW).len(), 1);
        calls.iter().for_each(|call| queue.end(call));
        let hangs = queue.running.get("hangs").map_or(0, Vec::len);
        assert_eq!(hangs, 1);
    }

    #[test]
    fn namespaces_take_turns() {
        let mut queue = Queue::new(PLACES);
        let held = fill(&mut queue, "dhcp", Duration::ZERO);
        for token in ["a1", "a2", "a3"] {
            queue.push("dhcp", "a", token);
        }
        queue.push("dhcp", "b", "b1");
        queue.push("dhcp", "c", "c1");
        held.iter().for_each(|call| queue.end(call));
        assert_eq!(begin(&mut queue, Duration::ZERO), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(queue.waiting.is_empty());
    }

    #[test]
    fn a_kind_without_room_holds_up_no_other() {
        let mut queue = Queue::new(PLACES);
        fill(&mut queue, "hangs", Duration::ZERO);
        queue.push("hangs", "a", "waits");
        queue.push("quick", "a", "begins");
        assert_eq!(begin(&mut queue, Duration::ZERO), ["begins"]);
    }

    #[test]
    fn says_when_a_kind_becomes_slow() {
        let mut queue = Queue::new(PLACES);
        fill(&mut queue, "hangs", Duration::ZERO);
        assert_eq!(queue.next_change(Duration::ZERO), None, "nothing waits");
        queue.push("hangs", "a", "waits");
        assert_eq!(queue.next_change(Duration::ZERO), Some(SLOW));
        assert_eq!(queue.next_change(SLOW), None);
    }
}
