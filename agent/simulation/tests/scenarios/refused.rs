//! Networks that plugins refuse, and plugins that are missing.

use agent_core::delegate::Command;
use agent_simulation::{Disturbance, Fault, Harness, Incident, Variant, interface, sandbox_id};
use rstest::rstest;

use crate::{at_rest, calls, edit, events, minutes, rest};

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
fn a_correction_at_any_moment_is_tried_at_once(
    #[values(Variant::BadRange, Variant::BadChain, Variant::Misspelt, Variant::BadVersion)] variant: Variant,
    #[values(false, true)] corrected_last: bool,
) {
    let correction = Disturbance::Meanwhile(Incident::NetworkBroken("a", Variant::Good));
    let other = Disturbance::Meanwhile(Incident::NetworkChanged("b"));
    let both = if corrected_last {
        [other, correction]
    } else {
        [correction, other]
    };
    let refused = || {
        let mut harness = Harness::new();
        harness.happen(Incident::NetworkBroken("a", variant));
        edit(&mut harness, "a@net1,b@net2");
        harness
    };
    let mut uncorrected = refused();
    assert!(uncorrected.reconcile());
    for place in (0..).take(uncorrected.effects().len()) {
        let mut harness = refused();
        harness.disturb(place, both[0]);
        harness.disturb(place, both[1]);
        assert!(harness.reconcile());
        let links = harness.links("s1");
        let plugged = links.iter().any(|link| link == "a@net1");
        assert!(plugged, "corrected before effect {place}: {links:?}");
        assert_eq!((harness.broken_invariant(), links.len()), (None, 2));
    }
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

#[rstest]
#[case::pod_lives(false)]
#[case::pod_is_deleted(true)]
fn a_misspelt_type_without_an_answer_is_given_up(#[case] deleted: bool) {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkBroken("a", Variant::Misspelt));
    harness.node.add_faults = [Fault::LostRunning].into();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    edit(&mut harness, "[]");
    minutes(&mut harness, 2);
    let owed = |harness: &Harness| {
        let sandbox = harness.node.records.get(&sandbox_id("s1"));
        let records = sandbox.into_iter().flat_map(|sandbox| &sandbox.attachments);
        records.map(|(_, record)| record.owed.len()).sum::<usize>()
    };
    assert_eq!(owed(&harness), 1);
    if deleted {
        harness.happen(Incident::SandboxEnds);
        harness.happen(Incident::PodDeleted);
    }
    minutes(&mut harness, 5);
    assert_eq!(owed(&harness), 1, "the plugin may come back");
    minutes(&mut harness, 10);
    assert_eq!(owed(&harness), 0);
    rest(&mut harness);
    assert_eq!(harness.node.records.is_empty(), deleted);
}

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
            .is_some_and(|text| text.contains("not released yet")),
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

#[test]
fn a_correction_behind_an_owed_release_is_tried_at_once() {
    let refused = || {
        let mut harness = Harness::new();
        harness.happen(Incident::PluginGone("host-local"));
        harness.node.add_faults = [Fault::LostRunning].into();
        edit(&mut harness, "a@net1");
        minutes(&mut harness, 2);
        harness.node.del_faults = [Fault::Refused, Fault::Refused].into();
        harness.happen(Incident::PluginBack("host-local"));
        harness.happen(Incident::NetworkBroken("b", Variant::BadRange));
        edit(&mut harness, "b@net1");
        harness
    };
    let mut uncorrected = refused();
    assert!(uncorrected.reconcile());
    assert_eq!(uncorrected.links("s1"), [""; 0]);
    for place in (0..).take(uncorrected.effects().len()) {
        let mut harness = refused();
        harness.disturb(
            place,
            Disturbance::Meanwhile(Incident::NetworkBroken("b", Variant::Good)),
        );
        assert!(harness.reconcile());
        assert_eq!(harness.links("s1"), ["b@net1"], "corrected before effect {place}");
    }
}

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

#[test]
fn long_configurations_of_one_pod_are_bounded() {
    let mut harness = Harness::new();
    harness.happen(Incident::NetworkBroken("a", Variant::Long));
    harness.happen(Incident::NetworkBroken("b", Variant::Long));
    edit(&mut harness, "a@net1,b@net2,c@net3");
    assert!(harness.reconcile());
    assert_eq!(harness.links("s1"), ["a@net1", "c@net3"]);
    let failed = events(&harness, "FailedAddingInterface");
    assert!(
        failed.iter().any(|text| text.contains("196608 are allowed")),
        "{failed:?}"
    );
    edit(&mut harness, "b@net2,c@net3");
    minutes(&mut harness, 2);
    assert_eq!(harness.links("s1"), ["b@net2", "c@net3"]);
}
