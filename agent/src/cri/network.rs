//! Where a sandbox's network namespace is. The CRI has no field for it: each runtime tells in its
//! own JSON, under `info` of a verbose PodSandboxStatus.

use std::collections::HashMap;

use agent_core::sandbox::Network;
use proto::runtime_v1::{NamespaceMode, PodSandboxStatus};
use serde::Deserialize;

/// The parts of `info["info"]` that name the namespace.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    /// containerd 2.
    sandbox_metadata: Option<SandboxMetadata>,
    /// containerd 1.6 and 1.7, CRI-O: the OCI runtime spec of the pause container.
    runtime_spec: Option<RuntimeSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SandboxMetadata {
    #[serde(rename = "Metadata")]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "NetNSPath")]
    netns_path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeSpec {
    linux: Linux,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// The network of a sandbox, from a verbose status.
pub(super) fn of_status(status: &PodSandboxStatus, info: &HashMap<String, String>) -> Network {
    let options = status
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
    if options.is_some_and(|options| options.network() == NamespaceMode::Node) {
        return Network::Host;
    }
    let Some(json) = info.get("info") else {
        return Network::Unknown(
            "the runtime does not report the path of the network namespace (cri-dockerd does not; containerd 1.6 or newer \
             and CRI-O do)"
                .to_owned(),
        );
    };
    match serde_json::from_str::<Info>(json) {
        Ok(info) => from_info(info),
        Err(error) => Network::Unknown(format!("the runtime's sandbox info cannot be read: {error}")),
    }
}

fn from_info(info: Info) -> Network {
    let metadata = info.sandbox_metadata.map(|sandbox| sandbox.metadata.netns_path);
    let spec = info
        .runtime_spec
        .into_iter()
        .flat_map(|spec| spec.linux.namespaces);
    let from_spec = spec
        .filter(|namespace| namespace.kind == "network")
        .map(|namespace| namespace.path);
    match metadata
        .into_iter()
        .chain(from_spec)
        .find(|path| !path.is_empty())
    {
        Some(path) => Network::at(&path),
        None => Network::Unknown("the runtime's sandbox info names no network namespace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proto::runtime_v1::{LinuxPodSandboxStatus, Namespace as CriNamespace, NamespaceOption};
    use rstest::rstest;

    use super::*;

    fn status(mode: NamespaceMode) -> PodSandboxStatus {
        let options = NamespaceOption { network: mode.into() };
        let namespaces = CriNamespace {
            options: Some(options),
        };
        PodSandboxStatus {
            linux: Some(LinuxPodSandboxStatus {
                namespaces: Some(namespaces),
            }),
            ..PodSandboxStatus::default()
        }
    }

    fn network(info: &str) -> Network {
        of_status(
            &status(NamespaceMode::Pod),
            &HashMap::from([("info".to_owned(), info.to_owned())]),
        )
    }

    #[rstest]
    #[case::containerd_2(
        r#"{"pid":1,"sandboxMetadata":{"Version":"v1","Metadata":{"ID":"a","NetNSPath":"/var/run/netns/cni-1"}},"runtimeSpec":null}"#
    )]
    #[case::containerd_1_7(
        r#"{"pid":1,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/var/run/netns/cni-1"}]}}}"#
    )]
    #[case::cri_o(
        r#"{"image":"pause","pid":1,"runtimeSpec":{"ociVersion":"1.2","linux":{"namespaces":[{"type":"network","path":"/var/run/netns/cni-1"}]}}}"#
    )]
    #[case::metadata_without_path(
        r#"{"sandboxMetadata":{"Metadata":{}},"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"/var/run/netns/cni-1"}]}}}"#
    )]
    fn finds_the_namespace_in_each_runtimes_shape(#[case] info: &str) {
        assert_eq!(network(info), Network::Namespace("/var/run/netns/cni-1".into()));
    }

    #[rstest]
    #[case::not_json("no")]
    #[case::list("[]")]
    #[case::wrong_type(r#"{"runtimeSpec":{"linux":{"namespaces":{}}}}"#)]
    #[case::nothing_said("{}")]
    #[case::no_network_namespace(
        r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}}"#
    )]
    #[case::no_path(r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"network"}]}}}"#)]
    #[case::relative(r#"{"sandboxMetadata":{"Metadata":{"NetNSPath":"run/netns/x"}}}"#)]
    #[case::climbing(r#"{"sandboxMetadata":{"Metadata":{"NetNSPath":"/run/netns/../x"}}}"#)]
    fn an_answer_without_a_usable_path_is_unknown(#[case] info: &str) {
        assert!(matches!(network(info), Network::Unknown(_)));
    }

    #[test]
    fn cri_dockerd_is_named_when_there_is_no_info() {
        let Network::Unknown(reason) = of_status(&status(NamespaceMode::Pod), &HashMap::new()) else {
            panic!("a path from nowhere");
        };
        assert!(reason.contains("cri-dockerd"), "{reason}");
    }

    #[test]
    fn a_host_network_pod_is_known_without_info() {
        assert_eq!(
            of_status(&status(NamespaceMode::Node), &HashMap::new()),
            Network::Host
        );
    }
}
