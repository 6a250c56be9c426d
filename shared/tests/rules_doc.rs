//! `docs/rules.md` is written by the code that refuses: every example in it is a real refusal of a real input.
//!
//! `UPDATE_DOCS=1 cargo test -p shared --test rules_doc` writes the file anew.

use std::{env, fmt::Write, fs, path::Path};

use shared::{
    cni::{DeviceNeed, check},
    config::{Config, InterfaceNames, MissingNetworks},
    history::History,
    names::NetworkName,
    selection::{MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, SelectionList},
    status::StatusEntry,
    validate::{Network, Networks, Operation, Subject, similar, validate},
    violation::{Rule, Violations, shown},
};

/// What kubectl puts before a violation; where there are several, each is a line of a list.
const AS_KUBECTL_PRINTS: &str =
    "The Pod \"worker\" is invalid: metadata.annotations[k8s.v1.cni.cncf.io/networks]: ";

const INTRODUCTION: &str = "# Rules of the networks annotation

Everything that a pod's annotation `k8s.v1.cni.cncf.io/networks` can be refused for. The webhook checks a pod that is created or edited;
the agent reads the list again on the node. Up to 20 violations of a list are reported at once, and how many more there are; kubectl prints each in a line of this form:

    * metadata.annotations[k8s.v1.cni.cncf.io/networks]: element 1 (\"default/foo\"), field interface, value \"a/b\": what is wrong and what to write [rule interface-name]

Elements are counted from 0. On update, elements and fields that were there before are not judged by their surroundings again: a network
that vanished does not block an unrelated edit.

This file is generated (`UPDATE_DOCS=1 cargo test -p shared --test rules_doc`); the examples are what kubectl prints
for a pod `worker` in the namespace `default`.

The last column tells what multus' own parser makes of what the rule refuses. *Takes it* (or some of it): the rule is a decision of this
project, because the pod would not start, a plugin would fail, or two readers of the annotation would disagree. *Does not look*: the rule is
about the pod, the network or what was there before.
";

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
        Rule::DefaultRouteUpdate => Example::Edit(
            "",
            r#"[{"name":"macvlan1","interface":"net1","default-route":["10.10.10.1"]}]"#,
        ),
        Rule::NamespaceIsolation => Example::Create("other/macvlan1@net1"),
        Rule::AttributeChange => Example::Edit(
            r#"[{"name":"macvlan1","interface":"net1","mac":"c2:11:22:33:44:55"}]"#,
            r#"[{"name":"macvlan1","interface":"net1","mac":"c2:11:22:33:44:66"}]"#,
        ),
        Rule::DevicePlugin => Example::Edit("", "sriov1@net1"),
        Rule::DeviceId => Example::Edit(
            "",
            r#"[{"name":"sriov2","interface":"net1","deviceID":"0000:03:02.1"}]"#,
        ),
        Rule::HostNetwork => Example::Edit("", "macvlan1@net1"),
    }
}

/// The cluster of the examples.
struct Cluster;

impl Networks for Cluster {
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

fn refusals(rule: Rule) -> Violations {
    let (before, after) = match example(rule) {
        Example::List(text) => {
            return SelectionList::parse(Some(&text), "default")
                .err()
                .unwrap_or_default();
        }
        Example::Create(after) => (None, after),
        Example::Edit(before, after) => (Some(before), after),
    };
    let parse = |text| SelectionList::parse(Some(text), "default").unwrap_or_else(|_| SelectionList::empty());
    let (old, list) = (before.map(parse), parse(after));
    let status = [StatusEntry {
        name: "default/macvlan1".to_owned(),
        interface: "net1".to_owned(),
        ..StatusEntry::default()
    }];
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
    let reject = rule == Rule::InterfaceNameMissing;
    let subject = Subject {
        namespace: "default",
        host_network: rule == Rule::HostNetwork,
        virt_launcher: false,
        interface_names: if reject {
            InterfaceNames::Reject
        } else {
            InterfaceNames::Fill
        },
        operation,
        list: &list,
    };
    let config = Config {
        namespace_isolation: rule == Rule::NamespaceIsolation,
        missing_networks: MissingNetworks::Reject,
        ..Config::default()
    };
    validate(&subject, &config, &Cluster).violations
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
    text += "\n| rule | what it asks for | multus' parser |\n| --- | --- | --- |\n";
    for rule in Rule::ALL {
        let multus = match (example(*rule), rule.is_deliberate()) {
            (Example::List(_), true) => "takes it",
            (Example::List(_), false) => "refuses it too",
            _ => "does not look",
        };
        let _ = writeln!(
            text,
            "| [`{rule}`](#{rule}) | {} | {multus} |",
            rule.description()
        );
    }
    for rule in Rule::ALL {
        let _ = write!(
            text,
            "\n## {rule}\n\n{}\n\n{}",
            rule.description(),
            shown_example(*rule)
        );
        for violation in refusals(*rule) {
            let _ = writeln!(text, "    {AS_KUBECTL_PRINTS}{violation}");
        }
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
