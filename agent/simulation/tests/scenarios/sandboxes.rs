//! First sight of a sandbox, its end, and what is left of it.

use agent_simulation::{Begin, Fault, Harness, Incident};
use rstest::rstest;

use crate::{at_rest, edit, events, minutes, rest};

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

#[rstest]
#[case(Some("[]"))]
#[case(None)]
fn a_list_emptied_while_the_agent_is_away_is_applied(#[case] emptied: Option<&'static str>) {
    let mut harness = Harness::begin(Begin::DefaultNetwork);
    edit(&mut harness, "a@net5");
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::SandboxStarts);
    harness.happen(Incident::Edit(emptied));
    harness.happen(Incident::AgentBack);
    rest(&mut harness);
    assert_eq!(harness.links("s1"), ["d@net1"]);
    assert_eq!(harness.node.events.len(), 1, "{:?}", harness.node.events);
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
