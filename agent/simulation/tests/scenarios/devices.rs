//! Networks on devices that the pod owns: it was given `1` and `2`.

use super::*;

/// What a record names as the device of an interface.
fn device(harness: &Harness, interface: &str) -> Option<String> {
    let sandboxes = harness.node.records.values();
    let mut records = sandboxes.flat_map(|records| records.attachments.values());
    let record = records.find(|record| record.interface.as_str() == interface)?;
    record.device.as_ref().map(|device| device.id.clone())
}

#[test]
fn a_third_network_is_refused_until_a_device_is_free() {
    let mut harness = Harness::new();
    edit(&mut harness, "v@net1,w@net2,v@net3");
    harness.reconcile();
    at_rest(&harness, &["v@net1", "w@net2"]);
    let refused = events(&harness, "InterfaceAddRejected");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("vendor.example/vf"), "{refused:?}");
    assert!(refused[0].contains("1 by net1, 2 by net2"), "{refused:?}");
    // At once, not after a backoff.
    edit(&mut harness, "w@net2,v@net3");
    harness.reconcile();
    at_rest(&harness, &["w@net2", "v@net3"]);
    assert_eq!(device(&harness, "net3").as_deref(), Some("1"));
    rest(&mut harness);
}

#[test]
fn a_pod_that_started_with_one_network_gets_its_second_device() {
    let mut harness = Harness::begin(agent_simulation::Begin::BeforeStart);
    edit(&mut harness, "v@net1");
    harness.happen(Incident::SandboxStarts);
    harness.reconcile();
    edit(&mut harness, "v@net1,w@net2");
    harness.reconcile();
    assert_eq!(device(&harness, "net1").as_deref(), Some("1"));
    assert_eq!(device(&harness, "net2").as_deref(), Some("2"));
    // What multus attached at the start is given back, too.
    edit(&mut harness, "w@net2,v@net3");
    harness.reconcile();
    assert_eq!(device(&harness, "net3").as_deref(), Some("1"));
    rest(&mut harness);
}

#[test]
fn an_interface_that_changes_its_network_keeps_its_device() {
    let mut harness = Harness::new();
    edit(&mut harness, "v@net1,v@net2");
    harness.reconcile();
    edit(&mut harness, "v@net2");
    harness.reconcile();
    edit(&mut harness, "w@net2");
    harness.reconcile();
    at_rest(&harness, &["w@net2"]);
    assert_eq!(device(&harness, "net2").as_deref(), Some("2"));
}

#[test]
fn an_element_can_name_the_pods_own_device_only() {
    let mut harness = Harness::new();
    edit(
        &mut harness,
        r#"[{"name":"v","interface":"net1","deviceID":"2"},{"name":"w","interface":"net2","deviceID":"3"}]"#,
    );
    harness.reconcile();
    at_rest(&harness, &["v@net1"]);
    assert_eq!(device(&harness, "net1").as_deref(), Some("2"));
    let refused = events(&harness, "InterfaceAddRejected");
    assert!(
        refused[0].contains("\"3\" is not a device of this pod"),
        "{refused:?}"
    );
}

#[test]
fn without_the_kubelet_only_networks_on_devices_wait() {
    let mut harness = Harness::new();
    harness.happen(Incident::KubeletAway);
    edit(&mut harness, "v@net1,a@net2");
    harness.reconcile();
    assert_eq!(harness.links("s1"), ["a@net2"]);
    let failed = events(&harness, "FailedAddingInterface");
    assert!(failed[0].contains("the kubelet does not answer"), "{failed:?}");
    harness.happen(Incident::KubeletBack);
    rest(&mut harness);
    at_rest(&harness, &["v@net1", "a@net2"]);
}

#[test]
fn a_new_sandbox_starts_with_all_devices() {
    let mut harness = Harness::new();
    edit(&mut harness, "v@net1,w@net2");
    harness.reconcile();
    harness.happen(Incident::SandboxEnds);
    harness.reconcile();
    edit(&mut harness, "w@net2");
    harness.happen(Incident::SandboxStarts);
    harness.reconcile();
    edit(&mut harness, "w@net2,v@net1");
    rest(&mut harness);
    assert_eq!(harness.links("s2"), ["v@net1", "w@net2"]);
    assert_eq!(device(&harness, "net1").as_deref(), Some("2"));
}

#[test]
fn multus_is_told_which_device_to_give_back() {
    let mut harness = Harness::new();
    edit(&mut harness, "v@net1");
    harness.reconcile();
    let listed = harness.node.delegates.values().flat_map(|file| file.iter());
    let devices: Vec<_> = listed
        .filter(|delegate| !delegate.default)
        .map(|delegate| (delegate.device_id.as_deref(), delegate.resource_name.as_deref()))
        .collect();
    assert_eq!(devices, [(Some("1"), Some(agent_simulation::RESOURCE))]);
}
