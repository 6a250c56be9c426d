//! The Kubernetes client. Detects dead connections: a half-open one never reports an error by
//! itself.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher,
};

/// A connection on which nothing has arrived for this long is dropped, so that no cache gets older
/// without an error.
const SILENCE: Duration = Duration::from_secs(60);
/// Seconds after which the API server is asked to end a watch, so that a good connection is never
/// silent for that long.
const LONGEST_WATCH: u32 = 54;

/// A client, and the address of its API server: the one that `kubeconfig` names, or else that of
/// the cluster that this pod runs in.
///
/// # Errors
/// The configuration is missing or wrong. No connection is made yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, String), String> {
    let config = match kubeconfig {
        None => {
            Config::incluster().map_err(|error| format!("not in a cluster, and no --kubeconfig: {error}"))
        }
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(file) => Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| format!("cannot use the kubeconfig {}: {error}", path.display())),
            Err(error) => Err(format!("cannot read the kubeconfig {}: {error}", path.display())),
        },
    }?;
    let address = config.cluster_url.to_string();
    Ok((client_with_read_timeout(config)?, address))
}

/// The settings of every watch.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(LONGEST_WATCH)
}

fn client_with_read_timeout(mut config: Config) -> Result<Client, String> {
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| format!("cannot make a Kubernetes client: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Json, body::Body, extract::RawQuery, response::IntoResponse};
    use futures::{StreamExt, stream};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        cluster::namespaces::{Namespaces, Override},
        metrics::Metrics,
        testing::until,
    };

    /// Lists no namespace. The first watch never brings anything, as on a half-open connection; the
    /// next one brings one namespace.
    async fn lossy(watches: Arc<AtomicUsize>, query: Option<String>) -> axum::response::Response {
        let query = query.unwrap_or_default();
        let metadata = json!({"name": "loud", "resourceVersion": "2",
            "labels": {shared::annotations::INTERFACE_NAMES_LABEL: "reject"}});
        if !query.contains("watch=") {
            let list: Value = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                "metadata": {"resourceVersion": "1"}, "items": []});
            return Json(list).into_response();
        }
        assert!(
            query.contains(&format!("timeoutSeconds={LONGEST_WATCH}")),
            "{query}"
        );
        let object =
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
        let event = json!({"type": "ADDED", "object": object}).to_string() + "\n";
        let events =
            (watches.fetch_add(1, Ordering::SeqCst) > 0).then_some(Ok::<_, std::convert::Infallible>(event));
        Body::from_stream(stream::iter(events).chain(stream::pending())).into_response()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_given_up_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let watches = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&watches);
        let api = axum::Router::new().fallback(async move |RawQuery(query)| lossy(counted, query).await);
        tokio::spawn(async move { axum::serve(listener, api).await });
        let client = client_with_read_timeout(Config::new(address.parse().unwrap())).unwrap();
        let namespaces = Arc::<Namespaces>::default();
        let following = Arc::clone(&namespaces);
        tokio::spawn(async move { following.follow(client, &Metrics::default()).await });
        until("the silent watch", || watches.load(Ordering::SeqCst) == 1).await;
        let lost = tokio::time::Instant::now();

        while !matches!(namespaces.mode("loud"), Override::Mode(_)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(
                lost.elapsed() < SILENCE + Duration::from_secs(10),
                "it still waits"
            );
        }
    }
}
