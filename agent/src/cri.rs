//! Talks to the container runtime over the CRI (v1): which sandboxes a pod has, whether they live,
//! and where their network namespaces are. Reads only.

mod error;
mod listing;
mod network;
mod single_flight;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use proto::runtime_v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxMetadata, PodSandboxState, PodSandboxStatusRequest, VersionRequest,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Response, Status, transport::Channel};

use crate::uds;
use agent_core::{
    identity::{IdentityError, PodIdentity, SandboxId},
    sandbox::{Network, Sandbox},
};
pub use error::CriError;
pub use listing::Listing;

/// As the kubelet allows: a node full of pods exceeds gRPC's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

type Client = RuntimeServiceClient<Channel>;

/// How long one call may take, connecting included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// So many sandboxes are remembered of which a warning was logged; no more are warned of.
const WARNINGS: usize = 256;

/// The container runtime of this node.
#[derive(Clone, Debug)]
pub struct Cri {
    sockets: [PathBuf; 1],
    /// Listed sandboxes that are not Kubernetes', of which a warning was logged.
    warned: Rc<RefCell<BTreeSet<String>>>,
    last_answer: Rc<Cell<Option<Instant>>>,
    calls: Counter,
}

impl Cri {
    /// A client of the runtime at `socket`; nothing is dialled yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            sockets: [socket],
            warned: Rc::default(),
            last_answer: Rc::default(),
            calls: Counter::default(),
        }
    }

    /// The same; its calls are counted there.
    #[must_use]
    pub fn counted_by(self, calls: Counter) -> Self {
        Self { calls, ..self }
    }

    /// The runtime's name and version, for the log at start and for readiness.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn version(&self) -> Result<String, CriError> {
        let answer = self
            .call("Version", async |mut client| {
                client.version(VersionRequest::default()).await
            })
            .await?;
        Ok(format!("{} {}", answer.runtime_name, answer.runtime_version))
    }

    /// Whether it answers. Does not ask when it has answered another call within `fresh`.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn check(&self, fresh: Duration) -> Result<(), CriError> {
        if self.last_answer.get().is_some_and(|last| last.elapsed() < fresh) {
            return Ok(());
        }
        self.version().await.map(|_| ())
    }

    /// All sandboxes, ready or not. One whose names cannot be Kubernetes' is left out, and logged
    /// once.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, CriError> {
        const CALL: &str = "ListPodSandbox";
        let answer = self
            .call(CALL, async |mut client| {
                client.list_pod_sandbox(ListPodSandboxRequest::default()).await
            })
            .await?;
        let (mut listed, mut left_out) = (Vec::with_capacity(answer.items.len()), BTreeSet::new());
        for item in answer.items {
            let (id, ready) = (item.id.clone(), item.state() == PodSandboxState::SandboxReady);
            match sandbox(CALL, &item.id, item.metadata, ready, item.created_at) {
                Ok(sandbox) => listed.push(sandbox),
                Err(error) => {
                    self.warn_once(&id, &error);
                    left_out.insert(id);
                }
            }
        }
        self.warned.borrow_mut().retain(|id| left_out.contains(id));
        Ok(listed)
    }

    fn warn_once(&self, id: &str, error: &CriError) {
        let mut warned = self.warned.borrow_mut();
        if warned.len() < WARNINGS && warned.insert(id.to_owned()) {
            tracing::warn!(sandbox = id, %error, "ignoring a sandbox that is not Kubernetes'");
        }
    }

    /// One sandbox with its network; `None` when the runtime does not know it (any more).
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn sandbox(&self, id: &SandboxId) -> Result<Option<(Sandbox, Network)>, CriError> {
        const CALL: &str = "PodSandboxStatus";
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_string(),
            verbose: true,
        };
        let asked = self.call(CALL, async move |mut client| {
            match client.pod_sandbox_status(request).await {
                Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                answer => answer.map(|answer| answer.map(Some)),
            }
        });
        let Some(answer) = asked.await? else {
            return Ok(None);
        };
        let Some(status) = answer.status else {
            return Err(CriError::Unusable {
                call: CALL,
                reason: "it has no status".to_owned(),
            });
        };
        let network = network::of_status(&status, &answer.info);
        let ready = status.state() == PodSandboxState::SandboxReady;
        let sandbox = sandbox(CALL, &status.id, status.metadata, ready, status.created_at)?;
        Ok(Some((sandbox, network)))
    }

    /// The sandboxes in which a container runs.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn running_sandboxes(&self) -> Result<BTreeSet<SandboxId>, CriError> {
        let running = ContainerStateValue {
            state: ContainerState::ContainerRunning.into(),
        };
        let filter = ContainerFilter {
            state: Some(running),
            pod_sandbox_id: String::new(),
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let answer = self
            .call("ListContainers", async move |mut client| {
                client.list_containers(request).await
            })
            .await?;
        // A runtime that ignores the filter must not keep a sandbox alive.
        let running = answer
            .containers
            .into_iter()
            .filter(|container| container.state() == ContainerState::ContainerRunning);
        Ok(running
            .filter_map(|container| SandboxId::parse(&container.pod_sandbox_id).ok())
            .collect())
    }

    /// Dials, calls, and waits for at most [`CALL_DEADLINE`].
    async fn call<T>(
        &self,
        call: &'static str,
        ask: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, CriError> {
        self.calls.inc();
        let asked = async {
            let client = self.connect().await?;
            let answer = ask(client)
                .await
                .map_err(|status| error::of_status(call, &status))?;
            Ok(answer.into_inner())
        };
        let answer = timeout(CALL_DEADLINE, asked)
            .await
            .unwrap_or(Err(CriError::TimedOut { call }));
        self.last_answer.set(answer.is_ok().then(Instant::now));
        answer
    }

    async fn connect(&self) -> Result<Client, CriError> {
        let channel = uds::channel(&self.sockets).await;
        let channel = channel.map_err(CriError::Unreachable)?;
        Ok(Client::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }
}

fn sandbox(
    call: &'static str,
    id: &str,
    metadata: Option<PodSandboxMetadata>,
    ready: bool,
    created_at: i64,
) -> Result<Sandbox, CriError> {
    let pod = metadata.unwrap_or_default();
    let unusable = |error: IdentityError| CriError::Unusable {
        call,
        reason: error.to_string(),
    };
    Ok(Sandbox {
        id: SandboxId::parse(id).map_err(unusable)?,
        pod: PodIdentity::new(&pod.namespace, &pod.name, &pod.uid).map_err(unusable)?,
        ready,
        created_at,
    })
}
