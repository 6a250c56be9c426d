//! What a benchmark prints: rows of the table of `make bench`, and what many measured times come
//! to.

use std::time::Duration;

/// Prints one row: what was measured, the figure, what it is held against, the goal, and whether it
/// is met (`None`: no goal).
pub fn row(what: &str, figure: &str, held_against: &str, goal: &str, met: Option<bool>) {
    let verdict = match met {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    println!("{what}\t{figure}\t{held_against}\t{goal}\t{verdict}");
}

/// The time that so many hundredths of `times` do not exceed.
pub fn quantile(times: &[Duration], hundredths: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() * hundredths / 100).min(last);
    sorted.get(index).copied().unwrap_or_default()
}

/// How many times as long as `floor`.
pub fn ratio(time: Duration, floor: Duration) -> f64 {
    time.as_secs_f64() / floor.as_secs_f64().max(1e-6)
}

/// As people read it.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let of = |hundredths| quantile(&times, hundredths).as_millis();
        assert_eq!((of(0), of(50), of(99), of(100)), (1, 101, 199, 200));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
