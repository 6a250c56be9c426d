//! libcni's file of one attachment: `<dir>/results/<config name>-<sandbox id>-<interface>`, kind
//! `cniCacheV1`. Written when an ADD succeeds, removed when a DEL with the same config name does.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};
use shared::names::InterfaceName;

use agent_core::{cni_state::Entry, identity::SandboxId};

/// libcni's `cachedInfo`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    container_id: String,
    if_name: String,
    network_name: String,
    config: String,
    #[serde(default)]
    netns: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Map<String, Value>,
    #[serde(default)]
    result: Value,
}

/// How libcni names the file of one attachment.
pub(super) fn file_name(config_name: &str, sandbox: &SandboxId, interface: &InterfaceName) -> String {
    format!("{config_name}-{sandbox}-{interface}")
}

/// Reads a whole file. `None`: it is of another kind, so libcni would not read it either.
pub(super) fn parse(file: &[u8]) -> Result<Option<Entry>, String> {
    let value: Value = serde_json::from_slice(file).map_err(|error| error.to_string())?;
    if value.get("kind").and_then(Value::as_str) != Some("cniCacheV1") {
        return Ok(None);
    }
    let stored: Stored = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let config = BASE64_STANDARD.decode(&stored.config);
    Ok(Some(Entry {
        sandbox: SandboxId::parse(&stored.container_id).map_err(|error| error.to_string())?,
        interface: InterfaceName::parse(&stored.if_name).map_err(|error| format!("ifName {error}"))?,
        config_name: stored.network_name,
        netns: stored.netns,
        cni_args: stored.cni_args,
        config: config.map_err(|error| format!("the config is not base64: {error}"))?,
        capability_args: stored.capability_args,
        result: stored.result,
    }))
}
