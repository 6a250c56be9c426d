//! Which failure a text from multus means. Its HTTP status is always 400 and CNI error codes are
//! lost on the way, so the texts are all there is (those of multus 4.2.2 to 4.3.0, libcni 1.3).
//! Texts can quote what a tenant wrote, so what leads to a decision is matched from the text's
//! beginning.

use agent_core::delegate::{Call, Command, FailedPlugin, Refusal};
use shared::cni::plugin_index;

/// Classifies a text without its preamble, from the answer to `call`.
pub(super) fn classify(text: &str, call: &Call) -> Refusal {
    if name_is_taken(text, call.interface.as_str()) {
        Refusal::AlreadyExists
    } else if text == "pod not found during Multus GetPod" {
        Refusal::PodNotFound
    } else if is_uid_mismatch(text) {
        Refusal::PodUidMismatch
    } else if namespace_is_gone(text) {
        Refusal::NamespaceGone
    } else if let Some(plugin) = missing_plugin(text) {
        Refusal::PluginMissing {
            plugin: plugin.to_owned(),
        }
    } else if is_incompatible(text) {
        Refusal::IncompatibleVersion
    } else if call.command == Command::Add && lease_is_held(text) {
        Refusal::LeaseHeld
    } else if call.command == Command::Del && interface_is_gone(text) {
        Refusal::InterfaceGone
    } else if is_invalid_config(text) {
        Refusal::InvalidConfig
    } else {
        Refusal::Other
    }
}

/// Cuts what people need not read: the request and the pod, which they know, and the names of
/// multus' functions.
pub(super) fn without_preamble(text: &str) -> &str {
    let text = match text.split_once(" ERRORED: ") {
        Some((request, cause)) if request.starts_with("ContainerID:\"") => cause,
        _ => text,
    };
    let text = match text.split_once("] networking: ") {
        Some((pod, cause)) if pod.starts_with("error configuring pod [") => cause,
        _ => text,
    };
    let text = match text.split_once("\": ") {
        Some((function, cause)) if function.starts_with("DelegateDel: error invoking ") => cause,
        _ => text,
    };
    let at_del = [
        "conflistDel: error in getting result from DelNetworkList: ",
        "error in getting result from DelNetwork: ",
    ];
    at_del
        .iter()
        .find_map(|function| text.strip_prefix(function))
        .unwrap_or(text)
        .trim()
}

/// Bounded, on one line, and without characters that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 1024;
    let mut shown = String::new();
    let mut length = 0;
    for char in text.trim().chars() {
        let escaped = match char {
            '"' | '\'' | '\\' => char.to_string(),
            other => other.escape_debug().to_string(),
        };
        length += escaped.chars().count();
        if length >= MAX_CHARS {
            shown.push('…');
            break;
        }
        shown.push_str(&escaped);
    }
    shown
}

/// The plugin of a chain that failed: `plugin type="tuning" name="plugin-1" failed (delete): …`,
/// the innermost one, since errors nest.
pub(super) fn failed_plugin(text: &str) -> Option<FailedPlugin> {
    let verb = [" failed (add): ", " failed (delete): "];
    let (before, cause) = verb.iter().filter_map(|verb| text.split_once(verb)).next()?;
    let (_, description) = before.rsplit_once("plugin type=\"")?;
    let (kind, rest) = description.split_once('"')?;
    let name = rest
        .strip_prefix(" name=\"")
        .and_then(|rest| rest.split('"').next());
    Some(FailedPlugin {
        kind: kind.to_owned(),
        index: name.and_then(plugin_index),
        cause: printable(cause),
    })
}

/// Multus looks before it calls a plugin. A plugin's own "exists" is something else: things have
/// run then.
fn name_is_taken(text: &str, interface: &str) -> bool {
    cannot_set_name(text).is_some_and(|why| why == format!("interface name {interface} already exists"))
}

fn namespace_is_gone(text: &str) -> bool {
    let from_multus = cannot_set_name(text).is_some_and(|why| why.starts_with("no net namespace "));
    let from_plugin = text.contains("failed to open netns ") && text.contains("failed to Statfs ");
    from_multus || (from_plugin && text.ends_with("no such file or directory"))
}

/// What follows `DelegateAdd: cannot set "TYPE" interface name to "NAME": validateIfName: `.
fn cannot_set_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("DelegateAdd: cannot set \"")?;
    rest.split_once("\": validateIfName: ").map(|(_, why)| why)
}

/// `Multus: [NAMESPACE/NAME/UID]: expected pod UID "A" but got "B" from Kube API`
fn is_uid_mismatch(text: &str) -> bool {
    text.strip_prefix("Multus: [")
        .and_then(|rest| rest.split_once("]: "))
        .is_some_and(|(_, why)| why.starts_with("expected pod UID ") && why.ends_with(" from Kube API"))
}

/// Multus or libcni could not read the list, or a plugin could not read its part of it.
fn is_invalid_config(text: &str) -> bool {
    const OF_MULTUS: [&str; 7] = [
        "could not extract the CNI command args: ",
        "LoadDelegateNetConf",
        "error in converting the raw bytes to conf: ",
        "conflistAdd: error converting the raw bytes into a conflist: ",
        "conflistDel: error converting the raw bytes into a conflist: ",
        "missing network name:",
        "invalid characters found in network name",
    ];
    const OF_PLUGINS: [&str; 6] = [
        "failed to load netconf",
        "failed to parse",
        "failed to load config",
        "error parsing configuration",
        "invalid range set",
        "json: cannot unmarshal ",
    ];
    let cause = innermost(text);
    // macvlan says "netconf" at ADD and "netConf" at DEL.
    let cause = cause.to_ascii_lowercase();
    let of_plugin = innermost(text) != text && OF_PLUGINS.iter().any(|words| cause.starts_with(words));
    OF_MULTUS.iter().any(|words| innermost(text).starts_with(words)) || of_plugin
}

/// `incompatible CNI versions; config is "0.5.0", plugin supports [...]`
fn is_incompatible(text: &str) -> bool {
    innermost(text).starts_with("incompatible CNI versions")
}

/// host-local: `duplicate allocation is not allowed`; whereabouts and others: `already allocated`.
fn lease_is_held(text: &str) -> bool {
    let cause = innermost(text);
    cause != text && (cause.contains("duplicate allocation") || cause.contains("already allocated"))
}

/// host-device: `failed to find "net1" in containerNS: Link not found`; others: `no such device`.
fn interface_is_gone(text: &str) -> bool {
    let cause = innermost(text);
    let not_found = cause.starts_with("failed to find \"") && cause.contains("in containerNS");
    cause != text && (not_found || cause.ends_with("no such device"))
}

fn missing_plugin(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("failed to find plugin \"")?;
    let (plugin, rest) = after.split_once('"')?;
    rest.starts_with(" in path ").then_some(plugin)
}

/// What is left of a text without the plugin's description.
fn innermost(text: &str) -> &str {
    match text
        .split_once(" failed (add): ")
        .or_else(|| text.split_once(" failed (delete): "))
    {
        Some((plugin, cause)) if plugin.starts_with("plugin type=\"") => cause,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use agent_core::identity::{PodIdentity, SandboxId};
    use rstest::rstest;
    use shared::names::InterfaceName;

    use super::*;

    fn call(command: Command) -> Call {
        Call {
            command,
            sandbox: SandboxId::parse("5a9d").unwrap(),
            netns: String::new(),
            interface: InterfaceName::parse("net1").unwrap(),
            pod: PodIdentity::new("default", "p", "u").unwrap(),
            config: String::new(),
            ips: Vec::new(),
            mac: None,
            cni_args: None,
        }
    }

    const REQUEST: &str = "ContainerID:\"5a9d\" Netns:\"/var/run/netns/cni-1\" IfName:\"net1\" \
        Args:\"K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID=u\" Path:\"\" ERRORED: ";
    const POD: &str = "error configuring pod [default/p] networking: ";

    fn missing(plugin: &str) -> Refusal {
        Refusal::PluginMissing {
            plugin: plugin.to_owned(),
        }
    }

    /// Texts that multus 4.3 answered on a node.
    #[rstest]
    #[case::taken_single(
        r#"DelegateAdd: cannot set "macvlan" interface name to "net1": validateIfName: interface name net1 already exists"#,
        Refusal::AlreadyExists
    )]
    #[case::taken_list(
        r#"DelegateAdd: cannot set "" interface name to "net1": validateIfName: interface name net1 already exists"#,
        Refusal::AlreadyExists
    )]
    #[case::another_name_is_taken(
        r#"DelegateAdd: cannot set "" interface name to "net2": validateIfName: interface name net2 already exists"#,
        Refusal::Other
    )]
    #[case::a_plugin_quotes_multus(
        r#"plugin type="evil" failed (add): DelegateAdd: cannot set "" interface name to "net1": validateIfName: interface name net1 already exists"#,
        Refusal::Other
    )]
    #[case::a_plugin_says_exists(
        r#"plugin type="macvlan" failed (add): failed to rename "mac1" to "net1": file exists"#,
        Refusal::Other
    )]
    #[case::namespace_gone(
        r#"DelegateAdd: cannot set "" interface name to "net1": validateIfName: no net namespace /var/run/netns/x found: failed to Statfs "/var/run/netns/x": no such file or directory"#,
        Refusal::NamespaceGone
    )]
    #[case::namespace_gone_for_a_plugin(
        r#"DelegateDel: error invoking DelegateDel - "host-device": error in getting result from DelNetwork: failed to open netns "/var/run/netns/x": failed to Statfs "/var/run/netns/x": no such file or directory"#,
        Refusal::NamespaceGone
    )]
    #[case::no_pod("pod not found during Multus GetPod", Refusal::PodNotFound)]
    #[case::another_uid(
        r#"Multus: [default/p/u]: expected pod UID "u" but got "v" from Kube API"#,
        Refusal::PodUidMismatch
    )]
    #[case::no_binary(r#"failed to find plugin "nosuch" in path [/opt/cni/bin]"#, missing("nosuch"))]
    #[case::no_binary_in_a_chain(
        r#"plugin type="nosuch" failed (add): failed to find plugin "nosuch" in path [/opt/cni/bin]"#,
        missing("nosuch")
    )]
    #[case::no_ipam_binary(
        r#"plugin type="macvlan" name="l" failed (add): failed to find plugin "nosuch" in path [/opt/cni/bin]"#,
        missing("nosuch")
    )]
    #[case::no_binary_at_del(
        r#"DelegateDel: error invoking ConflistDel - "l": conflistDel: error in getting result from DelNetworkList: plugin type="nosuch" failed (delete): failed to find plugin "nosuch" in path [/opt/cni/bin]"#,
        missing("nosuch")
    )]
    #[case::no_address(
        r#"plugin type="macvlan" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.1.0.1-10.1.0.2"#,
        Refusal::Other
    )]
    #[case::no_name("missing network name:", Refusal::InvalidConfig)]
    #[case::no_name_in_a_list(
        "conflistAdd: error converting the raw bytes into a conflist: error parsing configuration list: no name",
        Refusal::InvalidConfig
    )]
    #[case::bad_name(
        r#"plugin type="macvlan" failed (add): invalid characters found in network name; a/b"#,
        Refusal::InvalidConfig
    )]
    #[case::bad_list_at_del(
        r#"DelegateDel: error invoking ConflistDel - "": conflistDel: error converting the raw bytes into a conflist: error parsing configuration list: no name"#,
        Refusal::InvalidConfig
    )]
    #[case::empty_object(
        "LoadDelegateNetConf: failed with: LoadDelegateNetConfList: delegate must have the 'type' or 'plugin' field",
        Refusal::InvalidConfig
    )]
    #[case::not_json(
        "could not extract the CNI command args: failed to unmarshall CNI config: invalid character 'x' looking for beginning of value",
        Refusal::InvalidConfig
    )]
    fn tells_failures_apart(#[case] text: &str, #[case] cause: Refusal) {
        assert_eq!(classify(without_preamble(text), &call(Command::Add)), cause);
    }

    #[rstest]
    #[case::host_device(
        r#"plugin type="host-device" name="plugin-0" failed (delete): failed to find "net1" in containerNS: Link not found"#,
        Refusal::InterfaceGone
    )]
    #[case::no_device(
        r#"plugin type="vlan" name="plugin-0" failed (delete): no such device"#,
        Refusal::InterfaceGone
    )]
    #[case::a_netconf(
        r#"plugin type="tuning" name="plugin-1" failed (delete): failed to load netconf: json: cannot unmarshal string into Go struct field TuningConf.mtu of type int"#,
        Refusal::InvalidConfig
    )]
    #[case::a_netconf_of_macvlan(
        r#"plugin type="macvlan" name="plugin-0" failed (delete): failed to load netConf: json: cannot unmarshal string into Go struct field NetConf.mtu of type int"#,
        Refusal::InvalidConfig
    )]
    #[case::a_version(
        r#"plugin type="macvlan" name="plugin-0" failed (delete): incompatible CNI versions; config is "0.5.0", plugin supports ["0.1.0"]"#,
        Refusal::IncompatibleVersion
    )]
    #[case::not_from_a_plugin("no such device", Refusal::Other)]
    fn tells_failures_of_a_del_apart(#[case] text: &str, #[case] cause: Refusal) {
        assert_eq!(classify(without_preamble(text), &call(Command::Del)), cause);
    }

    #[rstest]
    #[case::host_local(
        r#"plugin type="macvlan" name="plugin-0" failed (add): failed to allocate for range 0: 10.1.0.2 has been allocated to 5a9d, duplicate allocation is not allowed"#
    )]
    #[case::others(r#"plugin type="macvlan" name="plugin-0" failed (add): 10.1.0.2 is already allocated"#)]
    fn a_lease_that_is_held_is_told_from_other_failures(#[case] text: &str) {
        assert_eq!(classify(text, &call(Command::Add)), Refusal::LeaseHeld);
    }

    #[rstest]
    #[case(format!("{REQUEST}{POD}no address\n"), "no address")]
    #[case(format!("{REQUEST}pod not found during Multus GetPod\n"), "pod not found during Multus GetPod")]
    #[case(
        format!("{REQUEST}DelegateDel: error invoking ConflistDel - \"l\": conflistDel: error in getting result from DelNetworkList: no"),
        "no"
    )]
    #[case(
        format!("{REQUEST}DelegateDel: error invoking DelegateDel - \"bridge\": error in getting result from DelNetwork: no"),
        "no"
    )]
    #[case("plain ERRORED: text".to_owned(), "plain ERRORED: text")]
    #[case(String::new(), "")]
    fn cuts_the_preamble(#[case] text: String, #[case] cause: &str) {
        assert_eq!(without_preamble(&text), cause);
    }

    #[test]
    fn names_the_plugin_of_a_chain_that_failed() {
        let failed = |index| {
            Some(FailedPlugin {
                kind: "tuning".to_owned(),
                index,
                cause: "no".to_owned(),
            })
        };
        let ours = r#"plugin type="tuning" name="plugin-1" failed (delete): no"#;
        assert_eq!(failed_plugin(ours), failed(Some(1)));
        assert_eq!(
            failed_plugin(r#"plugin type="tuning" name="l" failed (delete): no"#),
            failed(None)
        );
        assert_eq!(failed_plugin("failed to find plugin \"x\" in path [/a]"), None);
    }

    #[test]
    fn shows_no_control_characters_and_no_novels() {
        assert_eq!(
            printable("a\u{1b}[31m\"b\"\nc\u{202e}\n"),
            r#"a\u{1b}[31m"b"\nc\u{202e}"#
        );
        assert_eq!(printable(&"x".repeat(2000)).chars().count(), 1024);
    }
}
