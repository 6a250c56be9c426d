//! One entry, in the shape of multus' `DelegateNetConf`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{DelegateEntry, DelegateFileError};
use crate::cni::cache::ATTACHED_BY;

/// The CNI default of a config without a version.
const OLDEST_VERSION: &str = "0.1.0";

/// What multus reads of it at a teardown. Every field has the type that Go's struct has, and
/// nothing in `ConfList` comes from the configuration but names: with no plugins there multus would
/// take the bytes for a single config, and without a version it would build the bytes again from
/// what it has.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(rename = "Conf")]
    conf: Conf<'a>,
    #[serde(rename = "ConfList")]
    list: List<'a>,
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "ifnameRequest")]
    interface: &'a str,
    #[serde(rename = "deviceID", skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(rename = "resourceName", skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    #[serde(rename = "Bytes")]
    config: String,
}

/// As multus reads a list into a single config.
#[derive(Serialize)]
struct Conf<'a> {
    #[serde(rename = "cniVersion")]
    version: &'a str,
    ipam: Map<String, Value>,
    name: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    #[serde(rename = "cniVersion")]
    version: &'a str,
    name: &'a str,
    plugins: Vec<Plugin<'a>>,
}

#[derive(Serialize)]
struct Plugin<'a> {
    r#type: &'a str,
}

/// The entry as JSON text.
pub(super) fn text(entry: &DelegateEntry) -> Result<String, DelegateFileError> {
    build(entry).map_err(|reason| DelegateFileError::Config {
        network: entry.network.clone(),
        interface: entry.interface.clone(),
        reason,
    })
}

fn build(entry: &DelegateEntry) -> Result<String, String> {
    let mut config: Map<String, Value> =
        serde_json::from_str(&entry.config).map_err(|error| error.to_string())?;
    for plugin in config
        .get_mut("plugins")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Value::Object(plugin) = plugin {
            // libcni would replace our runtimeConfig by the arguments of what is declared here.
            plugin.retain(|key, _| !is_read_as(key, "capabilities"));
        }
    }
    let bytes = serde_json::to_vec(&config).map_err(|error| error.to_string())?;
    let name = non_empty(config.get("name")).ok_or("it has no name")?;
    let version = version(&config);
    let device = entry.device.as_ref();
    let stored = Stored {
        conf: Conf {
            version,
            ipam: Map::new(),
            name,
        },
        list: List {
            version,
            name,
            plugins: plugins(&config)?,
        },
        name: entry.network.as_str(),
        interface: entry.interface.as_str(),
        device_id: device.map(|(_, id)| id.as_str()),
        resource_name: device.map(|(resource, _)| resource.as_str()),
        config: BASE64_STANDARD.encode(bytes),
    };
    let mut text = serde_json::to_string(&stored).map_err(|error| error.to_string())?;
    let (key, value) = ATTACHED_BY;
    text.pop();
    text.push_str(&format!(r#","{key}":"{value}"}}"#));
    Ok(text)
}

fn plugins(config: &Map<String, Value>) -> Result<Vec<Plugin<'_>>, String> {
    let plugins = config.get("plugins").and_then(Value::as_array);
    let plugins = plugins
        .filter(|plugins| !plugins.is_empty())
        .ok_or("it is not a list of plugins")?;
    plugins
        .iter()
        .enumerate()
        .map(|(index, plugin)| {
            let r#type = non_empty(plugin.get("type"));
            r#type
                .map(|r#type| Plugin { r#type })
                .ok_or_else(|| format!("plugin {index} has no type"))
        })
        .collect()
}

/// The version at which libcni runs the list: the highest that it names.
fn version(config: &Map<String, Value>) -> &str {
    let listed = config.get("cniVersions").and_then(Value::as_array);
    let named = listed.into_iter().flatten().chain(config.get("cniVersion"));
    let numbers =
        |version: &str| -> Option<Vec<u32>> { version.split('.').map(|part| part.parse().ok()).collect() };
    named
        .filter_map(|version| non_empty(Some(version)))
        .max_by_key(|version| numbers(version))
        .unwrap_or(OLDEST_VERSION)
}

fn non_empty(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether Go's encoding/json reads `key` into the field `name`: in any case, and with the two
/// letters outside ASCII that fold to ASCII ones.
pub(super) fn is_read_as(key: &str, name: &str) -> bool {
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}
