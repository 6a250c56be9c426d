//! Mistakes that are planted between the core and the node: each has to be found, by a history that is good without it.

use rstest::rstest;

use super::{
    LIFE, NEIGHBOURS, ONE_INTERFACE, SANDBOXES, Theme,
    explorer::Explorer,
    history::{as_test, replay, shrink},
};
use crate::simulated::Bug;

#[rstest]
#[case(Bug::ForgetsTheIntent, &ONE_INTERFACE, "without a durable intent")]
#[case(Bug::SkipsTheCleanup, &ONE_INTERFACE, "twice without a DEL")]
#[case(Bug::ForgetsTheLease, &LIFE, "I3: ")]
#[case(Bug::AddsAgain, &ONE_INTERFACE, "twice without a DEL")]
#[case(Bug::DoesNotWait, &ONE_INTERFACE, "while another call of the sandbox runs")]
#[case(Bug::ForgetsTheStatus, &ONE_INTERFACE, "I2: network-status")]
#[case(Bug::KeepsTheRecord, &ONE_INTERFACE, "I2: ")]
#[case(Bug::ReleasesEarly, &SANDBOXES, "released before its sandbox ended")]
#[case(Bug::TakesWhatIsThere, &NEIGHBOURS, "which is not the agent's")]
#[case(Bug::OversleepsRetries, &ONE_INTERFACE, "recorded as Plugging")]
#[case(Bug::BelievesItself, &ONE_INTERFACE, "twice without a DEL")]
fn is_found(#[case] bug: Bug, #[case] theme: &Theme, #[case] breach: &str) {
    let Err(failure) = Explorer::new(theme, 4, Some(bug)).run() else {
        panic!("{bug:?} was not found");
    };
    let history = shrink(theme, failure.history, Some(bug));
    let found = replay(theme, &history, Some(bug)).unwrap_or_default();
    assert!(found.contains(breach), "{found}\n{}", as_test(theme, &history));
    assert!(history.len() <= 4, "{}", as_test(theme, &history));
    assert_eq!(
        replay(theme, &history, None),
        None,
        "{}",
        as_test(theme, &history)
    );
}

#[test]
fn a_history_prints_as_a_test() {
    let Err(failure) = Explorer::new(&ONE_INTERFACE, 4, Some(Bug::AddsAgain)).run() else {
        panic!("nothing was found");
    };
    let history = shrink(&ONE_INTERFACE, failure.history, Some(Bug::AddsAgain));
    insta::assert_snapshot!(as_test(&ONE_INTERFACE, &history));
}
