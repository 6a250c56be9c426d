//! The pod condition `NetworksReady`.

use std::time::Duration;

use agent_core::condition::ConditionStatus;
use agent_simulation::{Begin, Disturbance, Fault, Harness, Incident};

use super::{edit, pass, rest};

/// What was written since the last call, as `status reason`.
fn written(harness: &mut Harness) -> Vec<String> {
    let written = std::mem::take(&mut harness.node.conditions);
    written
        .iter()
        .map(|condition| format!("{} {}", condition.status.as_str(), condition.reason))
        .collect()
}

fn message(harness: &Harness) -> String {
    let condition = harness.node.condition.as_ref();
    condition
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

fn running() -> Harness {
    let mut harness = Harness::begin(Begin::Running);
    assert_eq!(
        harness.node.condition.as_ref().map(|condition| condition.status),
        Some(ConditionStatus::True)
    );
    harness.node.conditions.clear();
    harness
}

#[test]
fn a_plug_that_is_quick_is_never_false() {
    let mut harness = running();
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), ["True Attached"]);
    edit(&mut harness, "b@net1");
    rest(&mut harness);
    assert_eq!(written(&mut harness), ["True Attached"]);
}

#[test]
fn a_plug_that_takes_long_is_false_after_a_second() {
    let mut harness = running();
    edit(&mut harness, "a@net1");
    harness.disturb(4, Disturbance::Fails(Fault::Late));
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), [""; 0]);
    pass(&mut harness, Duration::from_secs(1));
    assert_eq!(written(&mut harness), ["False InProgress"]);
    rest(&mut harness);
    assert_eq!(written(&mut harness), ["True Attached"]);
}

#[test]
fn a_failed_plug_is_false_at_once_and_true_when_corrected() {
    let mut harness = running();
    harness.happen(Incident::NetworkDeleted("a"));
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), ["False AttachFailed"]);
    assert!(message(&harness).contains("net1"), "{}", message(&harness));
    edit(&mut harness, "b@net1");
    rest(&mut harness);
    assert_eq!(written(&mut harness), ["True Attached"]);
}

#[test]
fn an_unreadable_annotation_is_false() {
    let mut harness = running();
    edit(&mut harness, "[null]");
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), ["False AnnotationUnreadable"]);
}

#[test]
fn a_removed_annotation_asks_for_no_networks() {
    let mut harness = running();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.happen(Incident::Edit(None));
    rest(&mut harness);
    assert_eq!(written(&mut harness), ["True Attached", "True NoNetworks"]);
    // The digest of the empty text.
    assert!(message(&harness).ends_with("networks=sha256:e3b0c44298fc"));
}

#[test]
fn a_stale_true_is_corrected_when_the_agent_is_back() {
    let mut harness = running();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    harness.happen(Incident::AgentAway);
    harness.happen(Incident::NetworkDeleted("b"));
    edit(&mut harness, "b@net1");
    written(&mut harness);
    harness.happen(Incident::AgentBack);
    assert!(harness.reconcile());
    assert_eq!(
        written(&mut harness).last().map(String::as_str),
        Some("False AttachFailed")
    );
}

#[test]
fn a_stale_true_is_corrected_in_a_new_sandbox() {
    let mut harness = running();
    edit(&mut harness, "a@net1");
    rest(&mut harness);
    written(&mut harness);
    harness.happen(Incident::SandboxEnds);
    harness.happen(Incident::Edit(None));
    harness.happen(Incident::SandboxStarts);
    harness.happen(Incident::NetworkDeleted("b"));
    edit(&mut harness, "b@net1");
    assert!(harness.reconcile());
    assert_eq!(
        written(&mut harness).last().map(String::as_str),
        Some("False AttachFailed")
    );
}

#[test]
fn a_pod_without_networks_needs_no_sandbox() {
    let mut harness = Harness::begin(Begin::BeforeStart);
    edit(&mut harness, "[]");
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), ["True NoNetworks"]);
}

#[test]
fn a_pod_without_the_annotation_gets_no_condition() {
    let mut harness = Harness::begin(Begin::BeforeStart);
    harness.happen(Incident::SandboxStarts);
    rest(&mut harness);
    assert_eq!(harness.node.condition, None);
}

#[test]
fn a_pod_on_the_hosts_network_is_false() {
    let mut harness = Harness::begin(Begin::HostNetwork);
    edit(&mut harness, "a@net1");
    harness.happen(Incident::SandboxStarts);
    assert!(harness.reconcile());
    assert_eq!(written(&mut harness), ["False HostNetwork"]);
}

#[test]
fn a_condition_is_read_once() {
    let mut harness = running();
    let reads = |harness: &Harness| {
        let effects = harness.effects().iter();
        effects
            .filter(|kind| **kind == agent_simulation::EffectKind::Condition)
            .count()
    };
    edit(&mut harness, "a@net1");
    assert!(harness.reconcile());
    assert_eq!(reads(&harness), 0);
    harness.restart();
    assert!(harness.reconcile());
    assert_eq!((reads(&harness), written(&mut harness).len()), (1, 1));
}
