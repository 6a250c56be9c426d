//! The records on a real file system: what a crash, a stranger or another version left there, and
//! what an administrator must mend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use agent::disk::records::{Durability, Records, RecordsError};
use agent_core::{
    identity::{PodIdentity, SandboxId},
    record::{AttachmentRecord, Origin, Phase, SandboxRecord},
};
use rstest::rstest;
use serde_json::{Value, json};
use shared::names::InterfaceName;
use tempfile::TempDir;

/// Its records are to be opened by the test.
fn state() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    (dir, state)
}

fn sandbox() -> SandboxId {
    SandboxId::parse("5a9d").unwrap()
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn attachment(name: &str) -> AttachmentRecord {
    let record = json!({
        "network": "default/a",
        "interface": name,
        "origin": "hotPlugged",
        "phase": {"state": "plugging", "attempt": 1},
        "since": 1_700_000_000,
        "config": r#"{"name":"a","plugins":[]}"#,
        "ips": ["10.1.0.5/24"],
        "mac": "02:00:00:00:00:01",
        "cniArgs": {"a": [1]},
    });
    serde_json::from_value(record).unwrap()
}

fn identity() -> SandboxRecord {
    SandboxRecord {
        pod: PodIdentity::new("default", "p", "u").unwrap(),
        netns: "/var/run/netns/cni-1".to_owned(),
        adopted: true,
        foreign: vec![interface("net7")],
        unknown: serde_json::Map::new(),
    }
}

/// Records of one sandbox with one attachment, and its file.
fn one_attachment(state: &Path) -> (Records, PathBuf) {
    let records = Records::open(state).unwrap();
    records.put_sandbox(&sandbox(), &identity()).unwrap();
    records
        .put(&sandbox(), &attachment("net1"), Durability::Power)
        .unwrap();
    (records, state.join("5a9d/net1"))
}

fn interfaces(records: &Records) -> Vec<String> {
    let loaded = records.load_all().unwrap();
    let attachments = loaded
        .sandboxes
        .values()
        .flat_map(|sandbox| sandbox.attachments.keys());
    attachments.map(ToString::to_string).collect()
}

#[rstest]
#[case(Phase::Plugging { attempt: 3 })]
#[case(Phase::Plugged { result: json!({"cniVersion": "1.1.0", "ips": []}) })]
#[case(Phase::Unplugging { attempt: 2, result: Some(json!({})) })]
#[case(Phase::Unplugging { attempt: 1, result: None })]
#[case(Phase::Tombstone)]
fn what_was_put_is_loaded_by_the_next_agent(#[case] phase: Phase) {
    let (_dir, state) = state();
    let record = AttachmentRecord {
        phase,
        ..attachment("net1")
    };
    let records = Records::open(&state).unwrap();
    records.put_sandbox(&sandbox(), &identity()).unwrap();
    records
        .put(&sandbox(), &attachment("net1"), Durability::Power)
        .unwrap();
    records.put(&sandbox(), &record, Durability::Process).unwrap();
    drop(records);
    let loaded = Records::open(&state).unwrap().load_all().unwrap();
    let sandbox = &loaded.sandboxes[&sandbox()];
    assert_eq!(sandbox.sandbox, Some(identity()));
    assert_eq!(sandbox.attachments[&interface("net1")], record);
    assert!(loaded.set_aside.is_empty());
}

#[test]
fn an_interface_may_be_called_like_anything_that_fits() {
    let (_dir, state) = state();
    let records = Records::open(&state).unwrap();
    for name in [".lock", ".sandbox", "...", ".probe", "sandbox"] {
        records
            .put(&sandbox(), &attachment(name), Durability::Power)
            .unwrap();
    }
    records.put_sandbox(&sandbox(), &identity()).unwrap();
    assert_eq!(
        interfaces(&records),
        ["...", ".lock", ".probe", ".sandbox", "sandbox"]
    );
}

#[test]
fn a_second_agent_is_locked_out_until_the_first_ends() {
    let (_dir, state) = state();
    let first = Records::open(&state).unwrap();
    assert!(matches!(Records::open(&state), Err(RecordsError::Locked(_))));
    drop(first);
    Records::open(&state).unwrap();
}

#[test]
fn a_torn_temporary_file_is_no_record_and_goes_away() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let torn = file.with_file_name(".temporary-record-x7Gh2k");
    fs::write(&torn, "{\"vers").unwrap();
    let loaded = records.load_all().unwrap();
    assert!(loaded.set_aside.is_empty());
    assert_eq!(interfaces(&records), ["net1"]);
    assert!(!torn.exists());
}

#[rstest]
#[case::torn("{\"version\":1,\"netw", "EOF")]
#[case::empty("", "EOF")]
#[case::zeroed("\0\0\0\0", "expected value")]
#[case::of_no_version_that_ever_was(r#"{"version":0,"network":"default/a"}"#, "version is 0")]
#[case::with_a_version_of_another_type(r#"{"version":"2","network":"default/a"}"#, "version is \"2\"")]
#[case::without_version("{}", "no version")]
#[case::incomplete(r#"{"version":1,"network":"default/a"}"#, "missing field")]
fn an_unreadable_record_is_set_aside_with_its_content(#[case] content: &str, #[case] reason: &str) {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    fs::write(&file, content).unwrap();
    let loaded = records.load_all().unwrap();
    let [set_aside] = loaded.set_aside.as_slice() else {
        panic!("{:?}", loaded.set_aside)
    };
    assert_eq!(set_aside.path, file);
    assert!(set_aside.reason.contains(reason), "{}", set_aside.reason);
    assert_eq!(fs::read_to_string(&set_aside.moved_to).unwrap(), content);
    assert_eq!(loaded.sandboxes[&sandbox()].sandbox, Some(identity()));
    assert!(
        records.load_all().unwrap().set_aside.is_empty(),
        "it is counted once"
    );
}

/// Makes `file` one of a newer agent.
fn renew(file: &Path) -> String {
    let content = r#"{"version":2,"network":{"of":"another type"}}"#;
    fs::write(file, content).unwrap();
    content.to_owned()
}

#[test]
fn a_record_of_a_newer_agent_is_left_alone() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let content = renew(&file);
    for _ in 0..2 {
        let loaded = records.load_all().unwrap();
        assert!(loaded.set_aside.is_empty());
        let [newer] = loaded.newer.as_slice() else {
            panic!("{:?}", loaded.newer)
        };
        assert_eq!((&newer.path, newer.version), (&file, 2));
        let sandbox = &loaded.sandboxes[&sandbox()];
        assert!(sandbox.attachments.is_empty() && sandbox.damaged.is_empty());
        assert_eq!(sandbox.newer, [interface("net1")].into());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
}

#[test]
fn nothing_replaces_or_removes_a_newer_agents_record() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let sandbox_file = file.with_file_name("sandbox-identity");
    let contents = [renew(&file), renew(&sandbox_file)];
    records.load_all().unwrap();
    let refused = [
        records.put(&sandbox(), &attachment("net1"), Durability::Power),
        records.put(&sandbox(), &attachment("net1"), Durability::Process),
        records.put_sandbox(&sandbox(), &identity()),
        records.remove(&sandbox(), &interface("net1")),
        records.remove_sandbox(&sandbox()),
    ];
    for outcome in refused {
        let is_newer = matches!(outcome, Err(RecordsError::Newer { version: 2, .. }));
        assert!(is_newer, "{outcome:?}");
    }
    let kept = [&file, &sandbox_file].map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(kept, contents);
}

#[test]
fn other_files_of_a_newer_agent_stay_too() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let files = [
        state.join("journal-of-a-newer-agent"),
        file.with_file_name("owed-releases-of-a-newer-agent"),
        file.with_file_name(".temporary-record-x7Gh2k"),
    ];
    files.iter().for_each(|file| drop(renew(file)));
    let loaded = records.load_all().unwrap();
    assert_eq!(loaded.newer.len(), 3, "{loaded:?}");
    assert!(files.iter().all(|file| file.exists()));
    assert_eq!(interfaces(&records), ["net1"]);
    records.remove(&sandbox(), &interface("net1")).unwrap();
    assert!(records.remove_sandbox(&sandbox()).is_err());
}

#[test]
fn what_is_set_aside_twice_is_kept_twice() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let mut kept = Vec::new();
    for content in ["first", "second"] {
        fs::write(&file, content).unwrap();
        kept.extend(records.load_all().unwrap().set_aside);
    }
    let contents: Vec<_> = kept
        .iter()
        .map(|kept| fs::read_to_string(&kept.moved_to).unwrap())
        .collect();
    assert_eq!(contents, ["first", "second"]);
}

#[test]
fn strangers_in_the_directory_are_set_aside() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    fs::write(state.join("README.txt"), "hello").unwrap();
    fs::write(file.with_file_name("a-name-too-long-for-an-interface"), "{}").unwrap();
    fs::copy(&file, file.with_file_name("net2")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", file.with_file_name("net3")).unwrap();
    let loaded = records.load_all().unwrap();
    assert_eq!(loaded.set_aside.len(), 4, "{:?}", loaded.set_aside);
    assert_eq!(interfaces(&records), ["net1"]);
}

#[test]
fn fields_of_another_version_survive_a_rewrite() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let mut stored: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    stored["colour"] = json!({"deep": ["blue"]});
    fs::write(&file, stored.to_string()).unwrap();
    let loaded = records.load_all().unwrap();
    let mut record = loaded.sandboxes[&sandbox()].attachments[&interface("net1")].clone();
    record.phase = Phase::Tombstone;
    records.put(&sandbox(), &record, Durability::Process).unwrap();
    let rewritten: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(rewritten["colour"], json!({"deep": ["blue"]}));
    assert_eq!(rewritten["phase"], json!({"state": "tombstone"}));
}

#[test]
fn the_first_versions_files_stay_readable() {
    let (_dir, state) = state();
    let records = Records::open(&state).unwrap();
    fs::create_dir(state.join("5a9d")).unwrap();
    fs::write(
        state.join("5a9d/net1"),
        r#"{"version":1,"network":"default/a","interface":"net1","origin":"coldPlugged",
            "phase":{"state":"plugged","result":{"cniVersion":"1.0.0"}},"since":1700000000,"config":"{}"}"#,
    )
    .unwrap();
    fs::write(
        state.join("5a9d/sandbox-identity"),
        r#"{"version":1,"pod":{"namespace":"default","name":"p","uid":"u"},"netns":"/n","adopted":false}"#,
    )
    .unwrap();
    let loaded = records.load_all().unwrap();
    assert!(loaded.set_aside.is_empty(), "{:?}", loaded.set_aside);
    assert_eq!(
        loaded.sandboxes[&sandbox()].attachments[&interface("net1")].origin,
        Origin::ColdPlugged
    );
    assert_eq!(loaded.sandboxes[&sandbox()].sandbox.as_ref().unwrap().netns, "/n");
}

#[test]
fn removing_is_final_and_can_be_repeated() {
    let (_dir, state) = state();
    let (records, _) = one_attachment(&state);
    assert!(
        records.remove_sandbox(&sandbox()).is_err(),
        "it has an attachment"
    );
    for _ in 0..2 {
        records.remove(&sandbox(), &interface("net1")).unwrap();
        records.remove_sandbox(&sandbox()).unwrap();
    }
    assert!(records.load_all().unwrap().sandboxes.is_empty());
    assert!(!state.join("5a9d").exists());
}

#[test]
fn only_root_can_read_the_records() {
    let (_dir, state) = state();
    let (_records, file) = one_attachment(&state);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&file)), (0o700, 0o600));
}

#[test]
fn a_failed_write_leaves_the_other_records_and_no_litter() {
    let (_dir, state) = state();
    let (records, file) = one_attachment(&state);
    let before = fs::read(&file).unwrap();
    // No file can replace a directory.
    fs::create_dir(file.with_file_name("net2")).unwrap();
    for durability in [Durability::Power, Durability::Process] {
        let put = records.put(&sandbox(), &attachment("net2"), durability);
        assert!(put.is_err());
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(
        fs::read_dir(state.join("5a9d")).unwrap().count(),
        3,
        "a temporary file is left"
    );
}

#[test]
fn a_state_directory_that_can_be_written_says_so_and_stays_clean() {
    let (_dir, state) = state();
    let records = Records::open(&state).unwrap();
    records.check_writable().unwrap();
    assert!(records.load_all().unwrap().set_aside.is_empty());
    fs::remove_dir_all(&state).unwrap();
    assert!(records.check_writable().is_err());
    assert!(records.load_all().is_err(), "what is unknown is not empty");
}
