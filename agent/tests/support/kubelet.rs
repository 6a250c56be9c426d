//! A kubelet whose PodResources API has fixed answers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use proto::pod_resources_v1::{
    ClaimResource, ContainerDevices, ContainerResources, DynamicResource, GetPodResourcesRequest,
    GetPodResourcesResponse, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
    pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle, time::Instant};
use tonic::{Request, Response, Status};

use super::grpc;

/// What it has, and how it behaves.
#[derive(Clone, Default)]
pub struct Kubelet {
    /// Its pods.
    pub pods: Vec<PodResources>,
    /// Every `Get` fails with this.
    pub get_fails: Option<Status>,
    /// Every `List` fails with this.
    pub list_fails: Option<Status>,
    /// No call is ever answered.
    pub silent: bool,
    /// The calls that have come, by name, and when.
    pub calls: Arc<Mutex<Vec<(&'static str, Instant)>>>,
}

/// Runs until it is dropped.
pub struct ScriptedKubelet {
    dir: TempDir,
    server: JoinHandle<()>,
}

/// The container of the pod `default/NAME` with these (resource, device).
pub fn pod(name: &str, devices: &[(&str, &str)]) -> PodResources {
    let devices = devices.iter().map(|(resource, id)| ContainerDevices {
        resource_name: (*resource).to_owned(),
        device_ids: vec![(*id).to_owned()],
    });
    let container = ContainerResources {
        name: "c".to_owned(),
        devices: devices.collect(),
        dynamic_resources: Vec::new(),
    };
    PodResources {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        containers: vec![container],
    }
}

/// A container with one device of a claim.
pub fn claiming(driver: &str, pool: &str, device: &str) -> ContainerResources {
    let claimed = ClaimResource {
        driver_name: driver.to_owned(),
        pool_name: pool.to_owned(),
        device_name: device.to_owned(),
    };
    ContainerResources {
        name: "claiming".to_owned(),
        devices: Vec::new(),
        dynamic_resources: vec![DynamicResource {
            claim_resources: vec![claimed],
        }],
    }
}

impl ScriptedKubelet {
    /// Listens at a socket of its own.
    pub fn start(kubelet: Kubelet) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = listen(&dir, kubelet);
        Self { dir, server }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("kubelet.sock")
    }

    /// It stops, and another one makes its socket at the same path.
    pub fn restart(&mut self, kubelet: Kubelet) {
        self.server.abort();
        std::fs::remove_file(self.socket()).expect("there is a socket");
        self.server = listen(&self.dir, kubelet);
    }
}

fn listen(dir: &TempDir, kubelet: Kubelet) -> JoinHandle<()> {
    let listener = UnixListener::bind(dir.path().join("kubelet.sock")).expect("a socket");
    let service = PodResourcesListerServer::new(kubelet);
    grpc::serve(listener, service.max_encoding_message_size(usize::MAX))
}

impl Drop for ScriptedKubelet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Kubelet {
    async fn answer<T>(
        &self,
        call: &'static str,
        failure: Option<&Status>,
        answer: Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        self.calls
            .lock()
            .expect("no test panicked")
            .push((call, Instant::now()));
        if self.silent {
            std::future::pending::<()>().await;
        }
        match failure {
            Some(failure) => Err(failure.clone()),
            None => answer.map(Response::new),
        }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Kubelet {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let pod_resources = self.pods.clone();
        let answer = Ok(ListPodResourcesResponse { pod_resources });
        self.answer("List", self.list_fails.as_ref(), answer).await
    }

    async fn get(
        &self,
        request: Request<GetPodResourcesRequest>,
    ) -> Result<Response<GetPodResourcesResponse>, Status> {
        let request = request.into_inner();
        let mut pods = self.pods.iter();
        let pod = pods.find(|pod| pod.name == request.pod_name && pod.namespace == request.pod_namespace);
        let answer = pod
            .cloned()
            .ok_or_else(|| Status::unknown("pod p in namespace default not found"))
            .map(|pod| GetPodResourcesResponse {
                pod_resources: Some(pod),
            });
        self.answer("Get", self.get_fails.as_ref(), answer).await
    }
}
