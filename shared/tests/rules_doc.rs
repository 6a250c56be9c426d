//! `docs/rules.md` is written by the code that refuses and warns: every answer in it is a real one
//! to a real input.
//!
//! `UPDATE_DOCS=1 cargo test -p shared --test rules_doc` writes the file again.

use std::{env, fmt::Write, fs, path::Path};

use shared::{
    cni::{DeviceNeed, check},
    config::{Config, InterfaceNames, MissingNetworks},
    history::History,
    names::NetworkName,
    selection::{MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, SelectionList},
    status::StatusEntry,
    validate::{
        Findings, Network, NetworkFacts, Networks, Operation, PodContext, Warning, similar, validate,
    },
    violation::{Rule, Violations, shown},
};

/// What kubectl puts before a violation; where there are several, each is a line of a list.
const AS_KUBECTL_PRINTS: &str =
    "The Pod \"worker\" is invalid: metadata.annotations[k8s.v1.cni.cncf.io/networks]: ";

const INTRODUCTION: &str = "# Rules of the networks annotation

Everything that a pod's annotation `k8s.v1.cni.cncf.io/networks` can be refused for, and [every warning](#warnings) about it. The webhook
checks a pod that is created or edited; the agent reads the list again on the node. Up to 20 violations of a list are reported at once, and
how many more there are; kubectl prints each in a line of this form:

    * metadata.annotations[k8s.v1.cni.cncf.io/networks]: element 1 (\"default/foo\"), field interface, value \"a/b\": what is wrong and what to write [rule interface-name]

Elements are counted from 0. On update, elements and fields that were there before are not judged by their surroundings again: a network
that vanished does not block an unrelated edit. The form of the list is judged as a whole again: correct it with the same edit.

This file is generated (`UPDATE_DOCS=1 cargo test -p shared --test rules_doc`); the examples are what kubectl prints
for a pod `worker` in the namespace `default`.

The last column says what most of what the rule refuses would do without the rule. *Multus cannot parse it* and *the pod would not start* are
said of a new pod; on a pod that runs already, the interface would not be plugged. *The plugin would fail*: multus starts the plugin, which
refuses, and the pod does not start or the interface is not plugged. *It would run, perhaps not as meant*: a value would be ignored, or two
readers of the annotation would disagree, or the list is larger than this project reads.
";

/// Warnings that no list gives by itself: the words (`…` stands for what differs), the cause, and
/// what to do.
const OTHER_WARNINGS: [[&str; 3]; 22] = [
    [
        "the namespace's label dynamic-networks.k8s.cni.cncf.io/interface-names is not fill, reject, warn or off",
        "The label has a value that the webhook does not know; the configured mode applies.",
        "Correct the label of the namespace, or remove it.",
    ],
    [
        "the namespace's label dynamic-networks.k8s.cni.cncf.io/enforcement is not enforce or warn",
        "The label has a value that the webhook does not know; the configured enforcement applies.",
        "Correct the label of the namespace, or remove it.",
    ],
    [
        "the pod never becomes Ready: it has the readiness gate dynamic-networks.k8s.cni.cncf.io/NetworksReady, but no annotation k8s.v1.cni.cncf.io/networks; write '[]' if it needs no networks",
        "The agent writes the condition on pods that have the annotation. A pod that is created without it is never Ready.",
        "Write the annotation into the pod template, '[]' for a pod that gets its networks later, or remove the readiness gate.",
    ],
    [
        "the pod never becomes Ready: it has the readiness gate dynamic-networks.k8s.cni.cncf.io/NetworksReady, but uses the host's network; remove the gate, or write '[]'",
        "A pod on the host's network gets no interfaces, so that the condition stays False.",
        "Remove the readiness gate or hostNetwork, or write '[]' as the networks annotation.",
    ],
    [
        "and … more violations",
        "There are more violations than are listed. They are warnings under enforcement: warn, and of a workload.",
        "Correct those that are listed first.",
    ],
    [
        "and … more warnings",
        "An answer has at most ten warnings.",
        "Correct those that are listed first.",
    ],
    [
        "…: its pods will be refused: …",
        "A workload is applied whose pod template breaks a rule. The workload is stored; its pods are refused when they are created.",
        "Correct the pod template as the text says.",
    ],
    [
        "metadata.annotations of … has no effect; put … into ….metadata.annotations",
        "The annotation is on the workload, but multus reads it on the pod.",
        "Move the annotation into the pod template.",
    ],
    [
        "metadata.annotations of … has no effect…: … is … there and … in ….metadata.annotations, which counts; remove the first",
        "The workload and its pod template have different annotations. Pods get that of the template.",
        "Remove the annotation of the workload itself.",
    ],
    [
        "annotation … has no effect; did you mean …?",
        "An annotation's key resembles that of the networks annotation. Multus does not read it.",
        "Correct the key, or remove the annotation.",
    ],
    [
        "spec.config is empty: multus reads the config from a CNI file of this name on each node; a config in another place of the object is ignored",
        "A NetworkAttachmentDefinition has no config.",
        "Write the config as a string into spec.config, unless each node has the file.",
    ],
    [
        "the capability … is not declared any more: the next pod that asks for it does not get it",
        "An edit of a NetworkAttachmentDefinition takes out a capability.",
        "Declare the capability again, or take the field out of the pods that ask for it.",
    ],
    [
        "at least … of the pods in namespace … use …: they keep their interfaces, but no new pod, and no new sandbox of theirs, starts with this network",
        "A NetworkAttachmentDefinition is deleted that pods use.",
        "Create it again, or take the network out of the pods' lists.",
    ],
    [
        "beside … it has no effect, libcni reads … inside each plugin; move it into the entry of … that does this work",
        "The config of a NetworkAttachmentDefinition has capabilities beside plugins.",
        "Move capabilities into the plugin that has them.",
    ],
    [
        "libcni does not read the version of a plugin in a list and runs the list at 0.1.0; write it beside …",
        "The config of a NetworkAttachmentDefinition has cniVersion inside a plugin of its list only.",
        "Move cniVersion beside plugins.",
    ],
    [
        "no CNI specification has version …, and plugins refuse it; write one of …",
        "The config of a NetworkAttachmentDefinition has a cniVersion that does not exist, for plugins that the webhook does not know.",
        "Write a version that the plugin knows.",
    ],
    [
        "newer than CNI 1.1.0; a plugin that does not know it refuses it",
        "The config of a NetworkAttachmentDefinition has a cniVersion newer than any that the webhook knows.",
        "Make sure that the plugins on the nodes know this version.",
    ],
    [
        "outside its subnet …",
        "The gateway of a range of host-local is not in the range's subnet.",
        "Correct the gateway or the subnet.",
    ],
    [
        "must have a prefix length, such as …",
        "The IPAM plugin static has an address without a prefix length. Only pods that ask for addresses of their own (ips) start.",
        "Add the prefix length to the address.",
    ],
    [
        "label … and must be …; the configuration holds",
        "lint: a label of a Namespace has a value that the webhook does not know.",
        "Correct the label of the Namespace, or remove it.",
    ],
    [
        "no such NetworkAttachmentDefinition in these files…",
        "lint: the files have other networks of that namespace, but not this one.",
        "Correct the name, or add the NetworkAttachmentDefinition to the files.",
    ],
    [
        "… is not changed: …",
        "lint --fix: the interface names cannot be written into this file; the text says why.",
        "Write the names that lint shows.",
    ],
];

/// How an example comes to be refused.
enum Example {
    /// The list says it by itself.
    List(String),
    /// A pod is created with the list.
    Create(&'static str),
    /// The list of a running pod, before and after.
    Edit(&'static str, &'static str),
}

/// An input that breaks this rule and no other.
fn example(rule: Rule) -> Example {
    let list = |text: &str| Example::List(text.to_owned());
    match rule {
        Rule::AnnotationSize => Example::List("macvlan1,".repeat(MAX_BYTES / 9 + 1)),
        Rule::ElementCount => Example::List(vec!["macvlan1"; MAX_ELEMENTS + 1].join(",")),
        Rule::JsonDepth => Example::List("[".repeat(MAX_DEPTH + 1)),
        Rule::JsonSyntax => list(r#"[{"name":"macvlan1",}]"#),
        Rule::JsonList => list(r#"{"name":"macvlan1"}"#),
        Rule::ElementType => list("[null]"),
        Rule::DuplicateKey => list(r#"[{"name":"macvlan1","interface":"net1","interface":"net2"}]"#),
        Rule::KeySpelling => list(r#"[{"name":"macvlan1","Interface":"net1"}]"#),
        Rule::NumberRange => list(r#"[{"name":"macvlan1","cni-args":{"id":9007199254740993}}]"#),
        Rule::FieldType => list(r#"[{"name":"macvlan1","ips":"10.10.10.11/24"}]"#),
        Rule::TextSyntax => list("macvlan1,"),
        Rule::NetworkName => list("my.network"),
        Rule::InterfaceName => list("macvlan1@a-name-that-is-too-long"),
        Rule::InterfaceReserved => list("macvlan1@eth0"),
        Rule::InterfaceDuplicate => list("macvlan1@net1,macvlan2@net1"),
        Rule::IpAddress => list(r#"[{"name":"macvlan1","ips":["10.10.10.011/24"]}]"#),
        Rule::MacAddress => list(r#"[{"name":"macvlan1","mac":"c2:11:22:33:44"}]"#),
        Rule::InfinibandGuid => list(r#"[{"name":"ib1","infiniband-guid":"c2:11:22:33:44:55"}]"#),
        Rule::DefaultRoute => list(r#"[{"name":"macvlan1","default-route":["10.10.10.1/24"]}]"#),
        Rule::PortMapping => {
            list(r#"[{"name":"bridge1","portMappings":[{"hostPort":8080,"containerPort":0}]}]"#)
        }
        Rule::Bandwidth => list(r#"[{"name":"bridge1","bandwidth":{"ingressRate":1000000}}]"#),
        Rule::InterfaceNameMissing => Example::Create("macvlan1"),
        Rule::UnknownNetwork => Example::Create("macvlan3@net1"),
        Rule::NetworkConfig => Example::Create("mtu-in-quotes@net1"),
        Rule::Capability => Example::Create(
            r#"[{"name":"macvlan1","interface":"net1","portMappings":[{"hostPort":8080,"containerPort":80}]}]"#,
        ),
        Rule::MacUnicast => {
            Example::Create(r#"[{"name":"macvlan1","interface":"net1","mac":"f3:00:5e:00:53:13"}]"#)
        }
        Rule::IpPrefix => Example::Create(r#"[{"name":"static1","interface":"net1","ips":["192.0.2.13"]}]"#),
        Rule::DefaultRouteUpdate => Example::Edit(
            "",
            r#"[{"name":"macvlan1","interface":"net1","default-route":["10.10.10.1"]}]"#,
        ),
        Rule::NamespaceIsolation => Example::Create("other/macvlan1@net1"),
        Rule::AttributeChange => Example::Edit(
            r#"[{"name":"macvlan1","interface":"net1","mac":"c2:11:22:33:44:55"}]"#,
            r#"[{"name":"macvlan1","interface":"net1","mac":"c2:11:22:33:44:66"}]"#,
        ),
        Rule::DevicePlugin => Example::Edit("sriov1@net3", "sriov1@net3,sriov1@net1"),
        Rule::HostNetwork => Example::Edit("", "macvlan1@net1"),
    }
}

/// An input that gives this warning and no other.
fn warning_example(warning: Warning) -> Example {
    let plugged = r#"[{"name":"tuned1","interface":"net1"}]"#;
    match warning {
        Warning::UnknownKey => Example::Create(r#"[{"name":"macvlan1","interfce":"net1"}]"#),
        Warning::UnknownNetwork => Example::Create("macvlan3@net1"),
        Warning::CapabilityUndeclared => {
            Example::Create(r#"[{"name":"macvlan1","interface":"net1","ips":["10.10.10.11/24"]}]"#)
        }
        Warning::SameIp => Example::Create(
            r#"[{"name":"tuned1","ips":["10.10.10.11/24"]},{"name":"tuned1","ips":["10.10.10.11"]}]"#,
        ),
        Warning::SameMac => Example::Create(
            r#"[{"name":"tuned1","mac":"02:11:22:33:44:55"},{"name":"tuned1","mac":"02:11:22:33:44:55"}]"#,
        ),
        Warning::IpamClaim => {
            Example::Create(r#"[{"name":"tuned1","ips":["10.10.10.11/24"],"ipam-claim-reference":"claim1"}]"#)
        }
        Warning::DeviceUnchecked => {
            Example::Create(r#"[{"name":"sriov2","interface":"net1","deviceID":"0000:03:02.1"}]"#)
        }
        Warning::DeviceOfThePod => Example::Edit(
            "",
            r#"[{"name":"sriov2","interface":"net4","deviceID":"0000:03:02.1"}]"#,
        ),
        Warning::MayNeedDevice => Example::Edit("", "perhaps1@net2"),
        Warning::ChangeNotApplied => Example::Edit(
            plugged,
            r#"[{"name":"tuned1","interface":"net1","bandwidth":{"ingressRate":1000000,"ingressBurst":2000000}}]"#,
        ),
        Warning::SecondDefaultRoute => Example::Edit("", "uplink1@net2"),
        Warning::NoInterfaceName => Example::Create("macvlan1"),
        Warning::NotPlugged => Example::Edit("", "macvlan2"),
        Warning::HostNetwork => Example::Create("macvlan1@net1"),
    }
}

/// The cluster of the examples.
struct Cluster;

impl Networks for Cluster {
    fn resource(&self, name: &NetworkName) -> Option<String> {
        (name.name() == "sriov1").then(|| "vendor.example/vf".to_owned())
    }

    fn facts(&self, name: &NetworkName) -> NetworkFacts {
        NetworkFacts {
            has_static_ipam: name.name() == "static1",
            has_default_route: name.name() == "uplink1",
        }
    }

    fn network(&self, name: &NetworkName) -> Network {
        let present = |config: &str| {
            let config = check(config, name.name()).runnable();
            Network::Present {
                device: DeviceNeed::of(Some("vendor.example/vf"), config.as_ref().ok()),
                config: Some(config.map(|config| config.capabilities())),
            }
        };
        match name.name() {
            "sriov1" => present(r#"{"cniVersion":"1.0.0","type":"sriov"}"#),
            "perhaps1" => Network::Present {
                config: None,
                device: DeviceNeed::Unknown,
            },
            "tuned1" => {
                present(r#"{"type":"macvlan","capabilities":{"ips":true,"mac":true,"bandwidth":true}}"#)
            }
            "mtu-in-quotes" => present(r#"{"cniVersion":"1.0.0","type":"macvlan","mtu":"9000"}"#),
            "macvlan3" => {
                let existing = ["default/macvlan1", "default/macvlan2"].map(NetworkName::parse);
                Network::Missing {
                    similar: similar(name, existing.iter().flatten()),
                }
            }
            _ => present(r#"{"cniVersion":"1.0.0","type":"macvlan","master":"eth1"}"#),
        }
    }
}

fn parse(text: &str) -> SelectionList {
    SelectionList::parse(Some(text), "default").unwrap_or_else(|_| SelectionList::empty())
}

/// What is said about an example in its surroundings; nothing about one that has none.
fn judge(example: &Example, mode: InterfaceNames, host_network: bool, config: &Config) -> Findings {
    let (before, after) = match example {
        Example::List(_) => return Findings::default(),
        Example::Create(after) => (None, after),
        Example::Edit(before, after) => (Some(before), after),
    };
    let (old, list) = (before.map(|text| parse(text)), parse(after));
    let status = ["default/macvlan1", "default/tuned1"].map(|network| StatusEntry {
        name: network.to_owned(),
        interface: "net1".to_owned(),
        ..StatusEntry::default()
    });
    let operation = match &old {
        None => Operation::Create,
        Some(old) => Operation::Update {
            history: History {
                old: Some(old),
                status: &status,
            },
            running: true,
        },
    };
    let devices = [("vendor.example/vf".to_owned(), 1)].into();
    let subject = PodContext {
        namespace: "default",
        host_network,
        virt_launcher: false,
        interface_names: mode,
        devices: &devices,
        operation,
        list: &list,
    };
    validate(&subject, config, &Cluster)
}

fn refusals(rule: Rule) -> Violations {
    let example = example(rule);
    if let Example::List(text) = &example {
        let parsed = SelectionList::parse(Some(text), "default");
        return parsed.err().unwrap_or_default();
    }
    let mode = match rule {
        Rule::InterfaceNameMissing => InterfaceNames::Reject,
        _ => InterfaceNames::Fill,
    };
    let config = Config {
        namespace_isolation: rule == Rule::NamespaceIsolation,
        missing_networks: MissingNetworks::Reject,
        ..Config::default()
    };
    judge(&example, mode, rule == Rule::HostNetwork, &config).violations
}

fn warned(warning: Warning) -> Findings {
    let mode = match warning {
        Warning::NoInterfaceName | Warning::NotPlugged => InterfaceNames::Warn,
        _ => InterfaceNames::Fill,
    };
    let host_network = warning == Warning::HostNetwork;
    judge(&warning_example(warning), mode, host_network, &Config::default())
}

/// Whether `text` has every part of `template`, in order.
fn fits(text: &str, template: &str, gap: &str) -> bool {
    let mut rest = text;
    template.split(gap).all(|piece| {
        let after = rest.split_once(piece).map(|(_, after)| after);
        rest = after.unwrap_or_default();
        after.is_some()
    })
}

#[test]
fn every_example_gives_its_own_warning_and_no_other() {
    for warning in Warning::ALL {
        let findings = warned(*warning);
        assert_eq!(findings.violations, [], "{}", warning.name());
        let [text] = &findings.warnings[..] else {
            panic!("{}: {:?}", warning.name(), findings.warnings);
        };
        assert!(fits(text, warning.template(), "{}"), "{}: {text}", warning.name());
    }
}

/// The text of every source file below a directory, string literals joined to one line.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap_or_default();
            text += &source.replace("\\\n", "");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn other_warnings_are_in_the_sources_as_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = sources(&root.join("webhook/src")) + &sources(&root.join("shared/src"));
    for [text, ..] in OTHER_WARNINGS {
        let is_there = |piece: &str| sources.contains(piece);
        assert!(
            text.split('…').all(is_there),
            "no source has the warning {text:?}"
        );
    }
}

#[test]
fn every_example_breaks_its_own_rule_and_no_other() {
    for rule in Rule::ALL {
        let broken: Vec<_> = refusals(*rule)
            .into_iter()
            .map(|violation| violation.rule)
            .collect();
        assert_eq!(broken, [*rule]);
    }
}

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    text += "\n| rule | what it asks for | without the rule |\n| --- | --- | --- |\n";
    for rule in Rule::ALL {
        let (description, outcome) = (rule.description(), rule.outcome().text());
        let _ = writeln!(text, "| [`{rule}`](#{rule}) | {description} | {outcome} |");
    }
    for rule in Rule::ALL {
        let (description, fix) = (rule.description(), rule.fix());
        let _ = write!(
            text,
            "\n## {rule}\n\n{description}\n\nTo correct it: {fix}\n\n{}",
            shown_example(*rule)
        );
        for violation in refusals(*rule) {
            let _ = writeln!(text, "    {AS_KUBECTL_PRINTS}{violation}");
        }
    }
    text + &warnings()
}

fn warnings() -> String {
    let mut text = "\n## Warnings\n\nWhat is legal, and may surprise. kubectl prints each in a line that begins with `Warning:`. On update, only \
                    elements and fields that are new or changed are warned about. Under `enforcement: warn`, what would be refused is a \
                    warning in the words of the refusal.\n\n| warning | cause | what to do |\n| --- | --- | --- |\n"
        .to_owned();
    for warning in Warning::ALL {
        for shown in warned(*warning).warnings.iter() {
            let _ = writeln!(text, "| `{shown}` | {} | {} |", warning.meaning(), warning.fix());
        }
    }
    text += "\nWarnings that are not about one element or list, with `…` for what differs:\n\n| warning | cause | what to do |\n| --- | --- | --- |\n";
    for [shown, cause, fix] in OTHER_WARNINGS {
        let _ = writeln!(text, "| `{shown}` | {cause} | {fix} |");
    }
    text
}

fn shown_example(rule: Rule) -> String {
    match example(rule) {
        Example::List(text) => format!("Refused:\n\n    {}\n\nThe answer:\n\n", shown(&text)),
        Example::Create(after) => {
            format!("Refused when the pod is created:\n\n    {after}\n\nThe answer:\n\n")
        }
        Example::Edit("", after) => {
            format!("Refused when it is added to a running pod:\n\n    {after}\n\nThe answer:\n\n")
        }
        Example::Edit(before, after) => {
            format!(
                "Refused while it is plugged, the edit of\n\n    {before}\n\nto\n\n    {after}\n\nThe answer:\n\n"
            )
        }
    }
}

#[test]
fn the_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let document = document();
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, &document).expect("docs/rules.md can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document,
        "docs/rules.md is out of date; write it with UPDATE_DOCS=1 cargo test -p shared --test rules_doc"
    );
}
