//! The reader of multus' and libcni's files on a real file system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use agent::cni::{
    cache::{CacheError, CniCache, MAX_FILE_BYTES},
    delegate_file::{self, DelegateEntry},
};
use agent_core::identity::SandboxId;
use rstest::rstest;
use serde_json::{Value, json};
use shared::names::{InterfaceName, NetworkName};
use tempfile::TempDir;

fn cache() -> (TempDir, CniCache) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("results")).unwrap();
    let cache = CniCache::new(dir.path().to_owned());
    (dir, cache)
}

fn sandbox() -> SandboxId {
    SandboxId::parse("5a9d").unwrap()
}

fn net1() -> InterfaceName {
    InterfaceName::parse("net1").unwrap()
}

/// As libcni 1.3 writes it.
fn stored(config_name: &str, sandbox: &str, interface: &str) -> Value {
    json!({
        "kind": "cniCacheV1",
        "containerId": sandbox,
        "config": "e30=",
        "ifName": interface,
        "networkName": config_name,
        "netns": "/var/run/netns/cni-1",
        "cniArgs": [["IgnoreUnknown", "true"], ["K8S_POD_UID", "u"]],
        "capabilityArgs": {"ips": ["10.1.0.5/24"]},
        "result": {"cniVersion": "1.1.0"},
    })
}

fn put(dir: &Path, config_name: &str, sandbox: &str, interface: &str) {
    let path = dir
        .join("results")
        .join(format!("{config_name}-{sandbox}-{interface}"));
    fs::write(path, stored(config_name, sandbox, interface).to_string()).unwrap();
}

#[tokio::test]
async fn an_entry_tells_what_ran() {
    let (dir, cache) = cache();
    put(dir.path(), "my-net", "5a9d", "net1");
    let entry = cache.entry("my-net", &sandbox(), &net1()).await.unwrap().unwrap();
    assert_eq!(entry.config, b"{}");
    assert_eq!(entry.cni_args[1], ("K8S_POD_UID".to_owned(), "u".to_owned()));
    assert_eq!(entry.capability_args["ips"], json!(["10.1.0.5/24"]));
    assert_eq!(entry.result, json!({"cniVersion": "1.1.0"}));
    assert_eq!(entry.netns, "/var/run/netns/cni-1");
}

#[rstest]
#[case::other_network("other")]
#[case::no_name("")]
#[case::a_path("../results/my-net")]
#[case::absolute("/etc")]
#[tokio::test]
async fn there_is_no_entry_under_another_name(#[case] config_name: &str) {
    let (dir, cache) = cache();
    put(dir.path(), "my-net", "5a9d", "net1");
    assert_eq!(cache.entry(config_name, &sandbox(), &net1()).await.unwrap(), None);
}

#[tokio::test]
async fn all_entries_of_a_sandbox_are_found_and_no_others() {
    let (dir, cache) = cache();
    put(dir.path(), "a", "5a9d", "net1");
    put(dir.path(), "b-5a9d-c", "77", "net1");
    put(dir.path(), "b", "5a9d", "net2");
    fs::write(dir.path().join("results/a-77-net1"), "damaged, but not ours").unwrap();
    fs::write(
        dir.path()
            .join("results")
            .join(std::ffi::OsStr::from_bytes(b"a-5a9d-\xff")),
        "x",
    )
    .unwrap();
    fs::write(
        dir.path().join("results/old-5a9d-net3"),
        r#"{"cniVersion":"0.3.1"}"#,
    )
    .unwrap();
    let mut names: Vec<_> = cache
        .entries(&sandbox())
        .await
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| entry.interface.to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["net1", "net2"]);
}

#[tokio::test]
async fn before_the_first_add_there_are_no_entries() {
    let (dir, cache) = cache();
    fs::remove_dir(dir.path().join("results")).unwrap();
    let found = cache.entries(&sandbox()).await.unwrap();
    assert!(found.entries.is_empty() && found.damaged.is_empty());
    assert_eq!(cache.entry("a", &sandbox(), &net1()).await.unwrap(), None);
}

#[rstest]
#[case::torn(br#"{"kind":"cniCacheV1","containerId":"5a"#.to_vec())]
#[case::empty(Vec::new())]
#[case::huge(vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1])]
#[case::of_another_attachment(stored("a", "5a9d", "net9").to_string().into_bytes())]
#[case::with_an_impossible_interface(stored("a", "5a9d", "../net1").to_string().into_bytes())]
#[tokio::test]
async fn a_damaged_entry_is_an_error_and_not_absent(#[case] content: Vec<u8>) {
    let (dir, cache) = cache();
    fs::write(dir.path().join("results/a-5a9d-net1"), content).unwrap();
    let entry = cache.entry("a", &sandbox(), &net1()).await;
    assert!(matches!(&entry, Err(CacheError::Corrupt { .. })), "{entry:?}");
}

#[rstest]
#[case::torn("{")]
#[case::empty("")]
#[case::of_another_attachment(&stored("b", "5a9d", "net9").to_string())]
#[tokio::test]
async fn a_damaged_entry_hides_no_other(#[case] content: &str) {
    let (dir, cache) = cache();
    put(dir.path(), "a", "5a9d", "net1");
    fs::write(dir.path().join("results/my-net-5a9d-net2"), content).unwrap();
    let found = cache.entries(&sandbox()).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[0].interface, net1());
    let [damaged] = found.damaged.as_slice() else {
        panic!("{:?}", found.damaged)
    };
    assert_eq!(damaged.config_name, "my-net");
    assert_eq!(damaged.interface, InterfaceName::parse("net2").ok());
    assert!(matches!(damaged.error, CacheError::Corrupt { .. }));
}

#[tokio::test]
async fn what_an_agent_appended_is_read_as_its_own() {
    let (dir, cache) = cache();
    let cold =
        r#"[{"Name":"podnet","Bytes":"e30="},{"Name":"default/a","ifnameRequest":"a0","Bytes":"e30="}]"#;
    fs::write(dir.path().join("5a9d"), cold).unwrap();
    let entry = DelegateEntry {
        network: NetworkName::new("default", "a").unwrap(),
        interface: InterfaceName::parse("hot0").unwrap(),
        config: r#"{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"macvlan"}]}"#.to_owned(),
        device: Some(("intel.com/nic".to_owned(), "0000:01:00.1".to_owned())),
        replaces_cold_plugged: false,
    };
    delegate_file::append(dir.path(), &sandbox(), &entry).unwrap();
    let delegates = cache.delegates(&sandbox()).await.unwrap().unwrap();
    let hot_plugged: Vec<_> = delegates.iter().map(|delegate| delegate.hot_plugged).collect();
    assert_eq!(hot_plugged, [false, false, true]);
    let ours = &delegates[2];
    assert!(ours.requested && ours.network.is_some() && ours.unreadable.is_none());
    assert_eq!(ours.network.as_ref(), Some(&entry.network));
    assert_eq!(ours.interface.as_ref(), Some(&entry.interface));
    assert_eq!(ours.device_id.as_deref(), Some("0000:01:00.1"));
    let config: Value = serde_json::from_slice(&ours.config).unwrap();
    assert_eq!(config, serde_json::from_str::<Value>(&entry.config).unwrap());
}

#[tokio::test]
async fn an_odd_delegate_hides_no_other() {
    let (dir, cache) = cache();
    let file = r#"[{"Name":"podnet","Bytes":"e30="},null,{"Name":"default/a","Bytes":"e30="}]"#;
    fs::write(dir.path().join("5a9d"), file).unwrap();
    let delegates = cache.delegates(&sandbox()).await.unwrap().unwrap();
    assert_eq!(delegates.len(), 3);
    assert!(delegates[1].unreadable.is_some());
    assert_eq!(delegates[2].interface, InterfaceName::parse("net2").ok());
}

#[tokio::test]
async fn links_are_not_followed() {
    let (dir, cache) = cache();
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("5a9d")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("results/a-5a9d-net1")).unwrap();
    assert!(matches!(
        cache.delegates(&sandbox()).await,
        Err(CacheError::Corrupt { .. })
    ));
    assert!(matches!(
        cache.entry("a", &sandbox(), &net1()).await,
        Err(CacheError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_sandbox_without_a_delegate_file_has_none() {
    let (_dir, cache) = cache();
    assert_eq!(cache.delegates(&sandbox()).await.unwrap(), None);
}

#[tokio::test]
async fn delegates_come_in_multus_order() {
    let (dir, cache) = cache();
    let file = r#"[{"Name":"podnet","Bytes":"e30="},{"Name":"default/a","Bytes":"e30="}]"#;
    fs::write(dir.path().join("5a9d"), file).unwrap();
    let delegates = cache.delegates(&sandbox()).await.unwrap().unwrap();
    assert_eq!(
        delegates
            .iter()
            .filter_map(|delegate| delegate.network.as_ref())
            .count(),
        1
    );
    assert_eq!(delegates[1].interface, Some(net1()));
}

#[tokio::test]
async fn a_damaged_delegate_file_is_an_error_and_not_absent() {
    let (dir, cache) = cache();
    fs::write(dir.path().join("5a9d"), "[{").unwrap();
    assert!(matches!(
        cache.delegates(&sandbox()).await,
        Err(CacheError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn without_the_directory_nothing_is_known() {
    let cache = CniCache::new("/nowhere/multus".into());
    assert!(matches!(cache.check(), Err(CacheError::Directory { .. })));
    assert!(matches!(
        cache.delegates(&sandbox()).await,
        Err(CacheError::Directory { .. })
    ));
    assert!(matches!(
        cache.entries(&sandbox()).await,
        Err(CacheError::Directory { .. })
    ));
    assert!(matches!(
        cache.entry("a", &sandbox(), &net1()).await,
        Err(CacheError::Directory { .. })
    ));
}
