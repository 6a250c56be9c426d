use std::{rc::Rc, time::Duration};

use rstest::rstest;

use crate::simulated::{Fault, Happening, Rig, interface, sandbox_id};

fn edit(rig: &Rig, networks: Option<&'static str>) {
    rig.happen(Happening::Edit(networks));
}

fn rest(rig: &mut Rig) {
    assert_eq!(rig.settle(), None);
}

fn at_rest(rig: &Rig, wanted: &[&str]) {
    assert_eq!(rig.breach(), None);
    assert_eq!(rig.links("s1"), wanted);
}

fn events(rig: &Rig, reason: &str) -> Vec<String> {
    let node = rig.world.node.borrow();
    node.events
        .iter()
        .filter(|(of, _)| *of == reason)
        .map(|(_, text)| text.clone())
        .collect()
}

#[test]
fn follows_edits() {
    let mut rig = Rig::new();
    for (annotation, wanted) in [
        (Some("a@net1"), &["a@net1"][..]),
        (Some("a@net1,b@net2"), &["a@net1", "b@net2"]),
        (Some("b@net1,b@net2"), &["b@net1", "b@net2"]),
        (Some("c@net3,b@net2"), &["b@net2", "c@net3"]),
        (Some("[]"), &[]),
        (Some("a@net1"), &["a@net1"]),
        (None, &[]),
    ] {
        edit(&rig, annotation);
        rest(&mut rig);
        at_rest(&rig, wanted);
    }
}

#[test]
fn follows_an_annotation_that_flips_with_few_calls_to_its_last_state() {
    let mut rig = Rig::new();
    for flip in 0..100 {
        edit(&rig, Some(if flip % 2 == 0 { "a@net1,b@net2" } else { "b@net2" }));
        assert!(rig.look());
        rig.world.node.borrow_mut().pass(Duration::from_millis(100));
    }
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    at_rest(&rig, &["a@net1", "b@net2"]);
    let calls = rig.world.node.borrow().calls.len();
    assert!(calls < 30, "{calls} calls");
}

#[test]
fn a_failure_in_a_live_sandbox_does_not_delay_its_release() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    rig.world.node.borrow_mut().del_faults = [Fault::Refused].into();
    edit(&rig, Some("[]"));
    assert!(rig.look());
    assert_eq!(rig.world.node.borrow().leases.len(), 1, "the removal has failed");

    rig.happen(Happening::PodDeleted);
    rig.happen(Happening::SandboxEnds);
    rig.wait();
    assert!(rig.look());
    assert!(rig.world.node.borrow().leases.is_empty());
}

#[test]
fn a_restart_replugs_nothing() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    let calls = rig.world.node.borrow().calls.len();
    rig.restart();
    rest(&mut rig);
    assert_eq!(rig.world.node.borrow().calls.len(), calls);
    at_rest(&rig, &["a@net1", "b@net2"]);
}

#[test]
fn a_plugin_that_may_still_run_is_waited_for_after_a_restart_though_the_clock_was_moved() {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().add_faults = [Fault::LostRunning].into();
    edit(&rig, Some("a@net1"));
    assert!(rig.look());
    rig.restart();
    rig.world.node.borrow_mut().clock_ahead = 24 * 60 * 60;
    rest(&mut rig);
    at_rest(&rig, &["a@net1"]);
    let node = rig.world.node.borrow();
    assert_eq!(node.calls.len(), 1, "{:?}", node.calls);
}

#[rstest]
#[case(&[Fault::HalfDone])]
#[case(&[Fault::Refused, Fault::HalfDone, Fault::Refused])]
#[case(&[Fault::NotSent, Fault::NotSent])]
#[case(&[Fault::LostDone])]
#[case(&[Fault::LostRunning])]
#[case(&[Fault::LostRunning, Fault::LostRunning])]
#[case(&[Fault::Crashed])]
fn gets_there_through_every_fault_of_an_add(#[case] faults: &[Fault]) {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().add_faults = faults.iter().copied().collect();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    at_rest(&rig, &["a@net1", "b@net2"]);
}

#[rstest]
#[case(Fault::Refused)]
#[case(Fault::HalfDone)]
#[case(Fault::NotSent)]
#[case(Fault::NamespaceAway)]
#[case(Fault::Crashed)]
fn what_has_failed_for_certain_is_tried_again_at_once(#[case] fault: Fault) {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().add_faults = [fault].into();
    edit(&rig, Some("a@net1"));
    assert!(rig.look());
    rig.world.node.borrow_mut().pass(Duration::from_secs(1));
    assert!(rig.look());
    at_rest(&rig, &["a@net1"]);
}

#[rstest]
#[case(&[Fault::Refused, Fault::Refused])]
#[case(&[Fault::NotSent])]
#[case(&[Fault::LostDone])]
#[case(&[Fault::Crashed])]
fn gets_there_through_every_fault_of_a_del(#[case] faults: &[Fault]) {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    rig.world.node.borrow_mut().del_faults = faults.iter().copied().collect();
    edit(&rig, Some("b@net2"));
    rest(&mut rig);
    at_rest(&rig, &["b@net2"]);
}

#[test]
fn the_event_keeps_the_first_error() {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().add_faults = [Fault::HalfDone].into();
    rig.world.node.borrow_mut().del_faults = [Fault::Refused].into();
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    let failed = events(&rig, "FailedAddingInterface");
    assert!(failed[0].ends_with("a plugin failed half-way"), "{failed:?}");
    at_rest(&rig, &["a@net1"]);
}

#[test]
fn leaves_a_strangers_interface_alone() {
    let mut rig = Rig::new();
    rig.happen(Happening::StrangerPlugs("net1"));
    edit(&rig, Some("a@net1"));
    assert!(rig.look());
    let node = rig.world.node.borrow();
    assert_eq!(node.links[&(sandbox_id("s1"), interface("net1"))], "stranger");
    assert_eq!(
        node.calls.len(),
        1,
        "no DEL of what is not ours: {:?}",
        node.calls
    );
    assert!(node.records[&sandbox_id("s1")].attachments.is_empty());
}

#[test]
fn adds_nothing_without_a_durable_intent_and_still_removes() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    rig.world.node.borrow_mut().disk_full = true;
    edit(&rig, Some("b@net2"));
    assert!(rig.look());
    assert_eq!(rig.world.node.borrow().links.len(), 0);
    rig.world.node.borrow_mut().disk_full = false;
    rest(&mut rig);
    at_rest(&rig, &["b@net2"]);
}

#[test]
fn a_status_that_cannot_be_written_costs_no_interface() {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().status_faults = 3;
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    at_rest(&rig, &["a@net1", "b@net2"]);
    rig.world.node.borrow_mut().status_faults = 3;
    edit(&rig, Some("b@net1"));
    rest(&mut rig);
    at_rest(&rig, &["b@net1"]);
}

#[rstest]
#[case(Happening::ApiAway, Happening::ApiBack)]
#[case(Happening::DiskFull, Happening::DiskFree)]
fn what_has_failed_is_tried_at_once_when_an_outage_ends(#[case] away: Happening, #[case] back: Happening) {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1"));
    rig.happen(away);
    for _ in 0..8 {
        assert!(rig.look());
        rig.wait();
    }
    assert_eq!(rig.links("s1"), [""; 0]);
    assert!(rig.look());
    let before = rig.ticks();
    rig.happen(back);
    assert!(rig.look());
    assert_eq!(rig.ticks(), before);
    at_rest(&rig, &["a@net1"]);
}

#[test]
fn a_status_that_waits_to_be_written_is_written_at_once_when_the_api_server_is_back() {
    let mut rig = Rig::new();
    rig.world.node.borrow_mut().status_faults = 1;
    edit(&rig, Some("a@net1"));
    assert!(rig.look());
    assert!(rig.breach().is_some(), "network-status lacks it");
    rig.happen(Happening::ApiAway);
    rig.happen(Happening::ApiBack);
    assert!(rig.look());
    at_rest(&rig, &["a@net1"]);
}

#[test]
fn a_network_that_is_created_later_is_plugged_then() {
    let mut rig = Rig::new();
    rig.happen(Happening::NetworkDeleted("a"));
    edit(&rig, Some("a@net1,b@net2"));
    assert!(rig.look());
    at_rest(&rig, &["b@net2"]);
    rig.happen(Happening::NetworkCreated("a"));
    assert!(rig.look());
    at_rest(&rig, &["a@net1", "b@net2"]);
}

#[test]
fn adopts_what_the_annotation_had_attached_and_nothing_else() {
    let mut rig = Rig::new();
    edit(&rig, Some("a,b@foo"));
    rig.cold_plug("s1", &[("c", "net1"), ("a", "net2"), ("b", "foo")]);
    assert!(rig.look());
    edit(&rig, Some("[]"));
    rest(&mut rig);
    let node = rig.world.node.borrow();
    let links: Vec<&str> = node
        .links
        .keys()
        .map(|(_, interface)| interface.as_str())
        .collect();
    assert_eq!(links, ["net1"], "what multus adds by default is never removed");
    drop(node);
    assert!(
        events(&rig, "InterfaceAddRejected")
            .iter()
            .any(|text| text.contains("net1"))
    );
}

#[test]
fn takes_over_what_another_controller_has_plugged() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rig.hot_plug_before("s1", "a", "net1");
    rig.hot_plug_before("s1", "b", "net2");
    rest(&mut rig);
    assert!(
        rig.world.node.borrow().calls.is_empty(),
        "nothing is plugged again"
    );
    at_rest(&rig, &["a@net1", "b@net2"]);
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    at_rest(&rig, &["a@net1"]);
}

#[test]
fn what_was_taken_over_is_released_with_its_sandbox() {
    let mut rig = Rig::new();
    edit(&rig, Some("b@net2"));
    rig.hot_plug_before("s1", "b", "net2");
    assert!(rig.look());
    rig.happen(Happening::SandboxEnds);
    rest(&mut rig);
    assert!(rig.world.node.borrow().leases.is_empty());
}

#[test]
fn an_ended_sandbox_gives_its_addresses_back() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    rig.happen(Happening::SandboxEnds);
    rig.happen(Happening::PodDeleted);
    rest(&mut rig);
    let node = rig.world.node.borrow();
    assert_eq!(node.leases.len(), 0);
    assert_eq!(node.cache.len(), 0);
    assert_eq!(node.records.len(), 0);
}

#[test]
fn a_pod_that_terminates_keeps_its_network() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    edit(&rig, Some("[]"));
    rig.happen(Happening::PodTerminates);
    assert!(rig.look());
    assert_eq!(rig.world.node.borrow().links.len(), 1);
}

#[test]
fn a_new_sandbox_of_the_same_pod_starts_anew() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1"));
    rest(&mut rig);
    rig.happen(Happening::SandboxEnds);
    rig.happen(Happening::SandboxStarts);
    rest(&mut rig);
    assert_eq!(rig.links("s2"), ["a@net1"]);
}

/// The agent starts anew, and has set aside the record of net1.
fn restart_with_a_damaged_record(rig: &mut Rig) {
    {
        let mut node = rig.world.node.borrow_mut();
        let records = Rc::make_mut(&mut node.records)
            .get_mut(&sandbox_id("s1"))
            .unwrap();
        assert!(records.attachments.remove(&interface("net1")).is_some());
        records.damaged.insert(interface("net1"));
    }
    rig.restart();
}

#[test]
fn a_damaged_record_is_written_anew_from_what_libcni_remembers() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    let calls = rig.world.node.borrow().calls.len();
    restart_with_a_damaged_record(&mut rig);
    rest(&mut rig);
    assert_eq!(
        rig.world.node.borrow().calls.len(),
        calls,
        "nothing is plugged anew"
    );
    at_rest(&rig, &["a@net1", "b@net2"]);
    edit(&rig, Some("b@net2"));
    rest(&mut rig);
    at_rest(&rig, &["b@net2"]);
}

#[test]
fn what_a_damaged_record_was_about_is_released_with_its_sandbox() {
    let mut rig = Rig::new();
    edit(&rig, Some("a@net1,b@net2"));
    rest(&mut rig);
    edit(&rig, Some("b@net2"));
    restart_with_a_damaged_record(&mut rig);
    assert!(rig.look());
    assert_eq!(
        rig.links("s1"),
        ["a@net1", "b@net2"],
        "nothing tells any more whose it is"
    );
    rig.happen(Happening::PodDeleted);
    rig.happen(Happening::SandboxEnds);
    rest(&mut rig);
    assert_eq!(rig.breach(), None);
    assert!(rig.world.node.borrow().leases.is_empty());
}
