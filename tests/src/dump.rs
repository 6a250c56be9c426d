//! What a failed test leaves in the log: everything that one would look at first.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Event as ApiEvent, Pod as ApiPod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};

use crate::{
    cluster::{AGENT, Cluster, NAMESPACE, WEBHOOK},
    error::{Doing, Error, Result},
    kernel::Interface,
    nads::nads,
    namespace::Namespace,
};

impl Namespace {
    /// Prints pods, networks, events, logs and the node's files to standard error. Never fails:
    /// what cannot be had is printed as the reason.
    pub(crate) async fn dump(&self) {
        let mut text = format!("\n===== dump of {} =====\n", self.name);
        section(&mut text, "networks", self.dump_networks().await);
        section(&mut text, "events", self.dump_events().await);
        section(&mut text, "pods", self.dump_pods().await);
        section(&mut text, "leases", self.dump_leases().await);
        for (app, container) in [(AGENT, "dynamic-networks-controller"), (WEBHOOK, "webhook")] {
            section(
                &mut text,
                &format!("log of {app}"),
                self.cluster.logs(app, container, 150).await,
            );
        }
        text.push_str("===== end of dump =====\n");
        eprintln!("{text}");
    }

    async fn dump_networks(&self) -> Result<String> {
        let list = nads(&self.cluster, &self.name)
            .list(&self.own())
            .await
            .doing("list NADs")?;
        Ok(list
            .items
            .iter()
            .map(|nad| format!("{}: {}\n", nad.name_any(), nad.data))
            .collect())
    }

    async fn dump_events(&self) -> Result<String> {
        let api: Api<ApiEvent> = Api::namespaced(self.cluster.client.clone(), &self.name);
        let list = api.list(&ListParams::default()).await.doing("list events")?;
        let line = |e: &ApiEvent| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let object = text(&e.involved_object.name);
            let source = e.source.as_ref().and_then(|s| s.component.clone());
            let source = e
                .reporting_component
                .clone()
                .filter(|c| !c.is_empty())
                .or(source)
                .unwrap_or_default();
            format!("{object}: {} ({source}): {}\n", text(&e.reason), text(&e.message))
        };
        Ok(list.items.iter().map(line).collect())
    }

    async fn dump_pods(&self) -> Result<String> {
        let mut text = String::new();
        for mut pod in self.pods().list(&self.own()).await.doing("list pods")?.items {
            pod.metadata.managed_fields = None;
            let yaml = serde_saphyr::to_string(&pod).unwrap_or_else(|e| e.to_string());
            text.push_str(&yaml);
            let node = self.dump_sandbox(&pod.uid().unwrap_or_default()).await;
            section(&mut text, &format!("{} on the node", pod.name_any()), node);
        }
        Ok(text)
    }

    async fn dump_sandbox(&self, uid: &str) -> Result<String> {
        let node = &self.cluster.node;
        let sandbox = node.sandbox(uid).await?;
        let mut text = format!("sandbox {} at {}\n", sandbox.id, sandbox.namespace_path);
        let line =
            |i: &Interface| format!("{}: {} {} {} {:?}\n", i.index, i.name, i.kind, i.mac, i.addresses);
        let interfaces = node
            .interfaces(&sandbox)
            .await
            .map(|i| i.iter().map(line).collect());
        section(&mut text, "interfaces", interfaces);
        section(
            &mut text,
            "records",
            node.state_of(&sandbox.id).await.map(|r| r.join("\n")),
        );
        section(
            &mut text,
            "libcni's cache",
            node.cached_results(&sandbox.id).await.map(|r| r.join("\n")),
        );
        Ok(text)
    }

    async fn dump_leases(&self) -> Result<String> {
        let script = "cd /var/lib/cni/networks && grep -r . \"$1\"* 2>/dev/null || echo none";
        self.cluster
            .node
            .run(&["sh", "-c", script, "sh", &self.name])
            .await
    }
}

impl Cluster {
    /// The ends of the logs of all pods of one of the two programs (`app` begins their names).
    pub(crate) async fn logs(&self, app: &str, container: &str, lines: i64) -> Result<String> {
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods = api
            .list(&ListParams::default())
            .await
            .doing("list the programs' pods")?;
        let mut text = String::new();
        for name in pods
            .iter()
            .map(ResourceExt::name_any)
            .filter(|n| n.starts_with(app))
        {
            let parameters = LogParams {
                container: Some(container.to_owned()),
                tail_lines: Some(lines),
                ..LogParams::default()
            };
            section(
                &mut text,
                &name,
                api.logs(&name, &parameters).await.doing("read the log"),
            );
        }
        Ok(text)
    }
}

fn section(text: &mut String, title: &str, content: Result<String, Error>) {
    let content = content.unwrap_or_else(|e| format!("({e})"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "--- {title}\n{}", content.trim_end());
}
