//! Puts the program together and supervises it: every task runs until the end, so the first to end
//! is the end of all.

pub mod open_files;

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    net::SocketAddr,
    process::ExitCode,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::config::Config;
use shared_process::{
    Logging,
    settings::{Files, Follower, News, Settings},
};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinSet, LocalSet},
};
use tokio_util::sync::CancellationToken;

use agent_core::{
    effect::{Timing, Trigger},
    identity::{PodIdentity, SandboxId},
    record::{SandboxRecord, SandboxRecords},
    sandbox::Network,
    turn::Context,
};
use futures::{FutureExt as _, StreamExt as _, future::LocalBoxFuture};

use crate::{
    admin::{
        self, Admin, WatchHeartbeat, explain,
        reports::{self, Questions},
        server::{Limits, Server},
    },
    args::{Arguments, Command},
    cni::{cache::CniCache, delegate_file},
    cri::{Cri, Listing},
    devices::{Devices, PodResources},
    disk::records::{Records, RecordsError},
    failpoint::call_timeout,
    health::{
        Health, drift_scanner::DriftScanner, probes::Probes, sandbox_poller::SandboxPoller,
        sole_controller::SoleController,
    },
    kubernetes::{
        client::ApiServer,
        events::{Event, EventSink, EventWriter},
        networks::{NetworkEvent, Networks},
        pod_watch::{PodEvent, pod_events},
    },
    metrics::{Dependency, Metrics},
    multus::{Multus, limiter::DelegateLimiter},
    multus_config::{self, MultusDifferences},
    node::Node,
    pods::{Pods, worker::WorkerContext},
};

/// How long calls in flight may take after a signal to stop; then their intents are left for the
/// next start.
const FINISH: Duration = Duration::from_secs(8);
/// How long the last events may take to be written.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long a network is followed after its last pod: a pod that is edited back and forth reads it
/// once.
const LINGER: Duration = Duration::from_secs(300);
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
            let _logging = Logging::start(&arguments.log_level, arguments.log_format)
                .map_err(|error| error.to_string())?;
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
        settings,
        settings_delay,
        multus_config,
        node_name,
        admin_listen,
        host_run,
        pod_resources_socket,
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
    let (metrics, manifest) = (Metrics::new(), config);
    let settings = Settings::load(Files { manifest, settings }, metrics.settings()).await;
    let settings = settings.map_err(|error| error.to_string())?;
    let own = own_identity(&pod_namespace, &pod_name, &pod_uid)?;
    let api = ApiServer::new(kubeconfig.as_deref()).await?;
    let listener = bind(admin_listen).await?;
    let restart = CancellationToken::new();
    let mut stop =
        Stop::new(restart.clone()).map_err(|error| format!("signals cannot be handled: {error}"))?;

    if let Err(error) = open_files::raise_limit() {
        tracing::warn!(%error, "raising the limit of open files failed");
    }
    let health = Health::new(metrics.clone());
    let (heartbeat, (reports, questions)) = (WatchHeartbeat::default(), reports::channel());
    let mut tasks = JoinSet::new();
    let differences = MultusDifferences::default();
    let pages = Admin {
        settings: settings.clone(),
        differences: differences.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        reports,
        watch: heartbeat.clone(),
    };
    let server = Server {
        listener,
        router: admin::router(pages),
        limits: Limits::default(),
    };
    tasks.spawn_local(async move { match server.run().await {} });
    let (events, writer) = EventSink::new(api.watches.clone(), &node_name, metrics.clone());
    let config = settings.config();
    let on_own_pod = report_on(own.clone(), events.clone());
    let follower = settings.follower(Duration::from_secs(settings_delay));
    tasks.spawn_local(restart_when_due(follower, on_own_pod.clone(), restart));
    let (ours, counted) = (config.clone(), metrics.clone());
    tasks.spawn_local(async move {
        let report = move |text: &str| on_own_pod(&Event::multus_config_differs(text));
        multus_config::follow(multus_config, ours, counted, differences, report).await;
        "the comparison with multus ended".to_owned()
    });

    let Some(records) = stop.or(open_records(&config, &health)).await.transpose()? else {
        return Ok(());
    };
    let agent = Agent {
        config,
        own,
        api,
        host_run,
        kubelet: PodResources::new(pod_resources_socket),
        node: node_name,
        health,
        metrics,
        heartbeat,
        questions: Cell::new(Some(questions)),
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
    kubelet: PodResources,
    node: String,
    health: Health,
    metrics: Metrics,
    heartbeat: WatchHeartbeat,
    questions: Cell<Option<Questions>>,
}

impl Agent {
    fn cri(&self) -> Cri {
        Cri::new(self.config.cri_socket_path.clone()).counted_by(self.metrics.cri_calls())
    }

    /// Reads the records. A sandbox whose own record is missing is asked for at the runtime; one
    /// that the runtime does not know has ended.
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
            return Some(SandboxRecord::new(pod, netns));
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
        let cni_dir = self.config.multus_cni_dir.clone();
        if let Err(error) = delegate_file::sweep(&cni_dir) {
            tracing::warn!(%error, "removing leftovers in multus' data directory failed");
        }
        let probes = Probes {
            multus: Multus::new(self.config.multus_socket_paths.clone()),
            cri: self.cri(),
            cache: CniCache::new(cni_dir),
            records: Arc::clone(&records),
            health: self.health.clone(),
        };
        let listing = Rc::new(Listing::new(&probes.cri));
        let poller = SandboxPoller {
            runtime: Rc::clone(&listing),
            health: self.health.clone(),
        };
        let scanner = DriftScanner {
            cache: probes.cache.clone(),
        };
        let networks = Networks::new(&self.api, self.config.multus_conf_dir.clone(), LINGER);
        let context = Rc::new(self.worker_context(&probes, listing, networks.clone(), events.clone()));
        let pods = Rc::new(Pods::new(Rc::clone(&context), loaded));

        let mut spawn = |name: &'static str, task: LocalBoxFuture<'static, ()>| {
            tasks.spawn_local(async move {
                task.await;
                format!("{name} ended")
            });
        };
        let of = Rc::clone(&pods);
        let sole = Rc::new(SoleController::new(
            self.own.clone(),
            self.api.calls.clone(),
            self.health.clone(),
            events.clone(),
            move |hold| of.hold(hold),
        ));
        let of = Rc::clone(&sole);
        let run = async move { match of.run().await {} };
        spawn("the watch for other controllers", run.boxed_local());
        let of = Rc::clone(&pods);
        let observe = move |event: &PodEvent| sole.observe(event);
        spawn("the pod watch", self.watch_pods(of, observe).boxed_local());
        let of = Rc::clone(&pods);
        let run = async move { networks.run(|event| report_network(&of, event)).await };
        spawn("the network watch", run.boxed_local());
        let of = Rc::clone(&pods);
        let run = async move {
            let wanted = || of.awaits_sandboxes() || !of.followed_sandboxes().is_empty();
            match poller.run(wanted, |listed| of.observe_sandboxes(listed)).await {}
        };
        spawn("the sandbox poller", run.boxed_local());
        let of = Rc::clone(&pods);
        let run = async move {
            match scanner
                .run(|| of.kept_files(), |looked| of.observe_files(looked))
                .await {}
        };
        spawn("the drift scanner", run.boxed_local());
        let of = Rc::clone(&pods);
        let run = async move { match probes.run(|returned| of.trigger(&trigger_of(returned))).await {} };
        spawn("the probes", run.boxed_local());
        let (of, records) = (Rc::clone(&pods), Arc::clone(&records));
        spawn(
            "the supervision of workers",
            async move { of.supervise(&records).await }.boxed_local(),
        );
        let (of, questions) = (Rc::clone(&pods), self.questions.take());
        let run = async move {
            if let Some(questions) = questions {
                reports::serve(questions, &of).await;
            }
        };
        spawn("the reports", run.boxed_local());

        // Outlives the other tasks: the last events come from the workers that finish.
        let mut writing = JoinSet::new();
        writing.spawn_local(writer.run());
        if let Some(why) = stop.or(first_end(&mut tasks, &mut writing)).await {
            return Err(why);
        }
        tracing::info!("stopping");
        tasks.shutdown().await;
        if tokio::time::timeout(FINISH, pods.stop()).await.is_err() {
            tracing::warn!(
                "shutdown timed out with multus calls in flight; they resume from their records on next start"
            );
        }
        drop((pods, context));
        events.close();
        if tokio::time::timeout(LAST_EVENTS, writing.join_next())
            .await
            .is_err()
        {
            tracing::warn!("the API server did not take the last events in time");
        }
        Ok(())
    }

    fn worker_context(
        &self,
        probes: &Probes,
        listing: Rc<Listing>,
        networks: Networks,
        events: EventSink,
    ) -> WorkerContext {
        let timing = Timing::default();
        WorkerContext {
            node: Node {
                started: Instant::now(),
                client: self.api.calls.clone(),
                multus: probes.multus.clone(),
                cri: probes.cri.clone(),
                listing,
                devices: Devices {
                    kubelet: self.kubelet.clone(),
                    client: self.api.calls.clone(),
                    node: self.node.clone(),
                    host_run: self.host_run.clone(),
                },
                host_run: self.host_run.clone(),
                cache: probes.cache.clone(),
                cni_dir: self.config.multus_cni_dir.clone(),
                records: Arc::clone(&probes.records),
                networks: networks.clone(),
                health: self.health.clone(),
                metrics: self.metrics.clone(),
            },
            core: Rc::new(Context {
                config: Rc::new(self.config.clone()),
                own: self.own.clone(),
                timing: Timing {
                    late: call_timeout(timing.late),
                    grace: call_timeout(timing.grace),
                },
            }),
            limiter: DelegateLimiter::default(),
            networks,
            events,
            metrics: self.metrics.clone(),
        }
    }

    /// Follows the watch of this node's pods, without end. `observe` is given each event first.
    fn watch_pods<O: Fn(&PodEvent)>(&self, pods: Rc<Pods>, observe: O) -> impl Future<Output = ()> + use<O> {
        let mut events = Box::pin(pod_events(&self.api, &self.node, self.own.as_ref()));
        let (health, heartbeat) = (self.health.clone(), self.heartbeat.clone());
        async move {
            while let Some(event) = events.next().await {
                heartbeat.record();
                match &event {
                    PodEvent::Healthy if health.set(Dependency::Pods, Ok(())) => {
                        pods.trigger(&Trigger::Anything);
                    }
                    PodEvent::Unhealthy(cause) => {
                        health.set(Dependency::Pods, Err(cause.clone()));
                    }
                    _ => {}
                }
                observe(&event);
                pods.apply(event);
            }
        }
    }
}

/// Writes events on the agent's own pod, if that is known.
fn report_on(own: Option<PodIdentity>, events: EventSink) -> impl Fn(&Event) + Clone {
    move |event| {
        if let Some(own) = &own {
            events.send(own, event);
        }
    }
}

/// Cancels `restart` when new settings are to be used. Those that are refused are reported.
async fn restart_when_due(
    mut follower: Follower,
    report: impl Fn(&Event),
    restart: CancellationToken,
) -> String {
    while let News::Refused(cause) = follower.next().await {
        report(&Event::settings_refused(&cause));
    }
    tracing::info!("restarting to use new settings");
    restart.cancel();
    std::future::pending().await
}

/// Why the first task ended. None should before it is told to.
async fn first_end(tasks: &mut JoinSet<String>, writing: &mut JoinSet<String>) -> String {
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        ended = writing.join_next() => ended,
    };
    ended.map_or_else(
        || "nothing runs".to_owned(),
        |task| task.unwrap_or_else(|error| error.to_string()),
    )
}

/// What may be cleared by the return of a dependency.
fn trigger_of(returned: Dependency) -> Trigger {
    match returned {
        Dependency::Multus => Trigger::Multus,
        Dependency::Records
        | Dependency::Cri
        | Dependency::CniCache
        | Dependency::Pods
        | Dependency::SoleController => Trigger::Anything,
    }
}

/// Tells the pods that use a network of its change.
fn report_network(pods: &Pods, event: NetworkEvent) {
    match event {
        NetworkEvent::Changed {
            network,
            resource_version,
            pods: uids,
        } => pods.trigger_pods(&uids, &Trigger::Network(network, resource_version)),
        NetworkEvent::Lost(cause) => {
            tracing::warn!(cause, "watch of NetworkAttachmentDefinitions failed; will retry");
        }
        NetworkEvent::Resumed => tracing::info!("watch of NetworkAttachmentDefinitions resumed"),
    }
}

/// The signals to stop, and the wish to start again with new settings.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    restart: CancellationToken,
}

impl Stop {
    fn new(restart: CancellationToken) -> io::Result<Self> {
        Ok(Self {
            restart,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The outcome of `work`, or `None` when a signal or new settings come first.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
            () = self.restart.cancelled() => None,
        }
    }
}

/// Opens the records; waits while another agent holds them, which is normal for a moment when the
/// agent is replaced.
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

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    shared_process::listen(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
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

#[cfg(test)]
mod tests;
