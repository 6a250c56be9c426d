//! How long to wait after a failure: doubling, with jitter, never more than a minute, never giving up.

use std::time::Duration;

/// The longest wait.
pub const CAP: Duration = Duration::from_secs(60);
/// The wait after the first failure, before jitter.
const FIRST: Duration = Duration::from_millis(500);

/// The wait after `failures` failures in a row. `jitter` from 0 to 1 takes away up to half of it, so that what failed together is not
/// tried again together.
pub fn delay(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(CAP).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
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
}
