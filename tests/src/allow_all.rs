//! Pairs of webhooks that allow everything, one mutating and one validating: what any pair of webhooks adds to a request. They run in a
//! thread of their own and keep connections, as ours do; the API server reaches them over the wire between this machine and the node.

use std::convert::Infallible;

use base64::prelude::{BASE64_STANDARD, Engine};
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
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    cluster::WEBHOOK,
    error::{Error, Result},
    namespace::Namespace,
    tls_endpoint::TlsEndpoint,
};

const NAME: &str = "allow-all-of-the-benchmark";
/// The two kinds, and the paths that they call here.
const KINDS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "mutate"),
    ("ValidatingWebhookConfiguration", "validate"),
];

/// What distinguishes the pairs: each is registered for updates of pods with its label.
#[derive(Clone, Copy)]
pub struct Labels {
    /// Called by address, at every update.
    pub plain: &'static str,
    /// As `plain`; the first one replaces the networks annotation.
    pub patching: &'static str,
    /// As `patching`, and registered as ours are: through a Service, under our match conditions.
    pub as_ours: &'static str,
}

/// The pairs, for pods of one namespace.
pub struct AllowAll<'a> {
    ns: &'a Namespace,
}

impl<'a> AllowAll<'a> {
    /// Starts and registers them.
    ///
    /// # Errors
    /// [`Error::Unexpected`] without a socket or a certificate, or when kubectl fails.
    pub async fn start(ns: &'a Namespace, labels: Labels) -> Result<Self> {
        let endpoint = TlsEndpoint::open(ns, NAME)?;
        apply(ns, &endpoint.service(ns, NAME)).await?;
        for (kind, path) in KINDS {
            let conditions = ns
                .cluster
                .kubectl(&["get", kind, WEBHOOK, "--output=json"])
                .await?;
            let conditions: Value = serde_json::from_str(&conditions).map_err(unexpected)?;
            let conditions = &conditions["webhooks"][0]["matchConditions"];
            let patching = format!("{path}/patch");
            let pairs = [
                (labels.plain, endpoint.by_address(path), &Value::Null),
                (labels.patching, endpoint.by_address(&patching), &Value::Null),
                (
                    labels.as_ours,
                    endpoint.by_service(ns, NAME, &patching),
                    conditions,
                ),
            ];
            let webhooks: Vec<Value> = pairs
                .into_iter()
                .map(|(label, called, conditions)| webhook(ns, label, &called, conditions))
                .collect();
            let registration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": NAME},
                "webhooks": webhooks,
            });
            apply(ns, &registration).await?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(unexpected)?;
        std::thread::spawn(move || runtime.block_on(serve(endpoint.listener, endpoint.acceptor)));
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

fn webhook(ns: &Namespace, label: &str, called: &Value, conditions: &Value) -> Value {
    json!({
        "name": format!("{label}.tests.invalid"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "failurePolicy": "Fail", "timeoutSeconds": 5, "clientConfig": called, "matchConditions": conditions,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name}},
        "objectSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}],
    })
}

async fn apply(ns: &Namespace, object: &Value) -> Result<()> {
    let command = ["apply", "-f", "-"];
    let said = ns.cluster.kubectl_given(&command, &object.to_string()).await?;
    if said.ok {
        return Ok(());
    }
    Err(Error::Unexpected(said.err))
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
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
    }
    let patches = ["Mutating", "/patch"]
        .iter()
        .all(|part| request.uri().path().contains(part));
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Option<Review> = serde_json::from_slice(&body).ok();
    let uid = review.map_or_else(String::new, |review| review.request.uid);
    let mut answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": true},
    });
    if patches {
        let path = format!("/metadata/annotations/{}", NETWORKS.replace('/', "~1"));
        let patch = json!([{"op": "replace", "path": path, "value": "blue@net1"}]);
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
