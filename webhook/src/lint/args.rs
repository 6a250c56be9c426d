//! The command line of `lint`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `lint`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file that the cluster uses; without it, the webhook's ConfigMaps in the
    /// files, else the defaults.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, default_value = "default")]
    pub namespace: String,
    /// The webhook's own namespace: it leaves the pods there alone, as it does in kube-system.
    #[arg(long, default_value = "kube-system")]
    pub webhook_namespace: String,
    /// A file with pods as they are stored: pods of the same name and namespace are judged as an
    /// update of them.
    #[arg(long, value_name = "FILE")]
    pub old: Vec<PathBuf>,
    /// Warnings make exit status 1, too.
    #[arg(long)]
    pub strict: bool,
    /// Judge what a cluster has instead of files: all pods, workload templates and
    /// NetworkAttachmentDefinitions, as if they were created now.
    #[arg(long, conflicts_with_all = ["files", "fix", "old", "recursive"])]
    pub cluster: bool,
    /// The context of the kubeconfig; the current one when not given.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub context: Option<String>,
    /// Write missing interface names into the files, and change nothing else.
    #[arg(long)]
    pub fix: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Read the directories below, too.
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Files, directories (their .yaml, .yml and .json files) or patterns; `-` or nothing: standard
    /// input.
    pub files: Vec<PathBuf>,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: a line for each object, and one for each finding.
    #[default]
    Text,
    /// One JSON object with all that was found.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Commands of GitHub Actions that put findings beside the lines of a pull request.
    Github,
}
