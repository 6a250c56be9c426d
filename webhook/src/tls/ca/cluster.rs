//! The objects in the API that certificates need: one Secret, two registrations.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Secret,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PatchParams},
};
use serde_json::{Map, Value};

use super::rotation::Data;

/// Name of both registrations.
pub const REGISTRATION: &str = "dynamic-networks-webhook";
/// Name of the CA's Secret.
pub const SECRET: &str = "dynamic-networks-webhook-ca";
/// For one call: the client itself has no timeout.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads and writes these objects. Implemented by [`ApiServer`] and, in tests, in memory.
pub trait Cluster: Send + Sync {
    fn registrations(&self) -> impl Future<Output = Result<Vec<Registration>, ClusterError>> + Send;
    fn secret(&self) -> impl Future<Output = Result<SecretData, ClusterError>> + Send;
    /// Replaces the Secret's content, unless it has changed since it was read.
    fn write_secret(&self, secret: &SecretData) -> impl Future<Output = Result<(), ClusterError>> + Send;
    /// Replaces every `caBundle` of a registration, unless it has changed since it was read.
    fn patch_bundle(
        &self,
        registration: &Registration,
        bundle: &str,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;
}

/// The fields of a registration that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `MutatingWebhookConfiguration` or `ValidatingWebhookConfiguration`
    pub kind: &'static str,
    pub version: String,
    /// The `caBundle` of each of its webhooks (PEM), empty where there is none.
    pub bundles: Vec<String>,
}

impl Registration {
    /// Whether every webhook in it trusts `certificate` (PEM).
    pub fn trusts(&self, certificate: &str) -> bool {
        self.bundles.iter().all(|bundle| bundle.contains(certificate))
    }

    /// Whether every webhook in it has exactly this bundle.
    pub fn carries_exactly(&self, bundle: &str) -> bool {
        self.bundles.iter().all(|carried| carried == bundle)
    }
}

/// The fields of the Secret that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretData {
    pub version: String,
    pub data: Data,
}

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Another replica wrote first: read again.
    #[error("the object changed since it was read")]
    Conflict,
    /// The Secret, which the manifest creates, does not exist.
    #[error("the Secret {0}/{SECRET} does not exist; apply the manifest, which creates it")]
    NoSecret(String),
    #[error("cannot {0}: no answer from the API server within 10 s")]
    Timeout(&'static str),
    #[error("cannot {verb}: {source}")]
    Api {
        verb: &'static str,
        /// the API server's or the client's words
        source: Box<kube::Error>,
    },
}

pub struct ApiServer {
    client: Client,
    namespace: String,
    secrets: Api<Secret>,
}

impl ApiServer {
    /// With the Secret in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        let secrets = Api::namespaced(client.clone(), namespace);
        Self {
            client,
            namespace: namespace.to_owned(),
            secrets,
        }
    }

    fn registrations_of(&self, kind: &'static str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    async fn registration(&self, kind: &'static str) -> Result<Option<Registration>, ClusterError> {
        let api = self.registrations_of(kind);
        let found = call("read the registrations", api.get_opt(REGISTRATION)).await?;
        Ok(found.map(|object| Registration {
            kind,
            version: object.metadata.resource_version.clone().unwrap_or_default(),
            bundles: webhooks(&object).iter().map(bundle).collect(),
        }))
    }
}

const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

fn resource(kind: &str) -> ApiResource {
    if kind == MUTATING {
        ApiResource::erase::<MutatingWebhookConfiguration>(&())
    } else {
        ApiResource::erase::<ValidatingWebhookConfiguration>(&())
    }
}

fn webhooks(object: &DynamicObject) -> &[Value] {
    object
        .data
        .get("webhooks")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn bundle(webhook: &Value) -> String {
    let encoded = webhook
        .pointer("/clientConfig/caBundle")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let decoded = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

impl Cluster for ApiServer {
    async fn registrations(&self) -> Result<Vec<Registration>, ClusterError> {
        let mut found = Vec::new();
        for kind in [MUTATING, VALIDATING] {
            found.extend(self.registration(kind).await?);
        }
        Ok(found)
    }

    async fn secret(&self) -> Result<SecretData, ClusterError> {
        let secret = call("read the CA's Secret", self.secrets.get_opt(SECRET)).await?;
        let secret = secret.ok_or_else(|| ClusterError::NoSecret(self.namespace.clone()))?;
        let data = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect();
        Ok(SecretData {
            version: secret.metadata.resource_version.unwrap_or_default(),
            data,
        })
    }

    async fn write_secret(&self, secret: &SecretData) -> Result<(), ClusterError> {
        let data: Map<String, Value> = secret
            .data
            .iter()
            .map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(value).into()))
            .collect();
        let patch = guarded_patch(
            &secret.version,
            [(PointerBuf::from_tokens(["data"]), Value::from(data))],
        );
        call(
            "write the CA's Secret",
            self.secrets.patch(SECRET, &PatchParams::default(), &patch),
        )
        .await
        .map(drop)
    }

    async fn patch_bundle(&self, registration: &Registration, bundle: &str) -> Result<(), ClusterError> {
        let encoded = Value::from(BASE64_STANDARD.encode(bundle));
        let bundles = (0..registration.bundles.len()).map(|index| {
            let path = ["webhooks", &index.to_string(), "clientConfig", "caBundle"].map(str::to_owned);
            (PointerBuf::from_tokens(&path), encoded.clone())
        });
        let patch = guarded_patch(&registration.version, bundles);
        let api = self.registrations_of(registration.kind);
        call(
            "write a registration",
            api.patch(REGISTRATION, &PatchParams::default(), &patch),
        )
        .await
        .map(drop)
    }
}

/// A JSON patch that sets values. It names the version of what was read, so that the API server
/// refuses it as a conflict when the object has changed since. (A `test` of the version would be
/// refused with 422, as any invalid object is.)
fn guarded_patch(
    version: &str,
    values: impl IntoIterator<Item = (PointerBuf, Value)>,
) -> kube::api::Patch<()> {
    let version = ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: version.into(),
    };
    let set = values
        .into_iter()
        .map(|(path, value)| PatchOperation::Add(AddOperation { path, value }));
    kube::api::Patch::Json(Patch(
        std::iter::once(PatchOperation::Replace(version))
            .chain(set)
            .collect(),
    ))
}

async fn call<T>(
    verb: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Err(_elapsed) => Err(ClusterError::Timeout(verb)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(ClusterError::Conflict),
        Ok(Err(error)) => Err(ClusterError::Api {
            verb,
            source: Box::new(error),
        }),
    }
}
