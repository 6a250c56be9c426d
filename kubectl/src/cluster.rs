//! The API server.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use shared::{annotations::NETWORKS, names::NetworkName};

use crate::{
    args::{Connection, Target},
    error::{Doing as _, Error},
};

/// Objects of one LIST.
const PAGE: u32 = 500;

/// A connection, and the namespace that commands are about.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    pub controller_namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig. Nothing is dialled yet.
    pub async fn connect(connection: &Connection) -> Result<Self, Error> {
        // Nothing else installs one in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
        let options = KubeConfigOptions {
            context: connection.context.clone(),
            ..KubeConfigOptions::default()
        };
        let files = connection.files();
        let config = if files.is_empty() {
            Config::from_kubeconfig(&options).await
        } else {
            let mut merged = Kubeconfig::default();
            for file in files {
                let read = Kubeconfig::read_from(&file).map_err(|error| setup(&error))?;
                merged = merged.merge(read).map_err(|error| setup(&error))?;
            }
            Config::from_custom_kubeconfig(merged, &options).await
        };
        let config = config.map_err(|error| setup(&error))?;
        let namespace = connection.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self {
            client: Client::try_from(config).map_err(|error| setup(&error))?,
            namespace,
            controller_namespace: connection.controller_namespace.clone(),
        })
    }

    /// The pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pod, or the running pods of the workload. At least one.
    pub async fn pods_of(&self, target: &Target) -> Result<Vec<Pod>, Error> {
        match target {
            Target::Pod(name) => {
                let pod = self.pods().get(name).await;
                Ok(vec![pod.doing(|| format!("read pod {name}"))?])
            }
            Target::Workload(plural, name) => {
                let selector = self.selector_of(plural, name).await?;
                let params = ListParams::default().labels(&selector);
                let mut pods = list(&self.pods(), params).await?;
                pods.retain(is_running);
                if pods.is_empty() {
                    return Err(Error::Edit(format!("{plural}/{name} has no running pod")));
                }
                Ok(pods)
            }
        }
    }

    /// The label selector of a workload, as LIST takes it.
    async fn selector_of(&self, plural: &str, name: &str) -> Result<String, Error> {
        let kind = GroupVersionKind::gvk("apps", "v1", "Workload");
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let workload = api.get(name).await.doing(|| format!("read {plural}/{name}"))?;
        selector(workload.data.pointer("/spec/selector").unwrap_or(&Value::Null))
            .ok_or_else(|| Error::Edit(format!("{plural}/{name} has no label selector that can be read")))
    }

    /// All pods of the namespace, or of all, that have the annotation.
    pub async fn pods_with_networks(&self, everywhere: bool) -> Result<Vec<Pod>, Error> {
        let api = if everywhere {
            Api::all(self.client.clone())
        } else {
            self.pods()
        };
        let mut pods = list(&api, ListParams::default()).await?;
        pods.retain(|pod| pod.annotations().contains_key(NETWORKS));
        Ok(pods)
    }

    /// NetworkAttachmentDefinitions of a namespace.
    pub fn networks(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
        let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// `NAME` or `NAMESPACE/NAME`.
    pub fn network_name(&self, text: &str, namespace: Option<&str>) -> Result<NetworkName, Error> {
        let (namespace, name) = match (text.split_once('/'), namespace) {
            (Some(_), Some(_)) => {
                return Err(Error::Edit(format!(
                    "{text}: give the namespace once: here or with --namespace-of-nad"
                )));
            }
            (Some((namespace, name)), None) => (namespace, name),
            (None, namespace) => (namespace.unwrap_or(&self.namespace), text),
        };
        NetworkName::new(namespace, name).map_err(|error| Error::Edit(format!("network {text:?}: {error}")))
    }
}

/// All pages.
pub async fn list(api: &Api<Pod>, params: ListParams) -> Result<Vec<Pod>, Error> {
    let mut params = params.limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await.doing(|| "list pods".to_owned())?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// A LabelSelector as the API's text; `None`: it cannot be read, or selects everything.
fn selector(selector: &Value) -> Option<String> {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str()?));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values = expression["values"].as_array().into_iter().flatten();
        let values: Vec<_> = values.filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_of_workloads() {
        let both = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&both).as_deref(), Some("app=web,tier in (a,b),!old"));
        // One of everything would edit pods that are not the workload's.
        assert_eq!(selector(&json!({})), None);
        assert_eq!(selector(&Value::Null), None);
        assert_eq!(
            selector(&json!({"matchExpressions": [{"key": "x", "operator": "?"}]})),
            None
        );
    }
}
