//! The configuration file of both programs: its keys, defaults and possible values.

mod effective;
mod values;

use std::{fmt, path::PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::violation::{json_type, shown};

pub use effective::{Effective, EffectiveError, Entry, Origin};

/// Where the file is mounted in both programs.
pub const DEFAULT_PATH: &str = "/etc/dynamic-networks-controller/dynamic-networks-config.json";

/// Where the user's settings are mounted in both programs, if there are any.
pub const SETTINGS_PATH: &str = "/etc/dynamic-networks-settings/settings.json";

/// How elements without an interface name are treated at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InterfaceNames {
    /// Names are filled in.
    #[default]
    Fill,
    /// The request is refused; the answer has the text to write.
    Reject,
    /// Admitted with a warning.
    Warn,
    /// No opinion.
    Off,
}

impl InterfaceNames {
    const ALL: [Self; 4] = [Self::Fill, Self::Reject, Self::Warn, Self::Off];

    /// Reads a mode as the configuration and the namespace label write it; `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// The mode as written in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Reject => "reject",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for InterfaceNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an unknown NetworkAttachmentDefinition means at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingNetworks {
    /// Admitted with a warning.
    #[default]
    Warn,
    /// Refused.
    Reject,
}

impl MissingNetworks {
    const ALL: [Self; 2] = [Self::Warn, Self::Reject];

    /// Reads a value as the configuration writes it; `None` for any other text.
    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.as_str() == text)
    }

    /// The value as written in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for MissingNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a broken rule means at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// The request is refused.
    #[default]
    Enforce,
    /// Admitted; the refusal becomes warnings and an audit annotation.
    Warn,
}

impl Enforcement {
    const ALL: [Self; 2] = [Self::Enforce, Self::Warn];

    /// Reads a value as the configuration and the namespace label write it; `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.as_str() == text)
    }

    /// The value as written in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The configuration, complete: every key with its default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// `criSocketPath`: the CRI runtime's socket, as this program sees it.
    #[serde(deserialize_with = "values::socket")]
    pub cri_socket_path: PathBuf,
    /// `multusSocketPath`: candidates for the multus daemon's socket; the first that accepts a
    /// connection is used. One when configured, otherwise the defaults: upstream's, OpenShift's,
    /// and that of multus before 4.0.
    #[serde(rename = "multusSocketPath", deserialize_with = "values::only_socket")]
    pub multus_socket_paths: Vec<PathBuf>,
    /// `multusCniDir`: multus' delegate files and libcni's result cache.
    #[serde(deserialize_with = "values::path")]
    pub multus_cni_dir: PathBuf,
    /// `multusConfDir`: CNI files for NADs with an empty spec.
    #[serde(deserialize_with = "values::path")]
    pub multus_conf_dir: PathBuf,
    /// `stateDir`: our records.
    #[serde(deserialize_with = "values::path")]
    pub state_dir: PathBuf,
    /// `interfaceOffset`: how many networks beyond the cluster network multus puts before the
    /// annotation's.
    #[serde(deserialize_with = "values::offset")]
    pub interface_offset: u32,
    /// `systemNamespaces`: namespaces where the offset is 0.
    #[serde(deserialize_with = "values::namespaces")]
    pub system_namespaces: Vec<String>,
    /// `namespaceIsolation`: as multus enforces it at pod start.
    #[serde(deserialize_with = "values::boolean")]
    pub namespace_isolation: bool,
    /// `globalNamespaces`: namespaces whose networks everyone may use under isolation.
    #[serde(deserialize_with = "values::namespaces")]
    pub global_namespaces: Vec<String>,
    /// `interfaceNames`: treatment of unnamed elements.
    #[serde(deserialize_with = "values::interface_names")]
    pub interface_names: InterfaceNames,
    /// `missingNetworks`: treatment of unknown networks.
    #[serde(deserialize_with = "values::missing_networks")]
    pub missing_networks: MissingNetworks,
    /// `enforcement`: whether broken rules refuse.
    #[serde(deserialize_with = "values::enforcement")]
    pub enforcement: Enforcement,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cri_socket_path: "/run/containerd/containerd.sock".into(),
            multus_socket_paths: vec![
                "/run/multus/multus.sock".into(),
                "/run/multus/socket/multus.sock".into(),
                "/var/run/multus-cni/multus.sock".into(),
            ],
            multus_cni_dir: "/var/lib/cni/multus".into(),
            multus_conf_dir: "/etc/cni/multus/net.d".into(),
            state_dir: "/var/lib/dynamic-networks".into(),
            interface_offset: 0,
            system_namespaces: vec!["kube-system".to_owned()],
            namespace_isolation: false,
            global_namespaces: vec!["default".to_owned()],
            interface_names: InterfaceNames::default(),
            missing_networks: MissingNetworks::default(),
            enforcement: Enforcement::default(),
        }
    }
}

/// Why the file was refused: names the key, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigFileError(pub String);

impl Config {
    /// Parses the file's content. Keys that are absent have their defaults.
    ///
    /// # Errors
    /// See [`ConfigFileError`].
    pub fn parse(json: &str) -> Result<Self, ConfigFileError> {
        // A struct would take a list for its fields, too; and errors show values.
        let document = match serde_json::from_str(json).map_err(|error| syntax_error(&error))? {
            Value::Object(members) => members,
            other => {
                let kind = json_type(&other);
                return Err(ConfigFileError(format!(
                    "the configuration must be a JSON object such as {{}}, not {kind}"
                )));
            }
        };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let key = error.path().to_string();
            key_error(&key, error.inner(), &document)
        })
    }

    /// The offset that applies to pods of `namespace`.
    pub fn offset_in(&self, namespace: &str) -> u32 {
        if self.system_namespaces.iter().any(|n| n == namespace) {
            0
        } else {
            self.interface_offset
        }
    }
}

fn syntax_error(error: &serde_json::Error) -> ConfigFileError {
    let (line, column, cause) = (error.line(), error.column(), without_place(error));
    ConfigFileError(format!(
        "the configuration is not valid JSON: {cause}; something else is expected at line {line} column {column}"
    ))
}

/// What is wrong with `key`, or with a key that serde names itself.
fn key_error(key: &str, error: &serde_json::Error, document: &Map<String, Value>) -> ConfigFileError {
    let text = without_place(error);
    let unknown = text.strip_prefix("unknown field `");
    if let Some((unknown, keys)) = unknown.and_then(|rest| rest.split_once("`, expected one of ")) {
        let value = document.get(unknown).map(Value::to_string).unwrap_or_default();
        let (unknown, value, keys) = (shown(unknown), shown(&value), keys.replace('`', ""));
        return ConfigFileError(format!(
            "the key \"{unknown}\" (value {value}) is unknown; the keys are {keys}"
        ));
    }
    let twice = text.strip_prefix("duplicate field `");
    ConfigFileError(match twice.and_then(|rest| rest.strip_suffix('`')) {
        Some(twice) => format!("the key \"{twice}\" occurs twice; keep one"),
        None => format!("the key \"{key}\" {text}"),
    })
}

/// Without the line and column that serde_json adds.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests;
