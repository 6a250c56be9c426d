//! One look at the API server per missing network: a NetworkAttachmentDefinition and a pod that uses it are often
//! applied together, and the watch is a moment behind.

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream};
use kube::{Api, Client};
use shared::{names::NetworkName, selection::SelectionList, validate::Network};

use super::{Confirmed, NetworkAttachmentDefinition, Networks};

/// All looks of one review together take at most this long: well under the timeout of the webhook's registration.
const DEADLINE: Duration = Duration::from_secs(2);
/// This many at once.
const PARALLEL: usize = 8;

/// Looks up at the API server whatever of `list` the cache does not have. A network about which the API server gives no
/// clear answer in time counts as unknown, not as missing.
pub async fn confirm<'a>(networks: &'a Networks, list: &SelectionList, client: &Client) -> Confirmed<'a> {
    let elements = list.elements.iter().map(|element| &element.network);
    let missing = elements
        .filter(|network| networks.exists(network) == Some(false))
        .cloned();
    let mut seen: HashMap<NetworkName, Network> = missing.map(|name| (name, Network::Unknown)).collect();
    let names: Vec<NetworkName> = seen.keys().cloned().collect();
    let looks = names.into_iter().map(|name| async {
        let answer = look(client, &name).await;
        (name, answer)
    });
    let mut answers = stream::iter(looks).buffer_unordered(PARALLEL);
    // What is left unanswered stays unknown.
    let _ = tokio::time::timeout(DEADLINE, async {
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(Some(network)) => _ = seen.insert(name, network),
                // The cache was right, and knows what is similar.
                Ok(None) => _ = seen.remove(&name),
                Err(error) => tracing::warn!(network = %name, %error, "cannot look up a network"),
            }
        }
    })
    .await;
    Confirmed {
        cache: networks,
        seen,
    }
}

async fn look(client: &Client, name: &NetworkName) -> Result<Option<Network>, kube::Error> {
    let api: Api<NetworkAttachmentDefinition> = Api::namespaced(client.clone(), name.namespace());
    let definition = api.get_opt(name.name()).await?;
    Ok(definition.and_then(|definition| Some(definition.summary()?.1.network())))
}
