//! Whether a network's config can run: beyond what [`NetworkConfig::parse`] asks, what libcni and
//! the plugins of containernetworking/plugins refuse at ADD, and what they run with another effect
//! than intended.
//!
//! What a plugin accepts must pass: unknown keys and unknown plugins are not judged.

mod chain;
mod plugin;
mod problem;
mod ranges;
mod schema;
mod tables;

pub use problem::{ConfigProblem, Severity};
use problem::{Findings, Step};
use schema::value;

use super::{ConfigError, NetworkConfig};
use crate::spanned_json::{self, JsonError, Member, Node, Tree};

/// As deep as [`NetworkConfig::parse`] reads.
const MAX_DEPTH: usize = 127;

/// What was found in a config.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigReport {
    /// At most 20, in the order in which they were found.
    pub problems: Vec<ConfigProblem>,
    parsed: Option<NetworkConfig>,
}

impl ConfigReport {
    /// The config, for what it declares and requires.
    ///
    /// # Errors
    /// The first problem with which it cannot run; warnings are no errors.
    pub fn runnable(self) -> Result<NetworkConfig, ConfigError> {
        let cannot_run = |problem: &ConfigProblem| problem.severity == Severity::CannotRun;
        match (self.problems.into_iter().find(cannot_run), self.parsed) {
            (None, Some(config)) => Ok(config),
            (Some(problem), _) => Err(ConfigError::Refused(problem)),
            (None, None) => Err(ConfigError::NotAnObject),
        }
    }
}

/// Judges a NAD's config; `network_name` is the name that multus puts in when the config has none.
/// Pure, and linear in the length of `config` but for the sorting of host-local's ranges.
///
/// The agent does not call this before ADD: the plugin itself answers there.
pub fn check(config: &str, network_name: &str) -> ConfigReport {
    let mut findings = Findings::of(config);
    let document = match spanned_json::parse(config, MAX_DEPTH) {
        Ok(document) => document,
        Err(error) => {
            not_json(&mut findings, config, &error);
            return ConfigReport {
                problems: findings.into_problems(),
                parsed: None,
            };
        }
    };
    let parsed = match NetworkConfig::parse(config, network_name) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            cannot_parse(&mut findings, &document, &error);
            None
        }
    };
    chain::judge(&mut findings, &document, parsed.as_ref());
    ConfigReport {
        problems: findings.into_problems(),
        parsed,
    }
}

fn not_json(findings: &mut Findings<'_>, config: &str, error: &JsonError) {
    match error {
        JsonError::Depth => findings.cannot_run(0, None, "the config is not JSON: nested too deep"),
        JsonError::Syntax(offset, expected) => {
            let rest = config.get(*offset..).unwrap_or_default();
            let hint = if ["//", "/*", "#"].iter().any(|comment| rest.starts_with(comment)) {
                "; JSON has no comments"
            } else if rest.is_empty() {
                "; the text ends here"
            } else if *expected == "a key in double quotes" && rest.starts_with('}') {
                "; remove the comma before it"
            } else {
                ""
            };
            let message = format!("the config is not JSON: {expected} is expected{hint}");
            findings.cannot_run(*offset, None, message);
        }
    }
}

fn cannot_parse<'n>(findings: &mut Findings<'n>, document: &'n Node<'_>, error: &ConfigError) {
    let index = match error {
        ConfigError::PluginNotAnObject { index }
        | ConfigError::PluginType { index, .. }
        | ConfigError::PluginKey { index, .. } => Some(*index),
        _ => None,
    };
    let in_list = index.and_then(|index| match &last(document, "plugins")?.tree {
        Tree::List(plugins) if !chain::is_single(document) => Some((index, plugins.get(index)?)),
        _ => None,
    });
    let plugin = in_list.map_or(document, |(_, plugin)| plugin);
    let near_type = schema::members(plugin)
        .iter()
        .find(|member| is_nearly_type(member.key.as_ref()));
    let (start, hint) = match (error, near_type) {
        (ConfigError::PluginType { value, .. }, Some(near)) if value.is_empty() => {
            (near.key_start, misspelt_type(near))
        }
        (ConfigError::NoPlugins, Some(near)) => (near.key_start, misspelt_type(near)),
        _ => (place_of(error, document, plugin).start, String::new()),
    };
    let message = format!("{error}{hint}");
    match in_list {
        Some((index, _)) => findings.within(Step::Key("plugins"), |findings| {
            findings.within(Step::Index(index), |findings| {
                findings.cannot_run(start, None, message);
            });
        }),
        None => findings.cannot_run(start, None, message),
    }
}

/// The value that the parser refused, as far as it can be found.
fn place_of<'n, 's>(error: &ConfigError, document: &'n Node<'s>, plugin: &'n Node<'s>) -> &'n Node<'s> {
    let value = match error {
        ConfigError::Name(_) => value(document, "name"),
        ConfigError::Version(_) => value(document, "cniVersions").or_else(|| value(document, "cniVersion")),
        ConfigError::EmptyPlugins => last(document, "plugins"),
        ConfigError::PluginKey { key, .. } => value(plugin, key),
        _ => None,
    };
    value.unwrap_or(plugin)
}

fn misspelt_type(member: &Member<'_>) -> String {
    let key = crate::violation::shown(&member.key);
    format!("; write the key \"{key}\" as \"type\"")
}

/// `type:` or `type `, but not `type` in any case.
fn is_nearly_type(key: &str) -> bool {
    let letters = key.trim_matches(|c: char| !c.is_alphanumeric());
    letters.eq_ignore_ascii_case("type") && letters != key
}

/// The value of `key` as in a Go map: exact spelling, the last one of duplicates.
fn last<'n, 's>(node: &'n Node<'s>, key: &str) -> Option<&'n Node<'s>> {
    let found = schema::members(node)
        .iter()
        .rev()
        .find(|member| member.key == key);
    found.map(|member| &member.value)
}

#[cfg(test)]
mod tests;
