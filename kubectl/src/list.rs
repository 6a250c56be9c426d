//! `kubectl networks list`.

use crate::{args::List, cluster::Cluster, error::Error, output, rows::rows};

/// Prints the networks of pods.
pub async fn run(cluster: &Cluster, list: &List) -> Result<(), Error> {
    let pods = match &list.target {
        Some(target) => cluster.pods_of(target).await?,
        None => cluster.pods_with_networks(list.all_namespaces).await?,
    };
    let all: Vec<_> = pods.iter().flat_map(rows).collect();
    if all.is_empty() {
        let place = if list.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("namespace {}", cluster.namespace)
        };
        eprintln!("No networks found in {place}.");
    }
    output::rows(&all, list.output, list.all_namespaces)
}
