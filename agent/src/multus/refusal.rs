//! Which failure a text from multus means. Its HTTP status is always 400 and CNI error codes are lost on the way, so the texts
//! are all there is (those of multus 4.2.2 to 4.3.0, libcni 1.3). Texts can quote what a tenant wrote, so what leads to a
//! decision is matched from the text's beginning.

/// What kind of failure multus reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ADD: the sandbox already has an interface of that name; nothing has run.
    AlreadyExists,
    /// The sandbox's network namespace is gone.
    NamespaceGone,
    /// The pod of the call is not in the API; nothing has run.
    PodNotFound,
    /// A pod of that name exists, with another uid; nothing has run.
    PodUidMismatch,
    /// A binary is not on the node: a plugin of the chain or, when another plugin is named as the failed one, its IPAM.
    PluginMissing {
        /// The missing plugin's `type`.
        plugin: String,
    },
    /// The CNI configuration cannot run.
    InvalidConfig,
    /// This multus has no `/delegate`: too old, or not in thick mode; nothing has run.
    NoDelegateApi,
    /// Anything else, mostly a plugin's own error.
    Other,
}

impl Refusal {
    /// Classifies a text without its preamble, from a call about `interface`.
    pub(super) fn of(text: &str, interface: &str) -> Self {
        if name_is_taken(text, interface) {
            Self::AlreadyExists
        } else if text == "pod not found during Multus GetPod" {
            Self::PodNotFound
        } else if is_uid_mismatch(text) {
            Self::PodUidMismatch
        } else if namespace_is_gone(text) {
            Self::NamespaceGone
        } else if is_invalid_config(text) {
            Self::InvalidConfig
        } else if let Some(plugin) = missing_plugin(text) {
            Self::PluginMissing {
                plugin: plugin.to_owned(),
            }
        } else {
            Self::Other
        }
    }
}

/// Cuts what people need not read: the request and the pod, which they know, and the names of multus' functions.
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

/// The plugin of a chain that failed: `plugin type="tuning" failed (delete): …`, anywhere, since errors nest.
pub(super) fn failed_plugin(text: &str) -> Option<&str> {
    let (before, _) = text
        .split_once(" failed (add): ")
        .or_else(|| text.split_once(" failed (delete): "))?;
    let (_, description) = before.rsplit_once("plugin type=\"")?;
    description.split('"').next()
}

/// Multus looks before it calls a plugin. A plugin's own "exists" is something else: things have run then.
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

fn is_invalid_config(text: &str) -> bool {
    const BEGINNINGS: [&str; 7] = [
        "could not extract the CNI command args: ",
        "LoadDelegateNetConf",
        "error in converting the raw bytes to conf: ",
        "conflistAdd: error converting the raw bytes into a conflist: ",
        "conflistDel: error converting the raw bytes into a conflist: ",
        "missing network name:",
        "invalid characters found in network name",
    ];
    let cause = innermost(text);
    BEGINNINGS.iter().any(|beginning| cause.starts_with(beginning))
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
    use rstest::rstest;

    use super::*;

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
        assert_eq!(Refusal::of(without_preamble(text), "net1"), cause);
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
        assert_eq!(
            failed_plugin(r#"plugin type="tuning" name="l" failed (delete): no"#),
            Some("tuning")
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
