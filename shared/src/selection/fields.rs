//! The fields of a JSON element that are more than a string, typed as in multus' Go structs.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    Attributes, Bandwidth, MAX_DEFAULT_ROUTES, MAX_IPS, MAX_PORT_MAPPINGS, PortMapping, reader::Reader,
};
use crate::{
    go_net,
    spanned_json::{self, Member, Node, Tree},
    violation::{Rule, shown},
    work,
};

const ADDRESS_FORM: &str = "write for example \"10.10.10.11/24\" or \"fd00::11/64\"";

/// The keys that say which network and which interface.
const IDENTITY: [&str; 4] = ["name", "namespace", "interface", "interfaceRequest"];

/// What the element asks for; `None` when no key of it could ask for anything, as of most.
pub(super) fn attributes(reader: &mut Reader<'_>) -> Option<Attributes> {
    if reader.has_only(&IDENTITY) {
        return None;
    }
    Some(Attributes {
        ips: ips(reader),
        mac: mac(reader),
        cni_args: cni_args(reader),
        port_mappings: port_mappings(reader),
        bandwidth: bandwidth(reader),
        infiniband_guid: infiniband_guid(reader),
        default_route: default_route(reader),
        ipam_claim_reference: reader.text("ipam-claim-reference").map(str::to_owned),
        device_id: reader.text("deviceID").map(str::to_owned),
    })
}

fn ips(reader: &mut Reader<'_>) -> Vec<String> {
    let mut ips = Vec::new();
    let wanted = "a list of strings, such as [\"10.10.10.11/24\"]";
    let Some(items) = list(reader, "ips", wanted, (MAX_IPS, Rule::ElementCount)) else {
        return ips;
    };
    for text in strings(reader, "ips", items, Rule::IpAddress, wanted) {
        let legal = if text.contains('/') {
            go_net::parse_cidr(text).is_some()
        } else {
            go_net::parse_ip(text).is_some()
        };
        if legal {
            ips.push(text.to_owned());
        } else {
            let message =
                format!("must be an IPv4 or IPv6 address, without leading zeros or zone; {ADDRESS_FORM}");
            reader.refuse(Rule::IpAddress, "ips", text, message);
        }
    }
    ips
}

/// The items of a list; `None` when there is none, or one that is refused: of a list that is too
/// long, no item is read.
fn list<'a>(
    reader: &mut Reader<'a>,
    key: &'static str,
    wanted: &str,
    (limit, rule): (usize, Rule),
) -> Option<&'a [Node<'a>]> {
    let value = reader.value(key)?;
    let Tree::List(items) = &value.tree else {
        match (key, &value.tree) {
            ("ips" | "default-route", Tree::Text(text)) if !text.trim().is_empty() => {
                let message = format!("must be a list of strings; write {}", as_list(text));
                reader.refuse(Rule::FieldType, key, text, message);
            }
            _ => reader.refuse_type(key, value, wanted),
        }
        return None;
    };
    if items.len() > limit {
        let message = format!(
            "has {} entries, at most {limit} are allowed; list fewer",
            items.len()
        );
        reader.refuse(rule, key, value.raw, message);
        return None;
    }
    Some(items)
}

/// The addresses of a comma-separated string, as the JSON list that they should be.
fn as_list(text: &str) -> Value {
    shown(text).split(',').map(str::trim).map(Value::from).collect()
}

/// The strings among `items`; a null is refused under `rule`, another type as a wrong type.
fn strings<'a>(
    reader: &mut Reader<'_>,
    key: &'static str,
    items: &'a [Node<'a>],
    rule: Rule,
    wanted: &str,
) -> Vec<&'a str> {
    let mut texts = Vec::new();
    for item in items {
        match &item.tree {
            Tree::Text(text) => texts.push(text.as_ref()),
            Tree::Null => reader.refuse(rule, key, "null", format!("null is no address; {ADDRESS_FORM}")),
            _ => reader.refuse_type(key, item, wanted),
        }
    }
    texts
}

fn mac(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text("mac")?;
    if go_net::parse_mac(text).is_none() {
        let message =
            "must be a hardware address of 6, 8 or 20 bytes; write for example \"02:11:22:33:44:55\"";
        reader.refuse(Rule::MacAddress, "mac", text, message.to_owned());
    }
    Some(text.to_owned())
}

fn infiniband_guid(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text("infiniband-guid")?;
    if go_net::parse_mac(text).is_none_or(|bytes| bytes.len() != 8) {
        let message = "must be a GUID of 8 bytes; write for example \"c2:11:22:33:44:55:66:77\"";
        reader.refuse(Rule::InfinibandGuid, "infiniband-guid", text, message.to_owned());
    }
    Some(text.to_owned())
}

fn cni_args(reader: &mut Reader<'_>) -> Option<Map<String, Value>> {
    let value = reader.value("cni-args")?;
    let Tree::Object(members) = &value.tree else {
        reader.refuse_type("cni-args", value, "an object, such as {\"key\":\"value\"}");
        return None;
    };
    Some(spanned_json::object(members))
}

fn default_route(reader: &mut Reader<'_>) -> Option<Vec<IpAddr>> {
    reader.value("default-route")?;
    let wanted = "a list of gateways, such as [\"10.10.10.1\"]";
    let limit = (MAX_DEFAULT_ROUTES, Rule::DefaultRoute);
    let items = list(reader, "default-route", wanted, limit).unwrap_or_default();
    let mut gateways = Vec::new();
    for text in strings(reader, "default-route", items, Rule::DefaultRoute, wanted) {
        match go_net::parse_ip(text) {
            Some(gateway) => gateways.push(gateway),
            None => {
                let message = "must be the IPv4 or IPv6 address of a gateway, without prefix; write for example \"10.10.10.1\"";
                reader.refuse(Rule::DefaultRoute, "default-route", text, message.to_owned());
            }
        }
    }
    Some(gateways)
}

/// How many of the gateways are IPv4 and IPv6, counted as multus counts them.
pub(super) fn count_by_family(gateways: &[IpAddr]) -> [usize; 2] {
    let ipv4 = gateways
        .iter()
        .filter(|gateway| gateway.to_canonical().is_ipv4())
        .count();
    [ipv4, gateways.len() - ipv4]
}

fn port_mappings(reader: &mut Reader<'_>) -> Vec<PortMapping> {
    const WANTED: &str = "a list of objects, such as [{\"hostPort\":8080,\"containerPort\":80}]";
    let limit = (MAX_PORT_MAPPINGS, Rule::ElementCount);
    let items = list(reader, "portMappings", WANTED, limit).unwrap_or_default();
    let mut mappings = Vec::new();
    for item in items {
        match &item.tree {
            Tree::Object(members) => mappings.extend(port_mapping(reader, members)),
            Tree::Null => {
                let message = format!("null is no port mapping; portMappings must be {WANTED}");
                reader.refuse(Rule::PortMapping, "portMappings", "null", message);
            }
            _ => reader.refuse_type("portMappings", item, WANTED),
        }
    }
    mappings
}

fn port_mapping(reader: &mut Reader<'_>, members: &[Member<'_>]) -> Option<PortMapping> {
    reader.check_keys(members, &["hostPort", "containerPort", "protocol", "hostIP"]);
    let host_port = port(reader, members, "hostPort");
    let container_port = port(reader, members, "containerPort");
    let protocol = nested_text(reader, "portMappings", members, "protocol")?;
    if !["", "tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str()) {
        let message = "protocol must be \"tcp\", \"udp\" or \"sctp\"";
        reader.refuse(Rule::PortMapping, "portMappings", protocol, message.to_owned());
    }
    let host_ip = nested_text(reader, "portMappings", members, "hostIP")?;
    if !host_ip.is_empty() && go_net::parse_ip(host_ip).is_none() {
        reader.refuse(
            Rule::PortMapping,
            "portMappings",
            host_ip,
            "hostIP must be an address of the host".to_owned(),
        );
    }
    Some(PortMapping {
        host_port: host_port?,
        container_port: container_port?,
        protocol: protocol.to_owned(),
        host_ip: host_ip.to_owned(),
    })
}

fn port(reader: &mut Reader<'_>, members: &[Member<'_>], key: &'static str) -> Option<u16> {
    let number = integer(reader, "portMappings", members, key)?;
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        let message = format!("{key} must be a port from 1 to 65535");
        reader.refuse(Rule::PortMapping, "portMappings", &number.to_string(), message);
    }
    port
}

fn bandwidth(reader: &mut Reader<'_>) -> Option<Bandwidth> {
    let value = reader.value("bandwidth")?;
    let Tree::Object(members) = &value.tree else {
        reader.refuse_type(
            "bandwidth",
            value,
            "an object, such as {\"ingressRate\":1000000,\"ingressBurst\":2000000}",
        );
        return None;
    };
    reader.check_keys(
        members,
        &["ingressRate", "ingressBurst", "egressRate", "egressBurst"],
    );
    let (ingress_rate, ingress_burst) = rate_and_burst(reader, members, "ingressRate", "ingressBurst")?;
    let (egress_rate, egress_burst) = rate_and_burst(reader, members, "egressRate", "egressBurst")?;
    Some(Bandwidth {
        ingress_rate,
        ingress_burst,
        egress_rate,
        egress_burst,
    })
}

fn rate_and_burst(
    reader: &mut Reader<'_>,
    members: &[Member<'_>],
    rate_key: &'static str,
    burst_key: &'static str,
) -> Option<(u64, u64)> {
    let mut read = |key| {
        let number = integer(reader, "bandwidth", members, key)?;
        let unsigned = u64::try_from(number).ok();
        if unsigned.is_none() {
            let message = format!("{key} must not be negative; it counts bits");
            reader.refuse(Rule::Bandwidth, "bandwidth", &number.to_string(), message);
        }
        unsigned
    };
    let (rate, burst) = (read(rate_key), read(burst_key));
    let (rate, burst) = (rate?, burst?);
    if (rate == 0) != (burst == 0) {
        let message = format!("{rate_key} and {burst_key} must be given together, or neither");
        reader.refuse(
            Rule::Bandwidth,
            "bandwidth",
            &format!("{rate} and {burst}"),
            message,
        );
    }
    Some((rate, burst))
}

fn nested<'a>(members: &'a [Member<'a>], key: &str) -> Option<&'a Node<'a>> {
    work::add(members.len());
    members
        .iter()
        .rfind(|member| member.key == key)
        .map(|member| &member.value)
        .filter(|value| value.tree != Tree::Null)
}

/// A string inside a field's object; empty when it is absent, `None` when it is of another type.
fn nested_text<'a>(
    reader: &mut Reader<'_>,
    field: &'static str,
    members: &'a [Member<'a>],
    key: &str,
) -> Option<&'a str> {
    match nested(members, key).map(|value| (value, &value.tree)) {
        None => Some(""),
        Some((_, Tree::Text(text))) => Some(text),
        Some((value, _)) => {
            reader.refuse_type(field, value, &format!("{{\"{key}\":\"…\"}} with a string"));
            None
        }
    }
}

/// An integer inside a field's object, written as one (Go takes neither 80.0 nor 8e1); 0 when it is
/// absent.
fn integer(reader: &mut Reader<'_>, field: &'static str, members: &[Member<'_>], key: &str) -> Option<i64> {
    let Some(value) = nested(members, key) else {
        return Some(0);
    };
    let number = if value.tree == Tree::Number {
        value.raw.parse().ok()
    } else {
        None
    };
    if number.is_none() {
        let message = format!("{key} must be an integer, written without quotes, point or exponent");
        reader.refuse(Rule::FieldType, field, value.shown(), message);
    }
    number
}
