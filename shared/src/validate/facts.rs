//! What a network's config does that matters to an element, beyond the capabilities that it
//! declares.

use serde_json::Value;

use crate::{cni::NetworkConfig, go_net};

/// Facts about a network's config; the default knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// A plugin takes its addresses from the IPAM plugin `static`. That one refuses every requested
    /// address without a prefix length, whichever way it arrives: by the capability `ips`, or by
    /// CNI_ARGS, to which multus copies `ips` for every plugin.
    pub has_static_ipam: bool,
    /// It gives the pod a default route: by a route of its IPAM, or as the gateway of a bridge.
    pub has_default_route: bool,
}

impl NetworkFacts {
    /// Those of a config.
    pub fn of(config: &NetworkConfig) -> Self {
        let ipam = |key: &'static str| {
            let plugins = config.plugins.iter();
            plugins.filter_map(move |plugin| plugin.get("ipam")?.get(key))
        };
        let is_gateway = |plugin: &serde_json::Map<String, Value>| {
            plugin.get("isDefaultGateway").and_then(Value::as_bool) == Some(true)
        };
        let mut routes = ipam("routes").filter_map(Value::as_array).flatten();
        Self {
            has_static_ipam: ipam("type").any(|name| name == "static"),
            has_default_route: routes.any(is_default) || config.plugins.iter().any(is_gateway),
        }
    }
}

fn is_default(route: &Value) -> bool {
    let destination = route.get("dst").and_then(Value::as_str);
    let parsed = destination.and_then(go_net::parse_cidr);
    parsed.is_some_and(|(_, prefix)| prefix == 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"type":"macvlan","ipam":{"type":"static"}}"#, true, false)]
    #[case(
        r#"{"type":"macvlan","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}"#,
        false,
        false
    )]
    #[case(
        r#"{"plugins":[{"type":"bridge","ipam":{"type":"static"}},{"type":"tuning"}]}"#,
        true,
        false
    )]
    #[case(r#"{"type":"macvlan"}"#, false, false)]
    #[case(
        r#"{"type":"macvlan","ipam":{"type":"host-local","routes":[{"dst":"10.0.0.0/8"},{"dst":"0.0.0.0/0"}]}}"#,
        false,
        true
    )]
    #[case(
        r#"{"type":"macvlan","ipam":{"type":"static","routes":[{"dst":"::/0"}]}}"#,
        true,
        true
    )]
    #[case(r#"{"type":"bridge","isDefaultGateway":true}"#, false, true)]
    #[case(
        r#"{"type":"bridge","isDefaultGateway":"yes","ipam":{"routes":{}}}"#,
        false,
        false
    )]
    fn reads_facts_from_a_config(
        #[case] config: &str,
        #[case] has_static_ipam: bool,
        #[case] has_default_route: bool,
    ) {
        let config = NetworkConfig::parse(config, "nad").unwrap();
        let expected = NetworkFacts {
            has_static_ipam,
            has_default_route,
        };
        assert_eq!(NetworkFacts::of(&config), expected);
    }
}
