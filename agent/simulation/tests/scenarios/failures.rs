//! Calls, writes and dependencies that fail.

use std::time::Duration;

use agent_core::{delegate::Command, effect::Count};
use agent_simulation::{Begin, Fault, Harness, Incident};
use rstest::rstest;

use crate::{at_rest, calls, edit, events, minutes, pass, rest};

#[test]
fn a_moved_clock_ends_no_doubt() {
    let mut harness = Harness::new();
    harness.node.add_faults = [Fault::LostRunning].into();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    harness.restart();
    harness.node.clock_ahead = 24 * 60 * 60;
    rest(&mut harness);
    at_rest(&harness, &["a@net1"]);
    assert_eq!(harness.node.calls.len(), 1, "{:?}", harness.node.calls);
}

#[rstest]
#[case(&[Fault::HalfDone])]
#[case(&[Fault::Refused, Fault::HalfDone, Fault::Refused])]
#[case(&[Fault::NotSent, Fault::NotSent])]
#[case(&[Fault::LostDone])]
#[case(&[Fault::LostRunning])]
#[case(&[Fault::LostRunning, Fault::LostRunning])]
#[case(&[Fault::Crashed])]
#[case(&[Fault::Slow])]
#[case(&[Fault::Late])]
#[case(&[Fault::LateLost])]
fn survives_every_fault_of_an_add(#[case] faults: &[Fault]) {
    let mut harness = Harness::new();
    harness.node.add_faults = faults.iter().copied().collect();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    at_rest(&harness, &["a@net1", "b@net2"]);
}

#[rstest]
#[case(&[Fault::Refused, Fault::Refused])]
#[case(&[Fault::NotSent])]
#[case(&[Fault::LostDone])]
#[case(&[Fault::Crashed])]
#[case(&[Fault::Late])]
#[case(&[Fault::LateLost])]
fn survives_every_fault_of_a_del(#[case] faults: &[Fault]) {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    harness.node.del_faults = faults.iter().copied().collect();
    edit(&mut harness, "b@net2");
    rest(&mut harness);
    at_rest(&harness, &["b@net2"]);
}

#[rstest]
#[case(Fault::Refused)]
#[case(Fault::HalfDone)]
#[case(Fault::NotSent)]
#[case(Fault::NamespaceAway)]
#[case(Fault::Crashed)]
fn retries_a_certain_failure_at_once(#[case] fault: Fault) {
    let mut harness = Harness::new();
    harness.node.add_faults = [fault].into();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    pass(&mut harness, Duration::from_secs(1));
    at_rest(&harness, &["a@net1"]);
}

#[test]
fn the_event_keeps_the_first_error() {
    let mut harness = Harness::new();
    harness.node.add_faults = [Fault::HalfDone].into();
    harness.node.del_faults = [Fault::Refused].into();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    let failed = events(&harness, "FailedAddingInterface");
    assert!(failed[0].ends_with("a plugin failed half-way"), "{failed:?}");
    at_rest(&harness, &["a@net1"]);
}

#[test]
fn a_full_disk_stops_adds_but_no_removals() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.node.disk_full = true;
    edit(&mut harness, "b@net2");
    assert!(harness.reconcile());
    assert_eq!(harness.node.links.len(), 0);
    harness.node.disk_full = false;
    rest(&mut harness);
    at_rest(&harness, &["b@net2"]);
}

#[test]
fn an_unwritable_status_costs_no_interface() {
    let mut harness = Harness::new();
    harness.node.status_faults = 3;
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    at_rest(&harness, &["a@net1", "b@net2"]);
    harness.node.status_faults = 3;
    edit(&mut harness, "b@net1");
    rest(&mut harness);
    at_rest(&harness, &["b@net1"]);
}

#[rstest]
#[case(Incident::ApiAway, Incident::ApiBack)]
#[case(Incident::DiskFull, Incident::DiskFree)]
fn the_end_of_an_outage_triggers_retries(#[case] away: Incident, #[case] back: Incident) {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    harness.happen(away);
    for _ in 0..8 {
        assert!(harness.reconcile());
        harness.wait();
    }
    assert_eq!(harness.links("s1"), [""; 0]);
    assert!(harness.reconcile());
    let before = harness.ticks();
    harness.happen(back);
    assert!(harness.reconcile());
    assert_eq!(harness.ticks(), before);
    at_rest(&harness, &["a@net1"]);
}

#[test]
fn a_waiting_status_is_written_after_an_outage() {
    let mut harness = Harness::new();
    harness.node.status_faults = 1;
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert!(harness.broken_invariant().is_some(), "network-status lacks it");
    harness.happen(Incident::ApiAway);
    harness.happen(Incident::ApiBack);
    assert!(harness.reconcile());
    at_rest(&harness, &["a@net1"]);
}

#[test]
fn a_late_call_that_is_lost_gets_its_grace() {
    let mut harness = Harness::new();
    harness.node.add_faults = [Fault::LateLost].into();
    edit(&mut harness, "a@net1");
    minutes(&mut harness, 1);
    assert_eq!(harness.node.calls.len(), 1, "50 s late, and 30 s of grace");
    rest(&mut harness);
    at_rest(&harness, &["a@net1"]);
    assert_eq!(harness.node.calls.len(), 1);
}

#[test]
fn removes_what_a_lost_add_makes_after_its_time() {
    let mut harness = Harness::new();
    harness.node.add_faults = [Fault::Killed].into();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    edit(&mut harness, "[]");
    minutes(&mut harness, 3);
    assert_eq!(harness.links("s1"), [""; 0]);
    harness.node.plug_late("s1", "a", "net1");
    minutes(&mut harness, 1);
    assert_eq!(harness.links("s1"), [""; 0]);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn a_failed_status_write_is_forgotten_with_its_cause() {
    let mut harness = Harness::begin(Begin::Running);
    harness.node.status_faults = 1;
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert!(harness.explain().contains("writing network-status failed"));
    edit(&mut harness, "[]");
    rest(&mut harness);
    assert!(!harness.explain().contains("failed"), "{}", harness.explain());
}

/// The next sandbox has nothing to write, so no write that succeeds takes the failure away.
#[test]
fn a_new_sandbox_forgets_a_failed_status_write() {
    let mut harness = Harness::begin(Begin::Running);
    harness.node.status_faults = 1;
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert!(harness.explain().contains("writing network-status failed"));
    harness.happen(Incident::SandboxEnds);
    edit(&mut harness, "[]");
    harness.happen(Incident::SandboxStarts);
    rest(&mut harness);
    assert!(!harness.explain().contains("failed"), "{}", harness.explain());
}

#[test]
fn a_cache_that_keeps_its_entry_causes_no_storm() {
    let mut harness = Harness::new();
    harness.node.add_faults = [Fault::Killed].into();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    edit(&mut harness, "[]");
    minutes(&mut harness, 3);
    harness.node.cache_read_only = true;
    harness.node.plug_late("s1", "a", "net1");
    let before = calls(&harness, Command::Del);
    minutes(&mut harness, 30);
    let dels = calls(&harness, Command::Del) - before;
    assert!((1..=80).contains(&dels), "{dels} DELs in 30 minutes");
}

/// Of two elements that fail one is mended: what the other does is counted all the same.
#[test]
fn every_failed_step_is_counted() {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkDeleted("a"));
    harness.happen(Incident::NetworkDeleted("b"));
    edit(&mut harness, "a@net1,b@net2");
    minutes(&mut harness, 2);
    harness.happen(Incident::NetworkCreated("b"));
    minutes(&mut harness, 2);
    assert_eq!(harness.links("s1"), ["b@net2"]);
    let counts = harness.node.counts.iter();
    let failed = counts.filter(|count| **count == Count::StepFailed).count();
    let told = events(&harness, "FailedAddingInterface");
    assert!(failed > 6 && failed == told.len(), "{failed} counted, {told:?}");
}
