//! How often a write waits for the disk, and what a power loss leaves.

use std::{fs, time::SystemTime};

use agent_core::record::Phase;
use serde_json::json;
use tempfile::TempDir;

use super::{atomic_file::FLUSHES, *};

fn opened() -> (TempDir, Records) {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(&dir.path().join("state")).unwrap();
    FLUSHES.set(0);
    (dir, records)
}

fn sandbox() -> SandboxId {
    SandboxId::parse("5a9d").unwrap()
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn record(name: &str, phase: Phase) -> AttachmentRecord {
    let mut record: AttachmentRecord = serde_json::from_value(json!({
        "network": "default/a", "interface": name, "origin": "hotPlugged",
        "phase": {"state": "tombstone"}, "since": 1, "config": "{}",
    }))
    .unwrap();
    record.phase = phase;
    record
}

fn intent(name: &str) -> AttachmentRecord {
    record(name, Phase::Plugging { attempt: 1 })
}

fn plugged(name: &str) -> AttachmentRecord {
    record(name, Phase::Plugged { result: json!({}) })
}

fn flushes(write: impl FnOnce()) -> u32 {
    let before = FLUSHES.get();
    write();
    FLUSHES.get() - before
}

/// What the next agent finds of one interface.
fn loaded(records: &Records, name: &str) -> Option<AttachmentRecord> {
    let loaded = records.load_all().unwrap();
    loaded
        .sandboxes
        .get(&sandbox())?
        .attachments
        .get(&interface(name))
        .cloned()
}

/// The temporary file that a write leaves when its rename is lost.
fn lose_rename(records: &Records, name: &str) {
    let path = records.path(&sandbox(), &interface(name));
    fs::rename(&path, path.with_file_name(".temporary-record-x7Gh2k")).unwrap();
}

#[test]
fn an_intent_costs_one_flush_and_nothing_else_any() {
    let (_dir, records) = opened();
    let put = |record: &AttachmentRecord, durability| {
        flushes(|| records.put(&sandbox(), record, durability).unwrap())
    };
    assert_eq!(
        put(&intent("net1"), Durability::Power),
        3,
        "with the names of a new directory"
    );
    assert_eq!(put(&intent("net2"), Durability::Power), 1);
    assert_eq!(put(&plugged("net2"), Durability::Process), 0);
    let rest = flushes(|| {
        records.remove(&sandbox(), &interface("net2")).unwrap();
        records.remove(&sandbox(), &interface("net1")).unwrap();
        records.remove_sandbox(&sandbox()).unwrap();
        records.load_all().unwrap();
        records.check_writable().unwrap();
    });
    assert_eq!(rest, 0);
}

#[test]
fn an_intent_over_another_record_flushes_the_rename() {
    let (_dir, records) = opened();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    let again = flushes(|| {
        records
            .put(&sandbox(), &intent("net1"), Durability::Power)
            .unwrap();
    });
    assert_eq!(again, 2);
}

#[test]
fn an_intent_whose_rename_was_lost_is_recovered() {
    let (_dir, records) = opened();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    lose_rename(&records, "net1");
    let found = records.load_all().unwrap();
    assert_eq!(found.recovered, [records.path(&sandbox(), &interface("net1"))]);
    assert_eq!(loaded(&records, "net1"), Some(intent("net1")));
}

/// What becomes of a record that was not flushed and holds `left` after its damage.
fn found_after(left: &str) -> (Loaded, Option<AttachmentRecord>) {
    let (_dir, records) = opened();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    for _ in 0..2 {
        records
            .put(&sandbox(), &plugged("net1"), Durability::Process)
            .unwrap();
    }
    assert_eq!(loaded(&records, "net1"), Some(plugged("net1")));
    fs::write(records.path(&sandbox(), &interface("net1")), left).unwrap();
    let found = records.load_all().unwrap();
    (found, loaded(&records, "net1"))
}

#[test]
fn an_intent_outlives_a_later_record_that_was_emptied() {
    for left in ["", "\0\0\0\0"] {
        let (found, record) = found_after(left);
        assert_eq!(found.set_aside.len(), 1);
        assert!(found.sandboxes[&sandbox()].damaged.is_empty());
        assert_eq!(record, Some(intent("net1")));
    }
}

#[test]
fn a_record_with_other_damage_is_not_replaced_by_its_intent() {
    let (found, record) = found_after("{\"version\":1,");
    assert_eq!(found.set_aside.len(), 1);
    assert_eq!(found.sandboxes[&sandbox()].damaged, [interface("net1")].into());
    assert_eq!(record, None);
}

#[test]
fn a_temporary_file_never_wins_over_a_record() {
    let (_dir, records) = opened();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    lose_rename(&records, "net1");
    records
        .put(&sandbox(), &plugged("net1"), Durability::Process)
        .unwrap();
    assert_eq!(loaded(&records, "net1"), Some(plugged("net1")));
    assert!(
        !records
            .dir
            .join(sandbox().as_str())
            .join(".temporary-record-x7Gh2k")
            .exists()
    );
}

#[test]
fn a_removed_record_does_not_come_back() {
    let (_dir, records) = opened();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    records
        .put(&sandbox(), &plugged("net1"), Durability::Process)
        .unwrap();
    records.remove(&sandbox(), &interface("net1")).unwrap();
    assert_eq!(loaded(&records, "net1"), None);
    assert_eq!(
        fs::read_dir(records.dir.join(sandbox().as_str()))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn an_intent_replaces_the_copy_of_an_older_one() {
    let (_dir, records) = opened();
    let older = AttachmentRecord {
        config: "older".to_owned(),
        ..intent("net1")
    };
    records.put(&sandbox(), &older, Durability::Power).unwrap();
    records
        .put(&sandbox(), &plugged("net1"), Durability::Process)
        .unwrap();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap();
    records
        .put(&sandbox(), &plugged("net1"), Durability::Process)
        .unwrap();
    fs::write(records.path(&sandbox(), &interface("net1")), "").unwrap();
    assert_eq!(loaded(&records, "net1"), Some(intent("net1")));
}

#[test]
fn the_disk_is_probed_only_after_a_failed_write() {
    let (_dir, records) = opened();
    let touched = || {
        let dir = File::open(&records.dir).unwrap();
        dir.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        records.check_writable().unwrap();
        dir.metadata().unwrap().modified().unwrap() != SystemTime::UNIX_EPOCH
    };
    assert!(!touched(), "at rest nothing is written");
    // No file can replace a directory.
    fs::create_dir_all(records.path(&sandbox(), &interface("net1"))).unwrap();
    records
        .put(&sandbox(), &intent("net1"), Durability::Power)
        .unwrap_err();
    assert!(touched());
    assert!(!touched(), "a probe that succeeds is the last one");
}
