//! Flap damping: something that is undone over and over is undone less and less often. The first
//! times are free, and the latest state still takes effect within seconds.

use std::time::Duration;

use crate::backoff;

/// So many times in a row are free.
pub const FREE: u32 = 3;
/// The pause after the last free time; it doubles with each that follows.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// After so long without one, the earlier times no longer count.
const RESET: Duration = Duration::from_secs(10);

/// The latest occurrences of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlapDamping {
    count: u32,
    last: Duration,
}

impl FlapDamping {
    /// It happened now.
    pub fn note(&mut self, now: Duration) {
        if self.is_over(now) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
    }

    /// When it may happen next; `None`: at any time.
    pub fn next(&self) -> Option<Duration> {
        let over = self.count.checked_sub(FREE)?;
        Some(self.last + backoff::doubled(FIRST, over.saturating_add(1), LONGEST))
    }

    /// Whether the earlier times no longer count.
    pub fn is_over(&self, now: Duration) -> bool {
        self.count == 0 || now.saturating_sub(self.last) >= RESET
    }

    /// The times that still make a difference at this very moment: what a model tells states apart
    /// by.
    pub fn count_at(&self, now: Duration) -> u32 {
        if self.last == now { self.count.min(FREE) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_times_are_free_and_later_ones_wait() {
        let mut damping = FlapDamping::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            damping.note(seconds(100.0));
            pauses.push(damping.next().map(|due| due - seconds(100.0)));
        }
        let paused = [0.25, 0.5, 1.0, 2.0, 2.0, 2.0].map(|pause| Some(seconds(pause)));
        assert_eq!(pauses[..2], [None, None]);
        assert_eq!(pauses[2..], paused);
    }

    #[test]
    fn resets_after_a_quiet_period() {
        let mut damping = FlapDamping::default();
        for _ in 0..8 {
            damping.note(seconds(100.0));
        }
        damping.note(seconds(111.0));
        assert_eq!(damping.next(), None);
    }
}
