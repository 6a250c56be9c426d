//! Every field of an object is one that its kind has.

use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration,
    },
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::api::DynamicObject;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tests::{Error, Result};

use crate::{kind, unexpected};

/// That reading the object as its kind and writing it again loses nothing: a field that the kind
/// does not have would be lost.
pub fn has_known_fields(object: &DynamicObject) -> Result<()> {
    match kind(object) {
        "ClusterRole" => comes_back::<ClusterRole>(object),
        "ClusterRoleBinding" => comes_back::<ClusterRoleBinding>(object),
        "ConfigMap" => comes_back::<ConfigMap>(object),
        "DaemonSet" => comes_back::<DaemonSet>(object),
        "Deployment" => comes_back::<Deployment>(object),
        "MutatingWebhookConfiguration" => comes_back::<MutatingWebhookConfiguration>(object),
        "PodDisruptionBudget" => comes_back::<PodDisruptionBudget>(object),
        "Role" => comes_back::<Role>(object),
        "RoleBinding" => comes_back::<RoleBinding>(object),
        "Secret" => comes_back::<Secret>(object),
        "Service" => comes_back::<Service>(object),
        "ServiceAccount" => comes_back::<ServiceAccount>(object),
        "ValidatingAdmissionPolicy" => comes_back::<ValidatingAdmissionPolicy>(object),
        "ValidatingAdmissionPolicyBinding" => comes_back::<ValidatingAdmissionPolicyBinding>(object),
        "ValidatingWebhookConfiguration" => comes_back::<ValidatingWebhookConfiguration>(object),
        // Kinds of other projects, by the fields of their documentation.
        "Certificate" => has_only(
            &object.data["spec"],
            &[
                "commonName",
                "dnsNames",
                "duration",
                "isCA",
                "issuerRef",
                "privateKey",
                "secretName",
            ],
        ),
        "Issuer" => has_only(&object.data["spec"], &["ca", "selfSigned"]),
        "PodMonitor" => has_only(&object.data["spec"], &["podMetricsEndpoints", "selector"]),
        "SecurityContextConstraints" => Ok(()),
        other => Err(Error::Unexpected(format!("no schema for the kind {other}"))),
    }
}

fn comes_back<K: DeserializeOwned + Serialize>(object: &DynamicObject) -> Result<()> {
    let written = serde_json::to_value(object).map_err(unexpected)?;
    let typed: K = serde_json::from_value(written.clone()).map_err(unexpected)?;
    assert_eq!(serde_json::to_value(typed).map_err(unexpected)?, written);
    Ok(())
}

fn has_only(spec: &Value, known: &[&str]) -> Result<()> {
    let mut keys = spec.as_object().into_iter().flatten().map(|(key, _)| key);
    keys.find(|key| !known.contains(&key.as_str()))
        .map_or(Ok(()), |key| {
            Err(Error::Unexpected(format!("unknown field {key}")))
        })
}
