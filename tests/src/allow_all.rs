//! Two webhooks that allow everything, one mutating and one validating: what any pair of webhooks
//! adds to a request. They change nothing, or the first one replaces the networks annotation. They run in a thread of their own and keep connections, as ours
//! do; the API server reaches them over the wire between this machine and the node.

use std::convert::Infallible;

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
use tokio_rustls::TlsAcceptor;

use crate::{
    error::{Error, Result},
    mesh::acceptor,
    namespace::Namespace,
};

const NAME: &str = "allow-all-of-the-benchmark";
const KINDS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// The two, registered for updates of pods with one label in one namespace.
pub struct AllowAll<'a> {
    ns: &'a Namespace,
}

impl<'a> AllowAll<'a> {
    /// Starts and registers them. `patched`: pods that have this label too get a patch.
    ///
    /// # Errors
    /// [`Error::Unexpected`] without a socket or a certificate, or when kubectl fails.
    pub async fn for_label(ns: &'a Namespace, label: &str, patched: &'static str) -> Result<Self> {
        let here = ns.cluster.variable("HOST_ADDRESS").unwrap_or_default();
        let listener = std::net::TcpListener::bind((here, 0)).map_err(unexpected)?;
        listener.set_nonblocking(true).map_err(unexpected)?;
        let port = listener.local_addr().map_err(unexpected)?.port();
        let authority = Authority::generate(OffsetDateTime::now_utc()).map_err(unexpected)?;
        let acceptor = acceptor(&authority, here)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(unexpected)?;
        std::thread::spawn(move || runtime.block_on(serve(listener, acceptor, patched)));
        for kind in KINDS {
            let registration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": NAME},
                "webhooks": [{
                    "name": "allow-all.tests.invalid", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "failurePolicy": "Fail", "timeoutSeconds": 5,
                    "clientConfig": {
                        "url": format!("https://{here}:{port}/{kind}"),
                        "caBundle": BASE64_STANDARD.encode(authority.certificate_pem()),
                    },
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name}},
                    "objectSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]},
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]},
                    ],
                }],
            });
            let command = ["apply", "-f", "-"];
            let said = ns
                .cluster
                .kubectl_given(&command, &registration.to_string())
                .await?;
            if !said.ok {
                return Err(Error::Unexpected(said.err));
            }
        }
        Ok(Self { ns })
    }

    /// Takes them away.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn leave(self) -> Result<()> {
        for kind in KINDS {
            let command = ["delete", "--ignore-not-found", kind, NAME];
            self.ns.cluster.kubectl(&command).await?;
        }
        Ok(())
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, patched: &'static str) {
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
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| answer(request, patched)),
                )
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    patched: &str,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    #[derive(Deserialize)]
    struct Review {
        request: Asked,
    }
    #[derive(Deserialize)]
    struct Asked {
        uid: String,
        object: Value,
    }
    let mutates = request.uri().path().contains("Mutating");
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Option<Review> = serde_json::from_slice(&body).ok();
    let (uid, object) = review.map_or((String::new(), Value::Null), |review| {
        (review.request.uid, review.request.object)
    });
    let mut answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": true},
    });
    if mutates && object["metadata"]["labels"].get(patched).is_some() {
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
