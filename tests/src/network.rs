//! NetworkAttachmentDefinitions for tests: macvlan on the node's `eth1`, or a bridge of the test's
//! own.

use serde_json::{Map, Value, json};

use crate::recorder::RECORDER;

/// What a test wants of a network; made into a NAD by [`crate::Namespace::create_nad`].
#[derive(Clone, Debug)]
pub struct Plugin {
    config: Map<String, Value>,
    ipam: Ipam,
    recorded: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ipam {
    None,
    HostLocal,
    HostLocal6,
    Static,
}

/// A network that exists in the test's namespace.
#[derive(Clone, Debug)]
pub struct Nad {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The name inside its CNI configuration: what host-local files its leases under.
    pub config_name: String,
    /// The first three numbers of its addresses, `10.200.7`.
    pub subnet: String,
}

/// A macvlan in bridge mode over the node's `eth1`.
pub fn macvlan() -> Plugin {
    Plugin::of(json!({"type": "macvlan", "master": "eth1", "mode": "bridge"}))
}

/// A bridge of its own, with `capabilities` for addresses and hardware addresses as macvlan's.
pub fn bridge() -> Plugin {
    Plugin::of(json!({"type": "bridge"}))
}

/// A device of the node that moves into the pod. Its plugin does nothing once the pod's network
/// namespace is gone.
pub fn host_device(device: &str) -> Plugin {
    Plugin::of(json!({"type": "host-device", "device": device}))
}

impl Plugin {
    fn of(mut config: Value) -> Self {
        config["capabilities"] = json!({"ips": true, "mac": true});
        let config = match config {
            Value::Object(config) => config,
            _ => Map::new(),
        };
        Self {
            config,
            ipam: Ipam::None,
            recorded: false,
        }
    }

    /// Addresses from the host-local plugin, in a range that no other test uses.
    pub fn host_local(mut self) -> Self {
        self.ipam = Ipam::HostLocal;
        self
    }

    /// The same with IPv6 addresses.
    pub fn host_local6(mut self) -> Self {
        self.ipam = Ipam::HostLocal6;
        self
    }

    /// Addresses as the annotation asks for them.
    pub fn static_addresses(mut self) -> Self {
        self.ipam = Ipam::Static;
        self
    }

    /// On top of an interface that is in the pod already: impossible unless that one is plugged
    /// first.
    pub fn over(mut self, interface: &str) -> Self {
        self.config.insert("master".to_owned(), json!(interface));
        self.config.insert("linkInContainer".to_owned(), json!(true));
        self
    }

    /// Followed by the recorder, which declares every capability: see [`crate::Pod::recorded`] and
    /// [`crate::Namespace::order`].
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// With one more key.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), json!(value));
        self
    }

    /// The CNI configuration, as text: `spec.config` of the NAD.
    pub(crate) fn config(&self, nad: &Nad, bridge: &str) -> String {
        let mut config = self.plugin(nad, bridge);
        let head = [("cniVersion", json!("1.0.0")), ("name", json!(nad.config_name))];
        let head = head.map(|(key, value)| (key.to_owned(), value));
        if self.recorded {
            let recorder = json!({"type": RECORDER, "capabilities": {
                "ips": true, "mac": true, "portMappings": true, "bandwidth": true, "infinibandGUID": true,
            }});
            config = Map::from_iter([("plugins".to_owned(), json!([config, recorder]))]);
        }
        config.extend(head);
        Value::Object(config).to_string()
    }

    fn plugin(&self, nad: &Nad, bridge: &str) -> Map<String, Value> {
        let mut config = self.config.clone();
        if config.get("type") == Some(&json!("bridge")) {
            config.insert("bridge".to_owned(), json!(bridge));
        }
        let subnet = &nad.subnet;
        let ipam = match self.ipam {
            Ipam::None => json!({}),
            Ipam::Static => json!({"type": "static"}),
            Ipam::HostLocal => json!({"type": "host-local", "ranges": [[{
                "subnet": format!("{subnet}.0/24"),
                "rangeStart": format!("{subnet}.10"),
                "rangeEnd": format!("{subnet}.250"),
            }]]}),
            Ipam::HostLocal6 => json!({"type": "host-local", "ranges": [[{
                "subnet": format!("{}/64", nad.address6(0)),
                "rangeStart": nad.address6(0x10),
            }]]}),
        };
        config.insert("ipam".to_owned(), ipam);
        config
    }
}

impl Nad {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        // Any spread will do: the ranges of two tests share no wire but eth1's, where nobody talks.
        let hash = format!("{namespace}/{name}")
            .bytes()
            .fold(17_u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            config_name: format!("{namespace}-{name}"),
            subnet: format!("10.{}.{}", 150 + hash / 256 % 50, hash % 256),
        }
    }

    /// An address of its range, without prefix.
    pub fn address(&self, host: u8) -> String {
        format!("{}.{host}", self.subnet)
    }

    /// An IPv6 address of its range, without prefix.
    pub fn address6(&self, host: u8) -> String {
        let subnet = self.subnet.replace('.', ":");
        if host == 0 {
            format!("fd00:{subnet}::")
        } else {
            format!("fd00:{subnet}::{host:x}")
        }
    }

    /// The name as network-status has it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
