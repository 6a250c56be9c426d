//! Helpers for tests: reviews as an API server sends them, and a server on the loopback with
//! clients that trust it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request as HttpRequest};
use certs::Authority;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use serde_json::{Map, Value, json};
use shared::{annotations, config::Config};
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    admission::Admission,
    cluster::networks::NetworkAttachmentDefinition,
    http::{
        Drain, Limits, Server,
        body::Bodies,
        routes::{App, router},
    },
    metrics::Metrics,
    tls::{CertificateStore, server_config},
};

/// No condition takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The name that clients ask for.
pub const SERVER_NAME: &str = "webhook.ns.svc";

/// A configuration file's content.
pub fn config(content: &Value) -> Arc<Config> {
    Arc::new(Config::parse(&content.to_string()).unwrap())
}

/// A webhook with a configuration, whose caches have not listed anything yet.
pub fn app(content: &Value) -> App {
    App {
        admission: Admission {
            config: config(content),
            networks: Arc::default(),
            namespaces: Arc::default(),
            client: None,
            usage: Arc::default(),
        },
        metrics: Metrics::default(),
        bodies: Bodies::default(),
    }
}

/// Complete caches with these networks (`name`: config) in the namespace `default`.
pub fn know(app: &App, networks: &[(&str, Value)]) {
    let definitions: Vec<_> = networks
        .iter()
        .map(|(name, config)| network("default", name, config))
        .collect();
    app.admission.networks.replace(&definitions);
    app.admission.namespaces.replace([]);
}

/// A NetworkAttachmentDefinition; a `config` of null is an empty spec.
pub fn network(namespace: &str, name: &str, config: &Value) -> NetworkAttachmentDefinition {
    let spec = if config.is_null() {
        json!({})
    } else {
        json!({ "config": config.to_string() })
    };
    serde_json::from_value(json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec }))
        .unwrap()
}

/// A runnable config with these capabilities.
pub fn macvlan(capabilities: &[&str]) -> Value {
    let capabilities: Map<String, Value> = capabilities
        .iter()
        .map(|&name| (name.to_owned(), true.into()))
        .collect();
    json!({ "cniVersion": "1.0.0", "name": "m", "plugins": [
        { "type": "macvlan", "master": "eth1", "capabilities": capabilities, "ipam": { "type": "static" } },
    ] })
}

/// A pod with a networks annotation.
pub fn pod(networks: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "worker",
            "namespace": "default",
            "annotations": { (annotations::NETWORKS): networks, "other": "annotation" },
        },
        "spec": { "containers": [] },
    })
}

/// A review of the creation of `pod`.
pub fn create(pod: &Value) -> Value {
    review("CREATE", Some(pod), None)
}

/// A review of the change of `old` into `pod`.
pub fn update(old: &Value, pod: &Value) -> Value {
    review("UPDATE", Some(pod), Some(old))
}

/// A review.
pub fn review(operation: &str, object: Option<&Value>, old: Option<&Value>) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0a1b",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "name": object.or(old).and_then(|pod| pod["metadata"]["name"].as_str()),
            "namespace": "default",
            "operation": operation,
            "userInfo": { "username": "admin" },
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": null,
        },
    })
}

/// A request with this body, as the API server makes it.
pub fn post(path: &str, body: impl Into<Bytes>) -> HttpRequest<Full<Bytes>> {
    let request = HttpRequest::post(path)
        .header("host", SERVER_NAME)
        .header("content-type", "application/json");
    request.body(Full::new(body.into())).unwrap()
}

/// What a webhook answers: the HTTP status and the body.
pub async fn ask_raw(app: &App, request: HttpRequest<Full<Bytes>>) -> (StatusCode, Bytes) {
    let response = router(app.clone()).oneshot(request.map(Body::new)).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

/// The `response` in a webhook's answer to a review.
pub async fn ask(app: &App, path: &str, review: &Value) -> Value {
    let (status, body) = ask_raw(app, post(path, review.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let mut answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].take()
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(met.await.is_ok(), "never happened: {what}");
}

/// A server on the loopback.
pub struct TestServer {
    pub address: SocketAddr,
    pub certificates: Arc<CertificateStore>,
    pub metrics: Metrics,
    pub drain: CancellationToken,
    pub task: JoinHandle<()>,
    pub authority: Authority,
}

/// Limits that a test can wait for.
pub fn short_limits() -> Limits {
    Limits {
        handshake: Duration::from_millis(300),
        headers: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        close_timeout: Duration::from_millis(300),
        drain_idle: Duration::from_millis(600),
        drain: Duration::from_secs(5),
        ..Limits::default()
    }
}

impl TestServer {
    /// Serves `router` with a certificate of its own CA.
    pub async fn start(router: Router, limits: Limits) -> Self {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::generate(now).unwrap();
        let metrics = Metrics::default();
        let certificates = Arc::new(CertificateStore::new(metrics.clone()));
        certificates.install(authority.sign(&[SERVER_NAME.to_owned()], now).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let server = Server {
            listener,
            tls: Some(TlsAcceptor::from(Arc::new(
                server_config(Arc::clone(&certificates)).unwrap(),
            ))),
            router,
            limits,
            drain: Drain::new(drain.clone()),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(server.run());
        Self {
            address,
            certificates,
            metrics,
            drain,
            task,
            authority,
        }
    }

    /// A server with a webhook's router.
    pub async fn of_app(app: App, limits: Limits) -> Self {
        Self::start(router(app), limits).await
    }

    /// A TLS connection that trusts the server's own CA.
    pub async fn connect(&self, alpn: &str) -> TlsStream<TcpStream> {
        connect(self.address, self.authority.certificate_pem(), alpn)
            .await
            .unwrap()
    }

    /// An HTTP/1.1 connection.
    pub async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect("http/1.1").await))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// An HTTP/2 connection, and the task that ends with it.
    pub async fn http2(&self) -> (http2::SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
        let io = TokioIo::new(self.connect("h2").await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (sender, tokio::spawn(connection))
    }
}

/// A TLS connection that trusts `authorities` (PEM).
pub async fn connect(
    address: SocketAddr,
    authorities: &str,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_by(address, authorities, alpn, Arc::new(DefaultTimeProvider)).await
}

/// As [`connect`], by a client that has another clock.
pub async fn connect_by(
    address: SocketAddr,
    authorities: &str,
    alpn: &str,
    clock: Arc<dyn TimeProvider>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), clock)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(SERVER_NAME).unwrap(), stream)
        .await
}

/// A response's status and body.
pub async fn read(response: Response<Incoming>) -> (StatusCode, Bytes) {
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

/// A pod as the decisions read it.
pub fn parsed(pod: &Value) -> crate::admission::review::Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

/// The object after a webhook's answer, as the API server makes it.
pub fn patched(object: &Value, answer: &Value) -> Value {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let mut object = object.clone();
    if let Some(patch) = answer["patch"].as_str() {
        assert_eq!(answer["patchType"], "JSONPatch");
        let patch = BASE64_STANDARD.decode(patch).unwrap();
        json_patch::patch(
            &mut object,
            &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap(),
        )
        .unwrap();
    }
    object
}

/// The networks annotation of a pod.
pub fn networks_of(pod: &Value) -> &str {
    pod["metadata"]["annotations"][annotations::NETWORKS]
        .as_str()
        .unwrap()
}

/// How many cases a property is tried with: `PROPTEST_CASES`, or a number that takes about a
/// second.
pub fn cases(usual: u32) -> proptest::prelude::ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    proptest::prelude::ProptestConfig {
        cases: asked.unwrap_or(usual),
        ..Default::default()
    }
}

/// A client whose API server is a function from method, path and query to status and body.
pub fn client(answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static) -> kube::Client {
    let service = tower::service_fn(move |request: HttpRequest<kube::client::Body>| {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (status, body) = answer(request.method().as_str(), &path);
        // A text is sent verbatim: the lines of a watch.
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        async move {
            let response = Response::builder().status(status);
            Ok::<_, std::convert::Infallible>(
                response
                    .body(kube::client::Body::from(body.into_bytes()))
                    .unwrap(),
            )
        }
    });
    kube::Client::new(service, "default")
}

/// The answer of an API server that fails.
pub fn failure() -> (u16, Value) {
    (
        500,
        json!({ "kind": "Status", "status": "Failure", "code": 500, "message": "down" }),
    )
}

/// The answer of an API server about an object that does not exist.
pub fn not_found() -> (u16, Value) {
    (
        404,
        json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found" }),
    )
}
