//! The configuration that holds: the file of the manifest, and the user's settings over it.

use std::{fmt, path::Path};

use serde_json::{Map, Value};

use super::{Config, ConfigFileError};
use crate::violation::shortened;

/// The longest value that logs, pages and metrics show, in characters.
const SHOWN_VALUE: usize = 256;

/// Which file a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// None: the key is absent from both.
    Default,
    /// The manifest's file.
    Manifest,
    /// The user's settings.
    Settings,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Manifest => "dynamic-networks-config.json",
            Self::Settings => "settings.json",
        })
    }
}

/// Which file was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectiveError {
    /// The manifest's file.
    #[error("{0}")]
    Manifest(ConfigFileError),
    /// The user's settings.
    #[error("{0}")]
    Settings(ConfigFileError),
}

/// One key with its value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As in the file.
    pub key: &'static str,
    /// Without quotes, lists with commas, shortened.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.key, self.value, self.origin)
    }
}

/// Both files together.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// What holds.
    pub config: Config,
    manifest: Map<String, Value>,
    settings: Map<String, Value>,
}

impl Effective {
    /// Each file is judged by itself; a key of `settings` wins over the same key of `manifest`.
    ///
    /// # Errors
    /// See [`EffectiveError`].
    pub fn merge(manifest: &str, settings: Option<&str>) -> Result<Self, EffectiveError> {
        let manifest = members(manifest).map_err(EffectiveError::Manifest)?;
        let settings = settings.map_or_else(|| Ok(Map::new()), members);
        let settings = settings.map_err(EffectiveError::Settings)?;
        let mut all = manifest.clone();
        all.extend(settings.clone());
        let config = Config::parse(&Value::Object(all).to_string()).map_err(EffectiveError::Settings)?;
        Ok(Self {
            config,
            manifest,
            settings,
        })
    }

    /// Every key with its value.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = values(&self.config).into_iter().map(|(key, value)| Entry {
            key,
            value: shortened(&value, SHOWN_VALUE),
            origin: self.origin(key),
        });
        entries.collect()
    }

    fn origin(&self, key: &str) -> Origin {
        if self.settings.contains_key(key) {
            Origin::Settings
        } else if self.manifest.contains_key(key) {
            Origin::Manifest
        } else {
            Origin::Default
        }
    }
}

fn members(json: &str) -> Result<Map<String, Value>, ConfigFileError> {
    Config::parse(json)?;
    serde_json::from_str(json).map_err(|error| ConfigFileError(error.to_string()))
}

/// The values by key, in the order of the documentation.
fn values(config: &Config) -> [(&'static str, String); 12] {
    // A new key does not compile before it is listed below.
    let Config {
        cri_socket_path,
        multus_socket_paths,
        multus_cni_dir,
        multus_conf_dir,
        state_dir,
        interface_offset,
        system_namespaces,
        namespace_isolation,
        global_namespaces,
        interface_names,
        missing_networks,
        enforcement,
    } = config;
    let path = |path: &Path| path.display().to_string();
    let sockets: Vec<_> = multus_socket_paths.iter().map(|socket| path(socket)).collect();
    [
        ("criSocketPath", path(cri_socket_path)),
        ("multusSocketPath", sockets.join(",")),
        ("multusCniDir", path(multus_cni_dir)),
        ("multusConfDir", path(multus_conf_dir)),
        ("stateDir", path(state_dir)),
        ("interfaceOffset", interface_offset.to_string()),
        ("systemNamespaces", system_namespaces.join(",")),
        ("namespaceIsolation", namespace_isolation.to_string()),
        ("globalNamespaces", global_namespaces.join(",")),
        ("interfaceNames", interface_names.to_string()),
        ("missingNetworks", missing_networks.to_string()),
        ("enforcement", enforcement.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"criSocketPath":"/host/run/a.sock","missingNetworks":"warn"}"#;

    fn entry(effective: &Effective, key: &str) -> String {
        let entries = effective.entries();
        entries.iter().find(|entry| entry.key == key).unwrap().to_string()
    }

    #[test]
    fn a_setting_wins_over_the_manifest() {
        let settings = r#"{"missingNetworks":"reject","interfaceOffset":1,"globalNamespaces":["a","b"]}"#;
        let effective = Effective::merge(MANIFEST, Some(settings)).unwrap();

        for (key, shown) in [
            ("missingNetworks", "missingNetworks=reject (settings.json)"),
            ("interfaceOffset", "interfaceOffset=1 (settings.json)"),
            ("globalNamespaces", "globalNamespaces=a,b (settings.json)"),
            (
                "criSocketPath",
                "criSocketPath=/host/run/a.sock (dynamic-networks-config.json)",
            ),
            ("stateDir", "stateDir=/var/lib/dynamic-networks (default)"),
        ] {
            assert_eq!(entry(&effective, key), shown);
        }
        assert_eq!(effective.config.interface_offset, 1);
    }

    #[test]
    fn without_settings_the_manifest_holds() {
        let effective = Effective::merge(MANIFEST, None).unwrap();
        assert_eq!(effective.config, Config::parse(MANIFEST).unwrap());
    }

    #[test]
    fn a_bad_file_is_named_whichever_it_is() {
        let bad = r#"{"interfaceOffset":-1}"#;
        for (manifest, settings) in [(bad, Some("{}")), (bad, Some(r#"{"interfaceOffset":1}"#))] {
            let error = Effective::merge(manifest, settings).unwrap_err();
            assert!(matches!(error, EffectiveError::Manifest(_)), "{error}");
        }
        for bad in [bad, "", "[]", r#"{"enforcement":"warn","enforcement":"warn"}"#] {
            let error = Effective::merge(MANIFEST, Some(bad)).unwrap_err();
            assert!(matches!(error, EffectiveError::Settings(_)), "{error}");
        }
    }

    #[test]
    fn every_key_is_shown_once() {
        let error = Config::parse(r#"{"x":1}"#).unwrap_err().to_string();
        let (_, keys) = error.split_once("the keys are ").unwrap();
        let effective = Effective::merge("{}", None).unwrap();
        let shown: Vec<_> = effective.entries().iter().map(|entry| entry.key).collect();
        assert_eq!(shown.join(", "), keys);
    }

    #[test]
    fn a_long_value_is_shown_shortened() {
        let namespaces: Vec<_> = (0..10_000).map(|number| format!("ns-{number}")).collect();
        let settings = serde_json::json!({ "globalNamespaces": namespaces }).to_string();
        let effective = Effective::merge("{}", Some(&settings)).unwrap();
        assert!(entry(&effective, "globalNamespaces").len() < 400);
    }
}
