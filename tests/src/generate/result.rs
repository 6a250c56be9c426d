//! CNI results of all versions, as plugins write them and as they should not.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{once_in, pick};

const VERSIONS: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const MACS: &[&str] = &["02:00:00:00:00:01", "02:00:00:00:00:02", ""];
const V4: &[&str] = &["10.0.0.1/24", "10.1.2.3/32", "192.168.7.9/16", "0.0.0.0/0"];
const V6: &[&str] = &["fd00::1/64", "2001:db8::5/128"];
const DESTINATIONS: &[&str] = &[
    "0.0.0.0/0",
    "::/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "fd00::/8",
    "::/1",
    "0.0.0.0/32",
];

/// One result; `seed` makes it again.
pub fn result(seed: u64) -> Value {
    let mut rng = Rng::with_seed(seed);
    let version = pick(&mut rng, VERSIONS);
    let mut result = if version < "0.3.0" {
        old(&mut rng)
    } else {
        current(&mut rng, version)
    };
    result["cniVersion"] = json!(version);
    if rng.bool() {
        result["dns"] = dns(&mut rng);
    }
    result
}

/// Before 0.3.0: at most one address of each family, and no interfaces.
fn old(rng: &mut Rng) -> Value {
    let mut result = json!({});
    for (key, addresses, gateway) in [("ip4", V4, "10.0.0.254"), ("ip6", V6, "fd00::ff")] {
        if rng.bool() {
            let routes = if rng.bool() {
                json!([{"dst": pick(rng, addresses), "gw": gateway}])
            } else {
                json!([])
            };
            result[key] = json!({"ip": pick(rng, addresses), "gateway": gateway, "routes": routes});
        }
    }
    result
}

fn current(rng: &mut Rng, version: &str) -> Value {
    let interfaces: Vec<Value> = (0..rng.usize(0..5)).map(|index| interface(rng, index)).collect();
    let ips: Vec<Value> = (0..rng.usize(0..4))
        .map(|_| ip(rng, version, interfaces.len()))
        .collect();
    let routes: Vec<Value> = (0..rng.usize(0..4)).map(|_| route(rng)).collect();
    let mut result = json!({});
    for (key, list) in [("interfaces", interfaces), ("ips", ips), ("routes", routes)] {
        // An absent list and an empty one are the same.
        if !list.is_empty() || rng.bool() {
            result[key] = Value::Array(list);
        }
    }
    result
}

fn interface(rng: &mut Rng, index: usize) -> Value {
    let mut interface = json!({"name": format!("net{index}")});
    if !once_in(rng, 5) {
        interface["mac"] = json!(pick(rng, MACS));
    }
    if rng.bool() {
        interface["mtu"] = json!(pick(rng, &[0, 1400, 1500, 9000]));
    }
    if !once_in(rng, 3) {
        interface["sandbox"] = json!("/var/run/netns/x");
    }
    interface
}

fn ip(rng: &mut Rng, version: &str, interfaces: usize) -> Value {
    let v6 = once_in(rng, 3);
    let mut ip = json!({"address": if v6 { pick(rng, V6) } else { pick(rng, V4) }});
    if version < "1.0.0" {
        ip["version"] = json!(if v6 { "6" } else { "4" });
    }
    if rng.bool() {
        ip["interface"] = json!(rng.usize(0..interfaces + 2));
    }
    if rng.bool() {
        ip["gateway"] = json!(if v6 { "fd00::ff" } else { "10.0.0.254" });
    }
    ip
}

fn route(rng: &mut Rng) -> Value {
    let mut route = json!({"dst": pick(rng, DESTINATIONS)});
    if rng.bool() {
        route["gw"] = json!(pick(rng, &["10.0.0.254", "fd00::ff"]));
    }
    route
}

fn dns(rng: &mut Rng) -> Value {
    pick(
        rng,
        &[
            &[][..],
            &[("nameservers", r#"["10.0.0.53"]"#)],
            &[
                ("nameservers", "[]"),
                ("domain", "\"example.test\""),
                ("search", r#"["a.test","b.test"]"#),
            ],
            &[("options", r#"["ndots:5"]"#), ("domain", "\"\"")],
        ],
    )
    .iter()
    .map(|(key, text)| ((*key).to_owned(), text.parse().unwrap_or(Value::Null)))
    .collect()
}
