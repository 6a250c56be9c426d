//! The rules about one element, its network, and the fields that it sets for the network.

use super::{
    Found, Network, NetworkFacts, Networks, Operation, PodContext, Previous, Warning,
    changed_field::ChangedField, devices::Exhausted, isolation_allows,
};
use crate::{
    cni::{Capabilities, DeviceNeed},
    config::{Config, MissingNetworks},
    go_net,
    names::NetworkName,
    selection::{Selection, UnknownKeys},
    violation::{Rule, Violation},
};

pub(super) struct ElementCheck<'a> {
    pub context: &'a PodContext<'a>,
    pub config: &'a Config,
    pub index: usize,
    pub element: &'a Selection,
    pub previous: Previous<'a>,
    /// The pod has no device left for it.
    pub exhausted: Option<Exhausted>,
    pub findings: &'a mut Found,
}

impl<'a> ElementCheck<'a> {
    pub fn judge(&mut self, networks: &dyn Networks) {
        let changed = ChangedField::by(self.element, self.previous);
        let unknown_keys = self.new_unknown_keys();
        if !self.is_new() && changed.is_empty() && unknown_keys.is_none() {
            return;
        }
        if !self.judge_place() {
            return;
        }
        if let Some(keys) = unknown_keys {
            self.warn_of_keys(keys);
        }
        self.judge_changes(&changed);
        if changed.contains(&ChangedField::Mac) {
            self.judge_mac();
        }
        self.judge_network(networks, &changed);
        let attributes = self.element.attributes();
        let claims = changed.contains(&ChangedField::Ips) || changed.contains(&ChangedField::IpamClaim);
        if claims && attributes.ipam_claim_reference.is_some() && !attributes.ips.is_empty() {
            self.warn(Warning::IpamClaim, &[]);
        }
    }

    fn judge_network(&mut self, networks: &dyn Networks, changed: &[ChangedField]) {
        let (config, device) = match networks.network(&self.element.network) {
            Network::Unknown => return,
            Network::Missing { similar } => return self.judge_missing(&similar),
            Network::Present { config, device } => (config, device),
        };
        self.judge_device(device);
        match config {
            None => {}
            Some(Ok(declared)) => {
                self.judge_capabilities(changed, declared);
                self.judge_facts(changed, networks.facts(&self.element.network));
            }
            Some(Err(error)) if self.is_new() => {
                let message = format!("its NetworkAttachmentDefinition cannot run: {error}");
                self.refuse_network(Rule::NetworkConfig, None, message);
            }
            Some(Err(_)) => {}
        }
    }

    fn is_new(&self) -> bool {
        self.previous.is_new()
    }

    /// Whether a new network would be hot-plugged by the agent: multus has set the pod up already.
    fn is_running(&self) -> bool {
        matches!(self.context.operation, Operation::Update { running: true, .. })
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

    /// As [`Self::refuse`], because of a fact about the network.
    fn refuse_network(&mut self, rule: Rule, field: Option<&'static str>, message: impl Into<String>) {
        self.rest_on_network();
        self.refuse(rule, field.map(|field| (field, "")), message);
    }

    /// The next finding rests on the cached facts of the network.
    fn rest_on_network(&mut self) {
        let network = &self.element.network;
        if !self.findings.rests_on.contains(network) {
            self.findings.rests_on.push(network.clone());
        }
    }

    fn warn(&mut self, warning: Warning, parts: &[&str]) {
        self.findings.warn_of(self.index, self.element, warning, parts);
    }

    /// The keys that multus ignores, unless the element had the same before.
    fn new_unknown_keys(&self) -> Option<&'a UnknownKeys> {
        let keys = self.element.unknown_keys()?;
        let before = self.previous.element;
        let is_new = match before {
            None => !self.previous.is_plugged,
            Some(before) => before.unknown_keys() != Some(keys),
        };
        is_new.then_some(keys)
    }

    /// Judges whether the pod may use the network. If not, returns false and the network gets no
    /// further findings, since the pod's owner may not read it.
    fn judge_place(&mut self) -> bool {
        if !self.is_new() {
            return true;
        }
        if self.context.host_network && matches!(self.context.operation, Operation::Update { .. }) {
            let message =
                "the pod uses the host's network, no interface can be added to it; remove the element";
            self.refuse(Rule::HostNetwork, None, message);
        }
        let allowed = isolation_allows(self.context.namespace, &self.element.network, self.config);
        if !allowed {
            let own = self.context.namespace;
            let message = format!(
                "namespace isolation is on: a pod in {own} may use networks of {}; use a NetworkAttachmentDefinition there",
                one_of(std::iter::once(own).chain(self.config.global_namespaces.iter().map(String::as_str)))
            );
            let namespace = self.element.network.namespace();
            self.refuse(Rule::NamespaceIsolation, Some(("namespace", namespace)), message);
        }
        allowed
    }

    /// Judges fields that a running pod, or a plugged interface, does not take any more.
    fn judge_changes(&mut self, changed: &[ChangedField]) {
        let plugged = self.previous.is_plugged;
        for field in changed {
            let shown = self.value(*field);
            let at = Some((field.key(), shown.as_str()));
            match field {
                ChangedField::DefaultRoute if self.is_running() => {
                    let message = "only multus at pod start can set a default route; leave it out, or re-create the pod";
                    self.refuse(Rule::DefaultRouteUpdate, at, message);
                }
                ChangedField::Ips | ChangedField::Mac | ChangedField::CniArgs | ChangedField::DeviceId
                    if plugged =>
                {
                    let message = "the interface is plugged and nothing would apply the change; remove the element first, \
                                   then add it again";
                    self.refuse(Rule::AttributeChange, at, message);
                }
                ChangedField::DeviceId if self.is_running() => self.warn(Warning::DeviceOfThePod, &[]),
                ChangedField::DeviceId => self.warn(Warning::DeviceUnchecked, &[]),
                ChangedField::PortMappings | ChangedField::Bandwidth | ChangedField::InfinibandGuid
                    if plugged =>
                {
                    self.warn(Warning::ChangeNotApplied, &[field.key()]);
                }
                _ => {}
            }
        }
    }

    /// Well-formed for every parser, but the kernel answers EADDRNOTAVAIL when an interface should
    /// get it. Judged here and not as a matter of form: a network that ignores `mac` runs with it,
    /// and a pod that has it must stay editable.
    fn judge_mac(&mut self) {
        let mac = self.element.attributes().mac.as_deref().unwrap_or_default();
        let Some(bytes) = go_net::parse_mac(mac).filter(|bytes| !go_net::is_unicast(bytes)) else {
            return;
        };
        let what = if bytes.iter().all(|byte| *byte == 0) {
            "the address of zeros belongs to no interface"
        } else {
            "it is a group address (its first byte is odd), which no interface can have"
        };
        let message = format!("{what}; write for example \"02:11:22:33:44:55\", or leave mac out");
        self.refuse(Rule::MacUnicast, Some(("mac", mac)), message);
    }

    fn judge_facts(&mut self, changed: &[ChangedField], facts: NetworkFacts) {
        let ips = &self.element.attributes().ips;
        let bare = ips.iter().find(|ip| !ip.contains('/'));
        if let Some(ip) = bare.filter(|_| facts.has_static_ipam && changed.contains(&ChangedField::Ips)) {
            let prefix = if ip.contains(':') { 64 } else { 24 };
            let message = format!(
                "the network's IPAM is static, which needs a prefix length with every address; write for example \
                 \"{ip}/{prefix}\""
            );
            self.rest_on_network();
            self.refuse(Rule::IpPrefix, Some(("ips", ip)), message);
        }
        // At pod start this is what multus does with such a network, with or without us.
        if facts.has_default_route && self.is_new() && self.is_running() {
            self.warn(Warning::SecondDefaultRoute, &[]);
        }
    }

    fn warn_of_keys(&mut self, keys: &UnknownKeys) {
        let meant = keys.meant.map(|meant| format!("; did you mean \"{meant}\"?"));
        let more = match keys.more {
            0 => String::new(),
            1 => " (and 1 more key)".to_owned(),
            more => format!(" (and {more} more keys)"),
        };
        let parts = [keys.first.as_str(), &more, &meant.unwrap_or_default()];
        self.warn(Warning::UnknownKey, &parts);
    }

    fn value(&self, field: ChangedField) -> String {
        let attributes = self.element.attributes();
        match field {
            ChangedField::Ips => attributes.ips.join(", "),
            ChangedField::Mac => attributes.mac.clone().unwrap_or_default(),
            ChangedField::DeviceId => attributes.device_id.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn judge_missing(&mut self, similar: &[NetworkName]) {
        if !self.is_new() {
            return;
        }
        // Names that the pod may not use do not help, and its owner may not read them.
        let usable = similar
            .iter()
            .filter(|name| isolation_allows(self.context.namespace, name, self.config));
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
                self.warn(Warning::UnknownNetwork, &[&hint]);
            }
        }
    }

    /// Devices are given to a pod when it starts; a running pod gets no further ones. Which of them
    /// are free, the agent finds out.
    fn judge_device(&mut self, device: DeviceNeed) {
        if !self.is_new() || !self.is_running() {
            return;
        }
        match (device, self.exhausted.take()) {
            (DeviceNeed::None, _) => {}
            (DeviceNeed::Required, Some(Exhausted { resource, given })) => {
                let message = format!(
                    "its plugin requires a device of {resource}, of which the pod was given {given}, fewer than the list \
                     asks for; remove another element of that resource, or re-create the pod with a higher limit"
                );
                self.refuse_network(Rule::DevicePlugin, None, message);
            }
            (DeviceNeed::Unknown | DeviceNeed::Required, _) => self.warn(Warning::MayNeedDevice, &[]),
        }
    }

    fn judge_capabilities(&mut self, changed: &[ChangedField], declared: Capabilities) {
        for field in changed {
            let Some((capability, only_way)) = field.capability() else {
                continue;
            };
            if declared.contains(capability) {
                continue;
            }
            let capability = capability.name();
            if only_way {
                let message = format!(
                    "no plugin of this network declares the capability {capability}; write \
                     \"capabilities\":{{\"{capability}\":true}} into the plugin that has it (of a list, into an entry of \
                     \"plugins\": beside them it has no effect), or leave the field out"
                );
                self.refuse_network(Rule::Capability, Some(field.key()), message);
            } else {
                self.warn(Warning::CapabilityUndeclared, &[capability, field.key()]);
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
