//! Users of the cluster other than the administrator.

use kube::{Client, config::AuthInfo};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, client_as},
    error::Result,
    namespace::Namespace,
    node::parse,
};

impl Cluster {
    /// A client with nothing but `token`.
    ///
    /// # Errors
    /// [`Error::Setup`](crate::Error::Setup).
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        client_as(&self.kubeconfig(), |config| {
            config.auth_info = AuthInfo {
                token: Some(token.to_owned().into()),
                ..AuthInfo::default()
            };
        })
        .await
    }
}

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
