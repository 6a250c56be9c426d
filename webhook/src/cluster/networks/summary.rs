//! The summary of a NetworkAttachmentDefinition: the facts that rules need, some bytes instead of
//! kilobytes.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::{
    annotations,
    cni::{Capabilities, Capability, ConfigError, DeviceNeed, NetworkConfig, check},
    names::NetworkName,
    validate::{Network, NetworkFacts},
};

/// A NetworkAttachmentDefinition as read: lenient, because one odd object must not hide all others.
#[derive(Clone, Debug, Deserialize)]
pub struct NetworkAttachmentDefinition {
    /// Name, namespace, version, and the one annotation that a rule asks about.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// An object with a string `config`, or nothing.
    #[serde(default)]
    pub spec: Value,
}

/// Leaves behind what makes most of an object's size: managedFields, and what was last applied.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let Read {
        name,
        namespace,
        resource_version,
        mut annotations,
    } = Read::deserialize(deserializer)?;
    if let Some(all) = &mut annotations {
        all.retain(|key, _| key == annotations::RESOURCE_NAME);
    }
    Ok(ObjectMeta {
        name,
        namespace,
        resource_version,
        annotations,
        ..ObjectMeta::default()
    })
}

impl Resource for NetworkAttachmentDefinition {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "NetworkAttachmentDefinition".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "k8s.cni.cncf.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "network-attachment-definitions".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl NetworkAttachmentDefinition {
    /// Its name and what is kept of it; `None` for names that no annotation can mean.
    pub fn summary(&self) -> Option<(NetworkName, Summary)> {
        let name = NetworkName::new(
            self.metadata.namespace.as_deref()?,
            self.metadata.name.as_deref()?,
        )
        .ok()?;
        let resource_name = self.annotation(annotations::RESOURCE_NAME);
        let parsed = self.config().map(|text| check(text, name.name()).runnable());
        let facts = match &parsed {
            Some(Ok(config)) => NetworkFacts::of(config),
            _ => NetworkFacts::default(),
        };
        let (config, device) = match parsed {
            None => (Config::OnNode, DeviceNeed::of(resource_name, None)),
            Some(Ok(config)) => (
                Config::Runnable(reachable(&config)),
                DeviceNeed::of(resource_name, Some(&config)),
            ),
            // Refused for that.
            Some(Err(error)) => (Config::Broken(Box::new(error)), DeviceNeed::None),
        };
        Some((
            name,
            Summary {
                config,
                device,
                resource: resource_name
                    .filter(|_| device == DeviceNeed::Required)
                    .map(Into::into),
                facts,
            },
        ))
    }

    /// Its config; `None` when it is empty, that is, a file on the node.
    pub fn config(&self) -> Option<&str> {
        self.spec
            .get("config")?
            .as_str()
            .filter(|config| !config.is_empty())
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// The plugin of OVN-Kubernetes, whose controller reads ips and mac from the annotation itself.
const OVN_KUBERNETES: &str = "ovn-k8s-cni-overlay";

/// The capabilities that are declared, and those that do their work without being.
fn reachable(config: &NetworkConfig) -> Capabilities {
    let declared = config.capabilities();
    let ovn = config
        .plugins
        .iter()
        .any(|plugin| plugin.get("type").and_then(Value::as_str) == Some(OVN_KUBERNETES));
    let is_reachable = |capability: &Capability| {
        declared.contains(*capability) || ovn && matches!(capability, Capability::Ips | Capability::Mac)
    };
    Capability::ALL.into_iter().filter(is_reachable).collect()
}

/// What is kept of a NetworkAttachmentDefinition.
#[derive(Clone, Debug)]
pub struct Summary {
    config: Config,
    device: DeviceNeed,
    /// Of the devices that it requires.
    resource: Option<Box<str>>,
    facts: NetworkFacts,
}

#[derive(Clone, Debug)]
enum Config {
    OnNode,
    Runnable(Capabilities),
    Broken(Box<ConfigError>),
}

impl Summary {
    /// See [`NetworkFacts`].
    pub(super) fn facts(&self) -> NetworkFacts {
        self.facts
    }

    /// The resource whose devices it requires.
    pub(super) fn resource(&self) -> Option<String> {
        self.resource.as_deref().map(str::to_owned)
    }

    /// As the rules want it.
    pub(super) fn network(&self) -> Network {
        let config = match &self.config {
            Config::OnNode => None,
            Config::Runnable(declared) => Some(Ok(*declared)),
            Config::Broken(error) => Some(Err((**error).clone())),
        };
        Network::Present {
            config,
            device: self.device,
        }
    }
}
