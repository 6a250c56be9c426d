//! What ends the program, and what the return of a dependency means.

use rstest::rstest;

use super::*;

#[tokio::test]
async fn a_writer_of_events_that_panics_ends_the_program() {
    let (mut tasks, mut writing) = (JoinSet::new(), JoinSet::new());
    tasks.spawn(std::future::pending());
    writing.spawn(async { panic!("planted by a test") });
    let ended = tokio::time::timeout(LAST_EVENTS, first_end(&mut tasks, &mut writing)).await;
    assert!(
        ended.as_ref().is_ok_and(|why| why.contains("panicked")),
        "{ended:?}"
    );
}

/// First sights wait for multus' directory, records for the disk, and everything for the runtime.
#[rstest]
#[case(Dependency::CniCache)]
#[case(Dependency::Records)]
#[case(Dependency::Cri)]
fn the_return_of_a_dependency_makes_everything_due(#[case] returned: Dependency) {
    assert_eq!(trigger_of(returned), Trigger::Anything);
}
