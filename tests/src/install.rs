//! Installing and removing as a user does it: kubectl with the manifest; and what the API holds of us.

use kube::{
    Api, Client, Discovery, ResourceExt,
    api::{DynamicObject, ListParams},
    discovery::verbs,
};
use tokio::process::Command;

use crate::{
    cluster::Cluster,
    error::{Doing, Error, Result},
    node::printed,
    repository,
};

/// The manifest that users apply.
const MANIFEST: &str = "manifests/dynamic-networks-controller.yaml";

impl Cluster {
    /// `kubectl apply -f` of the manifest.
    ///
    /// # Errors
    /// [`Error::Command`] with kubectl's words.
    pub async fn install(&self) -> Result<String> {
        self.kubectl(&["apply", "-f", &manifest()]).await
    }

    /// `kubectl delete -f` of the manifest.
    ///
    /// # Errors
    /// [`Error::Command`] with kubectl's words.
    pub async fn uninstall(&self) -> Result<String> {
        self.kubectl(&["delete", "-f", &manifest()]).await
    }

    /// What the manifest's objects are, as `Kind name version`: the generation of those that count it, which no status write changes,
    /// else the resource version. kubectl's own "configured" also stands for patches that change nothing.
    ///
    /// # Errors
    /// [`Error::Command`] with kubectl's words.
    pub async fn installed_versions(&self) -> Result<Vec<String>> {
        let versions = concat!(
            "jsonpath={range .items[*]}{.kind} {.metadata.name} ",
            "{.metadata.generation} {.metadata.resourceVersion}{\"\\n\"}{end}"
        );
        let printed = self.kubectl(&["get", "-f", &manifest(), "-o", versions]).await?;
        // Where there is no generation, its place is empty.
        let version = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        Ok(printed.lines().map(version).collect())
    }

    /// Runs kubectl as the administrator.
    ///
    /// # Errors
    /// [`Error::Command`] with kubectl's words.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let bin = self
            .variable("CLUSTER_BIN")
            .map_or_else(|| "kubectl".to_owned(), |dir| format!("{dir}/kubectl"));
        let output = Command::new(bin)
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .kill_on_drop(true)
            .output()
            .await;
        printed(&format!("kubectl {}", arguments.join(" ")), output)
    }
}

fn manifest() -> String {
    repository::root().join(MANIFEST).display().to_string()
}

/// The documents of a YAML file.
///
/// # Errors
/// [`Error::Unexpected`] says where it is not YAML, or not objects of Kubernetes.
pub fn documents(yaml: &str) -> Result<Vec<DynamicObject>> {
    serde_saphyr::from_multiple(yaml).map_err(|e| Error::Unexpected(e.to_string()))
}

/// Every object of the API, of any kind, with `part` in its name, as `Kind namespace/name`; but for events, which
/// outlive what they tell about.
///
/// # Errors
/// [`Error::Api`].
pub async fn named_in(client: &Client, part: &str) -> Result<Vec<String>> {
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .doing("discover the API's kinds")?;
    let mut found = Vec::new();
    for (resource, capabilities) in discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
    {
        if !capabilities.supports_operation(verbs::LIST) || resource.kind == "Event" {
            continue;
        }
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let list = api
            .list_metadata(&ListParams::default())
            .await
            .doing(format!("list {}", resource.plural))?;
        let ours = list.items.iter().filter(|o| o.name_any().contains(part));
        found.extend(ours.map(|o| {
            format!(
                "{} {}/{}",
                resource.kind,
                o.namespace().unwrap_or_default(),
                o.name_any()
            )
        }));
    }
    Ok(found)
}
