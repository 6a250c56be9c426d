//! Mutants of the agent: each is found, by a history that is good without the mistake.

use agent_simulation::{
    Begin, Disturbance, Fault, Harness, Incident, Mutant,
    explore::{Explorer, Scope, as_test, replay, scope, shrink},
};
use rstest::rstest;

#[rstest]
#[case(Mutant::ForgetsTheIntent, &scope::ONE_INTERFACE, "without a durable intent")]
#[case(Mutant::SkipsTheCleanup, &scope::ONE_INTERFACE, "twice without a DEL")]
#[case(Mutant::ForgetsTheLease, &scope::LIFE, "I3: ")]
#[case(Mutant::AddsAgain, &scope::ONE_INTERFACE, "twice without a DEL")]
#[case(Mutant::DoesNotWait, &scope::ONE_INTERFACE, "while another call of the sandbox runs")]
#[case(Mutant::ForgetsTheStatus, &scope::ONE_INTERFACE, "I2: network-status")]
#[case(Mutant::ForgetsTheCondition, &scope::ONE_INTERFACE, "I10: ")]
#[case(Mutant::SaysReadyEarly, &scope::ONE_INTERFACE, "I10: ")]
#[case(Mutant::KeepsTheRecord, &scope::ONE_INTERFACE, "I1: ")]
#[case(Mutant::ReleasesEarly, &scope::SANDBOXES, "released before its sandbox ended")]
#[case(Mutant::TakesOthersInterfaces, &scope::DEPENDENCIES, "I6: ")]
#[case(Mutant::OversleepsRetries, &scope::ONE_INTERFACE, "I7: ")]
#[case(Mutant::BelievesItself, &scope::ONE_INTERFACE, "twice without a DEL")]
#[case(Mutant::RetriesWithoutPause, &scope::REFUSED, "I8: ")]
#[case(Mutant::NeverTakesApart, &scope::REFUSED, "I7: ")]
#[case(Mutant::AsksWithoutPause, &scope::DEPENDENCIES, "I8: ")]
#[case(Mutant::SendsOwedWhileInUse, &scope::REFUSED, "while its record says that it is attached")]
fn is_found(#[case] mutant: Mutant, #[case] scope: &Scope, #[case] broken: &str) {
    let Err(failure) = Explorer::new(scope, 4, Some(mutant)).run() else {
        panic!("{mutant:?} was not found");
    };
    let history = shrink(scope, failure.history, Some(mutant));
    let found = replay(scope, &history, Some(mutant)).unwrap_or_default();
    assert!(found.contains(broken), "{found}\n{}", as_test(scope, &history));
    assert!(history.len() <= 6, "{}", as_test(scope, &history));
    let without = replay(scope, &history, None);
    assert_eq!(without, None, "{}", as_test(scope, &history));
}

/// Whether a pod is plugged while a call of another pod hangs.
fn is_plugged_beside_a_hung_call(mutant: Option<Mutant>) -> bool {
    let mut first = Harness::begin(Begin::Running).with_mutant(mutant);
    let mut second = Harness::begin(Begin::Running)
        .sharing(&first.pool(), 1)
        .with_mutant(mutant);
    first.happen(Incident::Edit(Some("a@net1")));
    first.disturb(4, Disturbance::Fails(Fault::Late));
    assert!(first.reconcile());
    second.happen(Incident::Edit(Some("a@net1")));
    assert!(second.reconcile());
    second.links("s1").contains(&"a@net1".to_owned())
}

#[test]
fn one_that_waits_for_others_is_found() {
    assert!(is_plugged_beside_a_hung_call(None));
    assert!(!is_plugged_beside_a_hung_call(Some(Mutant::WaitsForOthers)));
}

#[test]
fn a_history_prints_as_a_test() {
    let scope = &scope::ONE_INTERFACE;
    let Err(failure) = Explorer::new(scope, 4, Some(Mutant::AddsAgain)).run() else {
        panic!("nothing was found");
    };
    let history = shrink(scope, failure.history, Some(Mutant::AddsAgain));
    insta::assert_snapshot!(as_test(scope, &history), @r#"
    #[test]
    fn found_by_the_explorer() {
        let mut harness = Harness::begin(Begin::Running);
        harness.happen(Incident::Edit(Some("a@net1")));
        harness.disturb(4, Disturbance::Fails(Fault::LostDone));
        harness.reconcile();
        assert_eq!(harness.settle(), None);
    }
    "#);
}
