//! The server alone: how much of its work is the gate's own.
//!
//! A child process serves on one core (one thread), over TLS and HTTP/2 as API servers do; this process is the client, on another. The
//! *floor* is the same server with a handler that reads and parses the review and allows it. Rounds of both are interleaved. Throughput
//! is per second of the server's processor time, so a busy machine or a slow client does not show in it.
//!
//! `cargo bench -p webhook --bench server` prints the table. Nothing is asserted: figures are for people.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use certs::{Authority, service_names};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::core::ObjectMeta;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use shared::config::Config;
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use webhook::{
    metrics::Metrics,
    namespaces::Namespaces,
    networks::{NetworkAttachmentDefinition, Networks},
    review::{self, Answer},
    routes::{self, Bodies, Gate},
    server::{Drain, Limits, Server},
    tls::{self, Serving},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SERVICE: [&str; 2] = ["dynamic-networks-webhook", "kube-system"];
/// Streams at once on the one connection.
const AT_ONCE: usize = 16;
const ROUNDS: usize = 5;
const REQUESTS: usize = 4_000;
const PACED: Duration = Duration::from_millis(2);
const PACED_REQUESTS: usize = 5_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match &arguments[1..] {
        [serve, what, networks] if serve == "serve" => {
            runtime.block_on(serve_until_killed(what, networks.parse()?))
        }
        _ => runtime.block_on(measure()),
    }
}

// ------------------------------------------------------------------------------------------------- the server

async fn serve_until_killed(what: &str, networks: usize) -> Outcome<()> {
    let now = OffsetDateTime::now_utc();
    let authority = Authority::generate(now)?;
    let metrics = Metrics::default();
    let serving = Arc::new(Serving::new(metrics.clone()));
    serving.show(authority.sign(&service_names(SERVICE[0], SERVICE[1]), now)?);
    let known = Arc::new(Networks::default());
    known.replace(definitions(networks).iter());
    let namespaces = Arc::new(Namespaces::default());
    let gate = Gate {
        config: Arc::new(Config::default()),
        networks: known,
        namespaces,
        client: None,
        metrics: metrics.clone(),
        bodies: Bodies::default(),
    };
    let router = if what == "floor" {
        floor()
    } else {
        routes::router(gate)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    println!("{}", authority.certificate_pem().replace('\n', "|"));
    let tls = TlsAcceptor::from(Arc::new(tls::server_config(serving)?));
    let drain = Drain::new(CancellationToken::new());
    Server {
        listener,
        tls: Some(tls),
        router,
        limits: Limits::default(),
        drain,
        metrics,
    }
    .run()
    .await;
    Ok(())
}

/// Reads and parses as the gate does, and allows.
fn floor() -> Router {
    let bodies = Bodies::default();
    Router::new().route(
        "/mutate",
        post(async move |http: Request| -> Response {
            let body = match bodies.read(http).await {
                Ok(body) => body,
                Err(refusal) => return refusal.into_response(),
            };
            let answer = review::read(&body).map(|request| Answer::allowed(request.uid));
            match answer.map(|answer| answer.to_json()) {
                Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
                _ => StatusCode::BAD_REQUEST.into_response(),
            }
        }),
    )
}

fn definitions(count: usize) -> Vec<NetworkAttachmentDefinition> {
    let config = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [
        {"type": "macvlan", "capabilities": {"ips": true}, "master": "eth1", "mode": "bridge", "ipam": {"type": "static"}}, {"type": "tuning"}]});
    let metadata = |index: usize| ObjectMeta {
        name: Some(format!("network-{index}")),
        namespace: Some(format!("namespace-{}", index % 100)),
        ..ObjectMeta::default()
    };
    (0..count)
        .map(|index| NetworkAttachmentDefinition {
            metadata: metadata(index),
            spec: json!({"config": config.to_string()}),
        })
        .collect()
}

// ------------------------------------------------------------------------------------------------- the client

struct Serve {
    child: Child,
    address: SocketAddr,
    authority: String,
}

impl Serve {
    fn start(what: &str, networks: usize) -> Outcome<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["serve", what, &networks.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let address = lines.next().ok_or("the server has ended")??.parse()?;
        let authority = lines.next().ok_or("the server has ended")??.replace('|', "\n");
        Ok(Self {
            child,
            address,
            authority,
        })
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(") ").next().ok_or("no stat")?;
        let ticks = |field: usize| -> Outcome<f64> {
            Ok(after_name.split(' ').nth(field).ok_or("no field")?.parse()?)
        };
        // Fields 14 and 15 of proc(5), in the kernel's 100 ticks per second.
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Resident memory in KiB.
    fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    }

    async fn connect(&self) -> Outcome<http2::SendRequest<Full<Bytes>>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).map_err(|e| format!("{e:?}"))?)?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(format!("{}.{}.svc", SERVICE[0], SERVICE[1]))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(send)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure() -> Outcome<()> {
    println!(
        "requests per second of processor time (one core), {AT_ONCE} at once, medians of {ROUNDS} interleaved rounds of {REQUESTS}"
    );
    println!(
        "{:>24} {:>10} {:>10} {:>8}",
        "elements without a name", "gate", "floor", "ratio"
    );
    for elements in [1, 64] {
        let (gate, floor) = (Serve::start("gate", 0)?, Serve::start("floor", 0)?);
        let body = Bytes::from(review_of(elements).to_string());
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..=ROUNDS {
            for (server, rates) in [&gate, &floor].into_iter().zip(&mut rates) {
                rates.push(rate(server, &body).await?);
            }
        }
        // The first round warms up.
        let [gate, floor] = rates.map(|mut rates| median(&mut rates[1..]));
        println!("{elements:>24} {gate:>10.0} {floor:>10.0} {:>8.2}", gate / floor);
    }
    println!("\nlatency at 500 requests per second, as the client sees it");
    println!("{:>24} {:>10} {:>10}", "elements without a name", "p50", "p99");
    for elements in [1, 64] {
        let (p50, p99) = paced(
            &Serve::start("gate", 0)?,
            &Bytes::from(review_of(elements).to_string()),
        )
        .await?;
        println!("{elements:>24} {p50:>10.2?} {p99:>10.2?}");
    }
    let empty = idle(0).await?;
    let full = idle(10_000).await?;
    println!(
        "\nresident memory: {empty} KiB idle; {full} KiB with 10,000 networks in the cache ({:.2} KiB each)",
        (full as f64 - empty as f64) / 10_000.0
    );
    Ok(())
}

/// After one request: idle, but warmed up.
async fn idle(networks: usize) -> Outcome<u64> {
    let server = Serve::start("gate", networks)?;
    ask(server.connect().await?, Bytes::from(review_of(1).to_string())).await?;
    server.resident()
}

async fn rate(server: &Serve, body: &Bytes) -> Outcome<f64> {
    let send = server.connect().await?;
    let before = server.cpu()?;
    let mut running = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (send, body) = (send.clone(), body.clone());
        running.spawn(async move {
            for _ in 0..REQUESTS / AT_ONCE {
                ask(send.clone(), body.clone()).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(REQUESTS as f64 / (server.cpu()? - before))
}

/// Requests at a steady pace, whether or not the earlier ones are answered.
async fn paced(server: &Serve, body: &Bytes) -> Outcome<(Duration, Duration)> {
    let send = server.connect().await?;
    let mut ticks = tokio::time::interval(PACED);
    let mut running = JoinSet::new();
    for _ in 0..PACED_REQUESTS {
        let due = ticks.tick().await;
        let (send, body) = (send.clone(), body.clone());
        running.spawn(async move { ask(send, body).await.map(|()| due.elapsed()) });
    }
    let mut taken = Vec::new();
    while let Some(ended) = running.join_next().await {
        taken.push(ended??);
    }
    taken.sort_unstable();
    Ok((taken[taken.len() / 2], taken[taken.len() * 99 / 100]))
}

async fn ask(mut send: http2::SendRequest<Full<Bytes>>, body: Bytes) -> Outcome<()> {
    let uri = format!("https://{}.{}.svc/mutate", SERVICE[0], SERVICE[1]);
    let request = hyper::Request::post(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = Box::pin(send.send_request(request)).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    if status == StatusCode::OK && !answer.is_empty() {
        Ok(())
    } else {
        Err(format!("answered {status}").into())
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A review as the API server sends it for a pod of common size (about 4 KiB without the annotation).
fn review_of(elements: usize) -> Value {
    let networks: Vec<Value> = (0..elements)
        .map(|index| json!({"name": format!("network-{index}"), "namespace": "default"}))
        .collect();
    let environment: Vec<Value> = (0..20)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of some length"}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example/team/app:v1.2.3", "imagePullPolicy": "IfNotPresent", "env": environment,
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 3},
            "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "app-7d4b9c6f5-x2x9z", "namespace": "default", "labels": {"app": "app", "pod-template-hash": "7d4b9c6f5"},
            "annotations": {shared::annotations::NETWORKS: Value::Array(networks).to_string()},
        },
        "spec": {
            "containers": [container("app"), container("sidecar")], "restartPolicy": "Always", "serviceAccountName": "default",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
        },
        "status": {},
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "3a2f8a3c-9d7e-4a43-8b5a-5d0f0b5ad0c1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE", "namespace": "default",
            "name": "app-7d4b9c6f5-x2x9z", "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
