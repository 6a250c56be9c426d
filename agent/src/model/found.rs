//! Histories that ended badly once, as the model printed them.

use crate::simulated::{Disturbance, Fault, Happening, Rig};

#[test]
fn a_del_whose_answer_is_lost_is_waited_for() {
    let mut rig = Rig::running();
    rig.happen(Happening::Edit(Some("a@net1")));
    rig.disturb(7, Disturbance::Fails(Fault::Refused));
    rig.disturb(9, Disturbance::Fails(Fault::Refused));
    rig.disturb(10, Disturbance::Fails(Fault::LostRunning));
    rig.look();
    assert_eq!(rig.settle(), None);
}

#[test]
fn a_second_del_is_waited_for_though_the_first_has_emptied_the_cache() {
    let mut rig = Rig::before_start();
    rig.happen(Happening::Edit(Some("a@net1,b@net2")));
    rig.look();
    rig.happen(Happening::SandboxStarts);
    rig.look();
    rig.happen(Happening::Edit(Some("b@net1")));
    rig.crash_before(8);
    rig.look();
    rig.disturb(3, Disturbance::Fails(Fault::LostRunning));
    rig.look();
    assert_eq!(rig.settle(), None);
}

#[test]
fn what_the_disk_refused_is_written_later() {
    let mut rig = Rig::running();
    rig.happen(Happening::Edit(Some("a@net1")));
    rig.disturb(4, Disturbance::Fails(Fault::Refused));
    rig.look();
    assert_eq!(rig.settle(), None);
}

#[test]
fn network_status_forgets_what_an_agent_published_that_could_not_write_it_down() {
    let mut rig = Rig::running();
    rig.happen(Happening::Edit(Some("a@net1")));
    rig.crash_before(4);
    rig.look();
    rig.happen(Happening::DiskFull);
    rig.crash_before(6);
    rig.look();
    rig.happen(Happening::Edit(Some("[]")));
    rig.crash_before(7);
    rig.look();
    assert_eq!(rig.settle(), None);
}

#[test]
fn after_a_lost_answer_network_status_is_read_and_not_believed_to_be_what_the_watch_told_last() {
    let mut rig = Rig::running();
    rig.happen(Happening::Edit(Some("a@net1")));
    rig.disturb(1, Disturbance::Meanwhile(Happening::Edit(Some("[]"))));
    rig.disturb(5, Disturbance::Fails(Fault::LostDone));
    rig.disturb(7, Disturbance::Meanwhile(Happening::Pass));
    rig.look();
    assert_eq!(rig.settle(), None);
}

#[test]
fn a_cache_that_cannot_be_read_does_not_tell_that_a_del_has_ended() {
    let mut rig = Rig::running();
    rig.happen(Happening::Edit(Some("a@net1,b@net2")));
    rig.disturb(6, Disturbance::Meanwhile(Happening::Edit(Some("[]"))));
    rig.disturb(16, Disturbance::Fails(Fault::LostRunning));
    rig.disturb(17, Disturbance::Fails(Fault::Refused));
    rig.look();
    assert_eq!(rig.settle(), None);
}
