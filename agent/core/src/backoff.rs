//! How long to wait after a failure: doubling, with jitter, capped at a minute, without an end.

use std::time::Duration;

/// The longest wait.
pub const CAP: Duration = Duration::from_secs(60);
/// The wait after the first failure, before jitter.
const FIRST: Duration = Duration::from_millis(500);

/// The wait after `failures` consecutive failures of something that a pod waits for.
pub fn delay(failures: u32, jitter: f64) -> Duration {
    jittered(doubled(FIRST, failures, CAP), jitter)
}

/// The wait after `failures` in a row: `first` after one, twice as long after each further one, at
/// most `longest`.
pub fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    first.saturating_mul(factor).min(longest)
}

/// Shortens a wait by up to half, with `jitter` from 0 to 1, so that what failed together is not
/// retried together.
pub fn jittered(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

/// The wait before poll number `round` of something that no watch reports: short at first, linear
/// up to `longest`.
pub fn poll_interval(round: u32, longest: Duration) -> Duration {
    const STEP: Duration = Duration::from_millis(150);
    STEP.saturating_mul(round / 2 + 1).min(longest)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1, 0.0, 500)]
    #[case(2, 0.0, 1_000)]
    #[case(3, 0.0, 2_000)]
    #[case(3, 1.0, 1_000)]
    #[case(8, 0.0, 60_000)]
    #[case(u32::MAX, 0.0, 60_000)]
    #[case(0, 7.0, 250)]
    fn doubles_up_to_the_cap(#[case] failures: u32, #[case] jitter: f64, #[case] millis: u64) {
        assert_eq!(delay(failures, jitter), Duration::from_millis(millis));
    }

    #[test]
    fn polls_ever_more_slowly() {
        let longest = Duration::from_secs(2);
        assert_eq!(poll_interval(0, longest), Duration::from_millis(150));
        assert_eq!(poll_interval(4, longest), Duration::from_millis(450));
        assert_eq!(poll_interval(u32::MAX, longest), longest);
    }
}
