//! Whether two fields have the same meaning, however they are written.

use serde_json::Value;

use super::PortMapping;
use crate::go_net::{parse_cidr, parse_ip, parse_mac};

/// Lists of addresses, in the same order.
pub(super) fn ips(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ip(a, b))
}

fn ip(a: &str, b: &str) -> bool {
    let read = |text: &str| match parse_cidr(text) {
        Some((address, prefix)) => Some((address, Some(prefix))),
        None => parse_ip(text).map(|address| (address, None)),
    };
    a == b || read(a).is_some_and(|address| read(b) == Some(address))
}

/// Hardware addresses.
pub(super) fn mac(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || parse_mac(a).is_some_and(|bytes| parse_mac(b) == Some(bytes)),
        (a, b) => a == b,
    }
}

/// Lists of port mappings, in the same order.
pub(super) fn port_mappings(a: &[PortMapping], b: &[PortMapping]) -> bool {
    let same = |(a, b): (&PortMapping, &PortMapping)| {
        (a.host_port, a.container_port) == (b.host_port, b.container_port)
            && a.protocol.eq_ignore_ascii_case(&b.protocol)
            && ip(&a.host_ip, &b.host_ip)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// JSON values: Go reads every number as a float.
pub(super) fn value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| value(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}
