//! What multus and libcni keep goes from the node, without a DEL of the agent.

use agent_core::{delegate::Command, other_controller::Hold};
use agent_simulation::{Harness, Incident, sandbox_id};
use rstest::rstest;

use crate::{at_rest, calls, edit, events, rest};

/// The texts of the reports so far.
fn reports(harness: &Harness) -> Vec<String> {
    let failures = events(harness, "FailedAddingInterface");
    failures
        .into_iter()
        .filter(|text| text.contains("has gone from the node"))
        .collect()
}

fn plugged(networks: &'static str) -> Harness {
    let mut harness = Harness::new();
    edit(&mut harness, networks);
    rest(&mut harness);
    scan(&mut harness);
    harness
}

fn scan(harness: &mut Harness) {
    harness.scan();
    assert!(harness.reconcile());
}

/// Two scans, which a loss needs, and one more.
fn scans(harness: &mut Harness) {
    (0..3).for_each(|_| scan(harness));
}

#[test]
fn a_lost_result_is_reported_once() {
    let mut harness = plugged("a@net1,b@net2");
    harness.node.cache.retain(|(name, ..), _| name != "a");
    scan(&mut harness);
    assert_eq!(reports(&harness), [""; 0], "one miss is no loss");
    scans(&mut harness);
    let reports = reports(&harness);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("interface net1 on network default/a"));
    assert!(
        harness
            .explain()
            .contains("drift: libcni's result of interface net1")
    );
    let counts = harness.state().unwrap().counts();
    assert_eq!((counts.lost_results, counts.lost_delegates), (1, 0));
    assert_eq!(harness.links("s1"), ["a@net1", "b@net2"], "nothing is changed");
}

#[test]
fn a_lost_result_is_reported_after_a_restart() {
    let mut harness = plugged("a@net1");
    harness.node.cache.clear();
    harness.restart();
    rest(&mut harness);
    scans(&mut harness);
    assert_eq!(reports(&harness).len(), 1);
}

#[rstest]
#[case::a_single_plugin("a@net1")]
#[case::a_chain("c@net1")]
fn removing_and_adding_the_element_attaches_it_again(#[case] networks: &'static str) {
    let mut harness = plugged(networks);
    harness.node.cache.clear();
    harness.node.links.clear();
    scans(&mut harness);
    edit(&mut harness, "[]");
    rest(&mut harness);
    assert_eq!(harness.node.leases.len(), 0, "its address is released");
    edit(&mut harness, networks);
    rest(&mut harness);
    at_rest(&harness, &[networks]);
    assert_eq!(calls(&harness, Command::Add), 2);
    scans(&mut harness);
    assert_eq!(harness.state().unwrap().drift(), [""; 0]);
    assert_eq!(reports(&harness).len(), 1);
}

#[test]
fn an_unplug_is_no_loss() {
    let mut harness = plugged("a@net1,b@net2");
    edit(&mut harness, "b@net2");
    rest(&mut harness);
    scans(&mut harness);
    harness.happen(Incident::SandboxEnds);
    scans(&mut harness);
    assert_eq!(reports(&harness), [""; 0]);
}

/// Multus removes what it keeps; the agent has not heard of the end.
#[test]
fn an_end_during_an_outage_is_no_loss() {
    let mut harness = plugged("a@net1");
    harness.happen(Incident::RuntimeAway);
    harness.happen(Incident::SandboxEnds);
    scans(&mut harness);
    harness.happen(Incident::RuntimeBack);
    scans(&mut harness);
    assert_eq!(reports(&harness), [""; 0]);
}

#[test]
fn a_lost_delegate_file_is_reported_once() {
    let mut harness = plugged("a@net1");
    harness.node.delegates.remove(&sandbox_id("s1"));
    scans(&mut harness);
    let reports = reports(&harness);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("delegate file"));
    assert_eq!(harness.state().unwrap().counts().lost_delegates, 1);
}

#[test]
fn a_delegate_file_that_was_never_there_is_no_loss() {
    let mut harness = Harness::new();
    harness.node.delegates.clear();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    scans(&mut harness);
    assert_eq!(reports(&harness), [""; 0]);
}

#[test]
fn what_comes_back_is_no_loss_any_more() {
    let mut harness = plugged("a@net1");
    let cache = std::mem::take(&mut harness.node.cache);
    scans(&mut harness);
    harness.node.cache = cache;
    scan(&mut harness);
    assert_eq!(harness.state().unwrap().drift(), [""; 0]);
}

/// It may be the other one that removed the interface.
#[test]
fn nothing_is_lost_beside_another_controller() {
    let mut harness = plugged("a@net1");
    harness.hold(Some(Hold::Unknown));
    harness.node.cache.clear();
    scans(&mut harness);
    assert_eq!(reports(&harness), [""; 0]);
}
