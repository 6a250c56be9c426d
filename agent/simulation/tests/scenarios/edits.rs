//! Edits, and what they cost.

use std::time::Duration;

use agent_core::{delegate::Command, effect::Count, pod_state::PodState};
use agent_simulation::{
    Begin, Disturbance, EffectKind, Fault, Harness, Incident, TICK, interface, sandbox_id,
};

use crate::{at_rest, calls, count, edit, events, pass, rest};

#[test]
fn follows_edits() {
    let mut harness = Harness::new();
    for (annotation, wanted) in [
        (Some("a@net1"), &["a@net1"][..]),
        (Some("a@net1,b@net2"), &["a@net1", "b@net2"]),
        (Some("b@net1,b@net2"), &["b@net1", "b@net2"]),
        (Some("c@net3,b@net2"), &["b@net2", "c@net3"]),
        (Some("[]"), &[]),
        (Some("a@net1"), &["a@net1"]),
        (None, &[]),
    ] {
        harness.happen(Incident::Edit(annotation));
        rest(&mut harness);
        at_rest(&harness, wanted);
    }
}

#[test]
fn a_flapping_annotation_costs_few_calls() {
    let mut harness = Harness::new();
    for flip in 0..100 {
        edit(
            &mut harness,
            if flip % 2 == 0 { "a@net1,b@net2" } else { "b@net2" },
        );
        assert!(harness.reconcile());
        harness.pass(Duration::from_millis(100));
    }
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    at_rest(&harness, &["a@net1", "b@net2"]);
    let calls = harness.node.calls.len();
    assert!(calls < 30, "{calls} calls");
}

#[test]
fn a_restart_replugs_nothing() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    let calls = harness.node.calls.len();
    harness.restart();
    rest(&mut harness);
    assert_eq!(harness.node.calls.len(), calls);
    at_rest(&harness, &["a@net1", "b@net2"]);
}

#[test]
fn leaves_a_foreign_interface_unchanged() {
    let mut harness = Harness::new();
    harness.happen(Incident::ForeignPlugs("net1"));
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    let node = &harness.node;
    assert_eq!(
        node.links[&(sandbox_id("s1"), interface("net1"))],
        "another program"
    );
    assert_eq!(node.calls.len(), 1, "no DEL: {:?}", node.calls);
    assert!(node.records[&sandbox_id("s1")].attachments.is_empty());
    assert_eq!(node.listed(&sandbox_id("s1")), [""; 0]);
}

#[test]
fn plugs_a_network_that_is_created_later() {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkDeleted("a"));
    edit(&mut harness, "a@net1,b@net2");
    assert!(harness.reconcile());
    at_rest(&harness, &["b@net2"]);
    harness.happen(Incident::NetworkCreated("a"));
    assert!(harness.reconcile());
    at_rest(&harness, &["a@net1", "b@net2"]);
}

#[test]
fn lists_what_it_plugs_in_multus_file() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    assert_eq!(harness.node.listed(&sandbox_id("s1")), ["a@net1", "b@net2"]);
    edit(&mut harness, "b@net2");
    rest(&mut harness);
    assert_eq!(harness.node.listed(&sandbox_id("s1")), ["b@net2"]);
}

#[test]
fn an_unwritable_delegate_file_costs_no_interface() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1");
    let list = 3;
    harness.disturb(list, Disturbance::Fails(Fault::Refused));
    assert!(harness.reconcile());
    assert_eq!(harness.effects()[3], EffectKind::List, "{:?}", harness.effects());
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1"]);
    assert!(events(&harness, "FailedAddingInterface")[0].contains("delegate file"));
    harness.happen(Incident::SandboxEnds);
    rest(&mut harness);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn begins_nothing_after_it_was_asked_to_stop() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1,b@net2");
    harness.node.add_faults = [Fault::Slow].into();
    assert!(harness.reconcile());
    harness.stop();
    pass(&mut harness, TICK);
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1"], "what runs is finished");
    assert!(harness.state().is_some_and(PodState::is_idle));
    assert_eq!(calls(&harness, Command::Add), 1);
}

#[test]
fn a_burst_costs_few_patches() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1,b@net2,c@net3,a@net4,b@net5");
    for effect in 0..60 {
        harness.slow(effect, EffectKind::Patch);
    }
    assert!(harness.reconcile());
    let mut patches = count(&harness, EffectKind::Patch);
    pass(&mut harness, TICK);
    patches += count(&harness, EffectKind::Patch);
    assert_eq!(harness.broken_invariant(), None);
    assert!(patches <= 2, "{patches} patches");
}

#[test]
fn churn_of_labels_costs_nothing() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    let mut effects = 0;
    for _ in 0..100 {
        harness.relabel();
        assert!(harness.reconcile());
        effects += harness.effects().len();
    }
    assert_eq!(effects, 0);
}

#[test]
fn two_writers_that_disagree_cost_few_patches() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    let mut effects = 0;
    for _ in 0..100 {
        harness.overwrite_status();
        assert!(harness.reconcile());
        effects += harness.effects().len();
        harness.pass(Duration::from_millis(100));
        assert!(harness.reconcile());
        effects += harness.effects().len();
    }
    assert!(effects <= 40, "{effects} effects in ten seconds");
}

/// The watch shows an edit only when a later status is written already. A patch then fails while
/// the interface is unplugged. The agent forgets neither that status nor its doubt.
#[test]
fn a_late_watch_hides_nothing_that_was_written() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    let mut effects = (0..).zip(harness.effects());
    let (patch, _) = effects.find(|(_, kind)| **kind == EffectKind::Patch).unwrap();
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    harness.disturb(patch, Disturbance::Unseen(Incident::Edit(Some("[]"))));
    assert!(harness.reconcile());
    // For two ticks the watch shows nothing but the edit.
    let unseen = harness.node.unseen.as_mut().unwrap();
    unseen.push_front(unseen[0].clone());
    harness.happen(Incident::Pass);
    harness.slow(1, EffectKind::Patch);
    harness.slow(3, EffectKind::Del);
    assert!(harness.reconcile());
    assert_eq!(count(&harness, EffectKind::Del), 1);
    rest(&mut harness);
    at_rest(&harness, &[]);
}

#[test]
fn an_edit_that_calls_multus_is_measured_once() {
    let mut harness = Harness::new();
    for (networks, edits) in [("a@net1,b@net2", 1), ("a@net1", 2), ("a@net1", 2), ("c@net3", 3)] {
        edit(&mut harness, networks);
        rest(&mut harness);
        let counts = harness.node.counts.iter();
        let measured = counts.filter(|count| matches!(count, Count::Edit(_))).count();
        assert_eq!(measured, edits, "{networks}");
        let words = harness.explain();
        assert!(
            words.contains("last edit: complete ") && words.contains(": planned "),
            "{words}"
        );
    }
}
