//! Puts the program together and supervises it: every task runs until the end, so the first to end is the end of all.

use std::{
    collections::BTreeMap, fs, io, net::SocketAddr, path::Path, process::ExitCode, rc::Rc, sync::Arc,
    time::Duration,
};

use shared::config::Config;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinSet, LocalSet},
};
use tracing_subscriber::EnvFilter;

use crate::{
    admin::{self, Admin, Pulse},
    api::ApiServer,
    args::{Arguments, Command, LogFormat},
    board::Board,
    cni_cache::CniCache,
    cri::{Cri, Listing, Network},
    events::{EventSink, EventWriter},
    explain,
    health::{Health, probes::Probes},
    identity::{PodIdentity, SandboxId},
    live::{Live, Parts},
    mailbox::Cured,
    metrics::{Dependency, Metrics},
    multus::Multus,
    networks::{NetworkWatches, Networks},
    pods::Pods,
    records::{Records, RecordsError, SandboxRecord, SandboxRecords},
    sandbox_poller::SandboxPoller,
    worker::{Shop, Tracked},
};

/// How long the looks that have begun may take to finish after a signal to stop; then their intents are left for the next start.
const FINISH: Duration = Duration::from_secs(15);
/// How often the records are tried while another agent holds them.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// Runs until told to stop. A program that cannot start says why in one line.
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| format!("cannot start: {error}"))
        .and_then(|runtime| {
            if let Some(Command::Explain { pod }) = &arguments.command {
                let text = runtime.block_on(explain::explain(arguments.admin_listen, pod))?;
                print!("{text}");
                return Ok(());
            }
            start_logging(&arguments.log_level, arguments.log_format)?;
            let local = LocalSet::new();
            local.block_on(&runtime, serve(arguments))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dynamic-networks-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let Arguments {
        command: _,
        config,
        node_name,
        admin_listen,
        host_run,
        kubeconfig,
        pod_namespace,
        pod_name,
        pod_uid,
        log_level: _,
        log_format: _,
    } = arguments;
    tracing::info!(
        version = crate::VERSION,
        commit = crate::COMMIT,
        node = node_name,
        "dynamic-networks-agent"
    );
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "another TLS provider is installed already".to_owned())?;
    if node_name.is_empty() {
        return Err("the node's name is not given (--node-name, NODE_NAME)".to_owned());
    }
    let config = read_config(&config)?;
    let own = own_identity(&pod_namespace, &pod_name, &pod_uid)?;
    let api = ApiServer::new(kubeconfig.as_deref()).await?;
    let listener = bind(admin_listen).await?;
    let mut stop = Stop::new().map_err(|error| format!("signals cannot be handled: {error}"))?;

    let metrics = Metrics::new();
    let health = Health::new(metrics.clone());
    let (board, pulse) = (Board::default(), Pulse::default());
    let mut tasks = JoinSet::new();
    let pages = Admin {
        health: health.clone(),
        metrics: metrics.clone(),
        board: board.clone(),
        watch: pulse.clone(),
    };
    tasks.spawn_local(serve_admin(listener, pages));

    let Some(records) = stop.or(open_records(&config, &health)).await.transpose()? else {
        return Ok(());
    };
    let (events, writer) = EventSink::new(api.calls.clone(), &node_name, metrics.clone());
    let agent = Agent {
        config,
        own,
        api,
        host_run,
        node: node_name,
        health,
        metrics,
        board,
        pulse,
    };
    let Some(loaded) = stop.or(agent.load(&records)).await.transpose()? else {
        return Ok(());
    };
    agent.run(records, loaded, events, writer, tasks, stop).await
}

/// What the parts are made from.
struct Agent {
    config: Config,
    own: Option<PodIdentity>,
    api: ApiServer,
    host_run: std::path::PathBuf,
    node: String,
    health: Health,
    metrics: Metrics,
    board: Board,
    pulse: Pulse,
}

impl Agent {
    fn cri(&self) -> Cri {
        Cri::new(self.config.cri_socket_path.clone())
    }

    /// Reads the records. A sandbox whose own record is missing is asked for at the runtime; one that the runtime does not know has ended.
    async fn load(&self, records: &Records) -> Result<BTreeMap<SandboxId, SandboxRecords>, String> {
        let loaded = records.load_all().map_err(|error| error.to_string())?;
        for aside in &loaded.set_aside {
            tracing::error!(path = %aside.path.display(), reason = aside.reason, "a record cannot be read and was set aside");
        }
        for newer in &loaded.newer {
            tracing::error!(
                path = %newer.path.display(), version = newer.version,
                "a record was written by a newer agent and is left alone"
            );
        }
        for path in &loaded.recovered {
            tracing::warn!(path = %path.display(), "a record was lost and was read from its flushed copy");
        }
        self.metrics
            .set_aside(u64::try_from(loaded.set_aside.len()).unwrap_or(u64::MAX));
        self.health.set(Dependency::Records, Ok(()));
        let mut sandboxes = loaded.sandboxes;
        for (id, records) in sandboxes
            .iter_mut()
            .filter(|(_, records)| records.sandbox.is_none())
        {
            records.sandbox = self.sandbox_record(id).await;
        }
        Ok(sandboxes)
    }

    async fn sandbox_record(&self, id: &SandboxId) -> Option<SandboxRecord> {
        let cri = self.cri();
        loop {
            let (pod, netns) = match cri.sandbox(id).await {
                Ok(Some((sandbox, Network::Namespace(path)))) => {
                    (sandbox.pod, path.to_string_lossy().into_owned())
                }
                Ok(Some((sandbox, _))) => (sandbox.pod, String::new()),
                Ok(None) => (self.own.clone()?, String::new()),
                Err(error) => {
                    self.health.set(Dependency::Cri, Err(error.to_string()));
                    tokio::time::sleep(LOCK_RETRY).await;
                    continue;
                }
            };
            return Some(SandboxRecord {
                pod,
                netns,
                adopted: false,
                foreign: Vec::new(),
                unknown: serde_json::Map::new(),
            });
        }
    }

    async fn run(
        self,
        records: Arc<Records>,
        loaded: BTreeMap<SandboxId, SandboxRecords>,
        events: EventSink,
        writer: EventWriter,
        mut tasks: JoinSet<String>,
        mut stop: Stop,
    ) -> Result<(), String> {
        let multus = Multus::new(self.config.multus_socket_paths.clone());
        let cache = CniCache::new(self.config.multus_cni_dir.clone());
        let cri = self.cri();
        let listing = Rc::new(Listing::new(&cri));
        let poller = SandboxPoller {
            runtime: Rc::clone(&listing),
            health: self.health.clone(),
        };
        let probes = Probes {
            multus: multus.clone(),
            cri: cri.clone(),
            cache: cache.clone(),
            records: Arc::clone(&records),
            health: self.health.clone(),
        };
        let world = Live::new(Parts {
            client: self.api.calls.clone(),
            multus,
            cri,
            listing,
            host_run: self.host_run.clone(),
            cache,
            records,
            networks: Networks::new(self.api.calls.clone(), self.config.multus_conf_dir.clone()),
            events,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
        });
        let shop = Rc::new(Shop {
            world,
            config: self.config,
            own: self.own,
            board: self.board,
            networks: NetworkWatches::default(),
            tracked: Tracked::default(),
            metrics: self.metrics,
            stopping: std::cell::Cell::new(false),
        });
        let writer = tokio::task::spawn_local(writer.run());
        let pods = Rc::new(Pods::new(Rc::clone(&shop), loaded));
        {
            let (pods, api, health) = (Rc::clone(&pods), self.api.clone(), self.health.clone());
            let (node, pulse) = (self.node, self.pulse);
            tasks.spawn_local(async move {
                let ended = pods.run(api, &node, &health, &pulse).await;
                ended.err().map_or("the pod watch ended".to_owned(), |error| {
                    format!("a pod's worker failed: {error}")
                })
            });
        }
        let (of, with) = (Rc::clone(&shop), self.api.watches);
        tasks.spawn_local(async move {
            of.networks.run(with).await;
            "the network watches ended".to_owned()
        });
        let of = Rc::clone(&shop);
        tasks.spawn_local(async move {
            let polled = poller.run(|| of.tracked.ids(), |view| of.tracked.nudge(view));
            match polled.await {}
        });
        let of = Rc::clone(&pods);
        tasks.spawn_local(async move {
            let probed = probes.run(|returned| match returned {
                Dependency::Multus => of.cure(&Cured::Multus),
                Dependency::Records => of.cure(&Cured::Anything),
                Dependency::Cri | Dependency::CniCache | Dependency::Pods => of.nudge(),
            });
            match probed.await {}
        });

        if let Some(ended) = stop.or(tasks.join_next()).await {
            let why = ended.map_or_else(
                || "nothing runs".to_owned(),
                |task| task.unwrap_or_else(|error| error.to_string()),
            );
            return Err(why);
        }
        tracing::info!("stopping");
        tasks.shutdown().await;
        if tokio::time::timeout(FINISH, pods.stop()).await.is_err() {
            tracing::warn!(
                "calls to multus did not end in time; their intents are on the disk, the next start looks after them"
            );
        }
        drop((pods, shop));
        // What was said last should still be written, if the API server answers.
        let _ = tokio::time::timeout(Duration::from_secs(2), writer).await;
        Ok(())
    }
}

/// The signals to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The outcome of `work`, or `None` when a signal comes first.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }
}

/// Opens the records; waits while another agent holds them, which is normal for a moment when the agent is replaced.
async fn open_records(config: &Config, health: &Health) -> Result<Arc<Records>, String> {
    loop {
        match Records::open(&config.state_dir) {
            Ok(records) => return Ok(Arc::new(records)),
            Err(error @ RecordsError::Locked(_)) => {
                health.set(Dependency::Records, Err(error.to_string()));
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn serve_admin(listener: TcpListener, pages: Admin) -> String {
    let service = admin::router(pages).into_make_service_with_connect_info::<SocketAddr>();
    let ended = axum::serve(listener, service).await;
    format!("the admin server ended: {ended:?}")
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn read_config(path: &Path) -> Result<Config, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("the configuration {}: {error}", path.display()))?;
    Config::parse(&text).map_err(|error| format!("the configuration {}: {error}", path.display()))
}

/// All three parts, or none: without them, what a vanished pod left cannot be released.
fn own_identity(namespace: &str, name: &str, uid: &str) -> Result<Option<PodIdentity>, String> {
    if name.is_empty() || namespace.is_empty() {
        tracing::warn!(
            "the agent's own pod is not given (POD_NAMESPACE, POD_NAME, POD_UID): deleted pods cannot be cleaned up after"
        );
        return Ok(None);
    }
    let identity = PodIdentity::new(namespace, name, uid);
    identity
        .map(Some)
        .map_err(|error| format!("the agent's own pod (POD_NAMESPACE, POD_NAME, POD_UID): {error}"))
}

fn start_logging(level: &str, format: LogFormat) -> Result<(), String> {
    // Kube's client logs every failed request as an error, without saying of whom; here whoever asks tells what failed.
    let filter = EnvFilter::try_new(format!("kube_client=off,{level}"))
        .map_err(|error| format!("--log-level {level:?}: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
