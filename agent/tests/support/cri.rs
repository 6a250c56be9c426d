//! A container runtime with a fixed set of sandboxes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use proto::runtime_v1::{
    Container, ContainerState, ListContainersRequest, ListContainersResponse, ListPodSandboxRequest,
    ListPodSandboxResponse, PodSandbox, PodSandboxMetadata, PodSandboxState, PodSandboxStatus,
    PodSandboxStatusRequest, PodSandboxStatusResponse, VersionRequest, VersionResponse,
    runtime_service_server::{RuntimeService, RuntimeServiceServer},
};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle};
use tonic::{Request, Response, Status};

use super::grpc;

/// What it has, and how it behaves.
#[derive(Clone, Default)]
pub struct Runtime {
    /// Its sandboxes.
    pub sandboxes: Vec<PodSandbox>,
    /// `info` of every PodSandboxStatus.
    pub info: HashMap<String, String>,
    /// Its containers; the filter of a request is ignored, as a runtime may do.
    pub containers: Vec<Container>,
    /// Every call fails with this.
    pub failure: Option<Status>,
    /// No call is ever answered.
    pub silent: bool,
    /// The calls that have come, by name.
    pub calls: Arc<Mutex<Vec<&'static str>>>,
}

/// Runs until it is dropped.
pub struct ScriptedRuntime {
    dir: TempDir,
    server: JoinHandle<()>,
}

/// A sandbox as the kubelet makes it; the pod is `default/p`.
pub fn sandbox(id: &str, pod_uid: &str, state: PodSandboxState, created_at: i64) -> PodSandbox {
    PodSandbox {
        id: id.to_owned(),
        metadata: Some(PodSandboxMetadata {
            name: "p".to_owned(),
            uid: pod_uid.to_owned(),
            namespace: "default".to_owned(),
        }),
        state: state.into(),
        created_at,
    }
}

/// A container of a sandbox.
pub fn container(sandbox: &str, state: ContainerState) -> Container {
    Container {
        id: format!("c-{sandbox}"),
        pod_sandbox_id: sandbox.to_owned(),
        state: state.into(),
    }
}

impl ScriptedRuntime {
    /// Listens at a socket of its own.
    pub fn start(runtime: Runtime) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(dir.path().join("cri.sock")).expect("a socket");
        let server = grpc::serve(listener, RuntimeServiceServer::new(runtime));
        Self { dir, server }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("cri.sock")
    }
}

impl Drop for ScriptedRuntime {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Runtime {
    async fn answer<T>(&self, call: &'static str, answer: T) -> Result<Response<T>, Status> {
        self.calls.lock().expect("no test panicked").push(call);
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.failure.clone().map_or(Ok(Response::new(answer)), Err)
    }
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        let (runtime_name, runtime_version) = ("scripted".to_owned(), "v1".to_owned());
        self.answer(
            "Version",
            VersionResponse {
                runtime_name,
                runtime_version,
            },
        )
        .await
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let items = self.sandboxes.clone();
        self.answer("ListPodSandbox", ListPodSandboxResponse { items })
            .await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Result<Response<PodSandboxStatusResponse>, Status> {
        let request = request.into_inner();
        let sandbox = self
            .sandboxes
            .iter()
            .find(|sandbox| sandbox.id == request.pod_sandbox_id);
        let Some(sandbox) = sandbox.cloned() else {
            return Err(Status::not_found("no such sandbox"));
        };
        let status = PodSandboxStatus {
            id: sandbox.id,
            metadata: sandbox.metadata,
            state: sandbox.state,
            created_at: sandbox.created_at,
            linux: None,
        };
        let info = if request.verbose {
            self.info.clone()
        } else {
            HashMap::new()
        };
        self.answer(
            "PodSandboxStatus",
            PodSandboxStatusResponse {
                status: Some(status),
                info,
            },
        )
        .await
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = filter.state.map(|state| state.state());
        assert_eq!(state, Some(ContainerState::ContainerRunning));
        let containers = self.containers.clone();
        self.answer("ListContainers", ListContainersResponse { containers })
            .await
    }
}
