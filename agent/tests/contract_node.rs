//! The clients against the real container runtime and multus of a running local cluster:
//! `cargo test -p agent --test contract_node -- --ignored` after `make cluster-up`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
};

use agent::{cni::cache::CniCache, cri::Cri, multus::Multus};
use agent_core::{
    delegate::{Answer, Call, Command, Refusal},
    identity::{PodIdentity, SandboxId},
    sandbox::{Network, Sandbox, newest_ready},
};
use serde_json::{Value, json};
use shared::names::InterfaceName;
use support::soon;

/// A pod of the local cluster with one network of pod start, in a namespace of its own.
struct Node {
    env: HashMap<String, String>,
    namespace: String,
}

impl Node {
    fn up(name: &str) -> Self {
        let env = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cluster/env");
        let env = fs::read_to_string(env).expect("make cluster-up has run");
        let lines = env
            .lines()
            .filter_map(|line| line.trim_start_matches("export ").split_once('='));
        let env = lines
            .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let node = Self {
            env,
            // A namespace of an earlier run may still be terminating.
            namespace: format!("contract-{name}-{}", std::process::id()),
        };
        node.kubectl(&["create", "namespace", &node.namespace], None);
        node
    }

    fn kubectl(&self, args: &[&str], stdin: Option<&Value>) -> String {
        let mut command = Process::new(Path::new(&self.env["CLUSTER_BIN"]).join("kubectl"));
        command.args(args).env("KUBECONFIG", &self.env["KUBECONFIG"]);
        if let Some(object) = stdin {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), object.to_string()).unwrap();
            command.arg("-f").arg(file.path());
            return run(command);
        }
        run(command)
    }

    fn pod(&self) -> PodIdentity {
        let config = json!({
            "cniVersion": "1.0.0", "name": "cold", "type": "macvlan", "master": "eth1", "mode": "bridge",
            "capabilities": {"ips": true}, "ipam": {"type": "static"},
        });
        let network = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "cold", "namespace": self.namespace}, "spec": {"config": config.to_string()},
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": self.namespace,
                "annotations": {"k8s.v1.cni.cncf.io/networks": r#"[{"name":"cold","ips":["10.77.0.9/24"]}]"#},
            },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": "docker.io/library/busybox", "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "3600"],
                }],
            },
        });
        self.kubectl(&["apply"], Some(&network));
        self.kubectl(&["apply"], Some(&pod));
        let ready = [
            "wait",
            "-n",
            &self.namespace,
            "pod/p",
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        self.kubectl(&ready, None);
        let uid = self.kubectl(
            &[
                "get",
                "-n",
                &self.namespace,
                "pod/p",
                "-o",
                "jsonpath={.metadata.uid}",
            ],
            None,
        );
        PodIdentity::new(&self.namespace, "p", uid.trim()).unwrap()
    }

    fn cri(&self) -> Cri {
        Cri::new(PathBuf::from(&self.env["CONTAINERD_SOCKET"]))
    }

    fn multus(&self) -> Multus {
        Multus::new(vec![PathBuf::from(&self.env["MULTUS_SOCKET"])])
    }

    fn cache(&self) -> CniCache {
        CniCache::new(Path::new(&self.env["NODE_ROOT"]).join("var/lib/cni/multus"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], None);
    }
}

fn run(mut command: Process) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn net(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn call(command: Command, sandbox: &SandboxId, netns: &Path, pod: &PodIdentity, plugins: &Value) -> Call {
    let config = json!({"cniVersion": "1.0.0", "cniVersions": ["1.0.0"], "name": "hot", "plugins": plugins});
    Call {
        command,
        sandbox: sandbox.clone(),
        netns: netns.to_str().unwrap().to_owned(),
        interface: net("hot0"),
        pod: pod.clone(),
        config: config.to_string(),
        ips: Vec::new(),
        mac: None,
        cni_args: None,
    }
}

fn macvlan() -> Value {
    json!([{"type": "macvlan", "master": "eth1", "mode": "bridge",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.78.0.0/24"}]]}}])
}

async fn ready(node: &Node, pod: &PodIdentity) -> (Sandbox, PathBuf) {
    let mut sandboxes = soon(node.cri().sandboxes()).await.unwrap();
    sandboxes.retain(|sandbox| sandbox.pod == *pod);
    let ready = newest_ready(&sandboxes).expect("the pod runs").clone();
    let (same, network) = soon(node.cri().sandbox(&ready.id))
        .await
        .unwrap()
        .expect("it is known");
    assert_eq!((&same.pod, same.ready), (pod, true));
    let Network::Namespace(netns) = network else {
        panic!("{network:?}")
    };
    (ready, netns)
}

#[tokio::test]
#[ignore = "needs the local cluster"]
async fn a_running_pods_sandbox_and_cold_plugged_network_are_found() {
    let node = Node::up("sandbox");
    let pod = node.pod();
    assert!(
        soon(node.cri().version())
            .await
            .unwrap()
            .starts_with("containerd ")
    );
    let (sandbox, netns) = ready(&node, &pod).await;
    assert!(
        netns.starts_with("/var/run/netns") || netns.starts_with("/run/netns"),
        "{netns:?}"
    );
    let running = soon(node.cri().running_sandboxes()).await.unwrap();
    assert!(running.contains(&sandbox.id));
    let all = soon(node.cri().sandboxes()).await.unwrap();
    assert!(all.iter().any(|other| other.id == sandbox.id));
    let unknown = SandboxId::parse(&"0".repeat(64)).unwrap();
    assert_eq!(soon(node.cri().sandbox(&unknown)).await.unwrap(), None);

    let delegates = node
        .cache()
        .delegates(&sandbox.id)
        .await
        .unwrap()
        .expect("multus attached it");
    let [default, cold] = delegates.as_slice() else {
        panic!("{delegates:?}")
    };
    assert_eq!(
        (default.default, default.interface.clone()),
        (true, Some(net("eth0")))
    );
    assert_eq!(
        cold.network.as_ref().map(ToString::to_string),
        Some(format!("{}/cold", node.namespace))
    );
    assert_eq!(cold.interface, Some(net("net1")));
    let entry = node
        .cache()
        .entry("cold", &sandbox.id, &net("net1"))
        .await
        .unwrap()
        .expect("it is attached");
    assert_eq!(entry.capability_args["ips"], json!(["10.77.0.9/24"]));
    assert_eq!(entry.netns, netns.to_str().unwrap());
    assert!(
        entry
            .cni_args
            .contains(&("K8S_POD_UID".to_owned(), pod.uid().to_owned())),
        "{:?}",
        entry.cni_args
    );
    assert_eq!(node.cache().entries(&sandbox.id).await.unwrap().entries.len(), 2);
}

#[tokio::test]
#[ignore = "needs the local cluster"]
async fn an_attachment_is_plugged_found_and_unplugged() {
    let node = Node::up("delegate");
    let pod = node.pod();
    let (sandbox, netns) = ready(&node, &pod).await;
    let multus = node.multus();
    soon(multus.healthy()).await.unwrap();

    let add = call(Command::Add, &sandbox.id, &netns, &pod, &macvlan());
    let Answer::Done(result) = soon(multus.delegate(&add)).await else {
        panic!("not plugged")
    };
    assert_eq!(result["interfaces"][0]["name"], "hot0", "{result}");
    let entry = node
        .cache()
        .entry("hot", &sandbox.id, &net("hot0"))
        .await
        .unwrap()
        .expect("it is attached");
    println!("answered {result}\ncached   {}", entry.result);
    assert_eq!(
        entry.result["interfaces"][0]["mac"],
        result["interfaces"][0]["mac"]
    );

    let again = soon(multus.delegate(&add)).await;
    assert!(
        matches!(
            &again,
            Answer::Refused {
                cause: Refusal::AlreadyExists,
                ..
            }
        ),
        "{again:?}"
    );

    // The namespace may be gone at DEL, and nobody needs to know the uid.
    let del = Call {
        command: Command::Del,
        pod: pod.without_uid(),
        ..add
    };
    for _ in 0..2 {
        assert_eq!(soon(multus.delegate(&del)).await, Answer::Done(Value::Null));
    }
    assert_eq!(
        node.cache()
            .entry("hot", &sandbox.id, &net("hot0"))
            .await
            .unwrap(),
        None
    );
    let without_namespace = Call {
        netns: String::new(),
        ..del
    };
    assert_eq!(
        soon(multus.delegate(&without_namespace)).await,
        Answer::Done(Value::Null)
    );
}

#[tokio::test]
#[ignore = "needs the local cluster"]
async fn multus_refuses_in_the_words_that_are_known() {
    let node = Node::up("refusals");
    let pod = node.pod();
    let (sandbox, netns) = ready(&node, &pod).await;
    let add = |plugins: Value| call(Command::Add, &sandbox.id, &netns, &pod, &plugins);
    let missing = |plugin: &str| Refusal::PluginMissing {
        plugin: plugin.to_owned(),
    };
    let mut no_ipam = macvlan();
    no_ipam[0]["ipam"] = json!({"type": "nosuch-ipam"});
    let stranger = PodIdentity::new(pod.namespace(), pod.name(), "stranger").unwrap();
    let nobody = PodIdentity::new(pod.namespace(), "nobody", "").unwrap();
    let calls = [
        (add(json!([{"type": "nosuch"}])), missing("nosuch")),
        (
            Call {
                command: Command::Del,
                ..add(json!([{"type": "nosuch"}]))
            },
            missing("nosuch"),
        ),
        (add(no_ipam.clone()), missing("nosuch-ipam")),
        // The macvlan that is left of the failed ADD.
        (add(macvlan()), Refusal::AlreadyExists),
        (
            Call {
                command: Command::Del,
                ..add(no_ipam)
            },
            missing("nosuch-ipam"),
        ),
        (
            Call {
                netns: "/var/run/netns/gone".to_owned(),
                ..add(macvlan())
            },
            Refusal::NamespaceGone,
        ),
        (
            Call {
                pod: stranger,
                ..add(macvlan())
            },
            Refusal::PodUidMismatch,
        ),
        (
            Call {
                pod: nobody,
                ..add(macvlan())
            },
            Refusal::PodNotFound,
        ),
        (
            Call {
                config: "{}".to_owned(),
                ..add(macvlan())
            },
            Refusal::InvalidConfig,
        ),
        (
            Call {
                config: "x".to_owned(),
                ..add(macvlan())
            },
            Refusal::InvalidConfig,
        ),
        (
            Call {
                config: r#"{"plugins":[{"type":"macvlan"}]}"#.to_owned(),
                interface: net("hot1"),
                ..add(macvlan())
            },
            Refusal::InvalidConfig,
        ),
        (
            Call {
                config: r#"{"type":"macvlan"}"#.to_owned(),
                interface: net("hot1"),
                ..add(macvlan())
            },
            Refusal::InvalidConfig,
        ),
        (
            Call {
                command: Command::Del,
                config: r#"{"name":"h","type":"host-device","device":"x"}"#.to_owned(),
                netns: "/var/run/netns/gone".to_owned(),
                ..add(macvlan())
            },
            Refusal::NamespaceGone,
        ),
    ];
    for (call, expected) in calls {
        let answer = soon(node.multus().delegate(&call)).await;
        let Answer::Refused { cause, plugin, text } = answer else {
            panic!("{call:?}: {answer:?}")
        };
        println!("{cause:?} by {plugin:?}: {text}");
        assert_eq!(cause, expected, "{text}");
    }
    // A handler that panics closes the connection; the daemon lives on.
    let crashed = soon(node.multus().delegate(&Call {
        config: "null".to_owned(),
        ..add(macvlan())
    }))
    .await;
    assert_eq!(crashed, Answer::Crashed);
    soon(node.multus().healthy()).await.unwrap();
}
