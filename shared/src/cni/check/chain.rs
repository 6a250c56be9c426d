//! What multus and libcni read beside the plugins: the list, and the version that it runs at.

use serde_json::Value;

use super::{
    last, plugin,
    problem::{Findings, Severity, Step},
    schema::{self, is_given, members, text, value},
    tables,
};
use crate::{
    cni::{
        NetworkConfig,
        config::{NEWEST_VERSION, parse_version},
    },
    spanned_json::{Node, Tree},
};

/// The versions of the CNI specification.
const SPECIFICATIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The versions whose results have addresses always.
const OLD_RESULTS: [&str; 2] = ["0.1.0", "0.2.0"];

/// As multus decides: a `type` makes it a single configuration.
pub(super) fn is_single(document: &Node<'_>) -> bool {
    is_given(document, "type")
}

/// Judges a whole config; `parsed` is what it was parsed into, if it could be.
pub(super) fn judge<'n>(findings: &mut Findings<'n>, document: &'n Node<'_>, parsed: Option<&NetworkConfig>) {
    let plugins: Vec<&Node<'_>> = if is_single(document) {
        vec![document]
    } else if let Some(Tree::List(plugins)) = last(document, "plugins").map(|plugins| &plugins.tree) {
        judge_list(findings, document);
        plugins.iter().collect()
    } else {
        return;
    };
    if let Some(config) = parsed {
        let version = config.cni_version.as_deref();
        judge_version(findings, document, version, &plugins);
        judge_result(findings, document, version, &plugins);
    }
    for (index, plugin) in plugins.into_iter().enumerate() {
        at_plugin(findings, document, index, |findings| {
            plugin::judge(findings, plugin, index == 0);
        });
        if findings.is_full() {
            break;
        }
    }
}

fn at_plugin<'n>(
    findings: &mut Findings<'n>,
    document: &Node<'_>,
    index: usize,
    judge: impl FnOnce(&mut Findings<'n>),
) {
    if is_single(document) {
        judge(findings);
    } else {
        findings.within(Step::Key("plugins"), |findings| {
            findings.within(Step::Index(index), judge);
        });
    }
}

fn judge_list<'n>(findings: &mut Findings<'n>, document: &'n Node<'_>) {
    schema::judge(findings, &tables::CONFLIST, document);
    let Some(capabilities) = value(document, "capabilities") else {
        return;
    };
    if members(capabilities)
        .iter()
        .any(|member| member.value.tree == Tree::True)
    {
        findings.within(Step::Key("capabilities"), |findings| {
            let message = "beside \"plugins\" it has no effect, libcni reads \"capabilities\" inside each plugin; move it \
                           into the entry of \"plugins\" that does this work";
            findings.warn(capabilities, message);
        });
    }
}

/// libcni runs a network at one version, and a plugin refuses those that it does not know.
fn judge_version<'n>(
    findings: &mut Findings<'n>,
    document: &'n Node<'_>,
    version: Option<&str>,
    plugins: &[&'n Node<'_>],
) {
    let Some(version) = version else {
        return judge_hidden_versions(findings, document, plugins);
    };
    let known = plugins.iter().enumerate().filter_map(|(index, plugin)| {
        let name = text(plugin, "type")?;
        Some((index, *plugin, name, tables::plugin(name)?))
    });
    let Some(place) = SPECIFICATIONS.iter().position(|known| *known == version) else {
        return judge_unknown_version(findings, document, version, known.count() > 0);
    };
    for (index, plugin, name, schema) in known {
        let oldest = SPECIFICATIONS.iter().position(|known| *known == schema.oldest);
        if oldest > Some(place) && !findings.is_full() {
            let oldest = schema.oldest;
            let message = format!(
                "{name} does not know CNI version {version}; write \"cniVersion\": \"{oldest}\" or a newer one"
            );
            at_plugin(findings, document, index, |findings| {
                findings.cannot_run(plugin.start, None, message);
            });
        }
    }
}

fn judge_unknown_version<'n>(
    findings: &mut Findings<'n>,
    document: &'n Node<'_>,
    version: &str,
    is_refused: bool,
) {
    let key = ["cniVersion", "cniVersions"]
        .into_iter()
        .find_map(|key| Some((key, value(document, key)?)));
    let (key, node) = key.unwrap_or(("cniVersion", document));
    let is_newer =
        parse_version(&Value::String(version.to_owned())).is_ok_and(|(numbers, _)| numbers > NEWEST_VERSION);
    let (severity, message) = if is_newer {
        let message = "newer than CNI 1.1.0; a plugin that does not know it refuses it";
        (Severity::Warning, message.to_owned())
    } else {
        let severity = if is_refused {
            Severity::CannotRun
        } else {
            Severity::Warning
        };
        let message = format!(
            "no CNI specification has version {version}, and plugins refuse it; write one of {}",
            SPECIFICATIONS.join(", ")
        );
        (severity, message)
    };
    findings.within(Step::Key(key), |findings| {
        findings.push(severity, node.start, Some(node), message);
    });
}

/// A result without addresses has no form before CNI 0.3.0. The plugin runs, multus cannot read its
/// result, and the pod does not start.
fn judge_result<'n>(
    findings: &mut Findings<'n>,
    document: &'n Node<'_>,
    version: Option<&str>,
    plugins: &[&'n Node<'_>],
) {
    let brings_none = |plugin: &&&Node<'_>| {
        let kind = text(plugin, "type").unwrap_or_default();
        let ipam = value(plugin, "ipam").and_then(|ipam| text(ipam, "type"));
        tables::plugin(kind).is_some() && kind != "loopback" && ipam.is_none_or(str::is_empty)
    };
    if version.is_some_and(|version| !OLD_RESULTS.contains(&version))
        || plugins.is_empty()
        || !plugins.iter().all(|plugin| brings_none(&plugin))
    {
        return;
    }
    let runs_at = version.unwrap_or("0.1.0 (no \"cniVersion\")");
    let message = format!(
        "no plugin has an \"ipam\", and at CNI version {runs_at} a result without addresses cannot be read, so that a \
         pod does not start; write \"cniVersion\": \"1.0.0\"{}",
        if is_single(document) {
            ""
        } else {
            " beside \"plugins\""
        }
    );
    // A hot-plug runs at a newer version, and works.
    findings.push(Severity::Warning, document.start, None, message);
}

/// A `cniVersion` that libcni does not read, where it finds no other.
fn judge_hidden_versions<'n>(findings: &mut Findings<'n>, document: &'n Node<'_>, plugins: &[&'n Node<'_>]) {
    if is_single(document) {
        return;
    }
    for (index, plugin) in plugins.iter().enumerate() {
        let Some(version) = value(plugin, "cniVersion") else {
            continue;
        };
        let message = "libcni does not read the version of a plugin in a list and runs the list at 0.1.0; write it \
                       beside \"plugins\"";
        at_plugin(findings, document, index, |findings| {
            findings.within(Step::Key("cniVersion"), |findings| {
                findings.warn(version, message)
            });
        });
        // One is enough to see where it belongs.
        return;
    }
}
