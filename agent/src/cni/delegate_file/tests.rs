//! What is written, what is refused, and configurations with fields of any type.

mod interleaving;

use std::{fs, os::unix::fs::PermissionsExt as _};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{list::List, odd, *};

/// As multus 4.3.0 writes it, with whitespace that it does not write.
const COLD: &str = r#"[{"Conf":{"cniVersion":"1.0.0","ipam":{},"name":"podnet","type":"bridge"},"Name":"podnet","Bytes":"e30="} ,
 {"Name":"default/cold","ifnameRequest":"cold","Bytes":"e30=","x":[{"]":"}"}]}, {"Name":"default/second","Bytes":"e30="} ]
"#;

fn sandbox() -> SandboxId {
    SandboxId::parse("5a9d").unwrap()
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn network(name: &str) -> NetworkName {
    NetworkName::new("default", name).unwrap()
}

fn entry(name: &str, given: &str) -> DelegateEntry {
    DelegateEntry {
        network: network(name),
        interface: interface(given),
        config: odd::well_typed().to_string(),
        device: None,
        replaces_cold_plugged: false,
    }
}

fn directory(content: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("5a9d");
    fs::write(&file, content).unwrap();
    (dir, file)
}

fn others(text: &str) -> String {
    List::parse(text.as_bytes()).unwrap().others()
}

/// `Name` and interface of each entry.
fn listed(file: &Path) -> Vec<String> {
    let entries: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let named = |entry: &Value| {
        let interface = entry["ifnameRequest"].as_str().unwrap_or("-");
        format!("{}@{interface}", entry["Name"].as_str().unwrap())
    };
    entries.iter().map(named).collect()
}

/// The names in `dir`, but for the file itself.
fn litter(dir: &TempDir) -> Vec<String> {
    let names = fs::read_dir(dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "5a9d").collect()
}

#[test]
fn an_attachment_is_appended_and_taken_out_again() {
    let (dir, file) = directory(COLD);
    let append = |entry: &DelegateEntry| append(dir.path(), &sandbox(), entry).unwrap();
    assert_eq!(append(&entry("blue", "hot0")), Outcome::Written);
    assert_eq!(append(&entry("red", "hot1")), Outcome::Written);
    let all = [
        "podnet@-",
        "default/cold@cold",
        "default/second@-",
        "default/blue@hot0",
        "default/red@hot1",
    ];
    assert_eq!(listed(&file), all);
    assert_eq!(append(&entry("blue", "hot0")), Outcome::Unchanged);
    assert_eq!(others(&fs::read_to_string(&file).unwrap()), COLD);
    let remove = |given, name| remove(dir.path(), &sandbox(), &interface(given), &network(name)).unwrap();
    assert_eq!(remove("hot0", "red"), Outcome::Unchanged, "hot0 is not red's");
    assert_eq!(remove("hot0", "blue"), Outcome::Written);
    assert_eq!(listed(&file)[3..], ["default/red@hot1"]);
    assert_eq!(remove("hot1", "red"), Outcome::Written);
    assert_eq!(fs::read_to_string(&file).unwrap(), COLD);
    assert_eq!(litter(&dir), [""; 0]);
}

#[test]
fn our_entry_of_an_interface_is_replaced_in_place() {
    let (dir, file) = directory(COLD);
    for entry in [
        entry("blue", "hot0"),
        entry("red", "hot1"),
        entry("green", "hot0"),
    ] {
        append(dir.path(), &sandbox(), &entry).unwrap();
    }
    assert_eq!(listed(&file)[3..], ["default/green@hot0", "default/red@hot1"]);
    assert_eq!(others(&fs::read_to_string(&file).unwrap()), COLD);
}

#[rstest]
#[case("cold", "default/cold")]
#[case("net2", "default/second")]
#[case("eth0", "podnet")]
fn an_interface_of_another_entry_is_refused(#[case] given: &str, #[case] held: &str) {
    let (dir, file) = directory(COLD);
    let refused = append(dir.path(), &sandbox(), &entry("blue", given));
    let Err(DelegateFileError::InterfaceTaken { holder, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(holder, held);
    assert_eq!(fs::read_to_string(&file).unwrap(), COLD);
}

#[test]
fn a_detached_cold_plugged_interface_can_be_listed_again() {
    let (dir, file) = directory(COLD);
    let again = DelegateEntry {
        replaces_cold_plugged: true,
        ..entry("cold", "cold")
    };
    append(dir.path(), &sandbox(), &again).unwrap();
    assert_eq!(listed(&file)[3..], ["default/cold@cold"]);
    assert_eq!(others(&fs::read_to_string(&file).unwrap()), COLD);
    // What multus wrote is never taken out, though network and interface are the same.
    remove(dir.path(), &sandbox(), &interface("cold"), &network("cold")).unwrap();
    remove(dir.path(), &sandbox(), &interface("cold"), &network("cold")).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), COLD);
}

#[test]
fn an_entry_has_the_shape_that_multus_reads() {
    let device = DelegateEntry {
        device: Some(("intel.com/nic".to_owned(), "0000:01:00.1".to_owned())),
        ..entry("blue", "hot0")
    };
    let text = entry::text(&device).unwrap();
    let mut stored: Value = serde_json::from_str(&text).unwrap();
    let bytes = stored["Bytes"].take();
    assert_eq!(
        stored,
        json!({
            "Conf": {"cniVersion": "1.0.0", "ipam": {}, "name": "blue"},
            "ConfList": {
                "cniVersion": "1.0.0", "name": "blue",
                "plugins": [{"type": "macvlan"}, {"type": "tuning"}],
            },
            "Name": "default/blue", "ifnameRequest": "hot0", "Bytes": null,
            "deviceID": "0000:01:00.1", "resourceName": "intel.com/nic",
            "attachedBy": "dynamic-networks-agent",
        })
    );
    let bytes = BASE64_STANDARD.decode(bytes.as_str().unwrap()).unwrap();
    let mut sent = odd::well_typed();
    let plugin = sent["plugins"][0].as_object_mut().unwrap();
    plugin.retain(|key, _| !key.to_lowercase().starts_with("capabilitie"));
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), sent);
    let without = entry::text(&entry("blue", "hot0")).unwrap();
    assert!(!without.contains("deviceID") && !without.contains("resourceName"));
}

#[test]
fn multus_reads_whatever_types_a_config_has() {
    let podnet =
        r#"{"Name":"podnet","ConfList":{"cniVersion":"1.0.0","plugins":[{"type":"bridge"}]},"Bytes":"e30="}"#;
    let (mut written, mut refused) = (0, 0);
    for config in odd::configs() {
        let (dir, file) = directory(&format!("[{podnet}]"));
        let entry = DelegateEntry {
            config: config.clone(),
            ..entry("blue", "hot0")
        };
        match append(dir.path(), &sandbox(), &entry) {
            Ok(_) => written += 1,
            Err(DelegateFileError::Config { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{error}: {config}"),
        }
        let read = go::teardown(&fs::read_to_string(&file).unwrap());
        let read = read.unwrap_or_else(|error| panic!("{error}: {config}"));
        for plugin in read[1]["plugins"].as_array().unwrap() {
            let keys = plugin.as_object().into_iter().flat_map(|plugin| plugin.keys());
            let declared = keys.filter(|key| entry::is_read_as(key, "capabilities")).count();
            assert_eq!(declared, 0, "{config}");
        }
    }
    assert!(
        written > 300 && refused > 50,
        "{written} written, {refused} refused"
    );
}

#[test]
fn every_odd_field_is_in_the_list() {
    for field in odd::FIELDS {
        assert!(odd::well_typed().pointer(field).is_some(), "{field}");
    }
}

#[test]
fn the_check_of_types_itself_refuses() {
    for damaged in [
        "{}",
        "[]",
        "[null]",
        r#"[{"Name":1}]"#,
        r#"[{"ConfList":{"cniVersion":"1","plugins":[{"type":1}]}}]"#,
        r#"[{"conflist":{"plugins":[{"CAPABILITIEſ":{"a":1}}]}}]"#,
        r#"[{"ConfList":{"plugins":[{"type":"a"}]},"Bytes":"e30="}]"#,
        r#"[{"ConfList":{"cniVersion":"1","plugins":[{"type":"a"}]},"Bytes":"*"}]"#,
    ] {
        assert!(go::teardown(damaged).is_err(), "{damaged}");
    }
}

#[rstest]
#[case::no_list("{}")]
#[case::torn("[{")]
#[case::empty("")]
#[case::without_default_network("[]")]
#[case::with_a_null_entry(r#"[{"Name":"podnet"},null]"#)]
#[case::with_a_text_entry(r#"[{"Name":"podnet"},"x"]"#)]
fn a_file_that_is_not_multus_is_left_alone(#[case] content: &str) {
    let (dir, file) = directory(content);
    let appended = append(dir.path(), &sandbox(), &entry("blue", "hot0"));
    let removed = remove(dir.path(), &sandbox(), &interface("hot0"), &network("blue"));
    for outcome in [appended, removed] {
        assert!(
            matches!(outcome, Err(DelegateFileError::Malformed { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
    assert_eq!(litter(&dir), [""; 0]);
}

#[test]
fn neither_links_nor_long_files_are_changed() {
    let (dir, file) = directory(COLD);
    let appended = || append(dir.path(), &sandbox(), &entry("blue", "hot0"));
    fs::rename(&file, dir.path().join("target")).unwrap();
    std::os::unix::fs::symlink("target", &file).unwrap();
    assert!(matches!(appended(), Err(DelegateFileError::Malformed { .. })));
    fs::remove_file(&file).unwrap();
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap();
    fs::write(&file, " ".repeat(limit + 1)).unwrap();
    assert!(matches!(appended(), Err(DelegateFileError::Malformed { .. })));
    let long = format!(r#"[{{"Name":"{}"}}]"#, "x".repeat(limit - 100));
    fs::write(&file, &long).unwrap();
    assert!(matches!(appended(), Err(DelegateFileError::TooLong(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), long);
}

#[test]
fn a_missing_file_is_not_made_and_a_missing_directory_an_error() {
    let (dir, file) = directory(COLD);
    fs::remove_file(&file).unwrap();
    let append = |dir: &Path| append(dir, &sandbox(), &entry("blue", "hot0"));
    assert_eq!(append(dir.path()).unwrap(), Outcome::Absent);
    assert!(!file.exists());
    assert!(matches!(
        append(&dir.path().join("nowhere")),
        Err(DelegateFileError::Io { .. })
    ));
}

#[test]
fn only_the_owner_can_read_the_new_file() {
    let (dir, file) = directory(COLD);
    append(dir.path(), &sandbox(), &entry("blue", "hot0")).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn entries_deeper_than_we_read_keep_every_byte() {
    let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    let content = format!(r#"[{{"Name":"podnet"}},{{"Name":"default/deep","args":{deep},"n":1e999}}]"#);
    let (dir, file) = directory(&content);
    append(dir.path(), &sandbox(), &entry("blue", "hot0")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(&text[..content.len() - 1], &content[..content.len() - 1]);
}

#[test]
fn a_sweep_leaves_the_files_of_others() {
    let (dir, file) = directory(COLD);
    for name in [".dynamic-networks-delegates.of-a-newer-agent", ".hidden", "77"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("results")).unwrap();
    assert_eq!(sweep(dir.path()).unwrap(), 0);
    assert_eq!(litter(&dir).len(), 4);
    assert_eq!(fs::read_to_string(&file).unwrap(), COLD);
}
