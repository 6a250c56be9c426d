//! The command line. Every flag can be given as an environment variable too.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use shared_process::LogFormat;

/// The node agent: plugs and unplugs pod interfaces to match the networks annotation.
#[derive(Debug, Parser)]
#[command(name = "dynamic-networks-agent", version = crate::VERSION)]
pub struct Arguments {
    /// What to do instead of running the agent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The configuration file of the manifest.
    #[arg(long, env = "CONFIG", default_value = shared::config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// The file of the user's settings, whose values win; it may be absent.
    #[arg(long, env = "SETTINGS", default_value = shared::config::SETTINGS_PATH)]
    pub settings: PathBuf,
    /// After a change of either file, the program restarts after a random part of so many seconds.
    #[arg(long, env = "SETTINGS_DELAY", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub settings_delay: u64,
    /// The multus daemon's own configuration, compared with ours; it may be absent.
    #[arg(
        long,
        env = "MULTUS_CONFIG",
        default_value = "/etc/multus-daemon-config/daemon-config.json"
    )]
    pub multus_config: PathBuf,
    /// The node that this agent runs on.
    #[arg(long, env = "NODE_NAME", default_value = "")]
    pub node_name: String,
    /// Where /livez, /readyz and /metrics are answered (plain HTTP). `[::]` serves IPv4 and IPv6.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "[::]:8080")]
    pub admin_listen: SocketAddr,
    /// Where the node's /run is mounted: network namespaces are looked for there.
    #[arg(long, env = "HOST_RUN", default_value = "/host/run")]
    pub host_run: PathBuf,
    /// The socket of the kubelet's PodResources API, which says which devices a pod was given.
    #[arg(
        long,
        env = "POD_RESOURCES_SOCKET",
        default_value = "/var/lib/kubelet/pod-resources/kubelet.sock"
    )]
    pub pod_resources_socket: PathBuf,
    /// A kubeconfig file; without it, the pod's service account.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the agent's own pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "")]
    pub pod_namespace: String,
    /// The name of the agent's own pod.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pub pod_name: String,
    /// The uid of the agent's own pod.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as
    /// `info,agent=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// What the program does besides running the agent.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what the running agent of this node wants, sees and waits for in a pod.
    Explain {
        /// The pod, as NAMESPACE/POD.
        pod: String,
    },
}
