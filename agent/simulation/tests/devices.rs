//! Pods that own devices: random histories, and mistakes that they find.

use std::cell::RefCell;

use agent_simulation::{Begin, Fault, Harness, Incident, Mutant, Variant};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use rstest::rstest;

const HISTORIES: u32 = 1000;
/// So many steps has the longest history.
const LONGEST: usize = 14;

const EDITS: [&str; 10] = [
    "[]",
    "v@net1",
    "w@net1",
    "v@net1,w@net2",
    "w@net2",
    "v@net1,v@net2",
    "v@net1,w@net2,v@net3",
    "a@net1,w@net2",
    r#"[{"name":"v","interface":"net1","deviceID":"3"},{"name":"w","interface":"net2"}]"#,
    r#"[{"name":"v","interface":"net1","deviceID":"2"},{"name":"w","interface":"net2"}]"#,
];

/// Without a full disk: see "Two things cannot be known" at `agent_simulation::explore`.
const INCIDENTS: [Incident; 17] = [
    Incident::Pass,
    Incident::SandboxFalls,
    Incident::SandboxEnds,
    Incident::SandboxStarts,
    Incident::TornDownAgain,
    Incident::KubeletAway,
    Incident::KubeletBack,
    Incident::MultusAway,
    Incident::MultusBack,
    Incident::ApiAway,
    Incident::ApiBack,
    Incident::AgentAway,
    Incident::AgentBack,
    Incident::NetworkBroken("v", Variant::BadRange),
    Incident::NetworkBroken("v", Variant::BadDel),
    Incident::NetworkBroken("v", Variant::Changed),
    Incident::NetworkBroken("v", Variant::Good),
];

const ADD_FAULTS: [Fault; 8] = [
    Fault::Refused,
    Fault::HalfDone,
    Fault::NotSent,
    Fault::LostDone,
    Fault::LostRunning,
    Fault::Crashed,
    Fault::Slow,
    Fault::LateLost,
];

/// One thing that happens; the agent works afterwards.
#[derive(Clone, Debug)]
enum Step {
    Happens(Incident),
    AddFails(Fault, &'static str),
    DelFails(Fault),
    /// The agent dies before this effect of the work after this edit.
    Crashes(u32, &'static str),
    Waits,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => select(&EDITS).prop_map(|edit| Step::Happens(Incident::Edit(Some(edit)))),
        4 => select(&INCIDENTS).prop_map(Step::Happens),
        2 => (select(&ADD_FAULTS), select(&EDITS)).prop_map(|(fault, edit)| Step::AddFails(fault, edit)),
        1 => select(&ADD_FAULTS).prop_map(Step::DelFails),
        2 => (0_u32..14, select(&EDITS)).prop_map(|(effect, edit)| Step::Crashes(effect, edit)),
        2 => Just(Step::Waits),
    ]
}

fn play(harness: &mut Harness, step: &Step) {
    match step {
        Step::Happens(incident) => harness.happen(*incident),
        Step::AddFails(fault, edit) => {
            harness.node.add_faults.push_back(*fault);
            harness.happen(Incident::Edit(Some(edit)));
        }
        Step::DelFails(fault) => harness.node.del_faults.push_back(*fault),
        Step::Crashes(effect, edit) => {
            harness.happen(Incident::Edit(Some(edit)));
            harness.crash_at(*effect);
        }
        Step::Waits => drop(harness.wait()),
    }
    harness.reconcile();
}

/// What is wrong after a history, if anything.
fn broken(history: &[Step], mutant: Option<Mutant>) -> Option<String> {
    let mut harness = Harness::begin(Begin::Running).with_mutant(mutant);
    history.iter().for_each(|step| play(&mut harness, step));
    harness.node.add_faults.clear();
    harness.node.del_faults.clear();
    harness.settle().or_else(|| {
        harness.mend();
        harness.settle()
    })
}

/// The shortest history that ends badly, and what is wrong then; the number of histories that have
/// used a device.
fn search(mutant: Option<Mutant>) -> Result<u32, (String, Vec<Step>)> {
    let used = RefCell::new(0);
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let histories = prop::collection::vec(step(), 1..LONGEST);
    let outcome = runner.run(&histories, |history| {
        let text = format!("{history:?}");
        if text.contains("v@") || text.contains("w@") {
            *used.borrow_mut() += 1;
        }
        broken(&history, mutant).map_or(Ok(()), |broken| Err(TestCaseError::fail(broken)))
    });
    match outcome {
        Ok(()) => Ok(used.into_inner()),
        Err(TestError::Fail(reason, history)) => Err((reason.to_string(), history)),
        Err(TestError::Abort(reason)) => Err((reason.to_string(), Vec::new())),
    }
}

#[test]
fn no_history_gives_a_device_twice_or_loses_one() {
    match search(None) {
        Ok(used) => assert!(used > HISTORIES / 2, "only {used} histories had devices"),
        Err((broken, history)) => panic!("{broken}\n{history:#?}"),
    }
}

#[rstest]
#[case(Mutant::TakesOthersDevices, "with device 0 of another pod")]
#[case(Mutant::GivesADeviceTwice, "with device 1 of net")]
#[case(Mutant::KeepsReleasedDevices, "I7: ")]
fn a_mistake_with_devices_is_found(#[case] mutant: Mutant, #[case] expected: &str) {
    let Err((found, history)) = search(Some(mutant)) else {
        panic!("{mutant:?} was not found");
    };
    assert!(found.contains(expected), "{found}\n{history:#?}");
    assert_eq!(broken(&history, None), None, "{history:#?}");
}
