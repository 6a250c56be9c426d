//! `dynamic-networks-webhook lint` as a person or a pipeline runs it: files or standard input, and
//! an exit status that tells.

use std::path::{Path, PathBuf};

use rstest::rstest;
use tests::{Error, Output, Program, Result};

const NETWORK: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: { name: blue }
spec: { config: '{"cniVersion":"1.0.0","name":"blue","type":"macvlan","master":"eth1"}' }
"#;

fn pod(networks: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {{ k8s.v1.cni.cncf.io/networks: '{networks}' }}\nspec: {{}}\n"
    )
}

fn lint() -> Result<Program> {
    Ok(Program::webhook()?.argument("lint"))
}

fn file(directory: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, content).map_err(|e| Error::Unexpected(e.to_string()))?;
    Ok(path)
}

fn is(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{}", output.text);
    for word in words {
        assert!(output.text.contains(word), "{word:?} is not in: {}", output.text);
    }
}

#[tokio::test]
async fn standard_input_is_read_when_no_file_is_named() -> Result<()> {
    let good = format!("{NETWORK}---\n{}", pod("blue"));
    is(
        &lint()?.given(&good)?.run().await?,
        0,
        &[
            "NetworkAttachmentDefinition default/blue: ok",
            "filled in: blue@net1",
        ],
    );
    is(
        &lint()?.argument("-").given(&pod("blue@eth0"))?.run().await?,
        1,
        &["-:5:47: Pod default/p: refused", "[rule interface-reserved]"],
    );
    is(&lint()?.given("kind: [")?.run().await?, 2, &["unreadable"]);
    is(&lint()?.run().await?, 0, &[]);
    Ok(())
}

#[tokio::test]
async fn fix_writes_the_names_into_the_file() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let unnamed = file(directory.path(), "pod.yaml", &pod("blue"))?;

    let fixed = lint()?.argument("--fix").argument(&unnamed).run().await?;
    is(&fixed, 0, &["interface names written into the file"]);
    let stored = std::fs::read_to_string(&unnamed).map_err(|e| Error::Unexpected(e.to_string()))?;
    assert_eq!(stored, pod("blue@net1"));
    is(
        &lint()?.flag("--cluster", "pod.yaml").run().await?,
        2,
        &["cannot be used with"],
    );
    Ok(())
}

#[tokio::test]
async fn files_are_judged_together_and_the_worst_makes_the_exit_status() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let broken = file(
        directory.path(),
        "network.yaml",
        &NETWORK.replace(r#","type":"macvlan""#, ""),
    )?;
    let json = r#"{"kind":"Pod","metadata":{"name":"j","annotations":{"k8s.v1.cni.cncf.io/networks":"[{\"name\":\"blue\",\"interface\":\"x\"}]"}}}"#;
    let json = file(directory.path(), "pod.json", json)?;
    let good = file(directory.path(), "pod.yaml", &pod("red@net1"))?;

    is(
        &lint()?.argument(&json).argument(&good).run().await?,
        0,
        &["Pod default/j: ok", "Pod default/p: ok"],
    );
    is(
        &lint()?
            .argument(&json)
            .argument(&good)
            .argument(&broken)
            .run()
            .await?,
        1,
        &[
            "default/j: refused",
            "[rule network-config]",
            "default/p: ok",
            "default/blue: cannot run",
        ],
    );
    let absent = directory.path().join("absent.yaml");
    is(
        &lint()?.argument(&absent).run().await?,
        2,
        &["absent.yaml", "No such file"],
    );
    Ok(())
}

#[tokio::test]
async fn a_directory_is_read_and_one_bad_file_hides_no_other() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    file(directory.path(), "a.yaml", "a: [")?;
    file(directory.path(), "b.yml", &pod("blue@eth0"))?;
    file(directory.path(), "values.yaml", "replicas: 3")?;
    file(directory.path(), "notes.txt", "kind: [")?;
    let deep = directory.path().join("deep");
    std::fs::create_dir(&deep).map_err(|e| Error::Unexpected(e.to_string()))?;
    file(&deep, "c.json", r#"{"kind":"Pod","metadata":{"name":"deep"}}"#)?;

    let flat = lint()?.argument(directory.path()).run().await?;
    is(
        &flat,
        2,
        &[
            "a.yaml:1:4: unreadable",
            "b.yml:5:47: Pod default/p: refused",
            "values.yaml: documents without a kind, not judged: 1",
        ],
    );
    assert!(!flat.text.contains("notes.txt") && !flat.text.contains("deep"));
    let deep = lint()?.argument("-R").argument(directory.path()).run().await?;
    is(&deep, 2, &["Pod default/deep: ok, no networks"]);
    Ok(())
}

#[tokio::test]
async fn warnings_count_when_lint_is_strict() -> Result<()> {
    let given = format!("{NETWORK}---\n{}", pod("blu@net1"));
    is(
        &lint()?.given(&given)?.run().await?,
        0,
        &["warning at ", "did you mean default/blue?"],
    );
    let strict = lint()?.argument("--strict").given(&given)?;
    is(&strict.run().await?, 1, &["did you mean default/blue?"]);
    Ok(())
}

#[tokio::test]
async fn programs_get_the_result_in_their_formats() -> Result<()> {
    for (output, words) in [
        ("json", r#""rule": "interface-reserved""#),
        ("sarif", r#""ruleId": "interface-reserved""#),
        (
            "github",
            "::error file=-,line=5,col=48,title=Pod default/p%3A refused::",
        ),
    ] {
        let lint = lint()?.flag("--output", output).given(&pod("blue@eth0"))?;
        is(&lint.run().await?, 1, &[words]);
    }
    Ok(())
}

#[tokio::test]
async fn the_clusters_configuration_file_decides() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let strict = file(directory.path(), "config.json", r#"{"interfaceNames":"reject"}"#)?;
    let wrong = file(directory.path(), "wrong.json", r#"{"interfaceNames":"perhaps"}"#)?;

    let strict = lint()?.flag("--config", strict).given(&pod("blue"))?;
    is(&strict.run().await?, 1, &["write default/blue@net1"]);
    let wrong = lint()?.flag("--config", wrong).given(&pod("blue"))?;
    is(&wrong.run().await?, 2, &["wrong.json", "perhaps"]);
    Ok(())
}

#[tokio::test]
async fn the_examples_of_the_readme_are_in_order() -> Result<()> {
    for example in ["original-setup", "interface-add", "interface-remove"] {
        let path = tests::root().join(format!("examples/{example}.yaml"));
        is(&lint()?.argument(path).run().await?, 0, &["ok"]);
    }
    Ok(())
}

/// A file of `tests/cases/`, judged.
async fn case(file: &str) -> Result<Output> {
    let path = tests::root().join("tests/cases").join(file);
    lint()?.argument(path).run().await
}

#[rstest]
#[case::keys_with_capitals("10-capital-keys.yaml", 1, &[
    "Deployment default/case10: refused",
    r#"multus reads the key "Name" as "name"; write "name" [rule key-spelling]"#,
    r#"write "namespace" [rule key-spelling]"#,
    r#"write "interface" [rule key-spelling]"#,
])]
#[case::addresses_of_no_interface("13-multicast-mac.yaml", 1, &[
    "Pod default/case13-cold: refused\n  error at 18:36: ",
    r#"value "f3:00:5e:00:53:13": it is a group address"#,
    "Pod default/case13-zero: refused\n  error at 29:36: ",
    r#"value "00:00:00:00:00:00": the address of zeros"#,
])]
#[case::annotations_of_workloads("15-annotation-on-the-deployment.yaml", 0, &[
    "  warning at 14:34: metadata.annotations of the Deployment has no effect; put k8s.v1.cni.cncf.io/networks into spec.template.metadata.annotations\n",
    r#"  warning at 26:34: metadata.annotations of the StatefulSet has no effect: k8s.v1.cni.cncf.io/networks is "lan@net1" there"#,
])]
#[case::configs_in_the_wrong_place("17-nad-config-in-the-wrong-place.yaml", 1, &[
    "default/indentation-lost: cannot run\n  error at 8:9: config is outside spec",
    "17-nad-config-in-the-wrong-place.yaml:16:5: NetworkAttachmentDefinition default/yaml-instead-of-a-string: cannot run\n  error: spec.config must be a string",
    "default/the-spec-is-the-config: cannot run\n  error at 26:3: spec has no config",
    "default/on-the-node-on-purpose: ok\n  note: no spec.config: needs a CNI file of this name on each node\n",
])]
#[case::a_version_inside_a_plugin("18-cniversion-inside-the-plugin.yaml", 0, &[
    "default/inside: ok\n  warning at 10:25: plugins[0].cniVersion, value \"0.4.0\": libcni does not read the version of a plugin in a list",
    "default/none-at-all: ok\n",
])]
#[case::kinds_that_make_pods_or_networks("20-kinds-that-make-pods-or-networks.yaml", 1, &[
    "NetworkAttachmentDefinition vms/vlan20: cannot run\n  error at 7:66: ",
    "VirtualMachine vms/vm1: refused\n  error: element 0 (\"vms/vlan20\"): ",
    "spec.additionalNetworks[0] (vms/bridge-net): cannot run\n  error at 35:11: the config cannot run: the config is not JSON: ',' or '}' is expected",
])]
#[case::capabilities_beside_the_plugins("24-capabilities-of-the-list.yaml", 1, &[
    "default/london: ok\n  warning at 11:23: capabilities, value ",
    "Pod default/asks-for-an-address: ok\n  warning at 22:49: element 0 (default/london): no plugin declares the capability ips",
    "Pod default/asks-for-a-port: refused\n  error at 29:49: element 0 (\"default/london\"), field portMappings: ",
])]
#[tokio::test]
async fn reported_cases_are_judged(
    #[case] file: &str,
    #[case] code: i32,
    #[case] words: &[&str],
) -> Result<()> {
    is(&case(file).await?, code, words);
    Ok(())
}

/// What is printed about the object `name`, without its findings: place and verdict. And the first
/// finding.
fn said<'a>(output: &'a Output, name: &str) -> (&'a str, &'a str) {
    let mut lines = output.text.lines();
    let about = format!("default/{name}");
    let line = lines.find(|line| line.contains(&about)).unwrap_or_default();
    (line, lines.next().unwrap_or_default())
}

#[tokio::test]
async fn every_misspelt_annotation_is_refused_with_its_place() -> Result<()> {
    let output = case("22-annotation-syntax-as-found.yaml").await?;

    assert_eq!(output.code, Some(1), "{}", output.text);
    for index in 1..=10 {
        let (line, finding) = said(&output, &format!("r{index}-"));
        let place = format!(".yaml:{}:", index + 5);
        assert!(line.contains(&place) && line.ends_with(": refused"), "{line}");
        // A list as a whole has the place of the annotation.
        let inside = match index {
            7 | 9 => "  error: value ".to_owned(),
            _ => format!("  error at {}:", index + 5),
        };
        assert!(
            finding.starts_with(&inside) && !finding.contains(" at line "),
            "{finding}"
        );
    }
    for index in 1..=5 {
        let (line, _) = said(&output, &format!("f{index}-"));
        assert!(line.contains(": ok"), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn every_config_that_cannot_run_has_its_place() -> Result<()> {
    let output = case("23-nad-config-syntax-as-found.yaml").await?;

    assert_eq!(output.code, Some(1), "{}", output.text);
    let columns = [210, 123, 170, 171, 256, 231, 190, 173, 134];
    for (index, column) in (1..).zip(columns) {
        let (line, finding) = said(&output, &format!("r{index}-"));
        assert!(line.ends_with(": cannot run"), "{line}");
        let place = format!("  error at {}:{column}: the config cannot run: ", index + 5);
        assert!(finding.starts_with(&place), "{finding}");
    }
    for index in 1..=6 {
        let (line, _) = said(&output, &format!("f{index}-"));
        assert!(line.ends_with(": ok"), "{line}");
    }
    assert!(!output.text.contains("warning"), "{}", output.text);
    Ok(())
}

#[tokio::test]
async fn a_bridge_marker_asks_for_no_device() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let running = pod("").replace(
        "spec: {}",
        "spec: { nodeName: worker }\nstatus: { phase: Running }",
    );
    let stored = file(directory.path(), "stored.yaml", &running)?;
    let edited = file(directory.path(), "edited.yaml", &pod("lan-b@net1"))?;
    let bridges = tests::read("tests/cases/01-bridge-resource-name.yaml")?;
    for (plugin, code, words) in [
        ("bridge", 0, "Pod default/p: ok\n"),
        ("sriov", 0, "it may need a device"),
    ] {
        let networks = bridges.replace(r#""type": "bridge""#, &format!(r#""type": "{plugin}""#));
        let networks = file(directory.path(), plugin, &networks)?;
        let lint = lint()?
            .flag("--old", &stored)
            .argument(networks)
            .argument(&edited);
        is(&lint.run().await?, code, &[words]);
    }
    Ok(())
}
