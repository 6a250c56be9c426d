//! Talks to the container runtime over the CRI (v1): which sandboxes a pod has, whether they live, and where their network
//! namespaces are. Reads only.

mod network;

use std::{error::Error, iter, path::PathBuf, time::Duration};

use hyper::Uri;
use proto::runtime_v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxFilter, PodSandboxMetadata, PodSandboxState, PodSandboxStatusRequest, VersionRequest,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::time::timeout;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{
    identity::{IdentityError, PodIdentity, SandboxId},
    uds::{self, DialError},
};
pub use network::Network;

/// The label with the pod's uid that the kubelet puts on every sandbox.
const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
/// As the kubelet allows: a node full of pods exceeds gRPC's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

type Client = RuntimeServiceClient<Channel>;

/// How long one call may take, connecting included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The container runtime of this node.
#[derive(Clone, Debug)]
pub struct Cri {
    sockets: [PathBuf; 1],
}

/// A pod sandbox as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Its pod.
    pub pod: PodIdentity,
    /// SANDBOX_READY.
    pub ready: bool,
    /// Creation time, nanoseconds since the epoch.
    pub created_at: i64,
}

/// What the runtime could not tell.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The socket cannot be reached.
    #[error("the container runtime cannot be reached: {0}")]
    Unreachable(String),
    /// No answer within [`CALL_DEADLINE`].
    #[error("the container runtime did not answer {call} within {} s", CALL_DEADLINE.as_secs())]
    TimedOut {
        /// The CRI call.
        call: &'static str,
    },
    /// It does not serve CRI v1 (containerd before 1.6), or its CRI plugin is off.
    #[error("the container runtime does not serve CRI v1: {0}")]
    Unsupported(String),
    /// The call failed.
    #[error("{call} failed: {message}")]
    Failed {
        /// The CRI call.
        call: &'static str,
        /// The gRPC code.
        code: Code,
        /// The runtime's own words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("{call} answered something unusable: {reason}")]
    Unusable {
        /// The CRI call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Cri {
    /// A client of the runtime at `socket`; nothing is dialled yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { sockets: [socket] }
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

    /// All sandboxes, ready or not. One whose names cannot be Kubernetes' is left out, and logged.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, CriError> {
        self.list(ListPodSandboxRequest::default()).await
    }

    /// The sandboxes, ready or not, of the pod with this uid.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn sandboxes_of(&self, pod_uid: &str) -> Result<Vec<Sandbox>, CriError> {
        let label = (POD_UID_LABEL.to_owned(), pod_uid.to_owned());
        self.list(ListPodSandboxRequest {
            filter: Some(PodSandboxFilter {
                label_selector: [label].into(),
            }),
        })
        .await
    }

    async fn list(&self, request: ListPodSandboxRequest) -> Result<Vec<Sandbox>, CriError> {
        const CALL: &str = "ListPodSandbox";
        let answer = self
            .call(CALL, async move |mut client| {
                client.list_pod_sandbox(request).await
            })
            .await?;
        let sandboxes = answer.items.into_iter().filter_map(|item| {
            let (id, ready) = (item.id.clone(), item.state() == PodSandboxState::SandboxReady);
            match sandbox(CALL, &item.id, item.metadata, ready, item.created_at) {
                Ok(sandbox) => Some(sandbox),
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "leaving out a sandbox that is not Kubernetes'");
                    None
                }
            }
        });
        Ok(sandboxes.collect())
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
                reason: "there is no status".to_owned(),
            });
        };
        let network = Network::of(&status, &answer.info);
        let ready = status.state() == PodSandboxState::SandboxReady;
        let sandbox = sandbox(CALL, &status.id, status.metadata, ready, status.created_at)?;
        Ok(Some((sandbox, network)))
    }

    /// Whether any container of the sandbox runs. A sandbox that the runtime does not know has none.
    ///
    /// # Errors
    /// See [`CriError`].
    pub async fn has_running_containers(&self, id: &SandboxId) -> Result<bool, CriError> {
        let running = ContainerStateValue {
            state: ContainerState::ContainerRunning.into(),
        };
        let filter = ContainerFilter {
            state: Some(running),
            pod_sandbox_id: id.to_string(),
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let answer = self
            .call("ListContainers", async move |mut client| {
                client.list_containers(request).await
            })
            .await?;
        // A runtime that ignores the filter must not keep a sandbox alive.
        Ok(answer.containers.iter().any(|container| {
            container.pod_sandbox_id == id.as_str() && container.state() == ContainerState::ContainerRunning
        }))
    }

    /// Dials, calls, and waits for at most [`CALL_DEADLINE`].
    async fn call<T>(
        &self,
        call: &'static str,
        ask: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, CriError> {
        let asked = async {
            let client = self.connect().await?;
            let answer = ask(client).await.map_err(|status| failure(call, &status))?;
            Ok(answer.into_inner())
        };
        timeout(CALL_DEADLINE, asked)
            .await
            .unwrap_or(Err(CriError::TimedOut { call }))
    }

    async fn connect(&self) -> Result<Client, CriError> {
        let sockets = self.sockets.clone();
        let connector = service_fn(move |_: Uri| {
            let sockets = sockets.clone();
            async move { uds::dial(&sockets).await.map(|dialled| dialled.stream) }
        });
        // Some runtimes refuse every other authority.
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| CriError::Unreachable(dial_error(&error)))?;
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

fn failure(call: &'static str, status: &Status) -> CriError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unimplemented => CriError::Unsupported(message),
        code => CriError::Failed { call, code, message },
    }
}

/// The newest ready sandbox: the one that the pod's containers run in.
pub fn ready_sandbox(sandboxes: &[Sandbox]) -> Option<&Sandbox> {
    sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .max_by_key(|sandbox| sandbox.created_at)
}

/// tonic wraps the dialler's error in its own "transport error".
fn dial_error(error: &tonic::transport::Error) -> String {
    let chain = iter::successors(Some(error as &dyn Error), |&error| error.source());
    let found = chain.filter_map(|error| error.downcast_ref::<DialError>()).next();
    found.map_or_else(|| error.to_string(), DialError::to_string)
}
