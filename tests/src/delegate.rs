//! The node's multus daemon asked directly, as the agent asks it but with nothing around it: the
//! floor of the benchmarks.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use shared::{cni::NetworkConfig, selection::SelectionList};

use crate::{
    error::{Error, Result},
    namespace::Namespace,
    node::Node,
    pod::Pod,
};

const SOCKET: &str = "run/multus/multus.sock";

impl Namespace {
    /// What the agent sends to multus for an element that names this network and nothing else.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Unexpected`] for a network that the rules refuse.
    pub async fn conflist(&self, network: &str) -> Result<String> {
        let strange = |e: &dyn std::fmt::Display| Error::Unexpected(format!("network {network}: {e}"));
        let config =
            NetworkConfig::parse(&self.nad_config(network).await?, network).map_err(|e| strange(&e))?;
        let list = SelectionList::parse(Some(network), &self.name).map_err(|e| strange(&format!("{e:?}")))?;
        let element = list.elements.first().ok_or_else(|| strange(&"no element"))?;
        Ok(config.conflist_for(element.attributes()))
    }
}

impl Node {
    /// ADD or DEL of one interface of a pod; answers when multus does. Needs root: the socket is
    /// root's.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with multus' words when it refuses.
    pub async fn delegate(
        &self,
        command: &str,
        ns: &str,
        pod: &Pod,
        interface: &str,
        config: &str,
    ) -> Result<()> {
        let sandbox = pod.sandbox().await?;
        let body = json!({
            "env": {
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": sandbox.id,
                "CNI_NETNS": sandbox.namespace_path,
                "CNI_IFNAME": interface,
                "CNI_ARGS": format!(
                    "K8S_POD_NAMESPACE={ns};K8S_POD_NAME={};K8S_POD_UID={};K8S_POD_INFRA_CONTAINER_ID={}",
                    pod.name, pod.uid, sandbox.id
                ),
                "K8S_POD_INFRA_CONTAINER_ID": sandbox.id,
            },
            "config": BASE64_STANDARD.encode(config),
        });
        let answer = self
            .post(&body)
            .await
            .map_err(|e| Error::Unexpected(format!("multus: {e}")))?;
        if answer.starts_with("HTTP/1.1 200") {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("multus: {answer}")))
        }
    }

    async fn post(&self, body: &Value) -> std::io::Result<String> {
        let body = body.to_string();
        let path: PathBuf = ["/proc", &self.pid.to_string(), "root", SOCKET].iter().collect();
        let mut stream = UnixStream::connect(path).await?;
        let head = format!(
            "POST /delegate HTTP/1.1\r\nHost: multus\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
