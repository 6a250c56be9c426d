//! Histories that ended badly once, as the explorer printed them.

use agent_simulation::{Begin, Disturbance, EffectKind, Fault, Harness, Incident, Variant};

const A: Incident = Incident::Edit(Some("a@net1"));
const NONE: Incident = Incident::Edit(Some("[]"));

/// The place of the first effect of a kind in what the agent does after an incident.
fn place_of(harness: &mut Harness, incident: Incident, kind: EffectKind) -> u32 {
    let before = harness.snapshot();
    harness.happen(incident);
    assert!(harness.reconcile());
    let place = harness.effects().iter().position(|effect| *effect == kind);
    harness.resume(&before);
    place
        .and_then(|place| u32::try_from(place).ok())
        .unwrap_or(u32::MAX - 9)
}

#[test]
fn waits_for_a_del_whose_answer_is_lost() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::Edit(Some("a@net1")));
    harness.node.add_faults = [Fault::Refused].into();
    harness.node.del_faults = [Fault::Refused, Fault::LostRunning].into();
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn waits_for_a_second_del_that_the_cache_hides() {
    let mut harness = Harness::begin(Begin::BeforeStart);
    harness.happen(Incident::Edit(Some("a@net1,b@net2")));
    harness.reconcile();
    harness.happen(Incident::SandboxStarts);
    harness.reconcile();
    let edit = Incident::Edit(Some("b@net1"));
    let del = place_of(&mut harness, edit, EffectKind::Del);
    harness.happen(edit);
    harness.crash_at(del + 1);
    assert!(!harness.reconcile());
    harness.node.del_faults = [Fault::LostRunning].into();
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn writes_later_what_the_disk_refused() {
    let mut harness = Harness::begin(Begin::Running);
    let add = place_of(&mut harness, A, EffectKind::Add);
    harness.happen(A);
    harness.disturb(add + 1, Disturbance::Fails(Fault::Refused));
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn forgets_a_status_that_was_never_written_down() {
    let mut harness = Harness::begin(Begin::Running);
    let add = place_of(&mut harness, A, EffectKind::Add);
    harness.happen(A);
    harness.crash_at(add + 1);
    assert!(!harness.reconcile());
    let patch = place_of(&mut harness, Incident::DiskFull, EffectKind::Patch);
    harness.happen(Incident::DiskFull);
    harness.disturb(patch + 1, Disturbance::Meanwhile(Incident::AgentAway));
    harness.reconcile();
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::AgentBack);
    let del = place_of(&mut harness, NONE, EffectKind::Del);
    harness.happen(NONE);
    harness.crash_at(del + 1);
    assert!(!harness.reconcile());
    assert_eq!(harness.settle(), None);
}

#[test]
fn reads_the_status_after_a_lost_patch() {
    let mut harness = Harness::begin(Begin::Running);
    let patch = place_of(&mut harness, A, EffectKind::Patch);
    harness.happen(A);
    harness.disturb(patch - 1, Disturbance::Meanwhile(NONE));
    harness.disturb(patch, Disturbance::Fails(Fault::LostDone));
    harness.disturb(patch + 2, Disturbance::Meanwhile(Incident::Pass));
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn an_unreadable_cache_ends_no_doubt() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::Edit(Some("a@net1,b@net2")));
    harness.reconcile();
    harness.node.del_faults = [Fault::LostRunning].into();
    let lookup = place_of(&mut harness, NONE, EffectKind::Read);
    harness.happen(NONE);
    harness.disturb(lookup, Disturbance::Fails(Fault::Refused));
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn owed_releases_do_not_multiply() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::PluginGone("host-local"));
    harness.happen(A);
    harness.reconcile();
    for round in 0..60 {
        harness.wait();
        harness.crash_at(3 + round % 15);
        harness.reconcile();
        harness.reconcile();
    }
    let records = harness.node.records.values();
    let mut attachments = records.flat_map(|records| records.attachments.values());
    let owed = attachments.next().map(|record| record.owed.len());
    assert!(owed.is_some_and(|owed| owed <= 3), "{owed:?}");
    assert_eq!(harness.settle(), None);
}

#[test]
fn an_owed_record_is_written_once() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::NetworkBroken("a", Variant::BadDel));
    harness.happen(Incident::Edit(Some("a@net1")));
    harness.reconcile();
    harness.happen(Incident::Edit(Some("[]")));
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn releases_an_add_that_outlives_its_sandbox() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::Edit(Some("b@net1")));
    harness.node.add_faults = [Fault::LostRunning].into();
    harness.reconcile();
    harness.happen(Incident::SandboxEnds);
    harness.reconcile();
    assert_eq!(harness.settle(), None);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn a_later_element_adopts_nothing_that_was_removed() {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    harness.happen(Incident::Edit(Some("a,a")));
    harness.happen(Incident::SandboxStarts);
    harness.reconcile();
    harness.happen(Incident::Edit(Some("d@net1")));
    harness.crash_at(8);
    harness.reconcile();
    harness.reconcile();
    harness.happen(Incident::Edit(Some("a,b@net6")));
    harness.reconcile();
    assert_eq!(harness.settle(), None);
}

#[test]
fn an_outage_is_no_storm_of_lookups() {
    let mut harness = Harness::begin(Begin::Running);
    harness.happen(Incident::Edit(Some("a@net1,b@net2")));
    harness.reconcile();
    harness.happen(Incident::MultusAway);
    harness.happen(Incident::Edit(Some("[]")));
    let mut reads = 0;
    for _ in 0..60 {
        harness.reconcile();
        reads += harness
            .effects()
            .iter()
            .filter(|effect| **effect == EffectKind::Read)
            .count();
        harness.happen(Incident::Pass);
    }
    assert!(reads <= 8, "{reads} reads in ten minutes");
}
