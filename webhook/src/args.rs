//! The command line. Every flag of the server can be given as an environment variable too.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use shared_process::LogFormat;

use crate::lint;

/// The admission webhook: fills, refuses and validates the networks annotation.
#[derive(Debug, Parser)]
#[command(name = "dynamic-networks-webhook", version = crate::VERSION, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the server.
    #[command(flatten)]
    pub serve: Serve,
}

/// What the program does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what admission would say about pods and NetworkAttachmentDefinitions in files, without a
    /// cluster.
    ///
    /// Exit status: 0 all would be admitted, 1 something would be refused (with --strict: or warned
    /// of), 2 something could not be read, whatever else was found.
    Lint(lint::Arguments),
}

/// Flags of the server.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file of the manifest.
    #[arg(long, env = "CONFIG", default_value = shared::config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// The file of the user's settings, whose values win; it may be absent.
    #[arg(long, env = "SETTINGS", default_value = shared::config::SETTINGS_PATH)]
    pub settings: PathBuf,
    /// After a change of either file, the program restarts after a random part of so many seconds.
    #[arg(long, env = "SETTINGS_DELAY", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub settings_delay: u64,
    /// Where admission reviews are answered (TLS).
    #[arg(long, env = "LISTEN", default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are answered (plain HTTP).
    #[arg(long, env = "ADMIN_LISTEN", default_value = "[::]:8080")]
    pub admin_listen: SocketAddr,
    /// A directory with tls.crt and tls.key, read again when they change; without it, certificates
    /// are self-managed.
    #[arg(long, env = "CERTIFICATE_DIR")]
    pub certificate_dir: Option<PathBuf>,
    /// The Service through which the API server calls this program.
    #[arg(long, env = "SERVICE_NAME", default_value = "dynamic-networks-webhook")]
    pub service_name: String,
    /// The namespace of this program.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub namespace: String,
    /// The name of this program's own pod.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pub pod_name: String,
    /// The uid of this program's own pod.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,
    /// A kubeconfig file; without it, the pod's service account.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as
    /// `info,webhook=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}
