//! Puts the program together and supervises it: every task runs until the end, so the first to end is the end of all.

use std::{fs, process::ExitCode, sync::Arc};

use certs::service_names;
use shared::config::Config;
use shared_process::{DroppedLines, Logging};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    admission::Admission,
    args::Serve,
    cluster::{client, namespaces::Namespaces, networks::Networks},
    http::{
        Drain, Limits, Server,
        body::Bodies,
        probes::{self, Probes},
        routes::{self, App},
    },
    metrics::Metrics,
    tls::{
        self, Serving,
        ca::{self, ApiServer, Manager},
    },
};

/// Reviews are short computations: more threads would only be memory.
const THREADS: usize = 2;

/// Serves until told to stop. A program that cannot start says why in one line.
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
        listen,
        admin_listen,
        certificate_dir,
        service_name,
        namespace,
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
        .map_err(|_| "another TLS provider is installed already".to_owned())?;
    let config = Arc::new(read_config(&config)?);
    let (client, api_server) = client::connect(kubeconfig.as_deref()).await?;
    // Whatever is logged about talking to it says to whom.
    let with_cluster = tracing::info_span!("cluster", %api_server);
    // Bound before anything runs: an address in use ends the program at once.
    let (listener, admin_listener) = (bind(listen).await?, bind(admin_listen).await?);
    let metrics = Metrics::default();
    let serving = Arc::new(Serving::new(metrics.clone()));
    let (networks, namespaces) = (Arc::<Networks>::default(), Arc::<Namespaces>::default());
    let begun = CancellationToken::new();
    let drain = Drain::new(begun.clone());

    let mut tasks = JoinSet::new();
    let app = App {
        admission: Admission {
            config,
            networks: Arc::clone(&networks),
            namespaces: Arc::clone(&namespaces),
            client: Some(client.clone()),
            usage: Arc::default(),
        },
        metrics: metrics.clone(),
        bodies: Bodies::default(),
    };
    let tls =
        tls::server_config(Arc::clone(&serving)).map_err(|error| format!("cannot set up TLS: {error}"))?;
    let server = Server {
        listener,
        tls: Some(TlsAcceptor::from(Arc::new(tls))),
        router: routes::router(app),
        limits: Limits::default(),
        drain: drain.clone(),
        metrics: metrics.clone(),
    };
    let served = tasks.spawn(server.run()).id();
    let probes = Probes {
        serving: Arc::clone(&serving),
        networks: Arc::clone(&networks),
        namespaces: Arc::clone(&namespaces),
        drain,
        metrics: metrics.clone(),
        dropped_lines,
    };
    let admin = Server {
        listener: admin_listener,
        tls: None,
        router: probes::router(probes),
        limits: Limits::default(),
        // Outlives the other: whoever asks during the end is told that it is not ready.
        drain: Drain::new(CancellationToken::new()),
        metrics: metrics.clone(),
    };
    tasks.spawn(admin.run());
    {
        let (client, metrics) = (client.clone(), metrics.clone());
        let follow = async move { networks.follow(client, &metrics).await };
        tasks.spawn(follow.instrument(with_cluster.clone()));
    }
    {
        let (client, metrics) = (client.clone(), metrics.clone());
        let follow = async move { namespaces.follow(client, &metrics).await };
        tasks.spawn(follow.instrument(with_cluster.clone()));
    }
    match certificate_dir {
        Some(directory) => {
            let [name, ..] = service_names(&service_name, &namespace);
            tasks.spawn(async move { tls::follow(&directory, &name, &serving, &metrics).await });
        }
        None => {
            let changed = Arc::new(Notify::new());
            let cluster = ApiServer::new(client.clone(), &namespace);
            let manager = Manager::new(cluster, &service_name, &namespace, serving);
            let woken = Arc::clone(&changed);
            let run = async move { manager.run(&woken).await };
            tasks.spawn(run.instrument(with_cluster.clone()));
            let watch = async move { ca::watch(client, &namespace, &changed).await };
            tasks.spawn(watch.instrument(with_cluster));
        }
    }
    supervise(tasks, served, &begun).await
}

/// Waits for the end: after the first signal, that of the server, which drains; any other end is a failure.
async fn supervise(
    mut tasks: JoinSet<()>,
    served: tokio::task::Id,
    begun: &CancellationToken,
) -> Result<(), String> {
    let [mut terminate, mut interrupt] = [
        signal(SignalKind::terminate()).map_err(|error| format!("cannot handle signals: {error}"))?,
        signal(SignalKind::interrupt()).map_err(|error| format!("cannot handle signals: {error}"))?,
    ];
    loop {
        let signalled = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = signalled => {
                if begun.is_cancelled() {
                    return Err("stopped by a second signal".to_owned());
                }
                tracing::info!("draining");
                begun.cancel();
            }
            ended = tasks.join_next_with_id() => return match ended {
                Some(Ok((task, ()))) if task == served && begun.is_cancelled() => {
                    tracing::info!("drained");
                    Ok(())
                }
                Some(Err(error)) => Err(format!("a task failed: {error}")),
                _ => Err("a task ended that should not".to_owned()),
            },
        }
    }
}

fn read_config(path: &std::path::Path) -> Result<Config, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
    Config::parse(&text).map_err(|error| format!("the configuration {} is refused: {error}", path.display()))
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, String> {
    shared_process::listen(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}
