//! Installing and removing as a user does it: kubectl with the manifest; and what the API holds of
//! us.

use std::process::{Output, Stdio};

use kube::{
    Api, Client, Discovery, ResourceExt,
    api::{DynamicObject, ListParams},
    discovery::verbs,
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    cluster::Cluster,
    error::{Doing, Error, Result},
    node::printed,
    process::built,
    repository,
};

/// What kubectl said.
#[derive(Debug)]
pub struct Said {
    /// It exited 0.
    pub ok: bool,
    /// Its exit status; `None`: ended by a signal.
    pub code: Option<i32>,
    /// On its standard output.
    pub out: String,
    /// On its standard error: warnings, and why it failed.
    pub err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            ok: output.status.success(),
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

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

    /// What the manifest's objects are, as `Kind name version`: the generation of those that count
    /// it, which no status write changes, else the resource version. kubectl's own "configured"
    /// also stands for patches that change nothing.
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
        let output = self.kubectl_command().args(arguments).output().await;
        printed(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// Runs kubectl with something on its standard input, and returns its words, also when it
    /// fails.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it cannot be run.
    pub async fn kubectl_given(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let unexpected =
            |e: std::io::Error| Error::Unexpected(format!("kubectl {}: {e}", arguments.join(" ")));
        let mut command = self.kubectl_command();
        let command = command.args(arguments).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unexpected)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A kubectl that failed early says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(unexpected)?;
        Ok(Said::of(&output))
    }

    /// `kubectl apply` of an object, or of a List.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with kubectl's words.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let said = self
            .kubectl_given(&["apply", "-f", "-"], &object.to_string())
            .await?;
        said.ok.then_some(()).ok_or(Error::Unexpected(said.err))
    }

    /// Runs `kubectl networks` as the administrator, with the plugin as cargo built it beside this
    /// test.
    ///
    /// # Errors
    /// [`Error::Setup`] when it is not built, [`Error::Unexpected`] when kubectl cannot be run.
    pub async fn kubectl_networks(&self, arguments: &[&str]) -> Result<Said> {
        let plugin = built("kubectl-networks")?;
        let directory = plugin.parent().unwrap_or(&plugin);
        let mut command = self.kubectl_command();
        let command = command.env("PATH", directory).arg("networks").args(arguments);
        let output = command.output().await;
        let output = output.map_err(|e| Error::Unexpected(format!("kubectl networks: {e}")))?;
        Ok(Said::of(&output))
    }

    fn kubectl_command(&self) -> Command {
        let bin = self
            .variable("CLUSTER_BIN")
            .map_or_else(|| "kubectl".to_owned(), |dir| format!("{dir}/kubectl"));
        let mut command = Command::new(bin);
        command.env("KUBECONFIG", self.kubeconfig()).kill_on_drop(true);
        command
    }

    /// Runs a command of the documentation as it is written there: the one line of `document` with
    /// `part` in it.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is no such line, or several; [`Error::Command`].
    pub async fn documented(&self, document: &str, part: &str) -> Result<String> {
        let text = repository::read(document)?;
        let lines: Vec<_> = text.lines().filter(|line| line.contains(part)).collect();
        let [line] = lines[..] else {
            return Err(Error::Unexpected(format!(
                "{document} has {} lines with {part}",
                lines.len()
            )));
        };
        let inherited = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{inherited}", self.variable("CLUSTER_BIN").unwrap_or_default());
        let mut command = Command::new("sh");
        let command = command.args(["-ec", line]).current_dir(repository::root());
        let output = command
            .env("PATH", path)
            .env("KUBECONFIG", self.kubeconfig())
            .output();
        printed(line, output.await)
    }

    /// Whether somebody changed the programs' configuration, or what happens while the gate is
    /// down.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Unexpected`] when the manifest lacks one of them.
    pub(crate) async fn is_reconfigured(&self) -> Result<Reconfigured> {
        let objects = documents(&repository::read(MANIFEST)?)?;
        let wanted = |kind: &str, pointer: &str| {
            let of_kind = |o: &&DynamicObject| o.types.as_ref().is_some_and(|types| types.kind == kind);
            let found = objects.iter().find(of_kind).and_then(|o| o.data.pointer(pointer));
            found
                .cloned()
                .ok_or_else(|| Error::Unexpected(format!("{MANIFEST} has no {kind} with {pointer}")))
        };
        let stored = self.configuration().await?;
        let policies = self.failure_policies().await?;
        let mut fails_otherwise = false;
        for (kind, policy) in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
            .iter()
            .zip(policies)
        {
            fails_otherwise |= wanted(kind, "/webhooks/0/failurePolicy")?.as_str() != policy.as_deref();
        }
        Ok(Reconfigured {
            configuration: wanted("ConfigMap", "/data/dynamic-networks-config.json")?.as_str()
                != Some(&stored),
            failure_policy: fails_otherwise,
        })
    }

    async fn failure_policies(&self) -> Result<[Option<String>; 2]> {
        let (mutating, validating) = self.registrations().await?;
        let of_mutating = mutating
            .webhooks
            .into_iter()
            .flatten()
            .next()
            .and_then(|w| w.failure_policy);
        let of_validating = validating
            .webhooks
            .into_iter()
            .flatten()
            .next()
            .and_then(|w| w.failure_policy);
        Ok([of_mutating, of_validating])
    }
}

/// What is not as the manifest has it.
pub(crate) struct Reconfigured {
    pub(crate) configuration: bool,
    pub(crate) failure_policy: bool,
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

/// Every object of the API, of any kind, with `part` in its name, as `Kind namespace/name`; but for
/// events, which outlive what they tell about.
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
