//! The memory of the program itself, as it idles with networks in its cache.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::Uri,
    response::{IntoResponse, Response},
    routing::get,
};
use certs::{Authority, service_names};
use serde_json::json;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    Outcome, SERVICE,
    child::{Child, Process},
    reviews,
};

/// Longer than any start takes.
const START: Duration = Duration::from_secs(60);

/// Resident KiB after the start, the first list and one review.
pub async fn idle(networks: usize) -> Outcome<f64> {
    let api = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", api.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(api, api_server(networks)).await });
    let place = tempfile::tempdir()?;
    let now = OffsetDateTime::now_utc();
    let authority = Authority::generate(now)?;
    let (certificate, key) = authority.sign_pem(&service_names(SERVICE[0], SERVICE[1]), now)?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    });
    for (name, content) in [
        ("config.json", "{}"),
        ("kubeconfig", &kubeconfig.to_string()),
        ("tls.crt", &certificate),
        ("tls.key", &key),
    ] {
        std::fs::write(place.path().join(name), content)?;
    }
    let (address, admin) = (free_address().await?, free_address().await?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_dynamic-networks-webhook"));
    command
        .env_clear()
        .stdout(Stdio::null())
        .arg("--config")
        .arg(place.path().join("config.json"))
        .arg("--kubeconfig")
        .arg(place.path().join("kubeconfig"))
        .arg("--certificate-dir")
        .arg(place.path())
        .args([
            "--listen",
            &address.to_string(),
            "--admin-listen",
            &admin.to_string(),
        ]);
    let mut program = Child {
        process: Process::start(&mut command)?,
        address,
        authority: authority.certificate_pem().to_owned(),
    };
    tokio::time::timeout(START, ready(&mut program.process, admin)).await??;
    program
        .connect()
        .await?
        .fills("/mutate", &reviews::unnamed(1))
        .await?;
    serving.abort();
    program.process.resident()
}

/// A port that was free a moment ago.
async fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn ready(program: &mut Process, admin: SocketAddr) -> Outcome<()> {
    while !is_ready(admin).await.unwrap_or_default() {
        if !program.runs()? {
            return Err("the program has ended".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn is_ready(admin: SocketAddr) -> Outcome<bool> {
    let mut stream = TcpStream::connect(admin).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The value of a query parameter.
fn option<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// Lists networks page by page and no namespaces; a watch is open for good, and silent.
fn api_server(networks: usize) -> Router {
    let list = move |kind: &'static str, of_all: usize| {
        get(async move |uri: Uri| -> Response {
            let number = |name| option(&uri, name)?.parse::<usize>().ok();
            if option(&uri, "watch") == Some("true") {
                return Body::from_stream(futures::stream::pending::<Outcome<Vec<u8>>>()).into_response();
            }
            let begin = number("continue").unwrap_or_default();
            let end = of_all.min(begin + number("limit").unwrap_or(of_all));
            let items: Vec<_> = (begin..end).map(reviews::definition).collect();
            let next = if end < of_all {
                end.to_string()
            } else {
                String::new()
            };
            let metadata = json!({"resourceVersion": "1", "continue": next});
            Json(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items}))
                .into_response()
        })
    };
    let definitions = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";
    Router::new()
        .route(definitions, list("NetworkAttachmentDefinitionList", networks))
        .route("/api/v1/namespaces", list("PartialObjectMetadataList", 0))
}
