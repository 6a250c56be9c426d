//! The desired state: the networks annotation, element by element, checked again because admission
//! may be absent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shared::{
    config::Config,
    names::InterfaceName,
    naming,
    selection::{Format, Selection, SelectionList},
    validate,
};

use crate::{
    pod::{Annotation, Pod},
    record::{AttachmentRecord, capability_requests},
};

/// The annotation, judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Desired<'a> {
    /// It cannot be read; why. Nothing follows from it.
    Unreadable(&'a str),
    /// Its elements.
    Elements(Vec<Element<'a>>),
}

/// One element of the annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Element<'a> {
    /// The element.
    pub selection: &'a Selection,
    /// Why it can stay attached, but cannot be plugged into a running pod.
    pub refusal: Option<String>,
    /// For an element without an interface name: the text to write instead. `None`: nothing needs
    /// to be said.
    pub hint: Option<String>,
}

/// What an element asks for beyond a network and a name; what is absent is no opinion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// Addresses.
    pub ips: Vec<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Arguments for the plugins.
    pub cni_args: Option<Map<String, Value>>,
    /// The device.
    pub device_id: Option<String>,
    /// See [`AttachmentRecord::capability_requests`].
    pub capability_requests: Option<Map<String, Value>>,
}

impl Attributes {
    /// What `selection` asks for.
    pub fn of(selection: &Selection) -> Self {
        let asked = selection.attributes();
        Self {
            ips: asked.ips.clone(),
            mac: asked.mac.clone(),
            cni_args: asked.cni_args.clone(),
            device_id: asked.device_id.clone(),
            capability_requests: Some(capability_requests(selection)),
        }
    }

    /// What was asked for when `record` was plugged.
    pub fn recorded(record: &AttachmentRecord) -> Self {
        Self {
            ips: record.ips.clone(),
            mac: record.mac.clone(),
            cni_args: record.cni_args.clone(),
            device_id: record.device.as_ref().map(|device| device.id.clone()),
            capability_requests: record.capability_requests.clone(),
        }
    }

    /// Whether `self` asks for nothing else than `plugged`.
    pub fn allow(&self, plugged: &Self) -> bool {
        self.changed_from(plugged).is_empty()
    }

    /// Whether `self` asks for just what `plugged` was asked for.
    pub fn are_those_of(&self, plugged: &Self) -> bool {
        self.allow(plugged)
            && self.ips.is_empty() == plugged.ips.is_empty()
            && self.mac.is_some() == plugged.mac.is_some()
            && self.cni_args.is_some() == plugged.cni_args.is_some()
    }

    /// The fields in which `self` asks for something else than what was plugged with `plugged`.
    pub fn changed_from(&self, plugged: &Self) -> Vec<String> {
        let same_mac = match (&self.mac, &plugged.mac) {
            (Some(wanted), Some(there)) => wanted.eq_ignore_ascii_case(there),
            (wanted, _) => wanted.is_none(),
        };
        let mut changed = Vec::new();
        if !self.ips.is_empty() && self.ips != plugged.ips {
            changed.push("ips".to_owned());
        }
        if !same_mac {
            changed.push("mac".to_owned());
        }
        if self.cni_args.is_some() && self.cni_args != plugged.cni_args {
            changed.push("cni-args".to_owned());
        }
        // What multus plugged before this agent knew of devices has no device in its record.
        let devices = self.device_id.as_ref().zip(plugged.device_id.as_ref());
        if devices.is_some_and(|(wanted, there)| wanted != there) {
            changed.push("deviceID".to_owned());
        }
        if let Some((wanted, there)) = self
            .capability_requests
            .as_ref()
            .zip(plugged.capability_requests.as_ref())
        {
            let differs = wanted
                .iter()
                .filter(|(key, value)| there.get(*key) != Some(*value));
            changed.extend(differs.map(|(key, _)| key.clone()));
        }
        changed
    }
}

impl<'a> Desired<'a> {
    /// Judges a pod's annotation. `taken`: interface names that a hint must not offer.
    pub fn of(pod: &'a Pod, config: &Config, taken: &BTreeSet<InterfaceName>) -> Self {
        let namespace = pod.identity.namespace();
        let list = match &pod.networks {
            Annotation::Absent => return Self::Elements(Vec::new()),
            Annotation::Unreadable { why, .. } => return Self::Unreadable(why),
            Annotation::List(list) => list,
        };
        let all_named = list.elements.iter().all(|element| element.interface.is_some());
        let hints = if pod.virt_launcher || all_named {
            vec![None; list.elements.len()]
        } else {
            hints(list, pod, taken)
        };
        let elements = list.elements.iter().zip(hints).map(|(selection, hint)| Element {
            refusal: refusal(selection, namespace, config),
            selection,
            hint,
        });
        Self::Elements(elements.collect())
    }
}

fn refusal(selection: &Selection, namespace: &str, config: &Config) -> Option<String> {
    if !validate::isolation_allows(namespace, &selection.network, config) {
        return Some(format!(
            "namespace isolation does not let pods of {namespace} use it"
        ));
    }
    if selection.attributes().default_route.is_some() {
        return Some(
            "default-route can only be set when a pod starts; leave it out or recreate the pod".to_owned(),
        );
    }
    None
}

/// For each unnamed element, the text that would name it.
fn hints(list: &SelectionList, pod: &Pod, taken: &BTreeSet<InterfaceName>) -> Vec<Option<String>> {
    let status = shared::status::read(pod.status.as_deref());
    let names = naming::fill_on_update(list, None, &status);
    let mut used = taken.clone();
    list.elements
        .iter()
        .zip(names)
        .map(|(selection, name)| {
            let name = Some(name?)
                .filter(|name| !used.contains(name))
                .or_else(|| free(&used, list))?;
            used.insert(name.clone());
            Some(match list.format {
                Format::Text => format!("write {}@{name}", selection.network),
                Format::Json => format!(
                    "add \"interface\":\"{name}\" to the element of {}",
                    selection.network
                ),
            })
        })
        .collect()
}

fn free(used: &BTreeSet<InterfaceName>, list: &SelectionList) -> Option<InterfaceName> {
    let named = |name: &InterfaceName| {
        list.elements
            .iter()
            .any(|element| element.interface.as_ref() == Some(name))
    };
    (1..=u32::from(u16::MAX))
        .map(InterfaceName::net)
        .find(|name| !used.contains(name) && !named(name))
}
