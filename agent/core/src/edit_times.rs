//! How long the last edit of a pod took, by phase. For people and for metrics: nothing is decided
//! by it.

use std::{fmt, time::Duration};

/// The phases of an edit, in order. The first begins when the watch brings the edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EditPhase {
    /// Until the first operation is chosen: the sandboxes are known.
    Planned,
    /// Until multus may be called for the first time: networks and devices are read, a permit is
    /// held.
    Queued,
    /// Until multus has answered the last call, records included.
    Called,
    /// Until network-status and the condition are written.
    Published,
}

/// The times at which the phases of one edit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditTimes {
    seen: Duration,
    planned: Option<Duration>,
    queued: Option<Duration>,
    called: Option<Duration>,
    published: Option<Duration>,
    /// All that the edit asks for is attached.
    attached: Option<Duration>,
    counted: bool,
}

impl EditPhase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Planned, Self::Queued, Self::Called, Self::Published];

    /// A label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Queued => "queued",
            Self::Called => "called",
            Self::Published => "published",
        }
    }
}

impl EditTimes {
    /// Of an edit that the watch brings now.
    pub fn seen(now: Duration) -> Self {
        Self {
            seen: now,
            planned: None,
            queued: None,
            called: None,
            published: None,
            attached: None,
            counted: false,
        }
    }

    /// A phase ends. The first two end once; of the others, the last end counts.
    pub(crate) fn ended(&mut self, phase: EditPhase, now: Duration) {
        if self.counted {
            return;
        }
        match phase {
            EditPhase::Planned => self.planned = self.planned.or(Some(now)),
            EditPhase::Queued => self.queued = self.queued.or(Some(now)),
            EditPhase::Called => self.called = Some(now),
            EditPhase::Published => self.published = Some(now),
        }
    }

    /// All that the edit asks for is attached. How long that took, the first time.
    pub(crate) fn attached(&mut self, now: Duration) -> Option<Duration> {
        let first = self.attached.is_none();
        self.attached = self.attached.or(Some(now));
        first.then(|| now.saturating_sub(self.seen))
    }

    /// How long each phase took, once all have ended and all is attached, and once only.
    pub(crate) fn take(&mut self) -> Option<[Duration; 4]> {
        if self.counted || self.attached.is_none() {
            return None;
        }
        let phases = self.phases()?;
        self.counted = true;
        Some(phases)
    }

    /// In the order of [`EditPhase::ALL`].
    fn phases(&self) -> Option<[Duration; 4]> {
        let (planned, queued) = (self.planned?, self.queued?);
        let called = self.called.filter(|called| *called >= queued)?;
        let published = self.published.filter(|published| *published >= called)?;
        Some([
            planned.saturating_sub(self.seen),
            queued.saturating_sub(planned),
            called.saturating_sub(queued),
            published.saturating_sub(called),
        ])
    }
}

/// As in `complete 12.3 ms after it was seen: planned 0.4 ms, queued 1.1 ms, called 9.7 ms`.
impl fmt::Display for EditTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let Some(phases) = self.phases() else {
            return f.write_str(if self.attached.is_some() {
                "there was nothing to do for it"
            } else {
                "not complete"
            });
        };
        let total: Duration = phases.iter().sum();
        write!(f, "complete {} after it was seen", milliseconds(total))?;
        for (index, (phase, took)) in EditPhase::ALL.iter().zip(phases).enumerate() {
            let comma = if index == 0 { ": " } else { ", " };
            write!(f, "{comma}{} {}", phase.as_str(), milliseconds(took))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_edit_of_two_networks_is_measured_to_its_last_answer() {
        let mut edit = EditTimes::seen(ms(100));
        for (phase, at) in [
            (EditPhase::Planned, 101),
            (EditPhase::Queued, 103),
            (EditPhase::Called, 110),
            (EditPhase::Planned, 111),
            (EditPhase::Published, 112),
            (EditPhase::Queued, 113),
            (EditPhase::Called, 120),
        ] {
            edit.ended(phase, ms(at));
            assert_eq!(edit.take(), None);
        }
        assert_eq!(edit.attached(ms(121)), Some(ms(21)));
        assert_eq!((edit.attached(ms(122)), edit.take()), (None, None));
        edit.ended(EditPhase::Published, ms(124));
        assert_eq!(
            edit.to_string(),
            "complete 24.0 ms after it was seen: planned 1.0 ms, queued 2.0 ms, called 17.0 ms, published 4.0 ms"
        );
        assert_eq!(edit.take(), Some([ms(1), ms(2), ms(17), ms(4)]));
        // What happens to the pod later is not the edit's.
        edit.ended(EditPhase::Called, ms(500));
        assert_eq!(edit.take(), None);
        assert!(edit.to_string().starts_with("complete 24.0 ms"));
    }

    #[test]
    fn an_edit_that_asks_for_nothing_new_has_no_phases() {
        let mut edit = EditTimes::seen(ms(1));
        assert_eq!(edit.to_string(), "not complete");
        assert_eq!(edit.attached(ms(2)), Some(ms(1)));
        assert_eq!(edit.take(), None);
        assert_eq!(edit.to_string(), "there was nothing to do for it");
    }
}
