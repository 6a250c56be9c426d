use rstest::rstest;
use serde_json::{Map, json};
use shared::names::NetworkName;

use super::*;
use crate::{
    cni_state::{Delegate, Entry},
    identity::SandboxId,
};

const VF: &str = "vendor.example/vf";

fn config(plugin: &str, fields: &str) -> NetworkConfig {
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"{plugin}"{fields}}}"#);
    NetworkConfig::parse(&text, "n").unwrap()
}

fn wish(id: Option<&str>) -> DeviceWish {
    let wish = DeviceWish::of(&config("sriov", ""), Some(VF), id);
    wish.unwrap().unwrap()
}

fn given(ids: &[&str]) -> PodDevices {
    PodDevices {
        allocated: ids.iter().map(|id| ((*id).to_owned(), None)).collect(),
        state: CniState::default(),
    }
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn holder(of: &str, resource: &str, id: &str, certain: bool) -> DeviceHolder {
    DeviceHolder {
        interface: interface(of),
        resource: resource.to_owned(),
        id: id.to_owned(),
        certain,
    }
}

fn recorded(holders: Vec<DeviceHolder>) -> RecordedDevices {
    let known = holders.iter().map(|holder| holder.interface.clone()).collect();
    RecordedDevices { holders, known }
}

fn device(id: &str) -> Device {
    Device {
        resource: VF.to_owned(),
        id: id.to_owned(),
        info: None,
    }
}

fn chosen(wish: &DeviceWish, devices: &PodDevices, holders: Vec<DeviceHolder>) -> Result<String, String> {
    let chosen = wish.choose(devices, &recorded(holders), None)?;
    Ok(chosen.map(|device| device.id).unwrap_or_default())
}

#[rstest]
#[case::all_are_free(vec![], "1")]
#[case::one_is_in_use(vec![holder("net1", VF, "1", true)], "2")]
#[case::in_use_under_an_unknown_resource(vec![holder("net1", "", "1", true)], "2")]
#[case::another_resource_has_the_same_id(vec![holder("net1", "x/y", "1", true)], "1")]
#[case::a_lost_call_may_take_it(vec![holder("net1", VF, "1", false)], "2")]
#[case::only_one_in_doubt_is_left(vec![holder("net1", VF, "1", false), holder("net2", VF, "2", true)], "1")]
fn the_smallest_free_device_is_given(#[case] holders: Vec<DeviceHolder>, #[case] id: &str) {
    assert_eq!(
        chosen(&wish(None), &given(&["2", "1"]), holders),
        Ok(id.to_owned())
    );
}

#[test]
fn a_swap_keeps_its_device_of_the_same_resource() {
    let (devices, none) = (given(&["1", "2"]), RecordedDevices::default());
    let kept = wish(None).choose(&devices, &none, Some(&device("2")));
    assert_eq!(kept, Ok(Some(device("2"))));
    let other = Device {
        resource: "x/y".to_owned(),
        ..device("2")
    };
    let chosen = wish(None).choose(&devices, &none, Some(&other));
    assert_eq!(chosen, Ok(Some(device("1"))));
}

#[test]
fn the_pods_own_device_is_given_by_its_id() {
    let devices = given(&["1", "2"]);
    assert_eq!(chosen(&wish(Some("2")), &devices, vec![]), Ok("2".to_owned()));
    let foreign = chosen(&wish(Some("3")), &devices, vec![]).unwrap_err();
    assert!(
        foreign.contains("not a device of this pod") && foreign.contains("1, 2"),
        "{foreign}"
    );
    let used = chosen(&wish(Some("2")), &devices, vec![holder("net7", VF, "2", true)]).unwrap_err();
    assert!(used.contains("in use by interface net7"), "{used}");
}

#[test]
fn a_refusal_names_resource_devices_and_interfaces() {
    let holders = vec![holder("net1", VF, "1", true), holder("net2", VF, "2", true)];
    let refusal = chosen(&wish(None), &given(&["1", "2"]), holders).unwrap_err();
    assert_eq!(
        refusal,
        "its plugin requires a device of vendor.example/vf, and all 2 that the pod was given are in use (1 by net1, 2 \
         by net2): remove one of these interfaces, or re-create the pod with a higher limit of vendor.example/vf"
    );
    let refusal = chosen(&wish(None), &given(&[]), vec![]).unwrap_err();
    assert!(
        refusal.contains("add vendor.example/vf to resources.limits"),
        "{refusal}"
    );
}

/// However many devices a pod has, the event has its 1,024 bytes.
#[test]
fn a_refusal_is_short() {
    let ids: Vec<String> = (0..200).map(|number| format!("0000:aa:00.{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let holders = ids.iter().map(|id| holder("net1", VF, id, true)).collect();
    assert!(chosen(&wish(None), &given(&ids), holders).unwrap_err().len() < 700);
    assert!(chosen(&wish(Some("x")), &given(&ids), vec![]).unwrap_err().len() < 700);
}

#[rstest]
#[case::marker("bridge", Some("bridge.network.kubevirt.io/br1"))]
#[case::no_resource("sriov", None)]
#[case::an_empty_resource("sriov", Some(""))]
fn the_kubelet_is_not_asked_without_need(#[case] plugin: &str, #[case] resource: Option<&str>) {
    assert_eq!(DeviceWish::of(&config(plugin, ""), resource, None), Ok(None));
}

#[test]
fn a_plugin_that_can_do_without_is_plugged_without() {
    let optional = DeviceWish::of(&config("ovs", ""), Some(VF), None)
        .unwrap()
        .unwrap();
    assert!(!optional.is_strict());
    assert_eq!(chosen(&optional, &given(&[]), vec![]), Ok(String::new()));
    assert_eq!(chosen(&optional, &given(&["1"]), vec![]), Ok("1".to_owned()));
}

/// An element must not take another pod's device by naming it.
#[test]
fn a_named_device_is_always_checked() {
    let of = |resource| DeviceWish::of(&config("macvlan", ""), resource, Some("1"));
    assert!(of(Some(VF)).unwrap().unwrap().is_strict());
    assert!(of(None).unwrap_err().contains("cannot be checked"));
}

fn entry(of: &str, config: &str) -> Entry {
    Entry {
        sandbox: SandboxId::parse("s1").unwrap(),
        interface: interface(of),
        config_name: "n".to_owned(),
        netns: String::new(),
        cni_args: Vec::new(),
        config: config.as_bytes().to_vec(),
        capability_args: Map::new(),
        result: json!({}),
    }
}

const RAN: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"sriov","deviceID":"1"}]}"#;

/// Foreign networks have devices, too, and records of older agents name none.
#[test]
fn a_device_without_a_record_is_in_use() {
    let mut devices = given(&["1", "2"]);
    devices.state.entries = vec![entry("net1", RAN)];
    assert_eq!(chosen(&wish(None), &devices, vec![]), Ok("2".to_owned()));
    devices.state.entries = vec![entry(
        "net1",
        r#"{"cniVersion":"1.0.0","name":"n","type":"vendor"}"#,
    )];
    devices.state.delegates = Some(vec![Delegate {
        network: NetworkName::new("default", "n").ok(),
        interface: Some(interface("net1")),
        config: br#"{"name":"n"}"#.to_vec(),
        device_id: Some("1".to_owned()),
        resource_name: Some(VF.to_owned()),
        ..Delegate::default()
    }]);
    assert_eq!(chosen(&wish(None), &devices, vec![]), Ok("2".to_owned()));
    // Without a result it was detached: multus' own entry stays in the file all the same.
    devices.state.entries.clear();
    assert_eq!(chosen(&wish(None), &devices, vec![]), Ok("1".to_owned()));
}

/// What multus wrote for an interface says nothing after the agent has plugged it again.
#[test]
fn a_record_wins_over_the_delegate_file() {
    let mut devices = given(&["1", "2"]);
    devices.state.entries = vec![entry("net1", RAN)];
    let holders = vec![holder("net1", VF, "2", true)];
    assert_eq!(chosen(&wish(None), &devices, holders), Ok("1".to_owned()));
}
