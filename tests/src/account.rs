//! Users of the cluster other than the administrator.

use serde_json::{Value, json};

use crate::{error::Result, namespace::Namespace, node::parse};

impl Namespace {
    /// The kubeconfig of a new service account that may do nothing.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) with kubectl's words.
    pub async fn powerless(&self) -> Result<String> {
        let kubectl = async |arguments: &[&str]| self.cluster.kubectl(arguments).await;
        kubectl(&["create", "serviceaccount", "powerless", "--namespace", &self.name]).await?;
        let token = kubectl(&["create", "token", "powerless", "--namespace", &self.name]).await?;
        let view = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ];
        let mut kubeconfig: Value = parse(&kubectl(&view).await?)?;
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        Ok(kubeconfig.to_string())
    }
}
