//! One element in its surroundings: its network, and what it asks of it.

use super::{Found, Network, Networks, Operation, Previous, Subject, isolation_allows};
use crate::{
    cni::{Capabilities, Capability, DeviceNeed},
    config::{Config, MissingNetworks},
    names::NetworkName,
    selection::{Attributes, Selection},
    violation::{Rule, Violation},
};

/// A field that is new in this element, or has another value than before. A field that is absent asks for nothing.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Ips,
    Mac,
    CniArgs,
    PortMappings,
    Bandwidth,
    InfinibandGuid,
    DefaultRoute,
    IpamClaim,
    DeviceId,
}

impl Asked {
    fn of(new: &Attributes, before: Option<&Attributes>) -> Vec<Self> {
        [
            (
                Self::Ips,
                !new.ips.is_empty(),
                before.is_some_and(|b| b.same_ips(new)),
            ),
            (
                Self::Mac,
                new.mac.is_some(),
                before.is_some_and(|b| b.same_mac(new)),
            ),
            (
                Self::CniArgs,
                new.cni_args.is_some(),
                before.is_some_and(|b| b.same_cni_args(new)),
            ),
            (
                Self::PortMappings,
                !new.port_mappings.is_empty(),
                before.is_some_and(|b| b.same_port_mappings(new)),
            ),
            (
                Self::Bandwidth,
                new.bandwidth.is_some(),
                before.is_some_and(|b| b.bandwidth == new.bandwidth),
            ),
            (
                Self::InfinibandGuid,
                new.infiniband_guid.is_some(),
                before.is_some_and(|b| b.same_infiniband_guid(new)),
            ),
            (
                Self::DefaultRoute,
                new.default_route.is_some(),
                before.is_some_and(|b| b.default_route == new.default_route),
            ),
            (
                Self::IpamClaim,
                new.ipam_claim_reference.is_some(),
                before.is_some_and(|b| b.ipam_claim_reference == new.ipam_claim_reference),
            ),
            (
                Self::DeviceId,
                new.device_id.is_some(),
                before.is_some_and(|b| b.device_id == new.device_id),
            ),
        ]
        .into_iter()
        .filter_map(|(field, present, same)| (present && !same).then_some(field))
        .collect()
    }

    fn key(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Mac => "mac",
            Self::CniArgs => "cni-args",
            Self::PortMappings => "portMappings",
            Self::Bandwidth => "bandwidth",
            Self::InfinibandGuid => "infiniband-guid",
            Self::DefaultRoute => "default-route",
            Self::IpamClaim => "ipam-claim-reference",
            Self::DeviceId => "deviceID",
        }
    }

    /// The capability that hands the field to a plugin, and whether it is the only way there: ips and mac reach plugins through
    /// CNI_ARGS too.
    fn capability(self) -> Option<(Capability, bool)> {
        match self {
            Self::Ips => Some((Capability::Ips, false)),
            Self::Mac => Some((Capability::Mac, false)),
            Self::PortMappings => Some((Capability::PortMappings, true)),
            Self::Bandwidth => Some((Capability::Bandwidth, true)),
            Self::InfinibandGuid => Some((Capability::InfinibandGuid, true)),
            Self::CniArgs | Self::DefaultRoute | Self::IpamClaim | Self::DeviceId => None,
        }
    }
}

pub(super) struct Judge<'a> {
    pub subject: &'a Subject<'a>,
    pub config: &'a Config,
    pub index: usize,
    pub element: &'a Selection,
    pub previous: Previous<'a>,
    pub findings: &'a mut Found,
}

impl Judge<'_> {
    pub fn judge(&mut self, networks: &dyn Networks) {
        let attributes = self.element.attributes();
        let asked = match (self.previous.element, self.previous.is_plugged) {
            // Plugged by a list that was unreadable: what it asked for is unknown.
            (None, true) => Vec::new(),
            (before, _) => Asked::of(attributes, before.map(Selection::attributes)),
        };
        if !self.is_new() && asked.is_empty() {
            return;
        }
        if !self.judge_place() {
            return;
        }
        self.judge_changes(&asked);
        match networks.network(&self.element.network) {
            Network::Unknown => {}
            Network::Missing { similar } => self.judge_missing(&similar),
            Network::Present { config, device } => {
                self.judge_device(device);
                match config {
                    None => {}
                    Some(Ok(declared)) => self.judge_capabilities(&asked, declared),
                    Some(Err(error)) if self.is_new() => {
                        let message = format!("its NetworkAttachmentDefinition cannot run: {error}");
                        self.refuse_network(Rule::NetworkConfig, None, message);
                    }
                    Some(Err(_)) => {}
                }
            }
        }
        let claims = asked.contains(&Asked::Ips) || asked.contains(&Asked::IpamClaim);
        if claims && attributes.ipam_claim_reference.is_some() && !attributes.ips.is_empty() {
            self.warn("ips and ipam-claim-reference together: some IPAM plugins refuse that");
        }
    }

    fn is_new(&self) -> bool {
        self.previous.is_new()
    }

    /// Whether a network that comes in is hot-plugged: multus at pod start does not see it.
    fn is_running(&self) -> bool {
        matches!(self.subject.operation, Operation::Update { running: true, .. })
    }

    fn refuse(&mut self, rule: Rule, field: Option<(&'static str, &str)>, message: impl Into<String>) {
        let mut violation = Violation::of_element(rule, self.index, message).network(&self.element.network);
        if let Some((field, value)) = field {
            violation = violation.field(field);
            if !value.is_empty() {
                violation = violation.value(value);
            }
        }
        self.findings.violations.push(violation);
    }

    /// What is found next rests on what is known of the network.
    fn rest_on_network(&mut self) {
        let network = &self.element.network;
        if !self.findings.rests_on.contains(network) {
            self.findings.rests_on.push(network.clone());
        }
    }

    /// As [`Self::refuse`], because of what is known of the network.
    fn refuse_network(&mut self, rule: Rule, field: Option<&'static str>, message: impl Into<String>) {
        self.rest_on_network();
        self.refuse(rule, field.map(|field| (field, "")), message);
    }

    fn warn(&mut self, text: &str) {
        self.findings.warn_of(self.index, self.element, text);
    }

    /// The pod and its namespace; false: the pod may not use the network, and nothing more about it
    /// is its owner's to know.
    fn judge_place(&mut self) -> bool {
        if !self.is_new() {
            return true;
        }
        if self.subject.host_network && matches!(self.subject.operation, Operation::Update { .. }) {
            let message =
                "the pod uses the host's network, no interface can be added to it; remove the element";
            self.refuse(Rule::HostNetwork, None, message);
        }
        let allowed = isolation_allows(self.subject.namespace, &self.element.network, self.config);
        if !allowed {
            let own = self.subject.namespace;
            let message = format!(
                "namespace isolation is on: a pod in {own} may use networks of {}; use a NetworkAttachmentDefinition there",
                one_of(std::iter::once(own).chain(self.config.global_namespaces.iter().map(String::as_str)))
            );
            let namespace = self.element.network.namespace();
            self.refuse(Rule::NamespaceIsolation, Some(("namespace", namespace)), message);
        }
        allowed
    }

    /// Fields that cannot be changed any more.
    fn judge_changes(&mut self, asked: &[Asked]) {
        let plugged = self.previous.is_plugged;
        for field in asked {
            let shown = self.value(*field);
            let at = Some((field.key(), shown.as_str()));
            match field {
                Asked::DefaultRoute if self.is_running() => {
                    let message = "only multus at pod start can set a default route; leave it out, or re-create the pod";
                    self.refuse(Rule::DefaultRouteUpdate, at, message);
                }
                Asked::DeviceId if self.is_running() => {
                    let message =
                        "a device cannot be given to a running pod; leave it out, or re-create the pod";
                    self.refuse(Rule::DeviceId, at, message);
                }
                Asked::DeviceId => self
                    .warn("multus hands deviceID to the plugin unchecked; the device may be another pod's"),
                Asked::Ips | Asked::Mac | Asked::CniArgs if plugged => {
                    let message = "the interface is plugged and nothing would apply the change; remove the element first, \
                                   then add it again";
                    self.refuse(Rule::AttributeChange, at, message);
                }
                Asked::PortMappings | Asked::Bandwidth | Asked::InfinibandGuid if plugged => {
                    self.warn(&format!(
                        "the interface is plugged, a changed {} is not applied",
                        field.key()
                    ));
                }
                _ => {}
            }
        }
    }

    fn value(&self, field: Asked) -> String {
        let attributes = self.element.attributes();
        match field {
            Asked::Ips => attributes.ips.join(", "),
            Asked::Mac => attributes.mac.clone().unwrap_or_default(),
            Asked::DeviceId => attributes.device_id.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn judge_missing(&mut self, similar: &[NetworkName]) {
        if !self.is_new() {
            return;
        }
        // What the pod may not use is no help, and not its owner's to know.
        let usable = similar
            .iter()
            .filter(|name| isolation_allows(self.subject.namespace, name, self.config));
        let names: Vec<String> = usable.map(NetworkName::to_string).collect();
        let hint = match names.as_slice() {
            [] => String::new(),
            names => format!("; did you mean {}?", one_of(names.iter().map(String::as_str))),
        };
        match self.config.missing_networks {
            MissingNetworks::Reject => {
                let hint = if hint.is_empty() {
                    "; create it first"
                } else {
                    hint.as_str()
                };
                self.refuse_network(
                    Rule::UnknownNetwork,
                    None,
                    format!("this NetworkAttachmentDefinition does not exist{hint}"),
                );
            }
            MissingNetworks::Warn => {
                self.rest_on_network();
                self.warn(&format!("no such NetworkAttachmentDefinition{hint}"));
            }
        }
    }

    /// At pod start multus gives devices; a pod that runs gets no more.
    fn judge_device(&mut self, device: DeviceNeed) {
        if !self.is_new() || !self.is_running() {
            return;
        }
        match device {
            DeviceNeed::None => {}
            DeviceNeed::Unknown => self.warn("it may need a device, which only a new pod is given"),
            DeviceNeed::Required => {
                let message =
                    "its plugin requires a device, which is given at pod creation only; re-create the pod";
                self.refuse_network(Rule::DevicePlugin, None, message);
            }
        }
    }

    fn judge_capabilities(&mut self, asked: &[Asked], declared: Capabilities) {
        for field in asked {
            let Some((capability, only_way)) = field.capability() else {
                continue;
            };
            if declared.contains(capability) {
                continue;
            }
            let capability = capability.name();
            if only_way {
                let message = format!(
                    "no plugin of this network declares the capability {capability}; declare it in the \
                     NetworkAttachmentDefinition, or leave the field out"
                );
                self.refuse_network(Rule::Capability, Some(field.key()), message);
            } else {
                self.warn(&format!(
                    "no plugin declares the capability {capability}, {} may be ignored",
                    field.key()
                ));
            }
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut items: Vec<&str> = items.collect();
    items.dedup();
    match items.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
