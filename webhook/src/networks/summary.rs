//! What is kept of a NetworkAttachmentDefinition: what its plugins declare, a hundred bytes instead of kilobytes.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::{
    annotations,
    cni::{ConfigError, NetworkConfig},
    names::NetworkName,
    validate::Network,
};

/// A NetworkAttachmentDefinition as read: lenient, because one odd object must not hide all others.
#[derive(Clone, Debug, Deserialize)]
pub struct NetworkAttachmentDefinition {
    /// Name, namespace, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// An object with a string `config`, or nothing.
    #[serde(default)]
    pub spec: Value,
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
        let config = match self.config() {
            None => Config::OnNode,
            Some(text) => match NetworkConfig::parse(text, name.name()) {
                Ok(config) => Config::Runnable(essence(&config).to_string().into_boxed_str()),
                Err(error) => Config::Broken(Box::new(error)),
            },
        };
        let needs_device = self
            .annotation(annotations::RESOURCE_NAME)
            .is_some_and(|resource| !resource.is_empty());
        Some((name, Summary { config, needs_device }))
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

/// What is kept of a NetworkAttachmentDefinition.
#[derive(Clone, Debug)]
pub struct Summary {
    config: Config,
    needs_device: bool,
}

#[derive(Clone, Debug)]
enum Config {
    OnNode,
    /// The essence of the config as JSON: smaller than its parsed form, and read again in microseconds.
    Runnable(Box<str>),
    Broken(Box<ConfigError>),
}

impl Summary {
    /// As the rules want it.
    pub(super) fn network(&self, name: &NetworkName) -> Network {
        let config = match &self.config {
            Config::OnNode => None,
            Config::Runnable(essence) => Some(NetworkConfig::parse(essence, name.name())),
            Config::Broken(error) => Some(Err((**error).clone())),
        };
        Network::Present {
            config,
            needs_device: self.needs_device,
        }
    }
}

/// The config without what no rule asks about: of each plugin its type, capabilities and IPAM type stay.
fn essence(config: &NetworkConfig) -> Value {
    let plugins: Vec<Value> = config.plugins.iter().map(plugin_essence).collect();
    let mut list = json!({ "name": config.name, "plugins": plugins });
    if let Some(version) = &config.cni_version {
        list["cniVersion"] = version.as_str().into();
    }
    list
}

fn plugin_essence(plugin: &Map<String, Value>) -> Value {
    let mut kept = Map::new();
    for key in ["type", "capabilities"] {
        kept.extend(plugin.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(ipam) = plugin.get("ipam").and_then(|ipam| ipam.get("type")) {
        kept.insert("ipam".to_owned(), json!({ "type": ipam }));
    }
    Value::Object(kept)
}
