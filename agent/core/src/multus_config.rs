//! What multus' own configuration says about the settings that both must have alike. A network that
//! multus would refuse at pod start must not be plugged later, and the other way round.
//!
//! The thick daemon copies every key of its `daemon-config.json` over the CNI configuration. So a
//! key that is there holds. One that is absent has multus' default only where the daemon generates
//! the CNI configuration (`multusConfigFile: auto`, its default): otherwise nothing is said of it.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};
use shared::{config::Config, violation::shown};

/// The setting in which both differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    key: &'static str,
    /// What multus has, as `settings.json` would have it.
    multus: String,
    ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, multus, ours } = self;
        let (multus, ours) = (shown(multus), shown(ours));
        write!(
            f,
            "{key} is {ours}, and multus' configuration stands for {multus}; set it in the ConfigMap dynamic-networks-settings"
        )
    }
}

/// Why multus' configuration cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableConfig {
    /// It is not a JSON object.
    #[error("it is not a JSON object: {0}")]
    NotAnObject(String),
    /// A key has another type than multus reads.
    #[error("its key {key} has the value {value}; it must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it has.
        value: String,
        /// What multus reads.
        allowed: &'static str,
    },
}

/// The settings in which `daemon_config`, the content of multus' daemon-config.json, differs from
/// `ours`.
///
/// # Errors
/// See [`UnreadableConfig`].
pub fn differences(daemon_config: &str, ours: &Config) -> Result<Vec<Difference>, UnreadableConfig> {
    let multus: Map<String, Value> = serde_json::from_str(daemon_config)
        .map_err(|error| UnreadableConfig::NotAnObject(error.to_string()))?;
    let multus = Multus {
        is_generated: multus.get("multusConfigFile").is_none_or(|file| file == "auto"),
        keys: multus,
    };
    let mut differences = Vec::new();
    multus.compare_isolation(ours, &mut differences)?;
    multus.compare_offset(ours, &mut differences)?;
    Ok(differences)
}

struct Multus {
    keys: Map<String, Value>,
    /// Whether an absent key has multus' default.
    is_generated: bool,
}

impl Multus {
    fn compare_isolation(&self, ours: &Config, found: &mut Vec<Difference>) -> Result<(), UnreadableConfig> {
        let isolation = self.read("namespaceIsolation", Value::as_bool, "true or false")?;
        let global = self.read("globalNamespaces", global_namespaces, "a text with commas")?;
        let absent = self.is_generated.then_some(false);
        let Some(isolation) = isolation.or(absent) else {
            return Ok(());
        };
        if isolation != ours.namespace_isolation {
            found.push(Difference {
                key: "namespaceIsolation",
                multus: isolation.to_string(),
                ours: ours.namespace_isolation.to_string(),
            });
        }
        let absent = self.is_generated.then(|| ["default".to_owned()].into());
        let Some(global) = global.or(absent).filter(|_| isolation) else {
            return Ok(());
        };
        let own: BTreeSet<_> = ours.global_namespaces.iter().cloned().collect();
        if global != own {
            found.push(Difference {
                key: "globalNamespaces",
                multus: json_list(&global),
                ours: json_list(&own),
            });
        }
        Ok(())
    }

    /// Multus attaches its `defaultNetworks` before those of the annotation.
    fn compare_offset(&self, ours: &Config, found: &mut Vec<Difference>) -> Result<(), UnreadableConfig> {
        let networks = self.read("defaultNetworks", texts, "a list of names")?;
        let systems = self.read("systemNamespaces", texts, "a list of namespaces")?;
        let absent = || self.is_generated.then(Vec::new);
        let Some(offset) = networks.or_else(absent).map(|networks| networks.len()) else {
            return Ok(());
        };
        if u32::try_from(offset) != Ok(ours.interface_offset) {
            found.push(Difference {
                key: "interfaceOffset",
                multus: offset.to_string(),
                ours: ours.interface_offset.to_string(),
            });
        }
        let absent = || self.is_generated.then(|| vec!["kube-system".to_owned()]);
        let Some(systems) = systems.or_else(absent).filter(|_| offset > 0) else {
            return Ok(());
        };
        let systems: BTreeSet<_> = systems.into_iter().collect();
        let own: BTreeSet<_> = ours.system_namespaces.iter().cloned().collect();
        if systems != own {
            found.push(Difference {
                key: "systemNamespaces",
                multus: json_list(&systems),
                ours: json_list(&own),
            });
        }
        Ok(())
    }

    /// To Go, null is an absent key.
    fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
        allowed: &'static str,
    ) -> Result<Option<T>, UnreadableConfig> {
        let Some(value) = self.keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let read = read(value).ok_or_else(|| UnreadableConfig::Value {
            key,
            value: shown(&value.to_string()),
            allowed,
        });
        read.map(Some)
    }
}

/// An empty text is multus' default.
fn global_namespaces(value: &Value) -> Option<BTreeSet<String>> {
    let text = Some(value.as_str()?).filter(|text| !text.is_empty());
    let names = text.unwrap_or("default").split(',');
    Some(names.map(|name| name.trim().to_owned()).collect())
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |item: &Value| item.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}

fn json_list(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(","))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn keys(multus: &str, ours: &str) -> Vec<&'static str> {
        let found = differences(multus, &Config::parse(ours).unwrap()).unwrap();
        found.iter().map(|difference| difference.key).collect()
    }

    #[rstest]
    #[case::both_by_default("{}", "{}", &[])]
    #[case::isolated_there(r#"{"namespaceIsolation":true}"#, "{}", &["namespaceIsolation"])]
    #[case::isolated_here("{}", r#"{"namespaceIsolation":true}"#, &["namespaceIsolation"])]
    #[case::both_isolated(
        r#"{"namespaceIsolation":true,"globalNamespaces":" b , a"}"#,
        r#"{"namespaceIsolation":true,"globalNamespaces":["a","b"]}"#,
        &[]
    )]
    #[case::other_global_namespaces(
        r#"{"namespaceIsolation":true,"globalNamespaces":"default,openshift-multus"}"#,
        r#"{"namespaceIsolation":true}"#,
        &["globalNamespaces"]
    )]
    #[case::global_by_default(
        r#"{"namespaceIsolation":true,"globalNamespaces":""}"#,
        r#"{"namespaceIsolation":true,"globalNamespaces":[]}"#,
        &["globalNamespaces"]
    )]
    #[case::global_without_isolation(r#"{"globalNamespaces":"a"}"#, "{}", &[])]
    #[case::null_is_absent(r#"{"namespaceIsolation":null}"#, "{}", &[])]
    #[case::a_default_network(r#"{"defaultNetworks":["audit"]}"#, "{}", &["interfaceOffset"])]
    #[case::an_offset_without_networks("{}", r#"{"interfaceOffset":1}"#, &["interfaceOffset"])]
    #[case::system_namespaces(
        r#"{"defaultNetworks":["a"],"systemNamespaces":["x"]}"#,
        r#"{"interfaceOffset":1}"#,
        &["systemNamespaces"]
    )]
    #[case::system_namespaces_without_networks(r#"{"systemNamespaces":["x"]}"#, "{}", &[])]
    fn names_the_settings_that_differ(#[case] multus: &str, #[case] ours: &str, #[case] expected: &[&str]) {
        assert_eq!(keys(multus, ours), expected);
    }

    /// The file may have the rest.
    #[test]
    fn says_nothing_about_absent_keys_beside_another_file() {
        let elsewhere = r#"{"multusConfigFile":"/host/00-multus.conf"}"#;
        let ours = r#"{"namespaceIsolation":true,"interfaceOffset":2}"#;
        assert_eq!(keys(elsewhere, ours), [""; 0]);
        let isolated = r#"{"multusConfigFile":"/x","namespaceIsolation":false}"#;
        assert_eq!(keys(isolated, ours), ["namespaceIsolation"]);
    }

    #[test]
    fn a_difference_says_both_values_and_where_to_set_it() {
        let multus = r#"{"namespaceIsolation":true,"globalNamespaces":"default,b"}"#;
        let ours = Config::parse(r#"{"namespaceIsolation":true}"#).unwrap();
        assert_eq!(
            differences(multus, &ours).unwrap()[0].to_string(),
            "globalNamespaces is [\"default\"], and multus' configuration stands for [\"b\",\"default\"]; \
             set it in the ConfigMap dynamic-networks-settings"
        );
    }

    #[rstest]
    #[case("", "not a JSON object")]
    #[case("[]", "not a JSON object")]
    #[case(
        r#"{"namespaceIsolation":"true"}"#,
        "namespaceIsolation has the value \"true\"; it must be true or false"
    )]
    #[case(r#"{"globalNamespaces":["a"]}"#, "it must be a text with commas")]
    #[case(r#"{"defaultNetworks":[1]}"#, "it must be a list of names")]
    fn an_unreadable_configuration_is_no_difference(#[case] multus: &str, #[case] words: &str) {
        let error = differences(multus, &Config::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
