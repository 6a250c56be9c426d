//! multus' file of one sandbox: `<dir>/<sandbox id>`, a JSON list of its delegates. Written when
//! the sandbox starts, read again and removed at its teardown. The agent appends what it hot-plugs.

use agent_core::cni_state::Delegate;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, value::RawValue};
use shared::names::{InterfaceName, NetworkName};

/// The interface of the cluster network: what kubelet's runtimes ask for.
const DEFAULT_INTERFACE: &str = "eth0";
/// The field, unknown to multus and so ignored by it, that tells our entries from those of multus,
/// and its value.
pub(crate) const ATTACHED_BY: (&str, &str) = ("attachedBy", "dynamic-networks-agent");

/// The interface of the entry at `position`, as multus names it; `requested` is empty where the
/// entry asks for no name.
pub(crate) fn interface_name(position: u32, requested: &str) -> String {
    match (requested, position) {
        ("", 0) => DEFAULT_INTERFACE.to_owned(),
        ("", position) => format!("net{position}"),
        (requested, _) => requested.to_owned(),
    }
}

/// Reads a whole file. Only one that is no JSON list is an error: an entry with a field of another
/// type hides none of the others.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Delegate>, String> {
    let entries: Vec<&RawValue> = serde_json::from_slice(file).map_err(|error| error.to_string())?;
    Ok((0..)
        .zip(entries)
        .map(|(position, entry)| delegate(position, entry.get()))
        .collect())
}

fn delegate(position: u32, entry: &str) -> Delegate {
    let default = position == 0;
    let unreadable = |reason: String| Delegate {
        position,
        default,
        unreadable: Some(reason),
        ..Delegate::default()
    };
    let fields: Map<String, Value> = match serde_json::from_str(entry) {
        Ok(fields) => fields,
        Err(error) => return unreadable(error.to_string()),
    };
    let requested = match text(&fields, "ifnameRequest") {
        Ok(requested) => requested,
        Err(reason) => return unreadable(reason),
    };
    let known = Delegate {
        interface: InterfaceName::parse(&interface_name(position, requested)).ok(),
        requested: !requested.is_empty(),
        default,
        position,
        ..Delegate::default()
    };
    complete(&known, &fields).unwrap_or_else(|reason| Delegate {
        unreadable: Some(reason),
        ..known
    })
}

fn complete(known: &Delegate, fields: &Map<String, Value>) -> Result<Delegate, String> {
    let name = text(fields, "Name")?;
    let given = |key| text(fields, key).map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
    let config = match text(fields, "Bytes")? {
        "" => return Err("it has no config".to_owned()),
        config => BASE64_STANDARD.decode(config),
    };
    Ok(Delegate {
        network: NetworkName::parse(name).ok(),
        config: config.map_err(|error| format!("its config is not base64: {error}"))?,
        device_id: given("deviceID")?,
        resource_name: given("resourceName")?,
        hot_plugged: fields.get(ATTACHED_BY.0).is_some_and(|by| by == ATTACHED_BY.1),
        ..known.clone()
    })
}

/// A text as Go reads it into a string: what is absent or null is empty.
fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("its {key} is not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As multus 4.3 writes it, without the fields that are not read.
    const FILE: &str = r#"[
        {"Conf":{"name":"podnet","type":"bridge"},"Name":"podnet","IsFilterV4Gateway":false,"Bytes":"e30="},
        {"Name":"default/a","ifnameRequest":"ens4","Bytes":"e30="},
        {"Name":"default/b.c","Bytes":"e30="},
        {"Name":"static","ifnameRequest":"a/b","Bytes":"e30="}
    ]"#;

    #[test]
    fn names_each_interface_as_multus_does() {
        let delegates = parse(FILE.as_bytes()).unwrap();
        let names: Vec<_> = delegates
            .iter()
            .map(|delegate| delegate.interface.as_ref().map(InterfaceName::as_str))
            .collect();
        assert_eq!(names, [Some("eth0"), Some("ens4"), Some("net2"), None]);
    }

    #[test]
    fn tells_nads_from_other_networks() {
        let delegates = parse(FILE.as_bytes()).unwrap();
        let networks: Vec<_> = delegates
            .iter()
            .map(|delegate| delegate.network.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(
            networks,
            [
                None,
                Some("default/a".to_owned()),
                Some("default/b.c".to_owned()),
                None
            ]
        );
        assert!(delegates[0].default && !delegates[1].default);
    }

    #[test]
    fn refuses_a_damaged_file() {
        for damaged in ["", "{}", "null", "[{", "[] []"] {
            assert!(parse(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn an_odd_entry_hides_none_of_the_others() {
        let odd = [
            ("null", None),
            ("7", None),
            ("[]", None),
            (r#"{"ifnameRequest":1,"Name":"default/a","Bytes":"e30="}"#, None),
            (r#"{"ifnameRequest":"hot","Name":[],"Bytes":"e30="}"#, Some("hot")),
            (r#"{"ifnameRequest":"hot","Name":"default/a"}"#, Some("hot")),
            (r#"{"Name":"default/a","Bytes":{}}"#, Some("net1")),
            (r#"{"Name":"default/a","Bytes":"*"}"#, Some("net1")),
            (
                r#"{"Name":"default/a","Bytes":"e30=","deviceID":7}"#,
                Some("net1"),
            ),
        ];
        for (entry, interface) in odd {
            let file = format!(
                r#"[{{"Name":"podnet","Bytes":"e30="}},{entry},{{"Name":"default/b","Bytes":"e30="}}]"#
            );
            let delegates = parse(file.as_bytes()).unwrap();
            assert!(delegates[1].unreadable.is_some(), "{entry}");
            assert_eq!(delegates[1].network, None, "{entry}");
            assert_eq!(
                delegates[1].interface.as_ref().map(InterfaceName::as_str),
                interface,
                "{entry}"
            );
            assert!(delegates[0].unreadable.is_none() && delegates[2].unreadable.is_none());
            assert_eq!(
                delegates[2].interface.as_ref().map(InterfaceName::as_str),
                Some("net2")
            );
        }
    }

    #[test]
    fn tells_what_the_evidence_rests_on() {
        let file = r#"[
            {"Name":"podnet","Bytes":"e30="},
            {"Name":"default/a","ifnameRequest":"ens4","Bytes":"e30=","deviceID":"0000:01:00.1","resourceName":"x/y"},
            {"Name":"default/b","ifnameRequest":null,"deviceID":"","Bytes":"e30="}
        ]"#;
        let delegates = parse(file.as_bytes()).unwrap();
        let evidence = delegates.iter().map(|delegate| {
            let device = delegate
                .device_id
                .as_deref()
                .zip(delegate.resource_name.as_deref());
            (
                delegate.position,
                delegate.requested,
                delegate.network.is_some(),
                device,
            )
        });
        assert!(evidence.eq([
            (0, false, false, None),
            (1, true, true, Some(("0000:01:00.1", "x/y"))),
            (2, false, true, None),
        ]));
    }
}
