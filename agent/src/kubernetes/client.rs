//! How the agent reaches the API server. What is here keeps a watch from being blind without
//! knowing it: a lost connection reports no error by itself, and a retry inside the client is not
//! visible outside.

pub mod calls;

use std::{path::Path, time::Duration};

use hyper_timeout::TimeoutConnector;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

use crate::failpoint;

/// A connection on which nothing has come for so long is given up: the longest that anything waits
/// after a fault. Shorter, and a large cluster would do little but renew watches.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The part of it by which the API server is to end a watch earlier, so that a good connection is
/// never silent for that long.
const MARGIN: u32 = 10;

/// The API server.
#[derive(Clone)]
pub struct ApiServer {
    /// For calls, of which [`calls::AT_ONCE`] are under way at once. It waits as `Retry-After`
    /// tells and tries again, until its caller's deadline.
    pub calls: Client,
    /// For watches, which have no deadline: what fails is told at once.
    pub watches: Client,
    /// Its address, for people.
    pub address: String,
}

impl ApiServer {
    /// The one that `kubeconfig` names; without, the one of the cluster that this is a pod of.
    ///
    /// # Errors
    /// What is wrong with the configuration; nobody is asked yet.
    pub async fn new(kubeconfig: Option<&Path>) -> Result<Self, String> {
        let mut config = match kubeconfig {
            Some(path) => read(path).await?,
            None => Config::incluster()
                .map_err(|error| format!("no kubeconfig, and not in a cluster: {error}"))?,
        };
        config.read_timeout = Some(read_timeout());
        config.reset_reader_on_write = true;
        config.default_retry = false;
        let address = config.cluster_url.to_string();
        Ok(Self {
            calls: calls::bounded(client(config.clone())?),
            watches: client(config)?,
            address,
        })
    }
}

/// After so many seconds the API server is to end a watch.
pub fn watch_seconds() -> u32 {
    let longest = (read_timeout() - read_timeout() / MARGIN).as_secs();
    u32::try_from(longest).unwrap_or(u32::MAX)
}

async fn read(path: &Path) -> Result<Config, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("the kubeconfig {}: {error}", path.display());
    let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.map_err(|error| wrong(&error))
}

/// kube's own stack, but for its connector, which leaves Nagle's algorithm on: the first request of
/// a connection would wait for the API server's delayed acknowledgement of the handshake, 40 ms.
fn client(config: Config) -> Result<Client, String> {
    let unusable = |error: &dyn std::fmt::Display| format!("no client for the API server: {error}");
    if let Some(proxy) = &config.proxy_url {
        return Err(unusable(&format!("proxies are not supported: {proxy}")));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = config.rustls_https_connector_with_connector(tcp);
    let mut connector = TimeoutConnector::new(tls.map_err(|error| unusable(&error))?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let connections = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(|error| unusable(&error))?)
        .layer(config.extra_headers_layer().map_err(|error| unusable(&error))?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(Client::new(service, config.default_namespace))
}

fn read_timeout() -> Duration {
    failpoint::read_timeout(READ_TIMEOUT)
}
