//! The cluster of a kubeconfig.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{DynamicObject, ListParams, ObjectList},
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use serde::Serialize;
use serde_json::Value;

use super::{Kind, NAMESPACES, NETWORK_DEFINITIONS, Page, Source, Unread};

/// Objects in one answer.
const PAGE: u32 = 500;
/// Fewer where one object may have a megabyte.
const LARGE_PAGE: u32 = 50;
/// A request on which nothing comes for so long has failed.
const SILENCE: Duration = Duration::from_secs(60);

pub(in super::super) struct ApiServer {
    client: Client,
}

/// The API server of a context of the kubeconfig, and the name of the context.
///
/// # Errors
/// What is wrong with the kubeconfig; no request is made yet.
pub(in super::super) async fn connect(context: Option<&str>) -> Result<(ApiServer, String), String> {
    let file = Kubeconfig::read().map_err(|error| format!("cannot read the kubeconfig: {error}"))?;
    let context = context
        .map(str::to_owned)
        .or_else(|| file.current_context.clone());
    let name = context.clone().unwrap_or_else(|| "cluster".to_owned());
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| format!("cannot use context {name} of the kubeconfig: {error}"))?;
    config.read_timeout = Some(SILENCE);
    let client = Client::try_from(config)
        .map_err(|error| format!("cannot make a client for context {name}: {error}"))?;
    Ok((ApiServer { client }, name))
}

impl ApiServer {
    #[cfg(test)]
    pub(super) fn of(client: Client) -> Self {
        Self { client }
    }
}

impl Source for ApiServer {
    async fn page(&self, kind: Kind, after: Option<&str>) -> Result<Page, Unread> {
        let api_version = match kind.group {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        };
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: "v1".to_owned(),
            api_version,
            kind: kind.name.to_owned(),
            plural: kind.plural.to_owned(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let limit = if kind == NETWORK_DEFINITIONS {
            LARGE_PAGE
        } else {
            PAGE
        };
        let params = ListParams {
            continue_token: after.map(str::to_owned),
            ..ListParams::default().limit(limit)
        };
        if kind == NAMESPACES {
            return page(api.list_metadata(&params).await.map_err(unread)?);
        }
        let mut list = api.list(&params).await.map_err(unread)?;
        for item in &mut list.items {
            item.metadata.managed_fields = None;
        }
        page(list)
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Value>, Unread> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(unread)?;
        found.as_ref().map(value).transpose()
    }
}

fn page<K: Clone + Serialize>(list: ObjectList<K>) -> Result<Page, Unread> {
    let items = list.items.into_iter();
    Ok(Page {
        items: items.map(|item| value(&item)).collect::<Result<_, _>>()?,
        next: list.metadata.continue_.filter(|token| !token.is_empty()),
    })
}

fn value(object: &impl Serialize) -> Result<Value, Unread> {
    serde_json::to_value(object).map_err(|error| Unread::Failed(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn unread(error: kube::Error) -> Unread {
    match &error {
        kube::Error::Api(status) => match status.code {
            404 => Unread::NoSuchKind,
            410 => Unread::Expired,
            _ => Unread::Failed(status.message.clone()),
        },
        other => Unread::Failed(other.to_string()),
    }
}
