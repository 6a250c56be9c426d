//! One plugin: its keys, what it needs of the others, and its IPAM.

use super::{
    last,
    problem::{Findings, Severity, Step},
    ranges,
    schema::{self, integer, is_given, members, text, value},
    tables::{self, Ipam, PluginSchema},
};
use crate::{
    go_net::{parse_cidr, parse_ip},
    spanned_json::{Member, Node, Tree},
};

/// A burst of 4 GiB, in bits, is more than the bandwidth plugin takes.
const BURST_LIMIT: i128 = 8 * u32::MAX as i128;

/// Judges one plugin; `is_first`: libcni gives it no result of an earlier one.
pub(super) fn judge<'n>(findings: &mut Findings<'n>, plugin: &'n Node<'_>, is_first: bool) {
    schema::judge(findings, &tables::ANY_PLUGIN, plugin);
    let Some(name) = text(plugin, "type") else {
        return;
    };
    let Some(known) = tables::plugin(name) else {
        return;
    };
    schema::judge(findings, known.keys, plugin);
    let has_result_before = !is_first || is_given(plugin, "prevResult");
    if known.is_chained && !has_result_before {
        let message = format!(
            "{name} works on the interface of a plugin before it; write it into \"plugins\" after that one"
        );
        findings.cannot_run(plugin.start, None, message);
    }
    judge_ipam(findings, plugin, name, known, has_result_before);
    match name {
        "bridge" => judge_bridge(findings, plugin),
        "vlan" => needs(findings, plugin, "master"),
        "vrf" => needs(findings, plugin, "vrfname"),
        "bandwidth" => judge_bandwidth(findings, plugin),
        "portmap" => judge_portmap(findings, plugin),
        "tuning" => judge_tuning(findings, plugin),
        _ => {}
    }
}

fn judge_ipam<'n>(
    findings: &mut Findings<'n>,
    plugin: &'n Node<'_>,
    name: &str,
    known: &PluginSchema,
    has_result_before: bool,
) {
    let ipam = value(plugin, "ipam");
    let is_missing = !is_given(plugin, "ipam") || ipam.is_some_and(|ipam| !is_given(ipam, "type"));
    let is_required = match known.ipam {
        Ipam::Never => return,
        Ipam::Optional => false,
        Ipam::Required => true,
        Ipam::RequiredAlone => !has_result_before,
    };
    if is_required && is_missing {
        let message =
            format!("{name} does not run without addresses; write an \"ipam\" with a \"type\" into it");
        findings.cannot_run(plugin.start, None, message);
    }
    let Some((ipam, ipam_type)) = ipam.and_then(|ipam| Some((ipam, text(ipam, "type")?))) else {
        return;
    };
    findings.within(Step::Key("ipam"), |findings| {
        if let Some(keys) = tables::ipam(ipam_type) {
            schema::judge(findings, keys, ipam);
        }
        match ipam_type {
            "host-local" => ranges::judge(findings, ipam, is_given(plugin, "runtimeConfig")),
            "static" => judge_static(findings, ipam, declares_ips(plugin)),
            _ => {}
        }
    });
}

fn declares_ips(plugin: &Node<'_>) -> bool {
    let ips = value(plugin, "capabilities").and_then(|capabilities| last(capabilities, "ips"));
    ips.is_some_and(|ips| ips.tree == Tree::True)
}

/// The plugin forgets its own addresses when a pod asks for others, through the capability `ips`.
fn judge_static<'n>(findings: &mut Findings<'n>, ipam: &'n Node<'_>, declares_ips: bool) {
    let severity = if declares_ips {
        Severity::Warning
    } else {
        Severity::CannotRun
    };
    let Some(addresses) = value(ipam, "addresses") else {
        return;
    };
    let Tree::List(items) = &addresses.tree else {
        return;
    };
    findings.within(Step::Key("addresses"), |findings| {
        for (index, item) in items
            .iter()
            .enumerate()
            .take_while(|(_, item)| is_object_or_null(item))
        {
            findings.within(Step::Index(index), |findings| {
                judge_address(findings, item, severity)
            });
        }
    });
}

fn is_object_or_null(node: &Node<'_>) -> bool {
    matches!(node.tree, Tree::Object(_) | Tree::Null)
}

fn judge_address<'n>(findings: &mut Findings<'n>, item: &'n Node<'_>, severity: Severity) {
    // In another spelling it is Go's field for the parsed address, which is no string.
    let is_other =
        |member: &Member<'_>| member.key.eq_ignore_ascii_case("address") && member.key != "address";
    if members(item).iter().any(is_other) {
        return;
    }
    let address = last(item, "address").filter(|address| address.tree != Tree::Null);
    let Some(address) = address else {
        let message = "must have an \"address\" with a prefix length, such as \"192.0.2.10/24\"";
        return findings.push(severity, item.start, None, message.to_owned());
    };
    let message = match &address.tree {
        Tree::Text(text) if parse_cidr(text).is_some() => return,
        Tree::Text(text) if parse_ip(text).is_some() => {
            let prefix = if text.contains(':') { 64 } else { 24 };
            format!("must have a prefix length, such as \"{text}/{prefix}\"")
        }
        _ => "must be an address with a prefix length, such as \"192.0.2.10/24\"".to_owned(),
    };
    let is_text = matches!(address.tree, Tree::Text(_));
    let severity = if is_text { severity } else { Severity::CannotRun };
    findings.within(Step::Key("address"), |findings| {
        findings.push(severity, address.start, Some(address), message);
    });
}

fn needs(findings: &mut Findings<'_>, plugin: &Node<'_>, key: &str) {
    if !is_given(plugin, key) {
        findings.cannot_run(plugin.start, None, format!("must have a \"{key}\""));
    }
}

fn is_true(plugin: &Node<'_>, key: &str) -> bool {
    value(plugin, key).is_some_and(|value| value.tree == Tree::True)
}

fn judge_bridge(findings: &mut Findings<'_>, plugin: &Node<'_>) {
    if is_true(plugin, "hairpinMode") && is_true(plugin, "promiscMode") {
        let message = "hairpinMode and promiscMode exclude each other; keep one";
        findings.cannot_run(plugin.start, None, message);
    }
    let has_ipam = value(plugin, "ipam").is_some_and(|ipam| text(ipam, "type").is_some());
    if is_true(plugin, "disableContainerInterface") && has_ipam {
        let message = "disableContainerInterface and ipam exclude each other; keep one";
        findings.cannot_run(plugin.start, None, message);
    }
    let Some(Tree::List(trunks)) = value(plugin, "vlanTrunk").map(|trunks| &trunks.tree) else {
        return;
    };
    for trunk in trunks {
        let end = |key| value(trunk, key).map(integer);
        let message = match (end("minID"), end("maxID")) {
            (Some(_), None) | (None, Some(_)) => "minID and maxID of a vlanTrunk go together; write both",
            (Some(Some(from)), Some(Some(to))) if from > to => "minID must not be above maxID",
            _ => continue,
        };
        findings.within(Step::Key("vlanTrunk"), |findings| {
            findings.cannot_run(trunk.start, Some(trunk), message);
        });
    }
}

fn judge_bandwidth(findings: &mut Findings<'_>, plugin: &Node<'_>) {
    for [rate_key, burst_key] in [["ingressRate", "ingressBurst"], ["egressRate", "egressBurst"]] {
        // Something else than a number has been found already.
        let amount = |key| value(plugin, key).map_or(Some(0), integer);
        let (Some(rate), Some(burst)) = (amount(rate_key), amount(burst_key)) else {
            continue;
        };
        if (rate == 0) != (burst == 0) {
            let message = format!("{rate_key} and {burst_key} go together; write both");
            findings.cannot_run(plugin.start, None, message);
        } else if burst >= BURST_LIMIT {
            let message = format!("{burst_key} must be less than {BURST_LIMIT}");
            findings.cannot_run(plugin.start, None, message);
        }
    }
}

fn judge_portmap(findings: &mut Findings<'_>, plugin: &Node<'_>) {
    if is_given(plugin, "markMasqBit") && is_given(plugin, "externalSetMarkChain") {
        let message = "markMasqBit and externalSetMarkChain exclude each other; keep one";
        findings.cannot_run(plugin.start, None, message);
    }
}

/// The plugin writes below /proc/sys/net only, and lets the interface's name stand for IFNAME.
fn judge_tuning<'n>(findings: &mut Findings<'n>, plugin: &'n Node<'_>) {
    let Some(sysctl) = value(plugin, "sysctl") else {
        return;
    };
    for member in members(sysctl) {
        let first = member.key.split(['.', '/']).find(|part| !part.is_empty());
        if first.is_some_and(|part| part == "net" || part.contains("IFNAME")) || findings.is_full() {
            continue;
        }
        findings.within(Step::Key("sysctl"), |findings| {
            findings.within(Step::Key(&member.key), |findings| {
                findings.cannot_run(
                    member.key_start,
                    None,
                    "tuning sets only sysctls that begin with net.",
                );
            });
        });
    }
}
