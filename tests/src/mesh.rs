//! Another mutating webhook, as a service mesh brings one: it appends a network to the list of
//! every pod that is created in one namespace. Runs in the test's own process; the API server
//! reaches it over the wire between this machine and the node.

use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    error::{Doing, Error, Result},
    namespace::{Namespace, object},
    tls_endpoint::TlsEndpoint,
};

/// A mesh's webhook, registered for one namespace.
pub struct Mesh {
    registrations: Api<MutatingWebhookConfiguration>,
    name: String,
    server: JoinHandle<()>,
}

impl Mesh {
    /// Appends `network` to text lists. The API server calls webhooks in the order of their names:
    /// `prefix` comes before or after ours.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Command`], [`Error::Unexpected`] without a socket or a certificate.
    pub async fn appends(ns: &Namespace, prefix: &str, network: &str) -> Result<Self> {
        let endpoint = TlsEndpoint::open(ns)?;
        let called = endpoint.by_address("");
        let listener = TcpListener::from_std(endpoint.listener).map_err(unexpected)?;
        let server = tokio::spawn(serve(listener, endpoint.acceptor, network.to_owned()));
        let name = format!("{prefix}-{}", ns.name);
        let registration = object(json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "mesh.tests.invalid", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "timeoutSeconds": 5,
                "clientConfig": called,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }],
        }))?;
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(ns.cluster.client.clone());
        let made = registrations.create(&PostParams::default(), &registration).await;
        made.map(drop).doing("register another webhook")?;
        Ok(Self {
            registrations,
            name,
            server,
        })
    }

    /// Takes it away.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn leaves(self) -> Result<()> {
        let deleted = self
            .registrations
            .delete(&self.name, &DeleteParams::default())
            .await;
        self.server.abort();
        deleted.map(drop).doing("take the other webhook away")
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, network: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, network) = (acceptor.clone(), network.clone());
        tokio::spawn(async move {
            // A call that breaks off shows at the API server, which fails the create.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let Ok(review) = review(&mut stream).await else {
                return;
            };
            let answer = answer(&review, &network).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

/// The body of one HTTP/1.1 request.
async fn review(stream: &mut (impl AsyncRead + Unpin)) -> Result<Value> {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                return crate::node::parse(body);
            }
        }
        if stream.read_buf(&mut received).await.map_err(unexpected)? == 0 {
            return Err(Error::Unexpected("the request broke off".to_owned()));
        }
    }
}

fn answer(review: &Value, network: &str) -> Value {
    let annotation = &review["request"]["object"]["metadata"]["annotations"][shared::annotations::NETWORKS];
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if let Some(networks) = annotation.as_str() {
        let path = format!(
            "/metadata/annotations/{}",
            shared::annotations::NETWORKS.replace('/', "~1")
        );
        let patch = json!([{"op": "replace", "path": path, "value": format!("{networks}, {network}")}]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64_STANDARD.encode(patch.to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}
