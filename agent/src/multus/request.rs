//! A [`Call`] as multus reads it: CNI's environment, the configuration in base64, and attributes
//! that are for ADD only.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Map, Value};

use agent_core::delegate::{Call, Command};

/// The body of a `/delegate` request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    env: Environment<'a>,
    config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface_attributes: Option<Attributes<'a>>,
}

#[derive(Serialize)]
struct Environment<'a> {
    #[serde(rename = "CNI_COMMAND")]
    command: &'static str,
    #[serde(rename = "CNI_CONTAINERID")]
    sandbox: &'a str,
    #[serde(rename = "CNI_NETNS")]
    netns: &'a str,
    /// Multus takes a missing name for eth0.
    #[serde(rename = "CNI_IFNAME")]
    interface: &'a str,
    #[serde(rename = "CNI_ARGS")]
    args: String,
    /// Multus reads this one here, not in CNI_ARGS, and gives it to the plugin as it does at pod
    /// start.
    #[serde(rename = "K8S_POD_INFRA_CONTAINER_ID")]
    infra_container: &'a str,
}

#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ips: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
    #[serde(rename = "cni-args", skip_serializing_if = "Option::is_none")]
    cni_args: Option<&'a Map<String, Value>>,
}

impl<'a> Request<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        let pod = &call.pod;
        Self {
            env: Environment {
                command: match call.command {
                    Command::Add => "ADD",
                    Command::Del => "DEL",
                },
                sandbox: call.sandbox.as_str(),
                netns: &call.netns,
                interface: call.interface.as_str(),
                // Split at ';' and '=' without escapes: `PodIdentity` has neither in any part.
                args: format!(
                    "K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
                    pod.namespace(),
                    pod.name(),
                    pod.uid()
                ),
                infra_container: call.sandbox.as_str(),
            },
            config: BASE64_STANDARD.encode(&call.config),
            interface_attributes: attributes(call),
        }
    }
}

fn attributes(call: &Call) -> Option<Attributes<'_>> {
    let wanted = !call.ips.is_empty() || call.mac.is_some() || call.cni_args.is_some();
    (call.command == Command::Add && wanted).then(|| Attributes {
        ips: &call.ips,
        mac: call.mac.as_deref(),
        cni_args: call.cni_args.as_ref(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::names::InterfaceName;

    use super::*;
    use agent_core::identity::{PodIdentity, SandboxId};

    fn call(command: Command) -> Call {
        Call {
            command,
            sandbox: SandboxId::parse("5a9d").unwrap(),
            netns: "/var/run/netns/cni-1".to_owned(),
            interface: InterfaceName::parse("ens4").unwrap(),
            pod: PodIdentity::new("default", "p", "u-1").unwrap(),
            config: "{}".to_owned(),
            ips: vec!["10.0.0.1/24".to_owned()],
            mac: Some("02:00:00:00:00:01".to_owned()),
            cni_args: json!({"a": 1}).as_object().cloned(),
        }
    }

    #[test]
    fn an_add_carries_environment_config_and_attributes() {
        assert_eq!(
            serde_json::to_value(Request::new(&call(Command::Add))).unwrap(),
            json!({
                "env": {
                    "CNI_COMMAND": "ADD",
                    "CNI_CONTAINERID": "5a9d",
                    "CNI_NETNS": "/var/run/netns/cni-1",
                    "CNI_IFNAME": "ens4",
                    "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID=u-1",
                    "K8S_POD_INFRA_CONTAINER_ID": "5a9d",
                },
                "config": "e30=",
                "interfaceAttributes": {"ips": ["10.0.0.1/24"], "mac": "02:00:00:00:00:01", "cni-args": {"a": 1}},
            })
        );
    }

    #[test]
    fn a_del_carries_no_attributes() {
        let request = serde_json::to_value(Request::new(&call(Command::Del))).unwrap();
        assert_eq!(request["env"]["CNI_COMMAND"], "DEL");
        assert_eq!(request.get("interfaceAttributes"), None);
    }

    #[test]
    fn an_add_without_wishes_carries_no_attributes() {
        let plain = Call {
            ips: Vec::new(),
            mac: None,
            cni_args: None,
            ..call(Command::Add)
        };
        assert_eq!(
            serde_json::to_value(Request::new(&plain))
                .unwrap()
                .get("interfaceAttributes"),
            None
        );
    }

    #[test]
    fn a_missing_uid_is_sent_as_an_empty_one() {
        let mut call = call(Command::Del);
        call.pod = call.pod.without_uid();
        let request = serde_json::to_value(Request::new(&call)).unwrap();
        assert_eq!(
            request["env"]["CNI_ARGS"],
            "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID="
        );
    }
}
