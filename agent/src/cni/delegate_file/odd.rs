//! Configurations in which one field has another type than a plugin, libcni or multus expects.

use serde_json::{Value, json};

/// Fields of a list, and of a plugin in it (as JSON pointers).
pub const FIELDS: &[&str] = &[
    "/name",
    "/cniVersion",
    "/cniVersions",
    "/cniVersions/0",
    "/disableCheck",
    "/disableGC",
    "/loadOnlyInlinedPlugins",
    "/plugins",
    "/plugins/0",
    "/plugins/0/type",
    "/plugins/0/name",
    "/plugins/0/cniVersion",
    "/plugins/0/capabilities",
    "/plugins/0/capabilities/ips",
    "/plugins/0/Capabilities",
    "/plugins/0/CAPABILITIE\u{17f}",
    "/plugins/0/ipam",
    "/plugins/0/ipam/type",
    "/plugins/0/dns",
    "/plugins/0/dns/nameservers",
    "/plugins/0/dns/nameservers/0",
    "/plugins/0/dns/domain",
    "/plugins/0/prevResult",
    "/plugins/0/cni.dev~1valid-attachments",
    "/plugins/0/runtimeConfig",
    "/plugins/0/args",
    "/plugins/0/mtu",
    "/plugins/0/plugins",
    "/plugins/1/type",
    "/ipam",
    "/type",
    "/prevResult",
    "/dns",
];

/// Values of every type, the edges of each included.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1.5e300),
        json!(""),
        json!("text"),
        json!("0.3.1"),
        json!("\u{0}\u{2028}<&>\u{fffd}"),
        json!([]),
        json!([null]),
        json!([1, "a", {}]),
        json!({}),
        json!({"type": 7}),
        json!({"type": "bridge", "ips": true}),
    ]
}

/// A list in which every field is there and well typed.
pub fn well_typed() -> Value {
    let plugin = json!({
        "type": "macvlan", "name": "first", "cniVersion": "1.0.0", "mtu": 1400,
        "capabilities": {"ips": true, "mac": true}, "Capabilities": {"ips": true},
        "CAPABILITIE\u{17f}": {"mac": true},
        "ipam": {"type": "host-local", "ranges": []},
        "dns": {"nameservers": ["10.0.0.1"], "domain": "a", "search": ["a"], "options": ["b"]},
        "prevResult": {"ips": []}, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "b"}],
        "runtimeConfig": {"ips": ["10.1.0.5/24"]}, "args": {"cni": {}}, "plugins": [],
    });
    json!({
        "name": "blue", "cniVersion": "0.3.1", "cniVersions": ["0.3.1", "1.0.0"],
        "disableCheck": false, "disableGC": false, "loadOnlyInlinedPlugins": true,
        "plugins": [plugin, {"type": "tuning"}],
        "ipam": {"type": "a"}, "type": "", "prevResult": {}, "dns": {},
    })
}

/// One configuration for each field and value; and texts that are no object at all.
pub fn configs() -> Vec<String> {
    let odd = FIELDS.iter().flat_map(|field| {
        values().into_iter().map(move |value| {
            let mut config = well_typed();
            if let Some(place) = config.pointer_mut(field) {
                *place = value;
            }
            config.to_string()
        })
    });
    let missing = FIELDS.iter().filter_map(|field| {
        let mut config = well_typed();
        let (parent, key) = field.rsplit_once('/')?;
        config.pointer_mut(parent)?.as_object_mut()?.remove(key)?;
        Some(config.to_string())
    });
    let no_objects = values().into_iter().map(|value| value.to_string());
    odd.chain(missing)
        .chain(no_objects)
        .chain(["".to_owned(), "{".to_owned(), well_typed().to_string()])
        .collect()
}
