//! Another controller is on the node: the agent holds back, and goes on when it is gone.

use agent_core::{delegate::Command, other_controller::Hold};
use agent_simulation::{Begin, Fault, Harness, Incident, TICK, sandbox_id};

use crate::{at_rest, calls, edit, pass, rest};

fn other() -> Option<Hold> {
    Some(Hold::Other("another controller runs on this node".into()))
}

#[test]
fn carries_out_edits_when_the_other_controller_is_gone() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.hold(other());
    edit(&mut harness, "b@net2");
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), ["a@net1"]);
    assert!(harness.explain().contains("held: another controller runs"));
    harness.hold(None);
    assert!(harness.reconcile());
    at_rest(&harness, &["b@net2"]);
}

#[test]
fn adopts_what_the_other_controller_plugged() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.hold(other());
    edit(&mut harness, "a@net1,b@net2");
    assert!(harness.reconcile());
    harness.node.plug_late("s1", "b", "net2");
    harness.hold(None);
    rest(&mut harness);
    at_rest(&harness, &["a@net1", "b@net2"]);
    assert_eq!(calls(&harness, Command::Add), 1, "the second is not added again");
    edit(&mut harness, "[]");
    rest(&mut harness);
    at_rest(&harness, &[]);
}

#[test]
fn takes_no_first_sight_beside_another_controller() {
    let mut harness = Harness::begin(Begin::Running);
    harness.hold(other());
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::SandboxStarts);
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert!(!harness.node.records.contains_key(&sandbox_id("s2")));
    harness.hold(None);
    rest(&mut harness);
    assert!(harness.links("s2").contains(&"a@net1".to_owned()));
}

#[test]
fn finishes_the_call_that_runs_when_another_controller_appears() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1,b@net2");
    harness.node.add_faults = [Fault::Slow].into();
    assert!(harness.reconcile());
    harness.hold(other());
    pass(&mut harness, TICK);
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1"]);
    assert_eq!(calls(&harness, Command::Add), 1);
    harness.hold(None);
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1", "b@net2"]);
}

#[test]
fn releases_an_ended_sandbox_beside_another_controller() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.hold(other());
    harness.happen(Incident::MultusAway);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    harness.happen(Incident::MultusBack);
    rest(&mut harness);
    assert!(harness.node.leases.is_empty() && harness.node.records.is_empty());
}
