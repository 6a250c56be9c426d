//! What Go's encoding/json takes for multus' `[]*types.DelegateNetConf`, and what multus does with
//! it at a teardown (`CmdDel`, 4.2.2 and 4.3.0; libcni 1.3.0). `tests/tests/oracle_delegates.rs`
//! asks the Go types themselves.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::entry::is_read_as;

/// A type of Go, as far as JSON can be refused by it.
enum Type {
    Text,
    Bool,
    Bytes,
    Any,
    Address,
    Map(&'static Type),
    List(&'static Type),
    Struct(&'static [(&'static str, &'static Type)]),
}
use Type::{Address, Any, Bool, Bytes, List, Map as MapOf, Struct, Text};

const TEXTS: Type = List(&Text);
const IPAM: Type = Struct(&[("type", &Text)]);
const DNS: Type = Struct(&[
    ("nameservers", &TEXTS),
    ("domain", &Text),
    ("search", &TEXTS),
    ("options", &TEXTS),
]);
const ATTACHMENT: Type = Struct(&[("containerID", &Text), ("ifname", &Text)]);
const PLUGIN_CONF: Type = Struct(&[
    ("cniVersion", &Text),
    ("name", &Text),
    ("type", &Text),
    ("capabilities", &MapOf(&Bool)),
    ("ipam", &IPAM),
    ("dns", &DNS),
    ("prevResult", &MapOf(&Any)),
    ("cni.dev/valid-attachments", &List(&ATTACHMENT)),
]);
const NET_CONF_LIST: Type = Struct(&[
    ("cniVersion", &Text),
    ("name", &Text),
    ("disableCheck", &Bool),
    ("disableGC", &Bool),
    ("plugins", &List(&PLUGIN_CONF)),
]);
const PLUGIN_CONFIG: Type = Struct(&[("Network", &PLUGIN_CONF), ("Bytes", &Bytes)]);
const NETWORK_CONFIG_LIST: Type = Struct(&[
    ("Name", &Text),
    ("CNIVersion", &Text),
    ("DisableCheck", &Bool),
    ("DisableGC", &Bool),
    ("LoadOnlyInlinedPlugins", &Bool),
    ("Plugins", &List(&PLUGIN_CONFIG)),
    ("Bytes", &Bytes),
]);
const DELEGATE_NET_CONF: Type = Struct(&[
    ("Conf", &PLUGIN_CONF),
    ("ConfList", &NET_CONF_LIST),
    ("CNINetworkConfigList", &NETWORK_CONFIG_LIST),
    ("Name", &Text),
    ("ifnameRequest", &Text),
    ("macRequest", &Text),
    ("infinibandGUIDRequest", &Text),
    ("ipRequest", &TEXTS),
    ("default-route", &List(&Address)),
    ("IsFilterV4Gateway", &Bool),
    ("IsFilterV6Gateway", &Bool),
    ("deviceID", &Text),
    ("resourceName", &Text),
    ("Bytes", &Bytes),
]);

/// Reads a delegate file as a teardown does, and gives back the configuration of each entry.
pub(super) fn teardown(file: &str) -> Result<Vec<Map<String, Value>>, String> {
    let Ok(Value::Array(delegates)) = serde_json::from_str(file) else {
        return Err("no list".to_owned());
    };
    if delegates.is_empty() || delegates.contains(&Value::Null) {
        return Err("multus crashes".to_owned());
    }
    delegates
        .iter()
        .map(|delegate| {
            takes(&DELEGATE_NET_CONF, delegate, "")?;
            let plugins = delegate.pointer("/ConfList/plugins").and_then(Value::as_array);
            let version = delegate.pointer("/ConfList/cniVersion").and_then(Value::as_str);
            if plugins.is_none_or(Vec::is_empty) {
                return Err("not taken for a list".to_owned());
            }
            if version.is_none_or(str::is_empty) {
                return Err("its bytes are built again".to_owned());
            }
            let bytes = BASE64_STANDARD.decode(delegate["Bytes"].as_str().unwrap_or_default());
            serde_json::from_slice(&bytes.unwrap_or_default()).map_err(|error| error.to_string())
        })
        .collect()
}

fn takes(wanted: &Type, value: &Value, at: &str) -> Result<(), String> {
    let refused = || Err(format!("{at}: {value}"));
    match (wanted, value) {
        // Null changes nothing, whatever the type.
        (_, Value::Null) | (Any, _) | (Text, Value::String(_)) | (Bool, Value::Bool(_)) => Ok(()),
        (Bytes, Value::String(text)) if BASE64_STANDARD.decode(text).is_ok() => Ok(()),
        (Address, Value::String(text)) if text.is_empty() || text.parse::<std::net::IpAddr>().is_ok() => {
            Ok(())
        }
        (MapOf(of), Value::Object(map)) => map
            .iter()
            .try_for_each(|(key, value)| takes(of, value, &format!("{at}/{key}"))),
        (List(of), Value::Array(list)) => list
            .iter()
            .try_for_each(|value| takes(of, value, &format!("{at}/*"))),
        (Struct(fields), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            let field = fields.iter().find(|(name, _)| is_read_as(key, name));
            field.map_or(Ok(()), |(_, of)| takes(of, value, &format!("{at}/{key}")))
        }),
        _ => refused(),
    }
}
