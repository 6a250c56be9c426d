//! `kubectl networks inspect`.

use kube::{ResourceExt as _, api::ListParams};
use serde::Serialize;
use serde_json::Value;
use shared::cni;

use crate::{
    args::{Format, Inspect},
    cluster::{Cluster, list},
    error::{Doing as _, Error},
    output,
    rows::{Row, rows},
};

#[derive(Serialize)]
struct Network {
    name: String,
    plugins: Vec<String>,
    /// What is wrong with its configuration; empty: it can run.
    problems: Vec<String>,
    /// Where pods of the cluster that can be read have it.
    used_by: Vec<Row>,
}

/// Shows a network.
pub async fn run(cluster: &Cluster, inspect: &Inspect) -> Result<(), Error> {
    let name = cluster.network_name(&inspect.network, None)?;
    let nad = cluster.networks(name.namespace()).get(name.name()).await;
    let nad = nad.doing(|| format!("read NetworkAttachmentDefinition {name}"))?;
    let config = nad.data.pointer("/spec/config").and_then(Value::as_str);
    let (plugins, problems) = judge(config, &nad.name_any());
    let pods = list(&kube::Api::all(cluster.client.clone()), ListParams::default()).await?;
    let used_by: Vec<Row> = pods
        .iter()
        .flat_map(rows)
        .filter(|row| row.network == name.as_str())
        .collect();
    let network = Network {
        name: name.to_string(),
        plugins,
        problems,
        used_by,
    };
    match inspect.output {
        Format::Json | Format::Yaml => output::structured(&network, inspect.output),
        format => {
            println!("Network:   {}", network.name);
            println!("Plugins:   {}", network.plugins.join(", "));
            if network.problems.is_empty() {
                println!("Config:    can run");
            }
            for problem in &network.problems {
                println!("Config:    {problem}");
            }
            println!("Used by:   {} interface(s)\n", network.used_by.len());
            output::rows(&network.used_by, format, true)
        }
    }
}

/// The types of its plugins, and what is wrong.
fn judge(config: Option<&str>, name: &str) -> (Vec<String>, Vec<String>) {
    let Some(config) = config.filter(|config| !config.is_empty()) else {
        return (
            Vec::new(),
            vec!["no config here: multus reads a file of this name on each node".to_owned()],
        );
    };
    let problems = cni::check(config, name).problems;
    let problems = problems.iter().map(ToString::to_string).collect();
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let plugins = match config["plugins"].as_array() {
        Some(plugins) => plugins.iter().collect(),
        None => vec![&config],
    };
    let types = plugins.into_iter().filter_map(|plugin| plugin["type"].as_str());
    (types.map(str::to_owned).collect(), problems)
}
