//! What the agent does, one behaviour a test, on a simulated node.

mod condition;
mod devices;
mod drift;
mod edits;
mod failures;
mod held;
mod refused;
mod sandboxes;
mod waits;

use std::time::Duration;

use agent_core::delegate::Command;
use agent_simulation::{EffectKind, Harness, Incident};

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

fn count(harness: &Harness, kind: EffectKind) -> usize {
    harness.effects().iter().filter(|effect| **effect == kind).count()
}
