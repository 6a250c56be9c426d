//! Teardown parity: multus' own Go types read every delegate file that we write, whatever types the
//! configuration of a hot-plugged attachment has.

use std::{fmt::Display, fs};

use agent::cni::delegate_file::{DelegateEntry, DelegateFileError, append};
use agent_core::identity::SandboxId;
use serde_json::{Value, json};
use shared::names::{InterfaceName, NetworkName};
use tests::{Error, oracle};

#[path = "../../agent/src/cni/delegate_file/odd.rs"]
mod odd;

/// What multus 4.3.0 itself wrote at a pod start.
const COLD: &str = r#"[{"Conf":{"cniVersion":"1.0.0","ipam":{"type":"host-local"},"name":"podnet","type":"bridge"},"ConfList":{},"CNINetworkConfigList":{"Name":"","CNIVersion":"","DisableCheck":false,"DisableGC":false,"LoadOnlyInlinedPlugins":false,"Plugins":null,"Bytes":null},"Name":"podnet","IsFilterV4Gateway":false,"IsFilterV6Gateway":false,"Bytes":"eyJuYW1lIjoicG9kbmV0IiwicGx1Z2lucyI6W119"}]"#;

#[test]
fn multus_reads_every_file_that_we_write() -> Result<(), Error> {
    let mut files = Vec::new();
    let mut refused = 0;
    for config in odd::configs() {
        match file_with(&config)? {
            Some(file) => files.push((config, file)),
            None => refused += 1,
        }
    }
    println!("{} files, {refused} configs refused", files.len());
    assert!(files.len() > 300, "too few configs were written");
    let questions: Vec<Value> = files.iter().map(|(_, file)| json!({"delegates": file})).collect();
    for (answer, (config, _)) in oracle::ask(&questions)?.iter().zip(&files) {
        assert!(answer.error.is_empty(), "{}: {config}", answer.error);
        let delegates = answer.value();
        assert_eq!(delegates[0]["interface"], "", "{config}");
        let ours = &delegates[1];
        assert_eq!(
            (&ours["interface"], &ours["list"], &ours["declared"]),
            (&json!("hot0"), &json!(true), &json!(false)),
            "{config}"
        );
    }
    Ok(())
}

#[test]
fn multus_tears_down_at_the_version_that_ran() -> Result<(), Error> {
    let config = odd::well_typed().to_string();
    let file = file_with(&config)?.ok_or_else(|| Error::Unexpected("refused".to_owned()))?;
    let answers = oracle::ask(&[json!({"delegates": file})])?;
    let delegates = answers.first().map(oracle::Answer::value).unwrap_or_default();
    let ours = &delegates[1];
    assert_eq!(
        (&ours["error"], &ours["version"], &ours["plugins"]),
        (&json!(""), &json!("1.0.0"), &json!(2))
    );
    Ok(())
}

/// The file in which `config` is listed; `None`: it cannot be.
fn file_with(config: &str) -> Result<Option<String>, Error> {
    let dir = tempfile::tempdir().map_err(setup)?;
    let file = dir.path().join("5a9d");
    fs::write(&file, COLD).map_err(setup)?;
    let entry = DelegateEntry {
        network: NetworkName::new("default", "blue").map_err(setup)?,
        interface: InterfaceName::parse("hot0").map_err(setup)?,
        config: config.to_owned(),
        device: None,
        replaces_cold_plugged: false,
    };
    let sandbox = SandboxId::parse("5a9d").map_err(setup)?;
    match append(dir.path(), &sandbox, &entry) {
        Ok(_) => fs::read_to_string(&file).map(Some).map_err(setup),
        Err(DelegateFileError::Config { .. }) => Ok(None),
        Err(error) => Err(setup(error)),
    }
}

fn setup(error: impl Display) -> Error {
    Error::Setup(error.to_string())
}
