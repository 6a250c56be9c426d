//! How the agent reaches the API server. What is here keeps a watch from being blind without
//! knowing it: a lost connection reports no error by itself, and a retry inside the client is not
//! visible outside.

pub mod calls;

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

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

fn client(config: Config) -> Result<Client, String> {
    Client::try_from(config).map_err(|error| format!("no client for the API server: {error}"))
}

fn read_timeout() -> Duration {
    failpoint::read_timeout(READ_TIMEOUT)
}
