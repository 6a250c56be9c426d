//! Which events are written. Decides only: no clock, no API.
//!
//! A pod has a budget, as with the spam filter of client-go, so that its owner cannot flood etcd by
//! way of the agent. An event that repeats itself, since the same attachment fails for the same
//! cause again, is written at growing intervals; what was not written is counted by the next one
//! that is.

use std::time::Duration;

use super::{Event, Reason, lru::Lru, token_bucket::TokenBucket};
use crate::metrics::Suppressed;

/// The events that a pod may have in a burst.
const BURST: u32 = 25;
/// A pod with no budget left gains one event in this time.
const REFILL: Duration = Duration::from_secs(300);
/// What repeated events leave of the budget for new ones.
const RESERVE: u32 = 1;
/// A repeated event is written so long after the last time; the last interval goes on.
const INTERVALS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
];
/// So many pods are remembered.
const PODS: usize = 512;
/// So many different events of a pod are remembered: more than it may have elements.
const TEXTS: usize = 96;

/// What was written.
pub(super) struct Filter {
    pods: Lru<String, Pod>,
}

struct Pod {
    budget: TokenBucket,
    /// By the key of the event.
    texts: Lru<u64, Text>,
}

#[derive(Default)]
struct Text {
    /// How often, and when last.
    written: Option<(usize, Duration)>,
    /// Occurrences since.
    unwritten: i32,
}

impl Filter {
    pub(super) fn new() -> Self {
        Self { pods: Lru::new(PODS) }
    }

    /// Decides about an event that happens now; `key` is the same for the same event. Returns for
    /// how many occurrences it stands.
    pub(super) fn admit(
        &mut self,
        pod_uid: &str,
        event: &Event,
        key: u64,
        now: Duration,
    ) -> Result<i32, Suppressed> {
        let pod = self.pods.entry(&pod_uid.to_owned(), || Pod {
            budget: TokenBucket::new(BURST, REFILL, now),
            texts: Lru::new(TEXTS),
        });
        // Something was done: what fails after it is news, even if it failed like that before.
        let is_progress = matches!(event.reason, Reason::AddedInterface | Reason::RemovedInterface);
        if is_progress {
            pod.texts.clear();
        }
        let text = pod.texts.entry(&key, Text::default);
        text.unwritten = text.unwritten.saturating_add(1);
        if text
            .written
            .is_some_and(|(times, last)| now < last + interval(times))
        {
            return Err(Suppressed::Repeated);
        }
        let left = if text.written.is_some() { RESERVE } else { 0 };
        if !pod.budget.take_leaving(left, now) {
            return Err(Suppressed::Budget);
        }
        let times = text.written.map_or(0, |(times, _)| times);
        text.written = Some((times.saturating_add(1), now));
        let occurrences = std::mem::take(&mut text.unwritten);
        if is_progress {
            pod.texts.remove(&key);
        }
        Ok(occurrences)
    }
}

fn interval(written: usize) -> Duration {
    let [.., longest] = INTERVALS;
    INTERVALS
        .get(written.saturating_sub(1))
        .copied()
        .unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(cause: &str) -> Event {
        Event::blocked(cause)
    }

    fn added() -> Event {
        Event {
            reason: Reason::AddedInterface,
            warning: false,
            ..failure("")
        }
    }

    /// A filter with the time in seconds.
    struct At(Filter, u64);

    impl At {
        fn admit(&mut self, pod: &str, event: &Event) -> Result<i32, Suppressed> {
            let bytes = event.text.bytes();
            let key = bytes.fold(1_u64, |key, byte| key.wrapping_mul(31) ^ u64::from(byte));
            self.0
                .admit(pod, event, key, SECOND * u32::try_from(self.1).unwrap())
        }
    }

    #[test]
    fn a_failure_that_repeats_is_written_at_growing_intervals() {
        let mut filter = At(Filter::new(), 0);
        let mut written = Vec::new();
        for second in (0..7200).step_by(30) {
            filter.1 = second;
            if let Ok(occurrences) = filter.admit("p", &failure("x")) {
                written.push((second, occurrences));
            }
        }
        assert_eq!(
            written,
            [(0, 1), (60, 2), (360, 10), (2160, 60), (3960, 60), (5760, 60)]
        );
    }

    #[test]
    fn another_cause_is_written_at_once() {
        let mut filter = At(Filter::new(), 0);
        assert_eq!(filter.admit("p", &failure("x")), Ok(1));
        assert_eq!(filter.admit("p", &failure("x")), Err(Suppressed::Repeated));
        assert_eq!(filter.admit("p", &failure("y")), Ok(1));
        assert_eq!(filter.admit("p", &failure("x")), Err(Suppressed::Repeated));
        assert_eq!(filter.admit("q", &failure("x")), Ok(1), "another pod");
    }

    #[test]
    fn a_failure_after_a_success_is_news() {
        let mut filter = At(Filter::new(), 0);
        assert_eq!(filter.admit("p", &failure("x")), Ok(1));
        assert_eq!(filter.admit("p", &added()), Ok(1));
        assert_eq!(filter.admit("p", &failure("x")), Ok(1));
        assert_eq!(filter.admit("p", &added()), Ok(1));
    }

    /// 64 elements that do not exist, over and over with other names.
    #[test]
    fn a_pod_has_a_burst_and_then_one_event_in_five_minutes() {
        let mut filter = At(Filter::new(), 0);
        let mut written = 0;
        for second in 0..3600 {
            filter.1 = second;
            for element in 0..64 {
                let event = failure(&format!("network {second}-{element} is missing"));
                written += u32::from(filter.admit("p", &event).is_ok());
            }
        }
        assert_eq!(written, BURST + 11);
        assert_eq!(filter.admit("q", &failure("x")), Ok(1), "another pod has its own");
    }

    #[test]
    fn a_success_costs_budget_as_well() {
        let mut filter = At(Filter::new(), 0);
        let written = (0..100).filter(|_| filter.admit("p", &added()).is_ok()).count();
        assert_eq!(written, 25);
    }

    #[test]
    fn the_first_event_with_budget_counts_the_ones_without() {
        let mut filter = At(Filter::new(), 0);
        for n in 0..BURST {
            assert_eq!(filter.admit("p", &failure(&n.to_string())), Ok(1));
        }
        for second in 0..10 {
            filter.1 = second;
            assert_eq!(filter.admit("p", &failure("x")), Err(Suppressed::Budget));
        }
        filter.1 = 300;
        assert_eq!(filter.admit("p", &failure("x")), Ok(11));
    }

    /// The first ones repeat themselves meanwhile.
    #[test]
    fn every_failing_element_is_written_before_one_is_repeated() {
        let mut filter = At(Filter::new(), 0);
        let elements: Vec<_> = (0..64).map(|n| failure(&format!("element {n}"))).collect();
        let mut written = BTreeSet::new();
        for second in (0..39 * REFILL.as_secs() + 1).step_by(60) {
            filter.1 = second;
            for (n, event) in elements.iter().enumerate() {
                if filter.admit("p", event).is_ok() {
                    assert!(written.insert(n), "element {n} again after {second} s");
                }
            }
        }
        assert_eq!(written.len(), 64);
    }
}
