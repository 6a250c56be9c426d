//! How fast an annotation that goes back and forth is followed. The first edits are carried out at once; an interface that is removed over
//! and over is removed less and less often, so that its plugins and the API are not worked to death, and the last edit still counts
//! soon. Only removals wait: what is wanted and absent is plugged at once.

use std::{collections::BTreeMap, time::Duration};

use crate::memory::Key;

/// So many removals in a row need not wait.
const FREE: u32 = 3;
/// The pause after the removal that is the last free one; it doubles with each that follows.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// After so long without a removal, the earlier ones no longer count.
const CALM: Duration = Duration::from_secs(10);

/// The latest removals.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    removals: BTreeMap<Key, Removals>,
}

#[derive(Clone, Debug)]
struct Removals {
    count: u32,
    last: Duration,
}

impl Pace {
    /// An attachment was removed.
    pub fn removed(&mut self, key: &Key, now: Duration) {
        self.removals
            .retain(|_, removals| now.saturating_sub(removals.last) < CALM);
        let removals = self
            .removals
            .entry(key.clone())
            .or_insert(Removals { count: 0, last: now });
        removals.count = removals.count.saturating_add(1);
        removals.last = now;
    }

    /// When the next removal may come; `None`: at any time.
    pub fn next_removal(&self, key: &Key) -> Option<Duration> {
        let removals = self.removals.get(key)?;
        let over = removals.count.checked_sub(FREE)?;
        let pause = FIRST
            .saturating_mul(2_u32.saturating_pow(over.min(16)))
            .min(LONGEST);
        Some(removals.last + pause)
    }

    /// The removals at this very moment, as far as more of them make a difference.
    #[cfg(test)]
    pub fn latest(&self, now: Duration) -> impl Iterator<Item = (&Key, u32)> {
        let latest = self
            .removals
            .iter()
            .filter(move |(_, removals)| removals.last == now);
        latest.map(|(key, removals)| (key, removals.count.min(FREE)))
    }
}

#[cfg(test)]
mod tests {
    use shared::names::InterfaceName;

    use super::*;
    use crate::identity::SandboxId;

    fn key(interface: &str) -> Key {
        (
            SandboxId::parse("s1").unwrap(),
            InterfaceName::parse(interface).unwrap(),
        )
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_removals_wait_for_nothing_and_the_next_ones_longer_and_longer() {
        let mut pace = Pace::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.removed(&key("net1"), seconds(1.0));
            pauses.push(pace.next_removal(&key("net1")).map(|due| due - seconds(1.0)));
        }
        let paused = [0.25, 0.5, 1.0, 2.0, 2.0, 2.0].map(|pause| Some(seconds(pause)));
        assert_eq!(pauses[..2], [None, None]);
        assert_eq!(pauses[2..], paused);
        assert_eq!(pace.next_removal(&key("net2")), None);
    }

    #[test]
    fn calm_is_a_new_beginning() {
        let mut pace = Pace::default();
        for _ in 0..8 {
            pace.removed(&key("net1"), seconds(1.0));
        }
        pace.removed(&key("net2"), seconds(11.0));
        assert_eq!(pace.next_removal(&key("net1")), None);
        assert_eq!(pace.removals.len(), 1);
    }
}
