//! The server process: the gate, or the floor.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use certs::{Authority, service_names};
use shared::config::Config;
use shared_process::{LogFormat, Logging};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use webhook::{
    admission::{
        Admission,
        review::{self, Answer, Pod},
    },
    cluster::{namespaces::Namespaces, networks::Networks},
    http::{
        Drain, Limits, Server,
        body::Bodies,
        routes::{self, App},
    },
    metrics::Metrics,
    tls::{self, CertificateStore},
};

use crate::{NETWORKS, Outcome, SERVICE, reviews};

/// Serves `what`, `gate` or `floor`, and prints its address and its CA.
pub async fn until_killed(what: &str) -> Outcome<()> {
    let now = OffsetDateTime::now_utc();
    let authority = Authority::generate(now)?;
    let metrics = Metrics::default();
    let certificates = Arc::new(CertificateStore::new(metrics.clone()));
    certificates.install(authority.sign(&service_names(SERVICE[0], SERVICE[1]), now)?);
    let (router, _logging) = match what {
        "floor" => (floor(), None),
        // As the program runs it, its log lines included.
        _ => (
            gate(metrics.clone())?,
            Some(Logging::start("info", LogFormat::Text)?),
        ),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    println!("{}", authority.certificate_pem().replace('\n', "|"));
    let tls = TlsAcceptor::from(Arc::new(tls::server_config(certificates)?));
    let server = Server {
        listener,
        tls: Some(tls),
        router,
        limits: Limits::default(),
        drain: Drain::new(CancellationToken::new()),
        metrics,
    };
    server.run().await;
    Ok(())
}

fn gate(metrics: Metrics) -> Outcome<Router> {
    let networks = Arc::new(Networks::default());
    let definitions: Result<Vec<_>, _> = (0..NETWORKS)
        .map(|index| serde_json::from_value(reviews::definition(index)))
        .collect();
    networks.replace(&definitions?);
    Ok(routes::router(App {
        admission: Admission {
            config: Arc::new(Config::default()),
            networks,
            namespaces: Arc::new(Namespaces::default()),
            client: None,
            usage: Arc::default(),
        },
        metrics,
        bodies: Bodies::default(),
    }))
}

/// Reads and parses as the gate does, and allows.
fn floor() -> Router {
    let bodies = Bodies::default();
    let handler = async move |http: Request| -> Response {
        let (body, _share) = match bodies.read(http).await {
            Ok(read) => read,
            Err(refusal) => return refusal.into_response(),
        };
        let answer = review::read::<Pod>(&body).map(|request| Answer::allowed(request.uid));
        match answer.map(|answer| answer.to_json()) {
            Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    Router::new()
        .route("/mutate", post(handler.clone()))
        .route("/validate", post(handler))
}
