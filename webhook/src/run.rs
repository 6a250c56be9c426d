//! Wires the program and supervises its tasks: each runs until shutdown, so the first that ends
//! ends the program.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use certs::service_names;
use kube::Client;
use shared::config::Config;
use shared_process::{
    DroppedLines, Logging,
    settings::{Files, Follower, Settings},
};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::{
    admission::Admission,
    args::Serve,
    cluster::{client, namespaces::Namespaces, networks::Networks, replicas::Replicas},
    http::{
        Drain, Limits, Server,
        body::Bodies,
        probes::{self, Probes},
        routes::{self, App},
    },
    metrics::Metrics,
    takeover::{self, OwnPod},
    tls::{
        self, CertificateStore,
        ca::{self, ApiServer, Manager},
    },
};

/// Reviews are short computations: more threads would only cost memory.
const THREADS: usize = 2;

/// Serves until a signal. An error at startup is one line on standard error.
pub fn run(arguments: Serve) -> ExitCode {
    let logging = Logging::start(&arguments.log_level, arguments.log_format);
    let outcome = logging.map_err(|error| error.to_string()).and_then(|logging| {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build();
        runtime
            .map_err(|error| format!("cannot start: {error}"))?
            .block_on(serve(arguments, logging.dropped_lines()))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dynamic-networks-webhook: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Serve, dropped_lines: DroppedLines) -> Result<(), String> {
    let Serve {
        config,
        settings,
        settings_delay,
        listen,
        admin_listen,
        certificate_dir,
        service_name,
        namespace,
        pod_name,
        pod_uid,
        kubeconfig,
        log_level: _,
        log_format: _,
    } = arguments;
    tracing::info!(
        version = crate::VERSION,
        commit = crate::COMMIT,
        "dynamic-networks-webhook"
    );
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a TLS provider is already installed".to_owned())?;
    let (metrics, manifest) = (Metrics::default(), config);
    let settings = Settings::load(Files { manifest, settings }, metrics.settings()).await;
    let settings = settings.map_err(|error| error.to_string())?;
    let (client, api_server) = client::connect(kubeconfig.as_deref()).await?;
    // Bound before anything runs: an address in use ends the program at once.
    let (listener, admin_listener) = (bind(listen).await?, bind(admin_listen).await?);
    let shutdown = CancellationToken::new();
    let parts = Parts::new(metrics, settings, client, &api_server, shutdown.clone());

    let mut tasks = JoinSet::new();
    let server = tasks.spawn(parts.server(listener)?.run()).id();
    tasks.spawn(parts.admin_server(admin_listener, dropped_lines).run());
    parts.follow_caches(&mut tasks);
    let own = OwnPod::new(parts.client.clone(), &namespace, &pod_name, &pod_uid);
    let replicas = Replicas {
        client: parts.client.clone(),
        namespace: namespace.clone(),
        service: service_name.clone(),
        own_name: pod_name,
        admin_port: admin_listen.port(),
    };
    let follower = parts.settings.follower(Duration::from_secs(settings_delay));
    tasks.spawn(restart_when_due(follower, own, replicas, shutdown.clone()));
    match certificate_dir {
        Some(directory) => parts.follow_directory(&mut tasks, directory, &service_name, &namespace),
        None => parts.manage_certificates(&mut tasks, &service_name, namespace),
    }
    supervise(tasks, server, &shutdown).await
}

/// What several tasks share.
struct Parts {
    config: Arc<Config>,
    settings: Settings,
    client: Client,
    /// Adds the address of the API server to the log lines of every task that talks to it.
    cluster_span: Span,
    metrics: Metrics,
    certificates: Arc<CertificateStore>,
    networks: Arc<Networks>,
    namespaces: Arc<Namespaces>,
    drain: Drain,
}

impl Parts {
    fn new(
        metrics: Metrics,
        settings: Settings,
        client: Client,
        api_server: &str,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            config: Arc::new(settings.config()),
            settings,
            client,
            cluster_span: tracing::info_span!("cluster", %api_server),
            certificates: Arc::new(CertificateStore::new(metrics.clone())),
            metrics,
            networks: Arc::default(),
            namespaces: Arc::default(),
            drain: Drain::new(shutdown),
        }
    }

    /// The server that answers reviews.
    fn server(&self, listener: TcpListener) -> Result<Server, String> {
        let tls = tls::server_config(Arc::clone(&self.certificates))
            .map_err(|error| format!("cannot set up TLS: {error}"))?;
        let admission = Admission {
            config: Arc::clone(&self.config),
            networks: Arc::clone(&self.networks),
            namespaces: Arc::clone(&self.namespaces),
            client: Some(self.client.clone()),
            usage: Arc::default(),
        };
        let app = App {
            admission,
            metrics: self.metrics.clone(),
            bodies: Bodies::default(),
        };
        Ok(Server {
            listener,
            tls: Some(TlsAcceptor::from(Arc::new(tls))),
            router: routes::router(app),
            limits: Limits::default(),
            drain: self.drain.clone(),
            metrics: self.metrics.clone(),
        })
    }

    /// The server of probes and metrics.
    fn admin_server(&self, listener: TcpListener, dropped_lines: DroppedLines) -> Server {
        let probes = Probes {
            certificates: Arc::clone(&self.certificates),
            networks: Arc::clone(&self.networks),
            namespaces: Arc::clone(&self.namespaces),
            drain: self.drain.clone(),
            metrics: self.metrics.clone(),
            settings: self.settings.clone(),
            dropped_lines,
        };
        Server {
            listener,
            tls: None,
            router: probes::router(probes),
            limits: Limits::default(),
            // Never drains: while the other server does, probes are answered with "not ready".
            drain: Drain::new(CancellationToken::new()),
            metrics: self.metrics.clone(),
        }
    }

    fn follow_caches(&self, tasks: &mut JoinSet<()>) {
        let (networks, client, metrics) = self.cache_task(&self.networks);
        let follow = async move { networks.follow(client, &metrics).await };
        tasks.spawn(follow.instrument(self.cluster_span.clone()));
        let (namespaces, client, metrics) = self.cache_task(&self.namespaces);
        let follow = async move { namespaces.follow(client, &metrics).await };
        tasks.spawn(follow.instrument(self.cluster_span.clone()));
    }

    fn cache_task<C>(&self, cache: &Arc<C>) -> (Arc<C>, Client, Metrics) {
        (Arc::clone(cache), self.client.clone(), self.metrics.clone())
    }

    /// Serves the certificate that another program keeps in `directory`.
    fn follow_directory(&self, tasks: &mut JoinSet<()>, directory: PathBuf, service: &str, namespace: &str) {
        let [name, ..] = service_names(service, namespace);
        let (certificates, metrics) = (Arc::clone(&self.certificates), self.metrics.clone());
        tasks.spawn(async move { tls::follow(&directory, &name, &certificates, &metrics).await });
    }

    /// Serves certificates of the CA that this program keeps in the cluster.
    fn manage_certificates(&self, tasks: &mut JoinSet<()>, service: &str, namespace: String) {
        let changed = Arc::new(Notify::new());
        let cluster = ApiServer::new(self.client.clone(), &namespace);
        let manager = Manager::new(cluster, service, &namespace, Arc::clone(&self.certificates));
        let woken = Arc::clone(&changed);
        let run = async move { manager.run(&woken).await };
        tasks.spawn(run.instrument(self.cluster_span.clone()));
        let client = self.client.clone();
        let watch = async move { ca::watch(client, &namespace, &changed).await };
        tasks.spawn(watch.instrument(self.cluster_span.clone()));
    }
}

/// Drains for new settings as for a signal: the kubelet starts the program again.
async fn restart_when_due(
    follower: Follower,
    own: Option<OwnPod>,
    replicas: Replicas,
    shutdown: CancellationToken,
) {
    takeover::wait_until_due(follower, own, &replicas).await;
    tracing::info!("restarting to use new settings; draining");
    shutdown.cancel();
    std::future::pending().await
}

/// Waits for shutdown: the first signal makes the server drain, and its end is the program's. Any
/// other task that ends is a failure, and so is a second signal.
async fn supervise(
    mut tasks: JoinSet<()>,
    server: tokio::task::Id,
    shutdown: &CancellationToken,
) -> Result<(), String> {
    let [mut terminate, mut interrupt] = [
        signal(SignalKind::terminate()).map_err(|error| format!("cannot handle signals: {error}"))?,
        signal(SignalKind::interrupt()).map_err(|error| format!("cannot handle signals: {error}"))?,
    ];
    let mut was_signalled = false;
    loop {
        let signalled = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = signalled => {
                if was_signalled {
                    return Err("stopped by a second signal".to_owned());
                }
                was_signalled = true;
                tracing::info!("shutdown requested; draining");
                shutdown.cancel();
            }
            ended = tasks.join_next_with_id() => return match ended {
                Some(Ok((task, ()))) if task == server && shutdown.is_cancelled() => {
                    tracing::info!("drained; exiting");
                    Ok(())
                }
                Some(Err(error)) => Err(format!("a task failed: {error}")),
                _ => Err("a task ended unexpectedly".to_owned()),
            },
        }
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, String> {
    shared_process::listen(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}
