//! What waits for what: a hung or slow effect delays its own sandbox only.

use std::time::Duration;

use agent_core::{delegate::Command, pod_state::PodState};
use agent_simulation::{Begin, EffectKind, Fault, Harness, Incident, Pool, TICK, sandbox_id};

use crate::{calls, edit, pass, rest};

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

#[test]
fn a_hung_release_delays_no_other() {
    let mut harness = Harness::new();
    edit(&mut harness, "a@net1,b@net2");
    rest(&mut harness);
    // Multus finds no file, so only the agent releases.
    harness.node.delegates.clear();
    harness.node.del_faults = [Fault::Late].into();
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::PodDeleted);
    pass(&mut harness, TICK);
    pass(&mut harness, TICK);
    assert_eq!(
        harness.node.leases.len(),
        1,
        "one hangs: {:?}",
        harness.node.leases
    );
    rest(&mut harness);
    assert!(harness.node.leases.is_empty());
}

#[test]
fn a_stop_drops_what_waits_for_a_permit() {
    let mut harness = Harness::begin(Begin::Running);
    let mut other = Harness::begin(Begin::Running).sharing(&harness.pool(), 1);
    *harness.pool().borrow_mut() = Pool::new(1);
    edit(&mut other, "a@net1");
    other.node.add_faults = [Fault::Late].into();
    assert!(other.reconcile());
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    harness.stop();
    assert!(harness.state().is_some_and(PodState::is_idle));
    pass(&mut other, Duration::from_secs(30));
    assert!(harness.reconcile());
    assert_eq!(calls(&harness, Command::Add), 0);
}
