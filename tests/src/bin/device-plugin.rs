//! A device plugin for the kubelet: `device-plugin RESOURCE DEVICES...`.
//!
//! It registers with the kubelet, says that all its devices are healthy, and gives them out. When
//! it gives one out it writes a device-info file, as the SR-IOV device plugin does.

use std::{env, fs, io, path::Path, pin::Pin, process::ExitCode};

use futures::{Stream, StreamExt as _, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use proto::device_plugin_v1beta1::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device, DevicePluginOptions, Empty,
    ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse, RegisterRequest,
    device_plugin_server::{DevicePlugin, DevicePluginServer},
    registration_client::RegistrationClient,
};
use serde_json::json;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

/// The kubelet's directory of device plugins.
const DIRECTORY: &str = "/var/lib/kubelet/device-plugins";
const KUBELET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";
const INFO: &str = "/run/k8s.cni.cncf.io/devinfo/dp";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((resource, devices)) = arguments.split_first().filter(|(_, devices)| !devices.is_empty()) else {
        eprintln!("usage: device-plugin RESOURCE DEVICES...");
        return ExitCode::FAILURE;
    };
    match run(resource, devices).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-plugin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(resource: &str, devices: &[String]) -> io::Result<()> {
    let plugin = Plugin {
        resource: resource.to_owned(),
        devices: devices.to_vec(),
    };
    let endpoint = format!("{}.sock", resource.replace('/', "-"));
    let socket = Path::new(DIRECTORY).join(&endpoint);
    // One of an earlier run.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let (served, registered) = tokio::join!(serve(listener, plugin), register(resource, endpoint));
    registered.and(served)
}

/// The kubelet calls the plugin back while it registers.
async fn register(resource: &str, endpoint: String) -> io::Result<()> {
    let channel = agent::uds::channel(&[KUBELET.into()]).await;
    let mut kubelet = RegistrationClient::new(channel.map_err(io::Error::other)?);
    let request = RegisterRequest {
        version: "v1beta1".to_owned(),
        endpoint,
        resource_name: resource.to_owned(),
        options: None,
    };
    kubelet.register(request).await.map_err(io::Error::other)?;
    println!("registered {resource}");
    Ok(())
}

async fn serve(listener: UnixListener, plugin: Plugin) -> io::Result<()> {
    let service = TowerToHyperService::new(DevicePluginServer::new(plugin));
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            let served = connection.serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                eprintln!("device-plugin: {error}");
            }
        });
    }
}

/// The devices of one resource.
struct Plugin {
    resource: String,
    devices: Vec<String>,
}

impl Plugin {
    fn write_info(&self, device: &str) -> io::Result<()> {
        fs::create_dir_all(INFO)?;
        let name = format!("{}-{device}-device.json", self.resource).replace('/', "-");
        let info = json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": device}});
        fs::write(Path::new(INFO).join(name), info.to_string())
    }
}

type Devices = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(DevicePluginOptions::default()))
    }

    type ListAndWatchStream = Devices;

    /// The list, and nothing more until the end.
    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Devices>, Status> {
        let devices = self.devices.iter().map(|id| Device {
            id: id.clone(),
            health: "Healthy".to_owned(),
        });
        let list = ListAndWatchResponse {
            devices: devices.collect(),
        };
        let stream = stream::once(async { Ok(list) }).chain(stream::pending());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let mut container_responses = Vec::new();
        for container in request.into_inner().container_requests {
            for device in &container.devices_ids {
                self.write_info(device)
                    .map_err(|error| Status::internal(error.to_string()))?;
            }
            container_responses.push(ContainerAllocateResponse::default());
        }
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
