//! A network's config as multus and libcni read it: which ones can run, and why the others cannot.

use serde_json::{Map, Value, json};

use super::ConfigProblem;
use crate::violation::shown;

/// libcni's cache files are called `<name>-<container id>-<interface>`, and a file name has at most
/// 255 bytes.
const MAX_NAME: usize = 170;
/// The newest version that libcni 1.3 knows; newer ones in `cniVersions` are skipped.
pub(super) const NEWEST_VERSION: [u64; 3] = [1, 1, 0];

pub(super) type Plugin = Map<String, Value>;

/// A NAD's `spec.config` (or the node's CNI file for an empty spec), checked: multus and libcni can
/// run it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The config's own `name` (`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`, ≤ 170 bytes): half of the key of
    /// libcni's cache.
    pub name: String,
    /// The version that libcni would run it at: the highest of `cniVersion` and `cniVersions` that
    /// it knows; `None`: none is given.
    pub cni_version: Option<String>,
    /// The plugins, never empty; a single configuration is a chain of one.
    pub plugins: Vec<Plugin>,
}

/// Why a network's config cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON.
    #[error("the config is not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object. `null` would crash multus.
    #[error("the config must be a JSON object")]
    NotAnObject,
    /// `name` is no string, or not a legal CNI network name, or too long for libcni's cache files.
    #[error(
        "the name {0:?} of the config must be 1 to 170 letters, digits, '_', '.' and '-', beginning with a letter or digit"
    )]
    Name(String),
    /// `cniVersion` or an entry of `cniVersions` is no version.
    #[error("the cniVersion {0:?} of the config must be a version such as \"1.0.0\"")]
    Version(String),
    /// Neither `type` nor `plugins`.
    #[error("the config must have a \"type\" (one plugin) or \"plugins\" (a list)")]
    NoPlugins,
    /// `plugins` is no list, or an empty one, which would crash multus.
    #[error("the \"plugins\" of the config must be a list of at least one plugin")]
    EmptyPlugins,
    /// An entry of `plugins` is no object.
    #[error("plugin {index} of the config must be a JSON object")]
    PluginNotAnObject {
        /// 0-based position in the chain.
        index: usize,
    },
    /// A plugin's `type`, or that of its `ipam`, cannot be the name of a program.
    #[error(
        "the type {value:?} in plugin {index} of the config must be the file name of a plugin, without '/'"
    )]
    PluginType {
        /// 0-based position in the chain.
        index: usize,
        /// The actual value, shortened; empty when it is missing.
        value: String,
    },
    /// A key of a plugin has a type that libcni or multus cannot read.
    #[error("{key} in plugin {index} of the config must be {wanted}")]
    PluginKey {
        /// 0-based position in the chain.
        index: usize,
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// It can be parsed, but multus, libcni or a plugin refuses it.
    #[error("{0}")]
    Refused(ConfigProblem),
}

impl NetworkConfig {
    /// Parses a conf or a conflist. `nad_name` is the name that multus puts in when the config has
    /// none.
    ///
    /// # Errors
    /// See [`ConfigError`]; the first one is reported.
    pub fn parse(config: &str, nad_name: &str) -> Result<Self, ConfigError> {
        // serde_json stops at 128 levels, so nothing that comes out of it can exhaust the stack.
        let value: Value =
            serde_json::from_str(config).map_err(|error| ConfigError::NotJson(error.to_string()))?;
        let Value::Object(mut config) = value else {
            return Err(ConfigError::NotAnObject);
        };
        // A single configuration is read into a struct, where Go ignores case; libcni reads a list
        // by its exact keys.
        if has_type(&config) {
            spell_known_keys(&mut config);
        }
        let name = name(&config, nad_name)?;
        let cni_version = version(&config)?;
        // multus decides like this: a "type" makes it a single configuration, whatever else is
        // there.
        let mut plugins = if has_type(&config) {
            for key in ["name", "cniVersion", "cniVersions"] {
                config.remove(key);
            }
            vec![config]
        } else {
            list(config.remove("plugins"))?
        };
        for (index, plugin) in plugins.iter_mut().enumerate() {
            spell_known_keys(plugin);
            check_plugin(index, plugin)?;
        }
        Ok(Self {
            name,
            cni_version,
            plugins,
        })
    }
}

/// The keys that libcni and multus read of a plugin.
const PLUGIN_KEYS: [&str; 10] = [
    "type",
    "name",
    "cniVersion",
    "cniVersions",
    "ipam",
    "dns",
    "prevResult",
    "runtimeConfig",
    "capabilities",
    "args",
];

fn has_type(config: &Plugin) -> bool {
    config
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case("type"))
        .any(|(_, value)| *value != Value::Null && *value != json!(""))
}

/// Gives the known keys of a plugin their one spelling, since Go's structs take any case, and
/// leaves out the args that are null, which mean none.
fn spell_known_keys(plugin: &mut Plugin) {
    spell(plugin, &PLUGIN_KEYS);
    if let Some(Value::Object(ipam)) = plugin.get_mut("ipam") {
        spell(ipam, &["type"]);
    }
    if let Some(Value::Object(args)) = plugin.get_mut("args")
        && args.get("cni").is_some_and(Value::is_null)
    {
        args.remove("cni");
    }
    if plugin.get("args").is_some_and(Value::is_null) {
        plugin.remove("args");
    }
}

fn spell(object: &mut Plugin, known: &[&str]) {
    for key in known {
        let other = |found: &&String| found.eq_ignore_ascii_case(key) && found != key;
        let found = object.keys().find(other).cloned();
        if let Some(value) = found.and_then(|found| object.remove(&found))
            && !object.contains_key(*key)
        {
            object.insert((*key).to_owned(), value);
        }
    }
}

fn name(config: &Plugin, nad_name: &str) -> Result<String, ConfigError> {
    let name = match config.get("name") {
        None => nad_name,
        Some(Value::String(name)) if name.is_empty() => nad_name,
        Some(Value::String(name)) => name,
        Some(other) => return Err(ConfigError::Name(shown(&other.to_string()))),
    };
    let legal = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !legal || name.len() > MAX_NAME {
        return Err(ConfigError::Name(shown(name)));
    }
    Ok(name.to_owned())
}

/// What libcni makes of `cniVersion` and, in a list, `cniVersions`.
fn version(config: &Plugin) -> Result<Option<String>, ConfigError> {
    let own = match config.get("cniVersion") {
        None | Some(Value::Null) => None,
        Some(Value::String(version)) if version.is_empty() => None,
        Some(version) => Some(parse_version(version)?),
    };
    let mut versions: Vec<_> = own.into_iter().collect();
    if let Some(more) = config.get("cniVersions").filter(|_| !config.contains_key("type")) {
        let more = more
            .as_array()
            .ok_or_else(|| ConfigError::Version(shown(&more.to_string())))?;
        for version in more {
            versions.push(parse_version(version)?);
        }
        versions.retain(|(numbers, _)| *numbers <= NEWEST_VERSION);
    }
    Ok(versions.into_iter().max().map(|(_, text)| text.to_owned()))
}

pub(super) fn parse_version(value: &Value) -> Result<([u64; 3], &str), ConfigError> {
    let wrong = || ConfigError::Version(shown(value.as_str().unwrap_or(&value.to_string())));
    let text = value.as_str().ok_or_else(wrong)?;
    let mut numbers = [0; 3];
    let mut parts = text.split('.');
    for (number, part) in numbers.iter_mut().zip(&mut parts) {
        // Go's Atoi would take a sign; no plugin would.
        *number = part
            .parse()
            .ok()
            .filter(|_| !part.starts_with('+'))
            .ok_or_else(wrong)?;
    }
    if parts.next().is_some() {
        Err(wrong())
    } else {
        Ok((numbers, text))
    }
}

fn list(plugins: Option<Value>) -> Result<Vec<Plugin>, ConfigError> {
    let plugins = match plugins {
        None | Some(Value::Null) => return Err(ConfigError::NoPlugins),
        Some(Value::Array(plugins)) if !plugins.is_empty() => plugins,
        Some(_) => return Err(ConfigError::EmptyPlugins),
    };
    let plugin = |(index, plugin)| match plugin {
        Value::Object(plugin) => Ok(plugin),
        _ => Err(ConfigError::PluginNotAnObject { index }),
    };
    plugins.into_iter().enumerate().map(plugin).collect()
}

/// The keys that libcni and multus read of a plugin have the types that their Go structs ask for;
/// other keys are left to the plugin.
fn check_plugin(index: usize, plugin: &Plugin) -> Result<(), ConfigError> {
    let wrong = |key, wanted| Err(ConfigError::PluginKey { index, key, wanted });
    check_type(index, plugin.get("type"), false)?;
    for key in ["name", "cniVersion"] {
        if !plugin
            .get(key)
            .is_none_or(|value| value.is_string() || value.is_null())
        {
            return wrong(key, "a string");
        }
    }
    for key in ["ipam", "dns", "prevResult", "runtimeConfig"] {
        if !plugin
            .get(key)
            .is_none_or(|value| value.is_object() || value.is_null())
        {
            return wrong(key, "an object");
        }
    }
    if let Some(ipam) = plugin.get("ipam").and_then(Value::as_object) {
        check_type(index, ipam.get("type"), true)?;
    }
    let capability_is_bool = |value: &Value| value.is_boolean() || value.is_null();
    match plugin.get("capabilities") {
        None | Some(Value::Null) => {}
        Some(Value::Object(capabilities)) if capabilities.values().all(capability_is_bool) => {}
        Some(_) => return wrong("capabilities", "an object of booleans, such as {\"ips\":true}"),
    }
    // multus crashes when it merges cni-args into anything else.
    match plugin.get("args") {
        None => Ok(()),
        Some(Value::Object(args)) if args.get("cni").is_none_or(Value::is_object) => Ok(()),
        Some(_) => wrong("args", "an object, and args.cni too"),
    }
}

/// A plugin is found by its file name, so that a path would lead out of the plugin directory.
fn check_type(index: usize, value: Option<&Value>, optional: bool) -> Result<(), ConfigError> {
    let wrong = |value: &str| {
        Err(ConfigError::PluginType {
            index,
            value: shown(value),
        })
    };
    match value {
        None | Some(Value::Null) if optional => Ok(()),
        None | Some(Value::Null) => wrong(""),
        Some(Value::String(name)) if name.is_empty() && optional => Ok(()),
        Some(Value::String(name)) if name.is_empty() || name == "." || name == ".." => wrong(name),
        Some(Value::String(name)) if name.contains(|c: char| c == '/' || c.is_control()) => wrong(name),
        Some(Value::String(_)) => Ok(()),
        Some(other) => wrong(&other.to_string()),
    }
}
