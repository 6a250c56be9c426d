//! What kustomize makes of a directory.

use std::path::Path;

use kube::api::DynamicObject;
use serde_json::Value;
use tempfile::TempDir;
use tests::{Result, documents, render_manifests, run};
use tokio::sync::OnceCell;

use crate::unexpected;

/// What `kubectl apply -k` would apply, by the kubectl of the local cluster's components.
pub async fn kustomized(directory: &Path) -> Result<Vec<DynamicObject>> {
    static COMPONENTS: OnceCell<String> = OnceCell::const_new();
    let components =
        COMPONENTS.get_or_try_init(|| run("tests/cluster/build.sh", &["--print-directory"], &[]));
    let kubectl = format!("{}/bin/kubectl", components.await?.trim());
    let directory = directory.display().to_string();
    documents(&run(&kubectl, &["kustomize", &directory], &[]).await?)
}

/// The object, with one space for any white space in its texts: kustomize breaks folded lines in
/// other places.
pub fn one_spaced(object: &DynamicObject) -> Result<Value> {
    fn within(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.split_whitespace().collect::<Vec<_>>().join(" "),
            Value::Array(values) => values.iter_mut().for_each(within),
            Value::Object(values) => values.values_mut().for_each(within),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut value = serde_json::to_value(object).map_err(unexpected)?;
    within(&mut value);
    Ok(value)
}

/// The manifests, rendered for `variables`, in a directory of their own.
pub async fn copy(variables: &[(&str, &str)]) -> Result<TempDir> {
    let directory = tempfile::tempdir().map_err(unexpected)?;
    let top = directory.path().display().to_string();
    run("/bin/cp", &["-r", "manifests", &top], &[]).await?;
    render_manifests(&format!("{top}/manifests"), variables).await?;
    Ok(directory)
}
