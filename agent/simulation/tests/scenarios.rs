//! What the agent does, one behaviour a test, on a simulated node.

use std::time::Duration;

use agent_core::{delegate::Command, pod_state::PodState};
use agent_simulation::{
    Begin, Disturbance, EffectKind, Fault, Harness, Incident, Pool, TICK, Variant, interface, sandbox_id,
};
use rstest::rstest;

fn edit(harness: &mut Harness, networks: &'static str) {
    harness.happen(Incident::Edit(Some(networks)));
}

fn rest(harness: &mut Harness) {
    assert_eq!(harness.settle(), None);
}

fn at_rest(harness: &Harness, wanted: &[&str]) {
    assert_eq!(harness.broken_invariant(), None);
    assert_eq!(harness.links("s1"), wanted);
}

fn events(harness: &Harness, reason: &str) -> Vec<String> {
    let of_reason = harness.node.events.iter().filter(|(of, _)| *of == reason);
    of_reason.map(|(_, text)| text.clone()).collect()
}

fn pass(harness: &mut Harness, time: Duration) {
    harness.pass(time);
    assert!(harness.reconcile());
}

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
fn a_failed_removal_does_not_delay_the_release() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.node.del_faults = [Fault::Refused].into();
    edit(&mut harness, "[]");
    assert!(harness.reconcile());
    assert_eq!(harness.node.leases.len(), 1, "the removal has failed");

    harness.happen(Incident::PodDeleted);
    harness.happen(Incident::MultusAway);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::MultusBack);
    harness.wait();
    assert!(harness.reconcile());
    assert!(harness.node.leases.is_empty());
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
fn releases_what_an_absent_multus_did_not() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,c@net2");
    rest(&mut harness);
    harness.happen(Incident::MultusAway);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    rest(&mut harness);
    assert!(harness.node.leases.is_empty() && harness.node.records.is_empty());
}

#[test]
fn releases_what_a_removed_plugin_refused() {
    let mut harness = Harness::new();
    edit(&mut harness, "c@net1");
    rest(&mut harness);
    harness.happen(Incident::PluginGone("tuning"));
    harness.happen(Incident::SandboxEnds);
    harness.wait();
    assert!(harness.reconcile());
    assert!(harness.node.leases.is_empty(), "tuning holds no address");
    rest(&mut harness);
    assert!(harness.node.records.is_empty());
}

#[rstest]
#[case(Variant::BadRange)]
#[case(Variant::BadChain)]
#[case(Variant::Misspelt)]
#[case(Variant::BadVersion)]
fn a_refused_network_leaves_nothing_and_is_corrected(#[case] variant: Variant) {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkBroken("a", variant));
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["b@net2"]);
    harness.happen(Incident::NetworkBroken("a", Variant::Good));
    assert!(harness.reconcile());
    at_rest(&harness, &["a@net1", "b@net2"]);
}

#[rstest]
#[case(Variant::BadRange)]
#[case(Variant::BadChain)]
#[case(Variant::Misspelt)]
#[case(Variant::BadVersion)]
fn a_refused_network_is_swapped_and_removed(#[case] variant: Variant) {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkBroken("a", variant));
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    edit(&mut harness, "b@net1");
    assert!(harness.reconcile());
    at_rest(&harness, &["b@net1"]);
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    edit(&mut harness, "[]");
    assert!(harness.reconcile());
    at_rest(&harness, &[]);
    assert!(harness.node.records[&sandbox_id("s1")].attachments.is_empty());
}

#[test]
fn a_pod_that_terminates_keeps_its_network() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.happen(Incident::PodTerminates);
    edit(&mut harness, "[]");
    assert!(harness.reconcile());
    assert_eq!(harness.node.links.len(), 1);
}

#[test]
fn an_ended_sandbox_leaves_nothing() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    rest(&mut harness);
    let node = &harness.node;
    assert_eq!(
        (node.leases.len(), node.cache.len(), node.records.len()),
        (0, 0, 0)
    );
}

#[test]
fn plugs_into_the_next_sandbox_of_a_pod() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::SandboxStarts);
    rest(&mut harness);
    assert_eq!(harness.links("s2"), ["a@net1"]);
}

/// So many minutes pass.
fn minutes(harness: &mut Harness, minutes: u32) {
    for _ in 0..minutes * 6 {
        harness.happen(Incident::Pass);
        assert!(harness.reconcile());
    }
}

fn calls(harness: &Harness, command: Command) -> usize {
    let calls = harness.node.calls.iter();
    calls.filter(|call| call.command == command).count()
}

// C1

#[test]
fn two_missing_plugins_leave_nothing_behind() {
    let mut harness = Harness::new();
    harness.happen(Incident::PluginGone("host-local"));
    harness.happen(Incident::PluginGone("tuning"));
    edit(&mut harness, "c@net1");
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), [""; 0]);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    rest(&mut harness);
    assert!(harness.node.records.is_empty());
}

#[test]
fn a_misspelt_type_leaves_nothing_after_the_pod() {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkBroken("a", Variant::Misspelt));
    edit(&mut harness, "a@net1");
    minutes(&mut harness, 1);
    assert_eq!(calls(&harness, Command::Del), 0, "nothing ran");
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    rest(&mut harness);
    assert!(harness.node.records.is_empty());
}

// C2

#[test]
fn a_missing_ipam_at_del_leaks_no_lease() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.happen(Incident::PluginGone("host-local"));
    edit(&mut harness, "[]");
    minutes(&mut harness, 9);
    assert_eq!(harness.links("s1"), ["a@net1"], "it is not taken apart yet");
    minutes(&mut harness, 3);
    assert_eq!((harness.links("s1").len(), harness.node.leases.len()), (0, 1));
    let failed = events(&harness, "FailedRemovingInterface");
    assert!(
        failed
            .last()
            .is_some_and(|text| text.contains("refuses to release")),
        "{failed:?}"
    );
    harness.happen(Incident::PluginBack("host-local"));
    minutes(&mut harness, 2);
    assert!(harness.node.leases.is_empty());
    at_rest(&harness, &[]);
}

#[test]
fn an_owed_release_waits_while_its_name_is_used() {
    let mut harness = Harness::new();
    harness.happen(Incident::PluginGone("host-local"));
    harness.node.add_faults = [Fault::LostRunning].into();
    edit(&mut harness, "a@net1");
    minutes(&mut harness, 2);
    let owed = |harness: &Harness| {
        let records = &harness.node.records[&sandbox_id("s1")].attachments;
        records[&interface("net1")].owed.len()
    };
    assert_eq!(owed(&harness), 1);
    // The release is refused once more before the ADD of another network, which works.
    harness.node.del_faults = [Fault::Refused, Fault::Refused].into();
    harness.happen(Incident::PluginBack("host-local"));
    edit(&mut harness, "b@net1");
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), ["b@net1"]);
    assert_eq!(owed(&harness), 1);
    let dels = calls(&harness, Command::Del);
    minutes(&mut harness, 15);
    assert_eq!(calls(&harness, Command::Del), dels, "net1 is in use");
    assert_eq!(harness.node.leases.len(), 1, "that of b");
    edit(&mut harness, "[]");
    rest(&mut harness);
    at_rest(&harness, &[]);
}

// C5

#[rstest]
#[case::ipam("host-local", "a@net1")]
#[case::second_plugin("tuning", "c@net1")]
fn a_failing_plug_keeps_its_backoff(#[case] plugin: &'static str, #[case] networks: &'static str) {
    let mut harness = Harness::new();
    harness.happen(Incident::PluginGone(plugin));
    edit(&mut harness, networks);
    minutes(&mut harness, 30);
    let adds = calls(&harness, Command::Add);
    assert!((25..=40).contains(&adds), "{adds} ADDs in 30 minutes");
}

// C6

#[test]
fn writes_no_intent_before_it_has_a_permit() {
    let mut harness = Harness::begin(Begin::Running);
    let mut other = Harness::begin(Begin::Running).sharing(&harness.pool(), 1);
    *harness.pool().borrow_mut() = Pool::new(1);
    other.happen(Incident::Edit(Some("a@net1")));
    other.node.add_faults = [Fault::Late].into();
    assert!(other.reconcile());
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert!(harness.node.records[&sandbox_id("s1")].attachments.is_empty());
    harness.restart();
    *harness.pool().borrow_mut() = Pool::new(1);
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1"], "nothing was in doubt");
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

// C7

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

// C8

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

// C12

#[test]
fn a_hung_call_delays_no_release_of_its_siblings() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.node.add_faults = [Fault::Late].into();
    edit(&mut harness, "a@net1,b@net2");
    assert!(harness.reconcile());
    // Multus finds no file, so only the agent releases.
    harness.node.delegates.clear();
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    pass(&mut harness, TICK);
    assert!(harness.node.leases.is_empty(), "{:?}", harness.node.leases);
    rest(&mut harness);
}

// C13

#[test]
fn a_slow_api_server_delays_no_add() {
    let mut harness = Harness::begin(Begin::Running);
    edit(&mut harness, "a@net1,b@net2,c@net3");
    for effect in 0..40 {
        harness.slow(effect, EffectKind::Patch);
    }
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1", "b@net2", "c@net3"]);
    rest(&mut harness);
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

fn count(harness: &Harness, kind: EffectKind) -> usize {
    harness.effects().iter().filter(|effect| **effect == kind).count()
}

// C24

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

// C30

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

// S5

#[rstest]
#[case("d@net1")]
#[case("d")]
fn a_default_network_is_never_adopted(#[case] networks: &'static str) {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    harness.happen(Incident::SandboxStarts);
    for restart in [false, true] {
        edit(&mut harness, networks);
        assert!(harness.reconcile());
        if restart {
            harness.restart();
        }
        edit(&mut harness, "[]");
        rest(&mut harness);
        assert_eq!(harness.links("s1"), ["d@net1"]);
    }
    assert!(harness.node.calls.is_empty());
}

// S8

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

// I9

#[test]
fn a_hung_call_delays_no_other_pod() {
    let mut hung = Harness::begin(Begin::Running);
    *hung.pool().borrow_mut() = Pool::new(2);
    let others: Vec<Harness> = (1..5)
        .map(|pod| Harness::begin(Begin::Running).sharing(&hung.pool(), pod))
        .collect();
    edit(&mut hung, "a@net1");
    hung.node.add_faults = [Fault::LateLost].into();
    assert!(hung.reconcile());
    for mut other in others {
        edit(&mut other, "a@net1,b@net2");
        assert!(other.reconcile());
        at_rest_beside(&other);
    }
}

fn at_rest_beside(harness: &Harness) {
    assert_eq!(harness.broken_invariant(), None);
    assert_eq!(harness.links("s1"), ["d@def0", "a@net1", "b@net2"]);
}

#[test]
fn late_calls_give_their_permits_back() {
    let mut hung: Vec<Harness> = vec![Harness::begin(Begin::Running)];
    let pool = hung[0].pool();
    *pool.borrow_mut() = Pool::new(2);
    hung.push(Harness::begin(Begin::Running).sharing(&pool, 1));
    let mut other = Harness::begin(Begin::Running).sharing(&pool, 2);
    for pod in &mut hung {
        edit(pod, "a@net1");
        pod.node.add_faults = [Fault::Late].into();
        assert!(pod.reconcile());
    }
    edit(&mut other, "a@net1,b@net2");
    assert!(other.reconcile());
    assert_eq!(other.links("s1"), ["d@def0"], "it waits for a permit");
    for pod in &mut hung {
        pass(pod, Duration::from_secs(30));
    }
    assert!(other.reconcile());
    at_rest_beside(&other);
}

// First sight

#[test]
fn adopts_what_the_annotation_had_attached() {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    edit(&mut harness, "a,b@foo");
    harness.happen(Incident::SandboxStarts);
    assert!(harness.reconcile());
    edit(&mut harness, "[]");
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["d@net1"], "multus' own is never removed");
    let rejected = events(&harness, "InterfaceAddRejected");
    assert!(rejected.iter().any(|text| text.contains("net1")), "{rejected:?}");
}

#[test]
fn an_edit_while_the_agent_is_away_is_applied() {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    edit(&mut harness, "a@hot0,b@hot1");
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::SandboxStarts);
    edit(&mut harness, "b@hot0");
    harness.happen(Incident::AgentBack);
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["b@hot0", "d@net1"]);
}

#[test]
fn adopts_an_unnamed_element_that_comes_back() {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    edit(&mut harness, "a");
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::SandboxStarts);
    edit(&mut harness, "b@net7");
    harness.happen(Incident::AgentBack);
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["d@net1", "a@net2", "b@net7"]);
    edit(&mut harness, "a,b@net7");
    rest(&mut harness);
    edit(&mut harness, "b@net7");
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["d@net1", "b@net7"]);
}

#[test]
fn takes_over_what_another_controller_plugged() {
    let mut harness = Harness::new();
    harness.happen(Incident::AgentAway);
    edit(&mut harness, "a@net1,b@net2");
    harness.happen(Incident::PredecessorPlugs("a", "net1"));
    harness.happen(Incident::PredecessorPlugs("b", "net2"));
    rest(&mut harness);
    assert!(harness.node.calls.is_empty(), "nothing is plugged again");
    at_rest(&harness, &["a@net1", "b@net2"]);
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    at_rest(&harness, &["a@net1"]);
}

#[test]
fn releases_what_it_took_over() {
    let mut harness = Harness::new();
    harness.happen(Incident::AgentAway);
    edit(&mut harness, "b@net2");
    harness.happen(Incident::PredecessorPlugs("b", "net2"));
    harness.happen(Incident::AgentBack);
    assert!(harness.reconcile());
    harness.happen(Incident::SandboxEnds);
    rest(&mut harness);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn restores_a_damaged_record_from_the_node() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    let calls = harness.node.calls.len();
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::RecordDamaged("net1"));
    rest(&mut harness);
    assert_eq!(harness.node.calls.len(), calls, "nothing is plugged again");
    at_rest(&harness, &["a@net1", "b@net2"]);
    edit(&mut harness, "b@net2");
    rest(&mut harness);
    at_rest(&harness, &["b@net2"]);
}

#[test]
fn releases_what_a_damaged_record_was_about() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::RecordDamaged("net1"));
    harness.node.delegates.clear();
    edit(&mut harness, "b@net2");
    harness.happen(Incident::AgentBack);
    assert!(harness.reconcile());
    assert_eq!(
        harness.links("s1"),
        ["a@net1", "b@net2"],
        "nothing says whose it is"
    );
    harness.happen(Incident::PodDeleted);
    harness.happen(Incident::SandboxEnds);
    rest(&mut harness);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn a_host_network_pod_is_told_once() {
    let mut harness = Harness::begin(Begin::HostNetwork);
    edit(&mut harness, "a@net1");
    harness.happen(Incident::SandboxStarts);
    minutes(&mut harness, 2);
    assert_eq!(events(&harness, "InterfaceAddRejected").len(), 1);
    assert!(harness.node.calls.is_empty());
}
