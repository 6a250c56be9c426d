//! The command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Lists, connects and disconnects the networks of running pods.
///
/// Exit status: 0 done; 1 refused, failed, or something is wrong; 2 the command line; 3 not done
/// within the timeout; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "kubectl networks", bin_name = "kubectl networks", version)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, which namespace.
#[derive(Debug, Args)]
pub struct Connection {
    /// The kubeconfig file
    #[arg(long, global = true, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// The context of the kubeconfig file
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The namespace of the pods; without it, the one of the context
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The namespace that the controller is installed in
    #[arg(long, global = true, default_value = "kube-system", value_name = "NAMESPACE")]
    pub controller_namespace: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the networks of pods: wanted, attached, state, addresses
    List(List),
    /// Plug a network into a running pod
    Connect(Connect),
    /// Unplug a network from a running pod
    Disconnect(Disconnect),
    /// Wait until the networks of a pod are as its annotation says
    Wait(Wait),
    /// Show a network: its configuration, whether it can run, and who uses it
    Inspect(Inspect),
    /// Look whether everything that a plug needs is there
    Doctor,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct List {
    /// POD, or a workload as deploy/NAME; without it, all pods with networks
    pub target: Option<Target>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "target")]
    pub all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct Connect {
    /// POD, or a workload as deploy/NAME: all of its running pods
    pub target: Target,
    /// The NetworkAttachmentDefinition
    pub network: String,
    /// The interface in the pod; without it, the webhook chooses one
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// An address, with its prefix length for static IPAM; may be given several times
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub ips: Vec<String>,
    /// The hardware address
    #[arg(long, value_name = "ADDRESS")]
    pub mac: Option<String>,
    /// The namespace of the NetworkAttachmentDefinition; without it, the pod's
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace_of_nad: Option<String>,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
pub struct Disconnect {
    /// POD, or a workload as deploy/NAME: all of its running pods
    pub target: Target,
    /// The interface, or the network as NAME or NAMESPACE/NAME where the pod has it once
    pub interface_or_network: String,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// POD, or a workload as deploy/NAME: all of its running pods
    pub target: Target,
    /// How long
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// Whether to wait for the agent, and how long.
#[derive(Debug, Args)]
pub struct Patience {
    /// Wait until it is done (--wait=false: return when the edit is accepted)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// The NetworkAttachmentDefinition, as NAME or NAMESPACE/NAME
    pub network: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Table,
    /// A table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only
    Name,
}

/// What pods are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Pod(String),
    /// Those of a workload: the plural of its kind in apps/v1, and its name.
    Workload(&'static str, String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, name)) = text.split_once('/') else {
            return Ok(Self::Pod(text.to_owned()));
        };
        let plural = match kind {
            "pod" | "pods" | "po" => return Ok(Self::Pod(name.to_owned())),
            "deploy" | "deployment" | "deployments" => "deployments",
            "sts" | "statefulset" | "statefulsets" => "statefulsets",
            "ds" | "daemonset" | "daemonsets" => "daemonsets",
            "rs" | "replicaset" | "replicasets" => "replicasets",
            _ => {
                return Err(format!(
                    "{kind:?} is none of pod, deploy, statefulset, daemonset and replicaset"
                ));
            }
        };
        Ok(Self::Workload(plural, name.to_owned()))
    }
}

/// `30s`, `2m`, `1h`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write it as 30s, 2m or 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 30s, 2m or 1h")?;
    number
        .checked_mul(unit)
        .map(Duration::from_secs)
        .ok_or_else(|| "too long".to_owned())
}

impl Connection {
    /// The files of `--kubeconfig` or KUBECONFIG, which may name several.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = self.kubeconfig.iter().flat_map(std::env::split_paths);
        all.filter(|path| !path.as_os_str().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[rstest]
    #[case("web-0", Some(Target::Pod("web-0".to_owned())))]
    #[case("pod/web-0", Some(Target::Pod("web-0".to_owned())))]
    #[case("deploy/web", Some(Target::Workload("deployments", "web".to_owned())))]
    #[case("sts/db", Some(Target::Workload("statefulsets", "db".to_owned())))]
    #[case("job/x", None)]
    fn targets(#[case] text: &str, #[case] expected: Option<Target>) {
        assert_eq!(text.parse().ok(), expected);
    }

    #[rstest]
    #[case("30s", Some(30))]
    #[case("2m", Some(120))]
    #[case("1h", Some(3600))]
    #[case("7", Some(7))]
    #[case("", None)]
    #[case("1d", None)]
    #[case("99999999999999999999s", None)]
    #[case("9999999999999999999h", None)]
    fn durations(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs));
    }
}
