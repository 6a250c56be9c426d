//! The kustomizations against a real API server: it would take every object of theirs, beside what
//! is installed.

use std::collections::BTreeMap;

use serde_json::json;
use tests::{Error, Result, documents, in_namespace, root};

/// Groups of kinds that the local cluster does not have.
const NOT_HERE: [&str; 3] = [
    "cert-manager.io",
    "monitoring.coreos.com",
    "security.openshift.io",
];

#[tokio::test]
async fn the_api_server_takes_every_kustomization() -> Result<()> {
    in_namespace("overlays", async |ns| {
        let manifests = root().join("manifests");
        let overlays = std::fs::read_dir(manifests.join("overlays"))
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let overlays = overlays.iter().map(std::fs::DirEntry::path);
        // Most objects are the same in all of them.
        let mut distinct = BTreeMap::new();
        for directory in overlays.chain([manifests.join("base")]) {
            let directory = directory.display().to_string();
            let rendered = ns.cluster.kubectl(&["kustomize", &directory]).await?;
            for object in documents(&rendered)? {
                let group = object.types.as_ref().map_or("", |types| &types.api_version);
                if !NOT_HERE.iter().any(|other| group.starts_with(other)) {
                    let object = json!(object);
                    distinct.insert(object.to_string(), object);
                }
            }
        }
        let objects: Vec<_> = distinct.into_values().collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let apply = ["apply", "--dry-run=server", "--filename", "-"];
        let said = ns.cluster.kubectl_given(&apply, &list).await?;
        if !said.ok {
            return Err(Error::Unexpected(said.err));
        }
        Ok(())
    })
    .await
}
