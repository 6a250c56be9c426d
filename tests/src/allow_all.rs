//! Pairs of webhooks that allow everything, one mutating and one validating: what any pair of
//! webhooks adds to a request. They are deployed as ours are: in a pod of the cluster, behind a
//! Service, with the same security context, priority and requests. They keep connections, as ours
//! do.

use std::{convert::Infallible, net::SocketAddr, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use certs::Authority;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::annotations::NETWORKS;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::{
    cluster::WEBHOOK,
    error::{Error, Result},
    namespace::Namespace,
    process::built,
    tls_endpoint::acceptor,
};

const NAME: &str = "allow-all-of-the-benchmark";
const PROGRAM: &str = "allow-all";
const PORT: u16 = 8443;
/// The two kinds, and the paths that they call here.
const KINDS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "mutate"),
    ("ValidatingWebhookConfiguration", "validate"),
];

/// What distinguishes the pairs: each is registered for updates of pods with its label.
#[derive(Clone, Copy)]
pub struct Labels {
    /// Called at every update.
    pub plain: &'static str,
    /// As `plain`; the first one replaces the networks annotation.
    pub patching: &'static str,
    /// As `patching`, under our match conditions.
    pub as_ours: &'static str,
}

/// The pairs, for pods of one namespace.
pub struct AllowAll<'a> {
    ns: &'a Namespace,
}

impl<'a> AllowAll<'a> {
    /// Starts and registers them. The program has to be linked statically: its image has no
    /// libraries.
    ///
    /// # Errors
    /// [`Error::Unexpected`] without a certificate, or when kubectl fails; [`Error::Setup`] when
    /// the program is not built.
    pub async fn start(ns: &'a Namespace, labels: Labels) -> Result<Self> {
        let authority = Authority::generate(OffsetDateTime::now_utc()).map_err(unexpected)?;
        let program = format!("/run/tests/{PROGRAM}");
        ns.cluster
            .node
            .install(&built(PROGRAM)?, program.as_ref())
            .await?;
        for label in [labels.plain, labels.patching, labels.as_ours] {
            let service = format!("{}.{}.svc", name(label), ns.name);
            let signed = authority.sign_pem(&[service], OffsetDateTime::now_utc());
            let objects = deployed(ns, label, &program, &signed.map_err(unexpected)?);
            ns.cluster.apply(&objects).await?;
        }
        let ca_bundle = BASE64_STANDARD.encode(authority.certificate_pem());
        for (kind, path) in KINDS {
            let conditions = ns
                .cluster
                .kubectl(&["get", kind, WEBHOOK, "--output=json"])
                .await?;
            let conditions: Value = serde_json::from_str(&conditions).map_err(unexpected)?;
            let conditions = &conditions["webhooks"][0]["matchConditions"];
            let patching = format!("/{path}/patch");
            let pairs = [
                (labels.plain, format!("/{path}"), &Value::Null),
                (labels.patching, patching.clone(), &Value::Null),
                (labels.as_ours, patching, conditions),
            ];
            let webhooks = pairs.map(|(label, path, conditions)| {
                let called = json!({
                    "service": {"name": name(label), "namespace": ns.name, "path": path, "port": 443},
                    "caBundle": ca_bundle,
                });
                webhook(ns, label, &called, conditions)
            });
            let registration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": NAME},
                "webhooks": webhooks,
            });
            ns.cluster.apply(&registration).await?;
        }
        let selector = format!("app={NAME}");
        let ready = [
            "wait",
            "pod",
            "--namespace",
            &ns.name,
            "--selector",
            &selector,
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        ns.cluster.kubectl(&ready).await?;
        Ok(Self { ns })
    }

    /// Takes them away.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn leave(self) -> Result<()> {
        for (kind, _) in KINDS {
            let command = ["delete", "--ignore-not-found", kind, NAME];
            self.ns.cluster.kubectl(&command).await?;
        }
        Ok(())
    }
}

/// Of a pair's pod, Service and Secret.
fn name(label: &str) -> String {
    format!("{NAME}-{label}")
}

/// The pod of a pair with its certificate, and the Service before it.
fn deployed(ns: &Namespace, label: &str, program: &str, (certificate, key): &(String, String)) -> Value {
    let name = name(label);
    let metadata = json!({"name": name, "namespace": ns.name, "labels": {"app": NAME, "pair": label}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata,
            "stringData": {"tls.crt": certificate, "tls.key": key},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"pair": label}, "ports": [{"port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {
                "priorityClassName": "system-cluster-critical", "enableServiceLinks": false,
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "allow-all", "image": "docker.io/library/busybox", "imagePullPolicy": "IfNotPresent",
                    "command": ["/allow-all", "/tls", PORT.to_string()],
                    "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": true,
                    },
                    "volumeMounts": [
                        {"name": "program", "mountPath": "/allow-all", "readOnly": true},
                        {"name": "tls", "mountPath": "/tls", "readOnly": true},
                    ],
                }],
                "volumes": [
                    {"name": "program", "hostPath": {"path": program, "type": "File"}},
                    {"name": "tls", "secret": {"secretName": name}},
                ],
            },
        },
    ]})
}

fn webhook(ns: &Namespace, label: &str, called: &Value, conditions: &Value) -> Value {
    json!({
        "name": format!("{label}.tests.invalid"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "failurePolicy": "Fail", "timeoutSeconds": 5, "clientConfig": called, "matchConditions": conditions,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name}},
        "objectSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}],
    })
}

/// The program of the pod: answers at the port, with the certificate of that directory.
///
/// # Errors
/// [`Error::Unexpected`] without a certificate or a socket.
pub async fn serve_allow_all(certificate: &Path, port: u16) -> Result<()> {
    let file = |name| std::fs::read_to_string(certificate.join(name)).map_err(unexpected);
    let acceptor = acceptor(&file("tls.crt")?, &file("tls.key")?)?;
    let listener = TcpListener::bind(SocketAddr::from(([0; 4], port))).await;
    let listener = listener.map_err(unexpected)?;
    loop {
        let (stream, _) = listener.accept().await.map_err(unexpected)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A call that breaks off shows at the API server.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let builder = Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    #[derive(Deserialize)]
    struct Review {
        request: Asked,
    }
    #[derive(Deserialize)]
    struct Asked {
        uid: String,
        object: Value,
    }
    let patches = ["Mutating", "/patch"]
        .iter()
        .all(|part| request.uri().path().contains(part));
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Option<Review> = serde_json::from_slice(&body).ok();
    let (uid, pod) = review.map_or_else(Default::default, |review| {
        (review.request.uid, review.request.object)
    });
    let mut answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": true},
    });
    if patches {
        let path = format!("/metadata/annotations/{}", NETWORKS.replace('/', "~1"));
        // Another text each time, or nothing would be stored.
        let asked = pod["metadata"]["annotations"][NETWORKS]
            .as_str()
            .unwrap_or_default();
        let patch = json!([{"op": "replace", "path": path, "value": format!("{asked}@net1")}]);
        answer["response"]["patchType"] = "JSONPatch".into();
        answer["response"]["patch"] = BASE64_STANDARD.encode(patch.to_string()).into();
    }
    let response = Response::builder().header("content-type", "application/json");
    Ok(response
        .body(Full::new(answer.to_string().into()))
        .unwrap_or_default())
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
