//! The recording CNI plugin on the node: installed, given orders, and asked what it saw.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    checker::SeenCall,
    error::{Error, Result},
    namespace::Namespace,
    network::Nad,
    node::{Node, parse},
    pod::Pod,
    process::built,
    wait::{PLUG, eventually},
};

/// The plugin's name: the `type` of a chain that has it.
pub(crate) const RECORDER: &str = "cni-recorder";
/// Where it keeps its calls and finds its orders.
const DIRECTORY: &str = "/var/lib/cni/recorder";

/// One call as the plugin was given it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Which call, and when.
    pub call: SeenCall,
    /// The variables that begin with `CNI_`.
    pub environment: BTreeMap<String, String>,
    /// Its standard input.
    pub config: Value,
}

/// What the plugin is told to do at a verb.
#[derive(Clone, Copy, Debug)]
pub enum Order<'a> {
    /// Fail with this text.
    Fail(&'a str),
    /// Do not answer until it is told otherwise.
    Hang,
}

impl Recorded {
    /// What `CNI_ARGS` says about `key`.
    pub fn argument(&self, key: &str) -> Option<&str> {
        let arguments = self.environment.get("CNI_ARGS")?;
        arguments
            .split(';')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    /// Its standard input but for `prevResult`: what came from the network's configuration and the
    /// annotation.
    pub fn asked(&self) -> Value {
        let mut config = self.config.clone();
        if let Value::Object(config) = &mut config {
            config.remove("prevResult");
        }
        config
    }
}

impl Namespace {
    /// Tells the recorder what to do when it is called for `nad` with `verb`, `ADD` or `DEL`.
    /// Orders end with [`Self::no_orders`], at the latest with the test.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn order(&self, nad: &Nad, verb: &str, order: Order<'_>) -> Result<()> {
        let order = match order {
            Order::Fail(text) => json!({"fail": text}),
            Order::Hang => json!({"hang_until_gone": true}),
        };
        let path = format!("{DIRECTORY}/orders/{}", nad.config_name);
        self.cluster
            .node
            .write(&path, &json!({verb: order}).to_string())
            .await
    }

    /// Takes every order of this namespace back; what hangs goes on.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn no_orders(&self) -> Result<()> {
        let script = "rm -f \"$1\"*";
        let prefix = format!("{DIRECTORY}/orders/{}-", self.name);
        self.cluster
            .node
            .run(&["sh", "-c", script, "sh", &prefix])
            .await
            .map(drop)
    }
}

impl Pod {
    /// The recorder's calls for one interface of the pod's sandbox, oldest first.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn recorded(&self, interface: &str) -> Result<Vec<Recorded>> {
        let mut calls = self.node.recorded(&self.sandbox().await?.id).await?;
        calls.retain(|recorded| recorded.call.interface == interface);
        Ok(calls)
    }

    /// Waits until the recorder has begun a call for this interface that it has not ended.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the calls that it saw.
    pub async fn wait_call_running(&self, interface: &str, command: &str) -> Result<()> {
        eventually(PLUG, format!("{command} of {interface} runs"), async || {
            let calls = self.recorded(interface).await?;
            let running = |seen: &Recorded| seen.call.command == command && seen.call.ended.is_none();
            calls
                .iter()
                .any(running)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{calls:?}")))
        })
        .await
    }
}

impl Node {
    /// Makes sure that the recorder is where multus looks for plugins, as cargo built it beside
    /// this test.
    pub(crate) async fn has_recorder(&self) -> Result<()> {
        self.install(&built(RECORDER)?, &PathBuf::from("/opt/cni/bin").join(RECORDER))
            .await?;
        let orders = format!("{DIRECTORY}/orders");
        self.run(&["mkdir", "-p", &orders]).await.map(drop)
    }

    /// Everything that the recorder saw of a sandbox, oldest first.
    ///
    /// # Errors
    /// [`Error::Command`], [`Error::Unexpected`] for files that it did not write.
    pub async fn recorded(&self, sandbox: &str) -> Result<Vec<Recorded>> {
        let script = r#"cd "$1" 2>/dev/null || exit 0
            for f in *.json; do
                read -r json <"$f" || continue
                { read -r end <"${f%.json}.ended"; } 2>/dev/null || end=-
                printf '%s %s %s\n' "${f%.json}" "$end" "$json"
            done"#;
        let directory = format!("{DIRECTORY}/calls/{sandbox}");
        let printed = self.run(&["sh", "-c", script, "sh", &directory]).await?;
        let mut calls = printed.lines().map(recorded).collect::<Result<Vec<_>>>()?;
        calls.sort_by(|a, b| a.call.cmp(&b.call));
        Ok(calls)
    }
}

#[derive(Deserialize)]
struct Written {
    environment: BTreeMap<String, String>,
    config: Value,
}

/// `NANOSECONDS-COMMAND-PID END JSON`, END being `-` for a call that did not end.
fn recorded(line: &str) -> Result<Recorded> {
    let strange = || Error::Unexpected(format!("not a recorded call: {line:.200}"));
    let mut parts = line.splitn(3, ' ');
    let mut next = || parts.next().ok_or_else(strange);
    let (name, ended, json) = (next()?, next()?, next()?);
    let (began, command) = name.split_once('-').ok_or_else(strange)?;
    let Written { environment, config } = parse(json)?;
    let variable = |name: &str| environment.get(name).cloned().unwrap_or_default();
    Ok(Recorded {
        call: SeenCall {
            began: began.parse().map_err(|_| strange())?,
            ended: ended.parse().ok(),
            command: command.split('-').next().unwrap_or_default().to_owned(),
            sandbox: variable("CNI_CONTAINERID"),
            interface: variable("CNI_IFNAME"),
        },
        environment,
        config,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_call_and_its_arguments() {
        let line = r#"17-ADD-3 19 {"environment":{"CNI_CONTAINERID":"5a","CNI_IFNAME":"net1","CNI_ARGS":"A=1;IP=10.0.0.1/24"},"config":{"name":"blue","prevResult":{}}}"#;
        let read = recorded(line).unwrap();
        let call = SeenCall {
            began: 17,
            ended: Some(19),
            command: "ADD".to_owned(),
            sandbox: "5a".to_owned(),
            interface: "net1".to_owned(),
        };
        assert_eq!(read.call, call);
        assert_eq!(read.argument("IP"), Some("10.0.0.1/24"));
        assert_eq!(read.argument("I"), None);
        assert_eq!(read.asked(), json!({"name": "blue"}));
    }

    #[test]
    fn a_call_without_an_end_has_none() {
        let read = recorded(r#"17-DEL-3 - {"environment":{},"config":{}}"#).unwrap();
        assert_eq!((read.call.command.as_str(), read.call.ended), ("DEL", None));
    }
}
