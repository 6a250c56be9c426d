//! One NetworkAttachmentDefinition as the API server has it.

use std::{collections::BTreeMap, time::Duration};

use kube::{Client, api::GetParams, core::Request};
use serde::Deserialize;
use shared::{annotations::RESOURCE_NAME, names::NetworkName};

use super::cache::{Found, Network, Version};
use crate::kubernetes::{
    api_request::{self, RequestError},
    metadata_watch::Metadata,
};
use agent_core::network::NetworkError;

/// The collection of all of them.
pub const PATH: &str = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";
/// The longest config that is used: it is kept in a record for each attachment.
pub const MAX_CONFIG_BYTES: usize = 128 * 1024;
/// The longest object that is read: a config of that length, quoted, and once more in the
/// annotation of `kubectl apply`.
const MAX_OBJECT_BYTES: usize = 1024 * 1024;
/// For the whole answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The metadata that a watch of all networks reads.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkMetadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMetadata,
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMetadata {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    config: Option<String>,
}

impl Metadata for NetworkMetadata {
    fn resource_version(&self) -> Option<&str> {
        self.resource_version.as_deref()
    }
}

impl NetworkMetadata {
    /// `None`: a name that no annotation can hold.
    pub fn network(&self) -> Option<NetworkName> {
        NetworkName::new(&self.namespace, &self.name).ok()
    }

    /// Which object it is, and in which version.
    pub fn version(&self) -> Version {
        Version {
            uid: self.uid.clone(),
            version: self.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// Reads `network`. That there is none is an answer, too.
///
/// # Errors
/// [`NetworkError::NoSuchKind`], [`NetworkError::Api`], and [`NetworkError::TooLarge`] for the
/// whole object.
pub async fn get(client: &Client, network: &NetworkName) -> Result<Found, NetworkError> {
    let failed = |cause: String| NetworkError::Api {
        network: network.clone(),
        cause,
    };
    let path = format!(
        "/apis/k8s.cni.cncf.io/v1/namespaces/{}/network-attachment-definitions",
        network.namespace()
    );
    let request = Request::new(path).get(network.name(), &GetParams::default());
    let request = request.map_err(|error| failed(error.to_string()))?;
    let object: Object = match api_request::read(client, request, MAX_OBJECT_BYTES, DEADLINE).await {
        Ok(body) => serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?,
        Err(RequestError::Refused { status, .. }) if status.code == 404 => {
            let named = status
                .details
                .is_some_and(|details| details.name == network.name());
            return if named {
                Ok(Found::Missing)
            } else {
                Err(NetworkError::NoSuchKind)
            };
        }
        Err(RequestError::TooLarge(limit)) => {
            return Err(NetworkError::TooLarge {
                network: network.clone(),
                part: "JSON",
                limit,
            });
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let version = Version {
        uid: object.metadata.uid,
        version: object.metadata.resource_version,
    };
    let config = object.spec.and_then(|spec| spec.config).unwrap_or_default();
    if config.len() > MAX_CONFIG_BYTES {
        return Ok(Found::TooLarge(version));
    }
    let resource_name = object
        .metadata
        .annotations
        .and_then(|mut all| all.remove(RESOURCE_NAME));
    Ok(Found::Network(Network {
        version,
        config,
        resource_name,
    }))
}
